"""Read one .deb: what it would unpack, its control file, and the scripts it would run (deb(5)).

The archive is read once, in order, in constant memory; the bytes of its files go to the spool.
"""

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import io
import lzma
import re
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from buildchain import digest, errors, lock, store
from buildchain.rootfs import entries, exclusions, spool, tar

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
"""Programs that dpkg and debconf run (deb-preinst(5) and its neighbours)."""

MAX_CONTROL = 32 << 20
"""Unpacked bytes of the control archive; the largest in Debian is a few megabytes."""
MAX_DATA = 8 << 30
"""Unpacked bytes of the data archive: more than any package of Debian."""
MAX_MEMBERS = 200_000
"""Files of one package; Debian's largest have half as many."""
MAX_TEXT = 8 << 20
"""Bytes of one text; the longest copyright files of Debian have two megabytes."""
MAX_XZ_MEMORY = 80 << 20
"""What `xz -9` needs to unpack is 65 MiB (xz(1))."""

MAX_STATIC_ID = 99
"""Debian Policy section 9.2.2: only these user and group ids, and nobody's, mean the same on every system."""
_NOBODY = 65534

_AR_HEADER = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """A package that has been read; `scripts` are digests by name, `built` is in seconds since 1970."""

    locked: lock.Package
    built: int
    control: str
    md5sums: str
    scripts: Mapping[str, str]
    entries: tuple[entries.Entry, ...]

    @property
    def origin(self) -> str:
        """How its files name it."""
        return self.locked.key

    def dependencies(self) -> tuple[str, ...]:
        """Names of all packages that this one depends on, alternatives included (deb-control(5))."""
        found = re.findall(r"^(?:Pre-)?Depends:((?:.*\n[ \t])*.*)$", self.control, re.MULTILINE)
        return tuple(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", ",".join(found)))


def read(
    locked: lock.Package, source: store.Store, contents: spool.Spool, excluded: Sequence[exclusions.Exclusion] = ()
) -> Package:
    """Read a package of the store.

    Raises:
        BuildchainError: the file is not a package, is damaged, or holds what no image may hold.
    """
    with source.open(locked.content.digest) as stream, _explained(locked):
        members = _members(stream)
        control = dict(_control_files(_unpacked(stream, members, "control.tar")))
        data = _limited(tar.read(_unpacked(stream, members, "data.tar")), MAX_DATA)
        return Package(
            locked=locked,
            built=members["debian-binary"].mtime,
            control=control["control"].decode(),
            md5sums=control.get("md5sums", b"").decode(),
            scripts=_scripts(control),
            entries=tuple(_entries(data, locked.key, contents, excluded)),
        )


def read_scripts(locked: lock.Package, source: store.Store) -> Mapping[str, str]:
    """Only the digests of a package's scripts, by name.

    Raises:
        BuildchainError: the file is not a package or is damaged.
    """
    with source.open(locked.content.digest) as stream, _explained(locked):
        return _scripts(dict(_control_files(_unpacked(stream, _members(stream), "control.tar"))))


def read_file(locked: lock.Package, source: store.Store, path: str) -> bytes:
    """One file of a package, which is text; empty if there is none, or none of a text's size.

    Raises:
        BuildchainError: the file is not a package or is damaged.
    """
    with source.open(locked.content.digest) as stream, _explained(locked):
        unpacked = _unpacked(stream, _members(stream), "data.tar")
        for header, content in _limited(tar.read(unpacked), MAX_DATA):
            if header.kind is tar.Kind.FILE and entries.canonical(header.path) == path:
                return b"".join(content) if header.size <= MAX_TEXT else b""
    return b""


def _scripts(control: Mapping[str, bytes]) -> Mapping[str, str]:
    return {name: hashlib.sha256(control[name]).hexdigest() for name in SCRIPTS if name in control}


@contextlib.contextmanager
def _explained(locked: lock.Package) -> Iterator[None]:
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
        raise errors.BuildchainError(f"package {locked.key}", f"cannot be unpacked: {why}", hint) from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    name: str
    mtime: int
    offset: int
    size: int


def _members(stream: typing.BinaryIO) -> dict[str, _Member]:
    """The members of an ar archive (ar(5)), in the order deb(5) wants; names that begin with _ are for others."""
    if stream.read(8) != b"!<arch>\n":
        raise tar.TarError("it is not an ar archive")
    found: dict[str, _Member] = {}
    while header := stream.read(_AR_HEADER):
        if len(header) != _AR_HEADER or header[58:] != b"`\n":
            raise tar.TarError("a header of the ar archive is damaged")
        name = header[:16].decode().rstrip().removesuffix("/")
        member = _Member(name, _decimal(header[16:28]), stream.tell(), _decimal(header[48:58]))
        if name in found:
            raise tar.TarError(f"two members are named {name!r}")
        found[name] = member
        stream.seek(member.offset + member.size + member.size % 2)
    if next(iter(found), "") != "debian-binary":
        raise tar.TarError("its first member is not debian-binary")
    return found


def _decimal(field: bytes) -> int:
    text = field.strip(b" ")
    if not text.isdigit():
        raise tar.TarError(f"not a number in the ar archive: {text!r}")
    return int(text)


def _unpacked(stream: typing.BinaryIO, members: Mapping[str, _Member], stem: str) -> typing.BinaryIO:
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


class _XzReader(io.RawIOBase):
    """Decompresses xz with a limit on memory, which lzma.LZMAFile does not offer."""

    def __init__(self, packed: _Window) -> None:
        super().__init__()
        self._packed = packed
        self._decoder = self._new_decoder()

    @staticmethod
    def _new_decoder() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)

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
                self._decoder = self._new_decoder()
            elif self._decoder.needs_input:
                packed = self._packed.read(digest.BLOCK_SIZE)
                if not packed:
                    raise EOFError("the compressed data ends too early")
            content = self._decoder.decompress(packed, len(buffer))
        buffer[: len(content)] = content
        return len(content)


_Members = Iterable[tuple[tar.Header, Iterable[bytes]]]


def _limited(members: _Members, limit: int) -> _Members:
    total = 0
    for count, (header, content) in enumerate(members, start=1):
        total += header.size
        if total > limit or count > MAX_MEMBERS:
            raise tar.TarError(f"it unpacks to more than {limit} bytes or {MAX_MEMBERS} files")
        yield header, content


def _control_files(stream: typing.BinaryIO) -> Iterator[tuple[str, bytes]]:
    for header, content in _limited(tar.read(stream), MAX_CONTROL):
        if header.kind is tar.Kind.FILE:
            yield entries.canonical(header.path), b"".join(content)


def _entries(
    members: _Members, origin: str, contents: spool.Spool, excluded: Sequence[exclusions.Exclusion]
) -> Iterator[entries.Entry]:
    """The entries of a data archive, without what is excluded and directories that hold nothing else."""
    found: dict[str, entries.Entry] = {}
    for header, content in members:
        path = _path(header)
        stays_out = exclusions.is_excluded(path, excluded)
        if not path or (stays_out and header.kind is not tar.Kind.DIRECTORY):
            continue
        if path in found and not isinstance(found[path], entries.Directory):
            raise tar.TarError(f"{header.path!r} is in it twice")
        found[path] = _entry(header, path, origin, found, functools.partial(contents.add, content))
    used = {parent for path in found for parent in entries.parents(path) if not exclusions.is_excluded(path, excluded)}
    return (entry for path, entry in found.items() if path in used or not exclusions.is_excluded(path, excluded))


def _path(header: tar.Header) -> str:
    path = entries.canonical(header.path)
    if path not in entries.MERGED:
        return path
    if header.kind is tar.Kind.DIRECTORY:
        return f"usr/{path}"
    if header.kind is not tar.Kind.SYMBOLIC_LINK or header.target.strip("/") != f"usr/{path}":
        raise tar.TarError(f"{header.path!r} is neither a directory nor the link of a merged /usr")
    return path


def _entry(
    header: tar.Header,
    path: str,
    origin: str,
    found: Mapping[str, entries.Entry],
    add_content: typing.Callable[[], spool.Content],
) -> entries.Entry:
    attributes = entries.Attributes(header.mode, _static(header.uid, path), _static(header.gid, path), header.mtime)
    if header.kind is tar.Kind.DIRECTORY:
        return entries.Directory(path, attributes, origin)
    if header.kind is tar.Kind.SYMBOLIC_LINK:
        if not header.target:
            raise tar.TarError(f"{header.path!r} is a link to nowhere")
        return entries.Link(path, dataclasses.replace(attributes, mode=entries.LINK_MODE), origin, header.target)
    if header.kind is tar.Kind.FILE:
        return entries.File(path, attributes, origin, add_content())
    target = found.get(entries.canonical(header.target))
    if not isinstance(target, entries.File):
        raise tar.TarError(f"{header.path!r} is a hard link to {header.target!r}, which is excluded or not a file")
    return dataclasses.replace(target, path=path)


def _static(number: int, path: str) -> int:
    if number > MAX_STATIC_ID and number != _NOBODY:
        raise tar.TarError(f"{path!r} belongs to id {number}, which is another user on each system")
    return number
