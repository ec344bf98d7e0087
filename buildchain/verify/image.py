"""A medium as an ISO-9660 image: reads all three of its trees, and judges whether they are the same.

A reader sees the image through one of three trees: plain ISO-9660 names, Rock Ridge, or Joliet. What the signed
listings vouch for is the Rock Ridge tree; the others must not show anything else.
"""

import collections
import os
import pathlib
import re
import stat
import typing
from collections.abc import Iterable

from buildchain.verify import medium, records, report, rock_ridge

Fault = report.Fault
Extent = records.Extent

MAX_DESCRIPTORS = 16
MAX_DIRECTORY_SIZE = 64 << 20
MAX_LEVELS = 32
"""ECMA-119 section 6.8.2.1 has 8; what is deeper than this is built to fill the memory with paths."""

# ECMA-119 sections 7.4.1, 7.5 and 7.6: a name that needs no change but upper case, and is so short that no longer
# name is cut down to it.
_PLAIN_NAME = re.compile(r"[A-Z0-9_]{1,15}(\.[A-Z0-9_]{1,3})?")
_NOT_PLAIN = re.compile(r"[^A-Z0-9_.]")
_IDENTIFIER = re.compile(rb"[\x20-\x7e]+")


class Entry(typing.NamedTuple):
    """One name in one of the trees, with all extents of its content."""

    path: str
    identifier: bytes
    is_directory: bool
    extents: tuple[Extent, ...]
    attributes: rock_ridge.Attributes | None
    parent: Extent


class Claim(typing.NamedTuple):
    """Bytes of the image that something owns; only whole files may share theirs."""

    extent: Extent
    owner: str
    is_file: bool


class Image:
    """One opened image; collects faults while it reads."""

    def __init__(self, path: pathlib.Path) -> None:
        # The path of the file itself: contents are opened again by name, and never through a link.
        self.path = path.resolve()
        self._handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.status = os.fstat(self._handle)
        self.size = os.lseek(self._handle, 0, os.SEEK_END)
        self.is_device = not stat.S_ISREG(self.status.st_mode)
        self.faults: list[Fault] = []
        self.claims: list[Claim] = []
        self.own_attributes: dict[str, rock_ridge.Attributes] = {}
        """Of each directory's record for itself, by path."""
        self.count = 0

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)

    def content(self, extents: Iterable[Extent]) -> medium.Content:
        """Some extents as one content."""
        parts = tuple([(extent.start, extent.length) for extent in extents if extent.length])
        return medium.Content(self.path, (self.status.st_dev, self.status.st_ino), self.status.st_size, parts)

    def read(self, extent: Extent) -> bytes:
        """Bytes of the image, all of them or a `DamagedError`."""
        if extent.length > MAX_DIRECTORY_SIZE or extent.end > self.size:
            raise medium.DamagedError("has an extent outside of the image")
        try:
            found = os.pread(self._handle, extent.length, extent.start)
        except OSError as error:
            raise medium.DamagedError(f"cannot be read: {error.strerror}") from error
        if len(found) != extent.length:
            raise medium.DamagedError("has an extent outside of the image")
        return found

    def claim(self, extent: Extent, owner: str, *, is_file: bool = False) -> None:
        """Note whose bytes these are."""
        if extent.length:
            self.claims.append(Claim(extent, owner, is_file))

    def fault(self, path: str, what: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(path, what))


def scan(image: Image) -> dict[str, medium.Node]:
    """Read every tree of an image; the entries are those of Rock Ridge. Faults are left in the image."""
    image.claim(Extent(0, 16 * records.SECTOR), "the system area")
    primary, joliet = _volumes(image)
    if primary is None:
        return {}
    entries = _walk(image, primary, "")
    _check_tables(image, primary, entries, "the ISO-9660 tree")
    _check_plain_names(image, entries)
    if joliet is None:
        image.fault("the Joliet tree", "is missing")
    else:
        others = _walk(image, joliet, "Joliet ")
        _check_tables(image, joliet, others, "the Joliet tree")
        _check_agreement(image, entries, others)
    _check_extents(image, primary.blocks * records.SECTOR)
    return _nodes(image, entries)


def _volumes(image: Image) -> tuple[records.Volume | None, records.Volume | None]:
    found: list[records.Volume] = []
    for number in range(16, 16 + MAX_DESCRIPTORS):
        where = f"volume descriptor {number - 15}"
        extent = Extent(number * records.SECTOR, records.SECTOR)
        try:
            volume = records.parse_volume(image.read(extent))
        except medium.DamagedError as error:
            image.fault(where, str(error))
            continue
        image.claim(extent, where)
        if volume is None:
            break
        found.append(volume)
    else:
        image.fault("the volume descriptors", "have no end")
    return _one(image, found, is_joliet=False), _one(image, found, is_joliet=True)


def _one(image: Image, volumes: list[records.Volume], *, is_joliet: bool) -> records.Volume | None:
    chosen = [volume for volume in volumes if volume.is_joliet is is_joliet]
    name = "Joliet" if is_joliet else "primary"
    if len(chosen) > 1:
        image.fault(f"the {name} volume descriptor", "exists more than once")
    for volume in chosen:
        expected = volume.blocks * records.SECTOR
        if expected > image.size or (expected < image.size and not image.is_device):
            image.fault(f"the {name} volume descriptor", f"says {expected} bytes; the image has {image.size}")
    return chosen[0] if chosen else None


def _walk(image: Image, volume: records.Volume, label: str) -> list[Entry]:
    """All entries of a tree, the root first. Every directory is read once: a second way to it is a fault."""
    root = Entry("", b"\0", True, (volume.root.extent,), None, volume.root.extent)
    entries = [root]
    waiting = [root]
    seen: set[int] = set()
    while waiting:
        directory = waiting.pop()
        where = f"{label}/{directory.path}"
        extent = directory.extents[0]
        if extent.start in seen or directory.path.count("/") > MAX_LEVELS:
            image.fault(where, "is a directory that is somewhere else too, or lies too deep")
            continue
        seen.add(extent.start)
        image.claim(extent, where)
        try:
            found = _read_directory(image, directory, volume.is_joliet, where)
        except medium.DamagedError as error:
            image.fault(where, str(error))
            continue
        entries += found
        image.count += len(found)
        if image.count > 2 * medium.MAX_ENTRIES:
            image.fault("/", f"has more than {medium.MAX_ENTRIES} entries")
            return entries
        waiting += [entry for entry in found if entry.is_directory]
        for entry in found:
            if not entry.is_directory:
                _claim_file(image, entry)
    return entries


def _claim_file(image: Image, entry: Entry) -> None:
    for extent in entry.extents:
        image.claim(extent, entry.path, is_file=True)


def _read_directory(image: Image, directory: Entry, is_joliet: bool, where: str) -> list[Entry]:
    extent = directory.extents[0]
    if len(directory.extents) != 1 or extent.length % records.SECTOR or extent.length == 0:
        raise medium.DamagedError("is a directory of a wrong size")
    found = [records.parse_record(data) for data in records.split_records(image.read(extent))]
    _check_own_records(image, directory, found[:2], is_joliet, where)
    entries: list[Entry] = []
    names: set[str] = set()
    if not is_joliet:
        if not directory.path and not found[0].system_use.startswith(rock_ridge.START):
            image.fault(where, "does not say that it has Rock Ridge")
        image.own_attributes[directory.path] = _attributes(image, found[0], where)
        _attributes(image, found[1], where)
    for group in _groups(found[2:]):
        try:
            entry = _entry(image, directory, group, is_joliet, where)
        except medium.DamagedError as error:
            image.fault(where, str(error))
            continue
        if entry.path in names:
            image.fault(entry.path, "exists twice in its directory")
            continue
        names.add(entry.path)
        entries.append(entry)
    _check_order(image, entries, is_joliet, where)
    return entries


def _check_own_records(
    image: Image, directory: Entry, found: list[records.Record], is_joliet: bool, where: str
) -> None:
    itself = directory.extents[0]
    # libisofs 1.5.4 (xorriso) lets a Joliet directory be its own parent; no reader uses that record.
    parents = {directory.parent, itself} if is_joliet else {directory.parent}
    if [each.identifier for each in found] != [b"\0", b"\1"]:
        raise medium.DamagedError("has no records for itself and its parent")
    if found[0].extent != itself or found[1].extent not in parents:
        image.fault(where, "has wrong records for itself and its parent")


def _groups(found: list[records.Record]) -> Iterable[list[records.Record]]:
    """Records that are one file: all but the last say that more follow (ECMA-119 section 9.1.6)."""
    group: list[records.Record] = []
    for record in found:
        group.append(record)
        if not record.has_more:
            yield group
            group = []
    if group:
        yield group


def _entry(image: Image, directory: Entry, group: list[records.Record], is_joliet: bool, where: str) -> Entry:
    first = group[0]
    if len(group) > 1 or first.has_more:
        _check_group(group)
    attributes = None if is_joliet else _attributes(image, first, where)
    name = _name(first, attributes)
    path = f"{directory.path}/{name}" if directory.path else name
    return Entry(
        path,
        first.identifier,
        first.is_directory,
        (first.extent,) if len(group) == 1 else tuple(each.extent for each in group),
        attributes,
        directory.extents[0],
    )


def _check_group(group: list[records.Record]) -> None:
    first, last = group[0], group[-1]
    if last.has_more or any(each.identifier != first.identifier or each.is_directory for each in group[1:]):
        raise medium.DamagedError(f"has a file of several extents that do not belong together: {first.identifier!r}")
    if any(each.extent.length % records.SECTOR for each in group[:-1]):
        raise medium.DamagedError(f"has a file with a gap in it: {first.identifier!r}")


def _attributes(image: Image, record: records.Record, where: str) -> rock_ridge.Attributes:
    attributes = rock_ridge.parse(record.system_use, image.read)
    for area in attributes.areas:
        image.claim(area, f"a continuation area of {where}")
    return attributes


def _name(record: records.Record, attributes: rock_ridge.Attributes | None) -> str:
    try:
        if attributes is None:
            name = record.identifier.decode("utf-16-be").removesuffix(";1")
        else:
            name = attributes.name.decode()
    except UnicodeDecodeError as error:
        raise medium.DamagedError(f"has a name that is not Unicode: {record.identifier!r}") from error
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise medium.DamagedError(f"has no usable name for {record.identifier!r}")
    return name


def _check_order(image: Image, entries: list[Entry], is_joliet: bool, where: str) -> None:
    identifiers = [entry.identifier for entry in entries]
    if len(set(identifiers)) != len(identifiers):
        image.fault(where, "has one identifier twice")
    if not is_joliet and not all(_IDENTIFIER.fullmatch(each) for each in identifiers):
        image.fault(where, "has an identifier with characters that are not allowed")


def _check_plain_names(image: Image, entries: list[Entry]) -> None:
    """A name that fits plain ISO-9660 as it is must stand there as it is: no reader may see another file under it."""
    shouted = [_NOT_PLAIN.sub("_", entry.path.upper()) for entry in entries]
    taken = collections.Counter(shouted)
    for entry, name in zip(entries[1:], shouted[1:], strict=True):
        plain = entry.path.rpartition("/")[2].upper()
        if taken[name] > 1 or not _PLAIN_NAME.fullmatch(plain) or (entry.is_directory and "." in plain):
            continue
        if entry.identifier.decode("ascii", "replace").removesuffix(";1").removesuffix(".") != plain:
            image.fault(entry.path, f"has the ISO-9660 name {entry.identifier!r}")


def _check_agreement(image: Image, entries: list[Entry], others: list[Entry]) -> None:
    """Joliet has the same directories and files with the same bytes; it has no links."""
    kinds = {
        entry.path: entry for entry in entries if not entry.attributes or entry.attributes.kind is not medium.Kind.LINK
    }
    joliet = {entry.path: entry for entry in others}
    for path in sorted(set(kinds) - set(joliet)):
        image.fault(path, "is missing in the Joliet tree")
    for path in sorted(set(joliet) - set(kinds)):
        image.fault(path, "stands in the Joliet tree only")
    for path in sorted(set(kinds) & set(joliet)):
        one, other = kinds[path], joliet[path]
        if one.is_directory != other.is_directory or (not one.is_directory and _bytes(one) != _bytes(other)):
            image.fault(path, "has other contents in the Joliet tree")


def _bytes(entry: Entry) -> list[Extent]:
    return [extent for extent in entry.extents if extent.length]


def _check_tables(image: Image, volume: records.Volume, entries: list[Entry], label: str) -> None:
    blocks = {entry.extents[0].start // records.SECTOR: entry for entry in entries if entry.is_directory}
    expected = sorted(
        (entry.identifier, block, entry.parent.start // records.SECTOR) for block, entry in blocks.items()
    )
    for order, block, is_optional in volume.tables:
        where = f"the {'optional ' if is_optional else ''}{order}-endian path table of {label}"
        extent = Extent(block * records.SECTOR, volume.table_size)
        image.claim(extent, where)
        try:
            table = records.parse_table(image.read(extent), order)
        except medium.DamagedError as error:
            image.fault(where, str(error))
            continue
        found = sorted((each.identifier, each.block, table[each.parent - 1].block) for each in table)
        if found != expected:
            image.fault(where, "does not name the directories of the tree")


def _check_extents(image: Image, end: int) -> None:
    """Nothing outside of the volume, and no two owners of one byte, but for files that are wholly the same."""
    claims = sorted(set(image.claims))
    last: Claim | None = None
    for claim in claims:
        if claim.extent.end > end:
            image.fault(claim.owner, "has an extent outside of the volume")
        if last is not None and claim.extent.start < last.extent.end:
            is_shared = claim.extent == last.extent and claim.is_file and last.is_file
            first, second = (claim, last) if claim.is_file else (last, claim)
            if not is_shared:
                image.fault(first.owner, f"overlaps {second.owner}")
        if last is None or claim.extent.end > last.extent.end:
            last = claim


def _nodes(image: Image, entries: list[Entry]) -> dict[str, medium.Node]:
    nodes: dict[str, medium.Node] = {}
    if "" in image.own_attributes:
        nodes["."] = _node(image, entries[0], image.own_attributes[""])
    for entry in entries[1:]:
        if entry.attributes is None:
            continue
        nodes[entry.path] = node = _node(image, entry, entry.attributes)
        if (node.kind is medium.Kind.DIRECTORY) != entry.is_directory:
            image.fault(entry.path, "is a directory in one tree only")
        own = image.own_attributes.get(entry.path, entry.attributes)
        if (own.mode, own.owner) != (entry.attributes.mode, entry.attributes.owner):
            image.fault(entry.path, "has two modes or owners")
    return nodes


def _node(image: Image, entry: Entry, attributes: rock_ridge.Attributes) -> medium.Node:
    content = image.content(entry.extents) if attributes.kind is medium.Kind.FILE else None
    mode = stat.S_IMODE(attributes.mode)
    return medium.Node(attributes.kind, mode, content, attributes.target, attributes.owner)
