"""The bytes of a root file system while it is being made: one temporary file in the store's file system."""

import contextlib
import dataclasses
import hashlib
import io
import os
import typing
from collections.abc import Iterable, Iterator

from buildchain import digest, store


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Bytes in the spool. Two files with one offset are one inode; equal bytes at two offsets are two."""

    descriptor: digest.Descriptor
    offset: int


class Spool:
    """Append-only; what was added can be read at any time, by several threads."""

    def __init__(self, stream: typing.BinaryIO) -> None:
        self._stream = stream
        self._end = 0

    def add(self, blocks: Iterable[bytes]) -> Content:
        """Append the bytes of one file."""
        hasher, start = hashlib.sha256(), self._end
        for block in blocks:
            hasher.update(block)
            self._stream.write(block)
            self._end += len(block)
        return Content(digest.Descriptor(digest.Digest(hasher.hexdigest()), self._end - start), start)

    def open(self, content: Content) -> typing.BinaryIO:
        """A seekable view of one file."""
        self._stream.flush()
        view = _View(self._stream.fileno(), content.offset, content.descriptor.size)
        return typing.cast(typing.BinaryIO, io.BufferedReader(view))

    def read(self, content: Content) -> bytes:
        """The bytes of a small file."""
        with self.open(content) as stream:
            return stream.read()

    def blocks(self, content: Content) -> Iterator[bytes]:
        """The bytes of a file, block by block."""
        with self.open(content) as stream:
            while block := stream.read(digest.BLOCK_SIZE):
                yield block


@contextlib.contextmanager
def open_spool(source: store.Store) -> Iterator[Spool]:
    """A spool that is gone afterwards, even if the program is killed: its file has no name."""
    with source.writer() as writer:
        writer.path.unlink()
        yield Spool(writer.stream)


class _View(io.RawIOBase):
    """A window of a file that does not move the file's own position."""

    def __init__(self, handle: int, offset: int, size: int) -> None:
        super().__init__()
        self._handle = handle
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: typing.Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._position))
        count = os.preadv(self._handle, [memoryview(buffer)[:wanted]], self._offset + self._position)
        self._position += count
        return count
