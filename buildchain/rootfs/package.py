"""Read one .deb: what it would unpack, its control file, and the scripts it would run (deb(5)).

The archive is read once, in order, in constant memory; the bytes of its files go to the spool.
"""

import dataclasses
import functools
import hashlib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence

from buildchain import debfile, lock, store, tar
from buildchain.rootfs import entries, exclusions, spool

SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
"""Programs that dpkg and debconf run (deb-preinst(5) and its neighbours)."""

MAX_DATA = 8 << 30
"""Unpacked bytes of the data archive: more than any package of Debian."""
MAX_TEXT = 8 << 20
"""Bytes of one text; the longest copyright files of Debian have two megabytes."""
MAX_STATIC_ID = 99
"""Debian Policy section 9.2.2: only these user and group ids, and nobody's, mean the same on every system."""
_NOBODY = 65534


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
        return dependencies(self.control)


def dependencies(control: str) -> tuple[str, ...]:
    """Names of all packages that a control file depends on, alternatives included (deb-control(5))."""
    found = re.findall(r"^(?:Pre-)?Depends:((?:.*\n[ \t])*.*)$", control, re.MULTILINE)
    return tuple(re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", ",".join(found)))


def read(
    locked: lock.Package, source: store.Store, contents: spool.Spool, excluded: Sequence[exclusions.Exclusion] = ()
) -> Package:
    """Read a package of the store.

    Raises:
        BuildchainError: the file is not a package, is damaged, or holds what no image may hold.
    """
    with source.open(locked.content.digest) as stream, debfile.explained(locked):
        members = debfile.members(stream)
        control = dict(debfile.control_files(debfile.unpacked(stream, members, "control.tar")))
        data = debfile.limited(tar.read(debfile.unpacked(stream, members, "data.tar")), MAX_DATA)
        return Package(
            locked=locked,
            built=members["debian-binary"].mtime,
            control=control["control"].decode(),
            md5sums=control.get("md5sums", b"").decode(),
            scripts=_scripts(control),
            entries=tuple(_entries(data, locked.key, contents, excluded)),
        )


def read_control(locked: lock.Package, source: store.Store) -> Mapping[str, bytes]:
    """The files of a package's control archive, by name.

    Raises:
        BuildchainError: the file is not a package or is damaged.
    """
    with source.open(locked.content.digest) as stream, debfile.explained(locked):
        return dict(debfile.control_files(debfile.unpacked(stream, debfile.members(stream), "control.tar")))


def read_file(locked: lock.Package, source: store.Store, path: str) -> bytes:
    """One file of a package, which is text; empty if there is none, or none of a text's size.

    Raises:
        BuildchainError: the file is not a package or is damaged.
    """
    with source.open(locked.content.digest) as stream, debfile.explained(locked):
        unpacked = debfile.unpacked(stream, debfile.members(stream), "data.tar")
        for header, content in debfile.limited(tar.read(unpacked), MAX_DATA):
            if header.kind is tar.Kind.FILE and entries.canonical(header.path) == path:
                return b"".join(content) if header.size <= MAX_TEXT else b""
    return b""


def _scripts(control: Mapping[str, bytes]) -> Mapping[str, str]:
    return {name: hashlib.sha256(control[name]).hexdigest() for name in SCRIPTS if name in control}


def _entries(
    members: debfile.Contents, origin: str, contents: spool.Spool, excluded: Sequence[exclusions.Exclusion]
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
