"""What a root file system is made of, and how packages and recipes are joined into one.

Paths are relative and without `./`; `bin`, `sbin` and `lib` are links into `usr`, wherever a package puts its files
(Debian's merged /usr).
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from buildchain import errors, tar
from buildchain.rootfs import spool

MAX_PATH = 4096
"""PATH_MAX of linux/limits.h."""
MAX_NAME = 255
"""NAME_MAX of linux/limits.h."""

DIRECTORY_MODE = 0o755
LINK_MODE = 0o777

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""usrmerge's list: top-level directories that are links into usr."""
_ALWAYS_MERGED = ("bin", "lib", "sbin")
MERGED_ORIGIN = "merged /usr"


@dataclasses.dataclass(frozen=True, slots=True)
class Attributes:
    """Permission bits, numeric owner, and seconds since 1970."""

    mode: int
    uid: int
    gid: int
    mtime: int


@dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """A directory; of several packages that have it, the one that touched it last is its origin."""

    path: str
    attributes: Attributes
    origin: str


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A regular file. Two files with one content (not only equal bytes) are hard links of each other."""

    path: str
    attributes: Attributes
    origin: str
    content: spool.Content


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    path: str
    attributes: Attributes
    origin: str
    target: str


Entry = Directory | File | Link


@dataclasses.dataclass(frozen=True, slots=True)
class Rootfs:
    """Entries sorted by path in byte order of their UTF-8; every parent of an entry is a directory in it."""

    entries: tuple[Entry, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def by_path(self) -> dict[str, Entry]:
        """The entries by path."""
        return {entry.path: entry for entry in self.entries}


def canonical(path: str) -> str:
    """A path as a root file system spells it: below usr where /usr is merged.

    Raises:
        TarError: the path is absolute, empty, or leads out.
    """
    names = path.removeprefix("./").rstrip("/").split("/")
    if path in {".", "./"}:
        return ""
    if any(name in {"", ".", ".."} for name in names):
        raise tar.TarError(f"{path!r} is not a plain relative path")
    if len(path.encode()) > MAX_PATH or any(len(name.encode()) > MAX_NAME for name in names):
        raise tar.TarError(f"{path[:100]!r}... is longer than a path can be")
    if len(names) > 1 and names[0] in MERGED:
        names.insert(0, "usr")
    return "/".join(names)


def merge(name: str, base: Rootfs, packages: Iterable[Iterable[Entry]]) -> Rootfs:
    """Join the entries of packages with a root file system that is there already.

    Raises:
        TreeError: with every path that two packages fill differently; `name` says of what.
    """
    found = base.by_path()
    problems = []
    for entry in (entry for entries in packages for entry in entries):
        there = found.get(entry.path)
        joined = entry if there is None else _join(there, entry)
        if joined is None:
            problems.append(f"/{entry.path} is {_spell(entry)} in {entry.origin}, {_spell(there)} in {_origin(there)}")
        else:
            found[entry.path] = joined
    problems += complete(found)
    if problems:
        why = "\n".join(["packages do not fit together", *(f"  {problem}" for problem in sorted(problems))])
        raise errors.TreeError(name, why, "Drop one of these packages, or exclude one of the two paths.")
    return build(found.values())


def build(entries: Iterable[Entry]) -> Rootfs:
    """Sort entries."""
    return Rootfs(tuple(sorted(entries, key=lambda entry: entry.path.encode())))


def complete(found: dict[str, Entry]) -> list[str]:
    """Add all missing parents and the links of the merged /usr; returns what stands below something else."""
    problems = []
    for entry in list(found.values()):
        for parent in parents(entry.path):
            attributes = Attributes(DIRECTORY_MODE, 0, 0, entry.attributes.mtime)
            above = found.setdefault(parent, Directory(parent, attributes, entry.origin))
            if not isinstance(above, Directory):
                problems.append(f"/{entry.path} of {entry.origin} lies below {_spell(above)} of {above.origin}")
    _add_merged_links(found)
    return problems


def parents(path: str) -> Iterator[str]:
    """The directories above a path, the nearest first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _add_merged_links(found: dict[str, Entry]) -> None:
    newest = max((entry.attributes.mtime for entry in found.values()), default=0)
    for name in MERGED:
        if name in found or not (name in _ALWAYS_MERGED or f"usr/{name}" in found):
            continue
        for path in ("usr", f"usr/{name}"):
            found.setdefault(path, Directory(path, Attributes(DIRECTORY_MODE, 0, 0, newest), MERGED_ORIGIN))
        mtime = found[f"usr/{name}"].attributes.mtime
        found[name] = Link(name, Attributes(LINK_MODE, 0, 0, mtime), MERGED_ORIGIN, f"usr/{name}")


def changes(base: Rootfs, full: Rootfs) -> Iterator[Entry]:
    """What a layer on top of `base` must hold to make `full`: what is new or differs, and its parents.

    The parents come along because one popular engine makes a missing parent with mode 0600.
    """
    before: Mapping[str, Entry] = base.by_path()
    changed = {entry.path for entry in full if not _is_same(before.get(entry.path), entry)}
    above = {parent for path in changed for parent in parents(path)}
    return (entry for entry in full if entry.path in changed or entry.path in above)


def _is_same(before: Entry | None, after: Entry) -> bool:
    if isinstance(before, Directory) and isinstance(after, Directory):
        return dataclasses.replace(before, origin=after.origin) == after
    return before == after


def _join(there: Entry, entry: Entry) -> Entry | None:
    """The one entry that two equal ones are, or nothing if they differ in more than their times."""
    if _identity(there) != _identity(entry):
        return None
    return max(there, entry, key=lambda each: (each.attributes.mtime, each is there))


def _identity(entry: Entry) -> tuple[object, ...]:
    attributes = entry.attributes
    owner = (type(entry), attributes.mode, attributes.uid, attributes.gid)
    if isinstance(entry, File):
        return (*owner, entry.content.descriptor)
    return (*owner, entry.target) if isinstance(entry, Link) else owner


def _origin(entry: Entry | None) -> str:
    return entry.origin if entry else ""


def _spell(entry: Entry | None) -> str:
    if isinstance(entry, Link):
        return f"a link to {entry.target}"
    if entry is None:
        return "nothing"
    kind = "a directory" if isinstance(entry, Directory) else "a file"
    attributes = entry.attributes
    text = f"{kind} of mode {attributes.mode:04o}, owner {attributes.uid}:{attributes.gid}"
    if isinstance(entry, File):
        text += f", {entry.content.descriptor.size} bytes, {str(entry.content.descriptor.digest)[:19]}"
    return text


def members(chosen: Iterable[Entry], bytes_of: spool.Spool) -> Iterator[tuple[tar.Header, Iterable[bytes]]]:
    """Entries as the members of an archive; a file whose content was written already becomes a hard link."""
    written: dict[int, str] = {}
    for entry in chosen:
        attributes = entry.attributes
        owner = (attributes.mode, attributes.uid, attributes.gid, attributes.mtime)
        if isinstance(entry, Directory):
            yield tar.Header(entry.path, tar.Kind.DIRECTORY, *owner), ()
        elif isinstance(entry, Link):
            yield tar.Header(entry.path, tar.Kind.SYMBOLIC_LINK, *owner, target=entry.target), ()
        elif entry.content.offset in written:
            yield tar.Header(entry.path, tar.Kind.HARD_LINK, *owner, target=written[entry.content.offset]), ()
        else:
            size = entry.content.descriptor.size
            if size:
                written[entry.content.offset] = entry.path
            yield tar.Header(entry.path, tar.Kind.FILE, *owner, size=size), bytes_of.blocks(entry.content)
