"""The bytes of the medium, in one pass from its first to its last, hashed on the way."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import queue
import threading
import typing
from collections.abc import Callable, Iterator

from buildchain import digest, errors, store, tree
from buildchain.iso import layout

_BUFFER_SIZE = 1 << 18
_BUFFERS = 8
"""Together they fit into a processor's cache; with larger ones the kernel spends most of the time on fresh pages."""
_ZEROS = bytes(_BUFFER_SIZE)
_STRIDE = 1 << 25
"""After so many bytes the disk is set to work, so that the last fsync has little left to wait for."""


def write(
    contents: tree.Tree,
    source: store.Store,
    *,
    volume_id: str,
    epoch: int,
    target: pathlib.Path,
    progress: Callable[[int, int], None],
) -> digest.Descriptor:
    """Lay out and write an image in this process; see `buildchain.iso.write`."""
    plan = layout.plan(contents, volume_id, epoch)
    try:
        with _replacing(target) as stream:
            plan.write_head(stream)
            return _write_data(plan, source, stream.fileno(), progress)
    except OSError as error:
        hint = f"Look at the disks of {target.parent} and of the store: one is full, read-only or failing."
        raise errors.BuildchainError(str(target), error.strerror or str(error), hint) from error


def part_path(target: pathlib.Path) -> pathlib.Path:
    """Where the image stands until it is whole."""
    return target.with_name(f".{target.name}.part")


def _write_data(
    plan: layout.Layout, source: store.Store, target: int, progress: Callable[[int, int], None]
) -> digest.Descriptor:
    sink = _Sink(target, lambda done: progress(done, plan.size))
    os.lseek(target, 0, os.SEEK_SET)
    sink.copy(target, plan.head_size)
    for extent in plan.extents:
        sink.pad(extent.offset)
        with source.open(extent.content.digest) as file:
            copied = sink.copy(file.fileno(), extent.content.size)
            _check_size(file, extent.content, copied)
    sink.pad(plan.size)
    return sink.finish()


class _Sink:
    """Puts bytes one after the other into a file; a thread hashes each buffer while the next is filled."""

    def __init__(self, target: int, progress: Callable[[int], None]) -> None:
        self._target = target
        self._progress = progress
        self._written = 0
        self._handed_over = 0
        self._used = 0
        self._buffer = memoryview(bytearray(_BUFFER_SIZE))
        self._hasher = hashlib.sha256()
        self._full: queue.SimpleQueue[tuple[memoryview, int]] = queue.SimpleQueue()
        self._empty: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _ in range(_BUFFERS - 1):
            self._empty.put(memoryview(bytearray(_BUFFER_SIZE)))
        self._thread = threading.Thread(target=self._hash, daemon=True)
        self._thread.start()

    def copy(self, source: int, size: int) -> int:
        """Append at most `size` bytes of an open file; returns how many it had."""
        left = size
        while left and (count := os.readv(source, [self._buffer[self._used : self._used + left]])):
            left -= count
            self._advance(count)
        return size - left

    def pad(self, offset: int) -> None:
        """Append zeros up to an offset of the medium."""
        while left := offset - self._written - self._used:
            count = min(left, len(self._buffer) - self._used)
            self._buffer[self._used : self._used + count] = bytes(count)
            self._advance(count)

    def finish(self) -> digest.Descriptor:
        """Write what is left; the descriptor of all bytes."""
        self._flush()
        os.ftruncate(self._target, self._written)
        self._full.put((self._buffer, 0))
        self._thread.join()
        return digest.Descriptor(digest.Digest(self._hasher.hexdigest()), self._written)

    def _advance(self, count: int) -> None:
        self._used += count
        if self._used == len(self._buffer):
            self._flush()

    def _flush(self) -> None:
        self._full.put((self._buffer, self._used))
        if self._buffer.obj == _ZEROS:
            self._written += self._used  # a hole: what is sparse in the store is sparse on the medium
        else:
            self._put(self._buffer[: self._used])
        self._hand_over()
        self._progress(self._written)
        self._used = 0
        self._buffer = self._empty.get()

    def _put(self, filled: memoryview) -> None:
        while filled:
            count = os.pwrite(self._target, filled, self._written)
            filled = filled[count:]
            self._written += count

    def _hand_over(self) -> None:
        """Start writing to the disk: on dirty pages this advice does that, and forgets none."""
        size = self._written - self._handed_over
        if size >= _STRIDE:
            os.posix_fadvise(self._target, self._handed_over, size, os.POSIX_FADV_DONTNEED)
            self._handed_over = self._written

    def _hash(self) -> None:
        while True:
            buffer, used = self._full.get()
            if not used:
                return
            self._hasher.update(buffer[:used])
            self._empty.put(buffer)


def _check_size(file: typing.BinaryIO, content: digest.Descriptor, copied: int) -> None:
    actual = copied if copied < content.size else os.fstat(file.fileno()).st_size
    if actual != content.size:
        raise errors.IntegrityError(
            file.name,
            "the store",
            f"{content.size} bytes",
            f"{actual} bytes",
            "Something changed the store during the build: run ./doit.sh again.",
        )


@contextlib.contextmanager
def _replacing(target: pathlib.Path) -> Iterator[typing.BinaryIO]:
    """A file that takes the place of `target` when all went well, and vanishes when not."""
    part = part_path(target)
    with _claim(part, target) as stream:
        try:
            yield stream
            os.fsync(stream.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _sync_directory(target.parent)


def _claim(part: pathlib.Path, target: pathlib.Path) -> typing.BinaryIO:
    """Open the unfinished file for this process alone; what a killed one left in it is dropped."""
    stream = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "w+b", digest.BLOCK_SIZE)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between open and lock its writer may have made it the finished image: that one is not ours to cut.
        is_ours = part.stat().st_ino == os.fstat(stream.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        stream.close()
        raise errors.BuildchainError(str(target), "is being written by another build", "Wait until that one has ended.")
    stream.truncate()
    return stream


def _sync_directory(directory: pathlib.Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
