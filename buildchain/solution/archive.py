"""An image out of a file: an OCI layout in a tar, or what `docker save` writes.

An OCI manifest keeps its bytes, and so its digest. What an older `docker save` wrote has no manifest: its layers are
compressed and get one, with the configuration kept as it is; the result is a function of the file.
"""

import dataclasses
import hashlib
import json
import pathlib
import posixpath
import tarfile
import typing
from collections.abc import Iterator

from buildchain import compression, digest, errors, oci, store, tree
from buildchain.solution import project

MAX_JSON = 4 << 20
"""Bytes of a manifest or configuration; the registry's clients refuse larger ones (OCI distribution-spec 1.1)."""
_BLOCK = 1 << 20

_INDEXES = {oci.INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"}
_MANIFESTS = {oci.MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json"}
_HINT = "Write it again: `docker save NAME:TAG -o FILE` or `skopeo copy … oci-archive:FILE:TAG`."
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

_Json = dict[str, typing.Any]


def take(path: pathlib.Path, spec: project.ImageSpec, into: store.Store) -> tree.Tree:
    """Bring one image of an archive into the store, and lay it out as `images/NAME/TAG/`.

    Raises:
        BuildchainError: the file is no such archive, holds another image than the intent says, or is damaged.
    """
    try:
        with tarfile.open(path) as opened:
            archive = _Archive(path, opened, into)
            files = archive.files()
            take_one = _from_layout if "index.json" in files else _from_docker
            found = take_one(archive, spec)
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.BuildchainError(str(path), f"is not an archive of images ({error!r:.200})", _HINT) from error
    if spec.digest and str(found.manifest.digest) != spec.digest:
        raise errors.IntegrityError(
            f"image {spec}", str(path), spec.digest, str(found.manifest.digest), "Mend `digest` or take the right file."
        )
    return oci.directory(spec.name, spec.tag, found.manifest, into.add_bytes(oci.DIRECTORY_VERSION), found.blobs)


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """One image in the store."""

    manifest: digest.Descriptor
    blobs: tuple[digest.Descriptor, ...]


@dataclasses.dataclass
class _Archive:
    """An opened tar; a member may be a link to another one, as in old `docker save` files."""

    path: pathlib.Path
    opened: tarfile.TarFile
    into: store.Store
    _files: dict[str, tarfile.TarInfo] = dataclasses.field(default_factory=dict)

    def files(self) -> dict[str, tarfile.TarInfo]:
        """Members by path."""
        if not self._files:
            self._files = {posixpath.normpath(member.name): member for member in self.opened if not member.isdir()}
        return self._files

    def open(self, name: str) -> typing.BinaryIO:
        """Read a member."""
        member = self.files()[posixpath.normpath(name)]
        if member.issym():
            member = self.files()[posixpath.normpath(posixpath.join(posixpath.dirname(member.name), member.linkname))]
        stream = self.opened.extractfile(member) if member.isreg() or member.islnk() else None
        if stream is None:
            raise ValueError(f"{name} is not a file")
        return typing.cast(typing.BinaryIO, stream)

    def json(self, name: str) -> typing.Any:
        """Read a small JSON document."""
        with self.open(name) as stream:
            content = stream.read(MAX_JSON + 1)
        if len(content) > MAX_JSON:
            raise ValueError(f"{name} has more than {MAX_JSON} bytes")
        return json.loads(content)

    def blob(self, row: _Json) -> digest.Descriptor:
        """Bring a blob of a layout into the store.

        Raises:
            IntegrityError: its bytes are not what its descriptor says.
        """
        wanted = digest.Descriptor(digest.Digest.parse(row["digest"]), int(row["size"]))
        if self.into.has(wanted):
            return wanted
        with self.open(_blob_name(row)) as stream, self.into.writer() as writer:
            found = _copy(stream, writer.stream)
            if found != wanted:
                raise errors.IntegrityError(f"blob {wanted.digest}", str(self.path), str(wanted), str(found), _HINT)
            writer.commit(found)
        return wanted


def _blob_name(row: _Json) -> str:
    return f"blobs/sha256/{digest.Digest.parse(row['digest']).hex}"


def _copy(stream: typing.BinaryIO, out: typing.BinaryIO) -> digest.Descriptor:
    hasher = hashlib.sha256()
    size = 0
    for block in _blocks(stream):
        hasher.update(block)
        size += len(block)
        out.write(block)
    return digest.Descriptor(digest.Digest(hasher.hexdigest()), size)


def _blocks(stream: typing.BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def _from_layout(archive: _Archive, spec: project.ImageSpec) -> _Found:
    rows = archive.json("index.json")["manifests"]
    row = _choose(archive, {_names_of(each): each for each in rows}, spec)
    while row.get("mediaType") in _INDEXES:
        row = _for_platform(archive, archive.json(_blob_name(row))["manifests"])
    if row.get("mediaType") not in _MANIFESTS:
        raise ValueError(f"{spec} is of the media type {row.get('mediaType')!r}")
    manifest = archive.json(_blob_name(row))
    blobs = [manifest["config"], *manifest["layers"]]
    return _Found(archive.blob(row), tuple(archive.blob(each) for each in blobs))


def _names_of(row: _Json) -> tuple[str, ...]:
    annotations = row.get("annotations") or {}
    return tuple(annotations[key] for key in _NAME_KEYS if key in annotations) or (row["digest"],)


def _for_platform(archive: _Archive, rows: list[_Json]) -> _Json:
    for row in rows:
        platform = row.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return row
    if len(rows) == 1:
        return rows[0]
    raise errors.BuildchainError(str(archive.path), "has no image for linux/amd64", _HINT)


def _choose(archive: _Archive, rows: dict[tuple[str, ...], _Json], spec: project.ImageSpec) -> _Json:
    """The only image, or the one whose name or tag is what the intent calls it."""
    if not spec.reference and len(rows) == 1:
        return next(iter(rows.values()))
    wanted = spec.reference or str(spec)
    for names, row in rows.items():
        if any(name == wanted or name.endswith(f"/{wanted}") for name in names):
            return row
    held = ", ".join(sorted(name for names in rows for name in names))
    hint = f"Set `reference` of the image {spec.name} in {project.FILE_NAME} to one of these."
    raise errors.BuildchainError(str(archive.path), f"has no image {wanted}; it has {held}", hint)


def _from_docker(archive: _Archive, spec: project.ImageSpec) -> _Found:
    rows = archive.json("manifest.json")
    row = _choose(archive, {tuple(each["RepoTags"] or [each["Config"]]): each for each in rows}, spec)
    config_value = archive.json(row["Config"])
    with archive.open(row["Config"]) as stream:
        config = archive.into.add_bytes(stream.read(MAX_JSON))
    diff_ids = config_value["rootfs"]["diff_ids"]
    layers = []
    for name, diff_id in zip(row["Layers"], diff_ids, strict=True):
        found, blob = _compress(archive, name)
        if str(found) != diff_id:
            raise errors.IntegrityError(f"layer {name}", str(archive.path), diff_id, str(found), _HINT)
        layers.append(oci.Layer(blob, found, 0, "", ""))
    manifest = archive.into.add_bytes(oci.manifest_bytes(config, layers))
    return _Found(manifest, (config, *(layer.blob for layer in layers)))


def _compress(archive: _Archive, name: str) -> tuple[digest.Digest, digest.Descriptor]:
    with (
        archive.open(name) as stream,
        archive.into.writer() as writer,
        compression.GzipWriter(writer.stream) as packed,
    ):
        for block in _blocks(stream):
            packed.write(block)
        diff_id, blob = packed.finish()
        if not archive.into.has(blob):
            writer.commit(blob)
    return diff_id, blob
