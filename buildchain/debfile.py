"""The file format of a .deb: an ar archive that holds two compressed tar archives (deb(5)).

Read strictly, in order and in constant memory, with limits that no package of Debian comes near.
"""

import contextlib
import gzip
import io
import lzma
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping

from buildchain import digest, errors, lock, tar

MAX_CONTROL = 32 << 20
"""Unpacked bytes of the control archive; the largest in Debian is a few megabytes."""
MAX_MEMBERS = 200_000
"""Files of one package; Debian's largest have half as many."""
MAX_XZ_MEMORY = 80 << 20
"""What `xz -9` needs to unpack is 65 MiB (xz(1))."""

_AR_HEADER = 60
_HEAD = 1 << 16
"""In the first bytes stand the control archives of all but a few packages."""

Contents = Iterable[tuple[tar.Header, Iterable[bytes]]]


@contextlib.contextmanager
def explained(locked: lock.Package, what: str = "cannot be unpacked") -> Iterator[None]:
    """Turn whatever reading a damaged file raises into a BuildchainError about the package."""
    try:
        yield
    except (
        tar.TarError,
        lzma.LZMAError,
        zlib.error,
        gzip.BadGzipFile,
        EOFError,
        UnicodeDecodeError,
        KeyError,
    ) as error:
        why = f"has no {error}" if isinstance(error, KeyError) else str(error)
        hint = "If the archive serves it so, choose another version; if not, remove it from the store and pull again."
        raise errors.BuildchainError(f"package {locked.key}", f"{what}: {why}", hint) from error


class Member(typing.NamedTuple):
    """Where a member of the ar archive is; `mtime` is in seconds since 1970."""

    name: str
    mtime: int
    offset: int
    size: int


def members(stream: typing.BinaryIO) -> dict[str, Member]:
    """All members of an ar archive, in the order deb(5) wants; names that begin with _ are for others.

    Raises:
        TarError: it is none, is damaged, or holds a name twice.
    """
    found: dict[str, Member] = {}
    for member in _each_member(stream):
        if member.name in found:
            raise tar.TarError(f"two members are named {member.name!r}")
        found[member.name] = member
    return found


def _each_member(stream: typing.BinaryIO) -> Iterator[Member]:
    """The members of an ar archive (ar(5)) as they come; between two of them the stream may be moved."""
    if stream.read(8) != b"!<arch>\n":
        raise tar.TarError("it is not an ar archive")
    place = 8
    while header := stream.read(_AR_HEADER):
        if len(header) != _AR_HEADER or header[58:] != b"`\n":
            raise tar.TarError("a header of the ar archive is damaged")
        name = header[:16].decode().rstrip().removesuffix("/")
        if place == 8 and name != "debian-binary":
            break
        member = Member(name, _decimal(header[16:28]), place + _AR_HEADER, _decimal(header[48:58]))
        yield member
        place = member.offset + member.size + member.size % 2
        stream.seek(place)
    if place == 8:
        raise tar.TarError("its first member is not debian-binary")


def _decimal(field: bytes) -> int:
    text = field.strip(b" ")
    if not text.isdigit():
        raise tar.TarError(f"not a number in the ar archive: {text!r}")
    return int(text)


def unpacked(stream: typing.BinaryIO, members: Mapping[str, Member], stem: str) -> typing.BinaryIO:
    """The tar archive of a member, decompressed as it is read."""
    for name, member in members.items():
        if name == stem or name.startswith(f"{stem}."):
            stream.seek(member.offset)
            window = _Window(stream, member.size)
            return _decompressed(window, name.removeprefix(stem))
    raise tar.TarError(f"it has no {stem}")


def _decompressed(window: "_Window", ending: str) -> typing.BinaryIO:
    if ending == ".xz":
        return typing.cast(typing.BinaryIO, io.BufferedReader(_XzReader(window), digest.BLOCK_SIZE))
    if ending == ".gz":
        return typing.cast(typing.BinaryIO, gzip.GzipFile(fileobj=typing.cast(typing.BinaryIO, window), mode="rb"))
    if ending == "":
        return typing.cast(typing.BinaryIO, window)
    raise tar.TarError(f"it is compressed as {ending[1:]!r}; Debian's archive holds xz and gz only")


class _Window:
    """The next bytes of a file and no more."""

    def __init__(self, stream: typing.BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(block)
        return block


def _new_xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)


class _XzReader(io.RawIOBase):
    """Decompresses xz with a limit on memory, which lzma.LZMAFile does not offer."""

    def __init__(self, packed: _Window) -> None:
        super().__init__()
        self._packed = packed
        self._decoder = _new_xz_decoder()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: typing.Any) -> int:
        content = b""
        while not content:
            packed = b""
            if self._decoder.eof:
                packed = self._decoder.unused_data or self._packed.read(digest.BLOCK_SIZE)
                if not packed:
                    return 0
                self._decoder = _new_xz_decoder()
            elif self._decoder.needs_input:
                packed = self._packed.read(digest.BLOCK_SIZE)
                if not packed:
                    raise EOFError("the compressed data ends too early")
            content = self._decoder.decompress(packed, len(buffer))
        buffer[: len(content)] = content
        return len(content)


def limited(members: Contents, limit: int) -> Contents:
    """The same members, until they are too many or unpack to too much."""
    total = 0
    for count, (header, content) in enumerate(members, start=1):
        total += header.size
        if total > limit or count > MAX_MEMBERS:
            raise tar.TarError(f"it unpacks to more than {limit} bytes or {MAX_MEMBERS} files")
        yield header, content


def control_files(stream: typing.BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of a control archive, which has no folders.

    Raises:
        TarError: the archive is damaged or too large.
    """
    for header, content in limited(tar.read(stream), MAX_CONTROL):
        if header.kind is tar.Kind.FILE:
            yield header.path.removeprefix("./"), b"".join(content)


def control(stream: typing.BinaryIO) -> bytes:
    """The control file; nothing behind its archive is read.

    Raises:
        TarError: the package has none, or is damaged so far.
    """
    head = stream.read(_HEAD)
    for member in _each_member(io.BytesIO(head)):
        if member.name.partition(".tar")[0] != "control":
            continue
        packed = head[member.offset : member.offset + member.size]
        files = dict(control_files(_control_archive(stream, member, packed)))
        if "control" in files:
            return files["control"]
        break
    raise tar.TarError("it has no control file")


def _control_archive(stream: typing.BinaryIO, member: Member, packed: bytes) -> typing.BinaryIO:
    """Unpacked at once if it is one small stream of xz, as nearly all are; else as it is read."""
    ending = member.name.removeprefix("control.tar")
    if ending == ".xz" and len(packed) == member.size:
        decoder = _new_xz_decoder()
        content = decoder.decompress(packed, _HEAD)
        if decoder.eof and not decoder.unused_data:
            return io.BytesIO(content)
    stream.seek(member.offset)
    return _decompressed(_Window(stream, member.size), ending)
