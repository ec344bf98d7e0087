"""Where everything stands on the medium: pycdlib makes the descriptors and the three directory trees.

ECMA-119 level 3, Rock Ridge, Joliet with long names. pycdlib 1.22 gets right what it is asked for, but its public
calls leave out what this module adds: names that never repeat (it joins two files of one name silently), one extent
for equal contents of any size, link counts, modes of links and of the root, volume ids of more than 16 characters,
long Joliet names, padding, and dates from the outside.
"""

import collections
import contextlib
import dataclasses
import importlib
import io
import stat
import time
import types
import typing
from collections.abc import Iterator

from pycdlib import dr, headervd, inode, pycdlib, rockridge

from buildchain import digest, tree
from buildchain.iso import names

BLOCK_SIZE = 2048
PADDING = 150 * BLOCK_SIZE
"""What mkisofs appends: drives read ahead over the end, and checkisomd5 leaves out the last 15 blocks."""

CLOCKED = ("pycdlib.pycdlib", "pycdlib.headervd", "pycdlib.dates", "pycdlib.utils")
"""The modules of pycdlib that ask the clock or the time zone for a date (its issue 113)."""

_LINK_MODE = stat.S_IFLNK | 0o777
_JOLIET_VOLUME_ID = 16
_NO_BYTES = io.BytesIO()
_PREPARER = "METALK8S BUILDCHAIN"


@dataclasses.dataclass(frozen=True, slots=True)
class Extent:
    """Content and the byte at which it begins."""

    offset: int
    content: digest.Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """A medium whose every byte has its place; `extents` ascend and follow the head without overlap."""

    volume: pycdlib.PyCdlib
    epoch: int
    head_size: int
    extents: tuple[Extent, ...]
    size: int

    def write_head(self, stream: typing.BinaryIO) -> None:
        """Write everything but the files' bytes, and make the file as long as the medium."""
        self.volume.inodes.clear()
        with _clock_at(self.epoch):
            self.volume.write_fp(stream)
        stream.flush()


def plan(contents: tree.Tree, volume_id: str, epoch: int) -> Layout:
    """Lay out a tree. Not thread-safe: pycdlib's modules see a stopped clock meanwhile."""
    with _clock_at(epoch):
        builder = _Builder(volume_id)
        for directory in contents.directories():
            builder.add_directory(directory)
        links = collections.Counter((file.content, file.mode) for file in contents.files())
        for entry in contents:
            if isinstance(entry, tree.File):
                builder.add_file(entry, links[entry.content, entry.mode])
            else:
                builder.add_link(entry)
        return builder.finish(epoch)


class _Volume(pycdlib.PyCdlib):
    """Joliet with long names: pycdlib refuses more than 64 bytes of UTF-8 (its issue 121)."""

    __slots__ = ()

    def _joliet_name_and_parent_from_path(self, joliet_path: bytes) -> tuple[bytes, dr.DirectoryRecord]:
        parent, _, name = joliet_path.rpartition(b"/")
        return name.decode().encode("utf-16-be"), self._find_joliet_record(parent or b"/")


class _Builder:
    """Adds entries to a new volume; what was added stays in byte order of the names."""

    def __init__(self, volume_id: str) -> None:
        self._volume = _Volume()
        self._volume.new(
            interchange_level=3,
            joliet=3,
            rock_ridge="1.09",
            sys_ident="LINUX",
            vol_ident=volume_id[:_JOLIET_VOLUME_ID],
            preparer_ident_str=_PREPARER,
        )
        for descriptor in self._volume.pvds:
            descriptor.volume_identifier = volume_id.encode().ljust(32)
        self._directories = {"": ("", names.Directory())}
        # By content and mode: bsdtar takes names that share an extent for one file, and would give them one mode.
        self._inodes: dict[tuple[digest.Descriptor, int], inode.Inode] = {}

    def add_directory(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        iso_parent, given = self._directories[parent]
        iso_path = f"{iso_parent}/{given.name_of_directory(name)}"
        mode = stat.S_IFDIR | tree.DIRECTORY_MODE
        self._volume.add_directory(iso_path, rr_name=name, joliet_path=f"/{path}", file_mode=mode)
        self._directories[path] = (iso_path, names.Directory())

    def add_file(self, file: tree.File, links: int) -> None:
        name, iso_path = self._claim(file.path)
        self._volume.add_fp(
            _NO_BYTES,
            file.content.size,
            iso_path,
            rr_name=name,
            joliet_path=f"/{file.path}",
            file_mode=stat.S_IFREG | file.mode,
        )
        added = self._volume.inodes[-1]
        for record, _ in added.linked_records:
            for attributes in _attributes_of(record):
                attributes.posix_file_links = links
        first = self._inodes.setdefault((file.content, file.mode), added)
        if first is not added:
            self._share(first, added)

    def add_link(self, link: tree.Link) -> None:
        name, iso_path = self._claim(link.path)
        # Without a Joliet path: Joliet has no links, and pycdlib would put an empty file there.
        self._volume.add_symlink(iso_path, rr_symlink_name=name, rr_path=link.target)

    def finish(self, epoch: int) -> Layout:
        volume = self._volume
        volume.force_consistency()
        self._mend_modes()
        for descriptor in self._descriptors():
            _mend_parents(descriptor.root_directory_record())
        placed = [(each.extent_location(), content) for (content, _), each in self._inodes.items() if content.size]
        extents = [Extent(block * BLOCK_SIZE, content) for block, content in sorted(placed)]
        head_size = extents[0].offset if extents else volume.pvd.space_size * BLOCK_SIZE
        for descriptor in self._descriptors():
            descriptor.add_to_space_size(PADDING)
        return Layout(volume, epoch, head_size, tuple(extents), volume.pvd.space_size * BLOCK_SIZE)

    def _claim(self, path: str) -> tuple[str, str]:
        parent, _, name = path.rpartition("/")
        iso_parent, given = self._directories[parent]
        return name, f"{iso_parent}/{given.name_of_file(name)}"

    def _share(self, first: inode.Inode, added: inode.Inode) -> None:
        """Let the names of equal content stand for one extent.

        pycdlib's own hard links take two look-ups for each name and refuse files over 4 GiB.
        """
        for record, _ in added.linked_records:
            record.inode = first
        first.linked_records += added.linked_records
        self._volume.inodes.pop()
        for descriptor in self._descriptors():
            descriptor.remove_from_space_size(added.get_data_length())

    def _descriptors(self) -> list[headervd.PrimaryOrSupplementaryVD]:
        return [*self._volume.pvds, *self._volume.svds]

    def _mend_modes(self) -> None:
        root = self._volume.pvd.root_directory_record()
        for record in root.children[:2]:
            for attributes in _attributes_of(record):
                attributes.posix_file_mode = stat.S_IFDIR | tree.DIRECTORY_MODE
        for record in _records_below(root):
            if record.is_symlink():
                for attributes in _attributes_of(record):
                    attributes.posix_file_mode = _LINK_MODE


def _mend_parents(directory: dr.DirectoryRecord) -> None:
    """Give the `..` records the length of the parent.

    pycdlib 1.22 writes one sector into a new one, however long the parent has become, and corrects it only when the
    parent grows once more.
    """
    for record in directory.children[2:]:
        if record.is_dir():
            record.children[1].set_data_length(directory.get_data_length())
            _mend_parents(record)


def _records_below(directory: dr.DirectoryRecord) -> Iterator[dr.DirectoryRecord]:
    for record in directory.children[2:]:
        yield record
        if record.is_dir():
            yield from _records_below(record)


def _attributes_of(record: object) -> Iterator[rockridge.RRPXRecord]:
    """The PX entry of a Rock Ridge record; a long name moves it to the continuation area. Joliet has none."""
    if isinstance(record, dr.DirectoryRecord) and record.rock_ridge:
        for area in (record.rock_ridge.dr_entries, record.rock_ridge.ce_entries):
            if area and area.px_record:
                yield area.px_record


@contextlib.contextmanager
def _clock_at(epoch: int) -> Iterator[None]:
    """Show pycdlib one moment in UTC instead of the clock and the host's time zone.

    The half second is there because pycdlib takes 0.0 for "no date"; the medium's dates have whole seconds.
    """
    clock = types.SimpleNamespace(
        time=lambda: epoch + 0.5, localtime=time.gmtime, gmtime=time.gmtime, strftime=time.strftime
    )
    scopes = [vars(importlib.import_module(name)) for name in CLOCKED]
    for scope in scopes:
        scope["time"] = clock
    try:
        yield
    finally:
        for scope in scopes:
            scope["time"] = time
