"""What stands on a medium, the same for a folder and for an image; and how its bytes are read, boundedly."""

import bisect
import dataclasses
import enum
import os
from collections.abc import Callable, Hashable, Mapping, Sequence

SUM_NAME = "SHA256SUM"
SIGNATURE_NAME = "SHA256SUM.asc"
LISTING_NAME = "CONTENTS.mtree"
KEY_NAME = "signing-key.asc"
PRODUCT_NAME = "product.txt"

MAX_TEXT_SIZE = 64 << 20
"""Bytes of the largest file that is parsed: four times the index of a whole Debian release, gzipped."""
MAX_ENTRIES = 1_000_000
"""Entries of a medium; a hostile one must not fill the memory."""


_AFTER_SLASH = chr(ord("/") + 1)


class DamagedError(Exception):
    """A part of the medium cannot be read or understood; its text becomes a fault."""


class Kind(enum.Enum):
    """What an entry is, in the words of mtree(5)."""

    FILE = "file"
    DIRECTORY = "dir"
    LINK = "link"
    OTHER = "other"


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Where bytes are: parts (offset, length) of a file, one after the other.

    `inode` and `file_size` are those of the whole file (device and number, bytes) when it was found.
    """

    path: str | os.PathLike[str]
    inode: tuple[int, int]
    file_size: int
    parts: tuple[tuple[int, int], ...]

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], status: os.stat_result) -> "Content":
        """A whole file."""
        return cls(path, (status.st_dev, status.st_ino), status.st_size, ((0, status.st_size),))

    @property
    def identity(self) -> Hashable:
        """Equal identity means the same bytes on the disk: they are read once."""
        return self.inode, self.parts

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.parts[0][1] if len(self.parts) == 1 else sum(length for _, length in self.parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One entry: permission bits, and what its kind has of content, target and owner.

    `owner` is (uid, gid), or None where the owner is no part of the medium (a staged folder).
    """

    kind: Kind
    mode: int
    content: Content | None = None
    target: str = ""
    owner: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Length in bytes; 0 for what is not a regular file."""
        return self.content.size if self.content else 0


Reader = Callable[[str], bytes]
"""Gives the bytes of a regular file by its path on the medium, or raises `DamagedError`: the file is missing, too
large to be parsed, or cannot be read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """Everything the judges look at: entries by path, digests (hex) of the files that could be read."""

    nodes: Mapping[str, Node]
    digests: Mapping[str, str]
    read: Reader
    _files: Sequence[str]

    @classmethod
    def of(cls, nodes: Mapping[str, Node], digests: Mapping[str, str], read: Reader) -> "Contents":
        """Put them together."""
        return cls(nodes, digests, read, sorted(path for path, node in nodes.items() if node.kind is Kind.FILE))

    def files(self, directory: str = "") -> list[str]:
        """Paths of the regular files below a directory, relative to it, sorted."""
        if not directory:
            return list(self._files)
        start = bisect.bisect_left(self._files, f"{directory}/")
        end = bisect.bisect_left(self._files, f"{directory}{_AFTER_SLASH}", start)
        return [path.removeprefix(f"{directory}/") for path in self._files[start:end]]

    def has_file(self, path: str) -> bool:
        """Whether a regular file stands there."""
        node = self.nodes.get(path)
        return node is not None and node.kind is Kind.FILE


def open_content(content: Content) -> int:
    """Open for reading; returns a file descriptor, which the caller closes.

    Raises:
        DamagedError: it cannot be opened, or is no longer the file that was found.
    """
    # O_NONBLOCK: a named pipe put in the file's place must not hang the judge.
    try:
        handle = os.open(content.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror}") from error
    status = os.fstat(handle)
    if (status.st_dev, status.st_ino, status.st_size) != (*content.inode, content.file_size):
        os.close(handle)
        raise DamagedError("changed while it was judged")
    return handle


def read_bytes(content: Content, limit: int = MAX_TEXT_SIZE) -> bytes:
    """The bytes of a small file.

    Raises:
        DamagedError: it has more than `limit` bytes, ends early, or cannot be read.
    """
    if content.size > limit:
        raise DamagedError(f"has {content.size} bytes, more than {limit}: not read")
    handle = open_content(content)
    try:
        found = b"".join(os.pread(handle, length, offset) for offset, length in content.parts)
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(handle)
    if len(found) != content.size:
        raise DamagedError(f"ends after {len(found)} of {content.size} bytes")
    return found


def reader(nodes: Mapping[str, Node]) -> Reader:
    """A reader of the files among some entries."""

    def read(path: str) -> bytes:
        node = nodes.get(path)
        if node is None:
            raise DamagedError("is missing")
        if node.content is None:
            raise DamagedError("is not a regular file")
        return read_bytes(node.content)

    return read
