"""Layers as an engine saved them, made a function of what they hold.

A layer is applied to the files below it, and what really changed is written anew: sorted, times no later than the
image's, numeric owners only. What an engine adds for its own purposes, and which parents of a changed file it lists,
does not count; so two engines make the same bytes.

    tar of an engine ──apply──▶ State ──changes──▶ members ──tar.write──▶ layer
"""

import dataclasses
import gzip
import hashlib
import posixpath
import tarfile
import typing
import zlib
from collections.abc import Iterable, Iterator, Mapping

from buildchain import digest, tar
from buildchain.rootfs import spool

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
"""OCI image specification 1.1, layer filesystem changeset, sections "Whiteouts" and "Opaque Whiteout"."""

_XATTR = "SCHILY.xattr."
_OF_THE_HOST = ("security.selinux", "security.ima", "security.evm", "trusted.", "user.overlay.", "system.nfs4")
"""Extended attributes that say where a build ran, not what it made."""

_MOUNT_POINTS = ("dev", "proc", "sys", "run", "etc")
_MOUNTED_FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", "run/.containerenv", ".dockerenv")
"""Where engines mount something while a step runs; some leave the empty places in the layer, others do not."""

_KINDS = {
    tarfile.REGTYPE: tar.Kind.FILE,
    tarfile.AREGTYPE: tar.Kind.FILE,
    tarfile.GNUTYPE_SPARSE: tar.Kind.FILE,
    tarfile.SYMTYPE: tar.Kind.SYMBOLIC_LINK,
    tarfile.DIRTYPE: tar.Kind.DIRECTORY,
}


class LayerError(ValueError):
    """A layer holds what no image may hold; the text says which."""


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A file, directory or symbolic link; `content` of a file is the hex digest of its bytes."""

    kind: tar.Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    content: str = ""
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def is_like(self, other: "Node | None") -> bool:
        """Whether nobody would call it changed: of a directory, only its time differs."""
        if other is not None and self.kind is other.kind is tar.Kind.DIRECTORY:
            return dataclasses.replace(self, mtime=other.mtime) == other
        return self == other


Nodes = dict[str, Node]


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A member of a layer that is written anew; no node: a whiteout."""

    header: tar.Header
    path: str
    node: Node | None = None
    contents: spool.Spool | None = None
    content: spool.Content | None = None

    def blocks(self) -> Iterable[bytes]:
        """The bytes of a file."""
        return self.contents.blocks(self.content) if self.contents and self.content else ()

    def text(self) -> str:
        """All that makes it differ from another one."""
        return f"{self.header} {self.node}"


class State:
    """All files after some layers, by path; bytes of files in layers that are written anew go to the spool."""

    def __init__(self, epoch: int, contents: spool.Spool) -> None:
        self.nodes: Nodes = {}
        self._epoch = epoch
        self._contents = contents
        self._spooled: dict[str, spool.Content] = {}
        self._twins: dict[str, str] = {}

    def apply(self, stream: typing.BinaryIO, *, is_kept: bool) -> None:
        """Apply a layer.

        Arguments:
            is_kept: the layer ships as it is, and only what changes it later has to be known.

        Raises:
            LayerError: the layer holds something that no image may hold, or is no tar.
        """
        below = dict(self.nodes)
        added: Nodes = {}
        try:
            with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
                for member in archive:
                    self._member(archive, member, added, below, is_kept=is_kept)
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            raise LayerError(f"is damaged: {error}") from error
        for path, node in sorted(added.items()):
            if node.kind is not tar.Kind.DIRECTORY or _is_no_directory(below, path):
                _remove(below, path)
        self.nodes = {**below, **added}
        self._twins = {link: target for link, target in self._twins.items() if link in self.nodes}

    def add_directory(self, path: str) -> None:
        """Make a directory and its parents, as some builders do for WORKDIR; one behind a link is left to them."""
        way = [*_parents(path), path]
        if any(each in self.nodes and self.nodes[each].kind is not tar.Kind.DIRECTORY for each in way):
            return
        for each in way:
            self.nodes.setdefault(each, Node(tar.Kind.DIRECTORY, 0o755, 0, 0, self._epoch))

    def settle(self, before: Mapping[str, Node]) -> None:
        """Drop what counts for nothing: new places for mounts, and new times of old directories."""
        for path in (*_MOUNTED_FILES, *_MOUNT_POINTS):
            node = self.nodes.get(path)
            is_empty = node is not None and (
                node.size == 0
                if path in _MOUNTED_FILES
                else not any(each.startswith(f"{path}/") for each in self.nodes)
            )
            if path not in before and is_empty:
                del self.nodes[path]
        for path, node in self.nodes.items():
            if node != before.get(path) and node.is_like(before.get(path)):
                self.nodes[path] = before[path]

    def members(self, before: Mapping[str, Node]) -> Iterator[Member]:
        """What leads from the files before to those now, in the order of paths."""
        removed = {path for path in before if path not in self.nodes and self._is_directory(posixpath.dirname(path))}
        changed = {path for path, node in self.nodes.items() if node != before.get(path)}
        parents = {parent for path in removed | changed for parent in _parents(path) if parent in self.nodes}
        places = {_whiteout(path): path for path in removed} | {path: path for path in changed | parents}
        first: dict[str, str] = {}
        for place in sorted(places, key=str.encode):
            path = places[place]
            if path in removed:
                yield Member(tar.Header(place, tar.Kind.FILE, 0, 0, 0, self._epoch), path)
            else:
                yield self._written(path, first)

    def _written(self, path: str, first: dict[str, str]) -> Member:
        """A member; `first` has the path of what a hard link would lead to, by its group."""
        node = self.nodes[path]
        if node.kind is not tar.Kind.FILE:
            return Member(_header(path, node), path, node)
        if group := self._twins.get(path):
            target = first.setdefault(group, path)
            if target != path and self.nodes[target] == node:
                header = tar.Header(path, tar.Kind.HARD_LINK, node.mode, node.uid, node.gid, node.mtime, target=target)
                return Member(header, path, node)
        return Member(_header(path, node), path, node, self._contents, self._spooled[node.content])

    def _member(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, added: Nodes, below: Nodes, *, is_kept: bool
    ) -> None:
        path = _canonical(member.name)
        parent, name = posixpath.split(path)
        if not path:
            return
        if name == _OPAQUE:
            for each in [each for each in below if each.startswith(f"{parent}/")]:
                del below[each]
        elif name.startswith(_WHITEOUT):
            _remove(below, posixpath.join(parent, name.removeprefix(_WHITEOUT)))
        elif member.islnk():
            target = _canonical(member.linkname)
            source = added.get(target)
            if source is None:
                raise LayerError(f"{path} is a hard link to {target}, which the layer does not hold")
            added[path] = source
            self._twins[path] = self._twins.setdefault(target, target)
        else:
            self._twins.pop(path, None)
            added[path] = self._node(archive, member, path, is_kept=is_kept)

    def _node(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, *, is_kept: bool) -> Node:
        if member.type not in _KINDS:
            raise LayerError(f"{path} is a device or a pipe; a container gets those where it runs")
        stream = archive.extractfile(member) if member.isfile() else None
        content, size = self._content(stream, is_kept=is_kept) if stream else ("", 0)
        return Node(
            kind=_KINDS[member.type],
            mode=0o777 if member.issym() else member.mode & 0o7777,
            uid=member.uid,
            gid=member.gid,
            mtime=max(0, min(int(member.mtime), self._epoch)),
            size=size,
            content=content,
            target=member.linkname if member.issym() else "",
            xattrs=_xattrs(member.pax_headers),
        )

    def _content(self, stream: typing.IO[bytes], *, is_kept: bool) -> tuple[str, int]:
        if is_kept:
            hasher, size = hashlib.sha256(), 0
            while block := stream.read(digest.BLOCK_SIZE):
                hasher.update(block)
                size += len(block)
            return hasher.hexdigest(), size
        added = self._contents.add(iter(lambda: stream.read(digest.BLOCK_SIZE), b""))
        self._spooled[added.descriptor.digest.hex] = added
        return added.descriptor.digest.hex, added.descriptor.size

    def _is_directory(self, path: str) -> bool:
        return not path or (path in self.nodes and self.nodes[path].kind is tar.Kind.DIRECTORY)


def _canonical(name: str) -> str:
    path = posixpath.normpath(name).lstrip("/")
    if path == ".." or path.startswith("../"):
        raise LayerError(f"{name} leads out of the image")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise LayerError(f"a name is not UTF-8: {name!r}") from error
    return "" if path == "." else path


def _is_no_directory(nodes: Nodes, path: str) -> bool:
    return path in nodes and nodes[path].kind is not tar.Kind.DIRECTORY


def _remove(nodes: Nodes, path: str) -> None:
    """Remove a path and, if it was a directory, all below it."""
    gone = nodes.pop(path, None)
    if gone is None or gone.kind is not tar.Kind.DIRECTORY:
        return
    for each in [each for each in nodes if each.startswith(f"{path}/")]:
        del nodes[each]


def _parents(path: str) -> list[str]:
    names = path.split("/")
    return ["/".join(names[:depth]) for depth in range(1, len(names))]


def _whiteout(path: str) -> str:
    parent, name = posixpath.split(path)
    return posixpath.join(parent, f"{_WHITEOUT}{name}")


def _header(path: str, node: Node) -> tar.Header:
    return tar.Header(path, node.kind, node.mode, node.uid, node.gid, node.mtime, node.size, node.target, node.xattrs)


def _xattrs(records: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    found = {
        keyword.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for keyword, value in records.items()
        if keyword.startswith(_XATTR)
    }
    return tuple(sorted((name, value) for name, value in found.items() if not name.startswith(_OF_THE_HOST)))
