"""Container images for tests: real gzip layers, deterministic by seed, written as `dir:` folders or OCI layouts."""

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import random
import tarfile
import typing

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

_DOCKER_TYPES = {
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
_OCI_TYPES = {
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}

Document = dict[str, typing.Any]


@dataclasses.dataclass(frozen=True)
class Image:
    """A manifest or an index with everything below it."""

    manifest: bytes
    media_type: str
    blobs: tuple[bytes, ...] = ()
    children: tuple["Image", ...] = ()
    platform: str = "amd64"

    @property
    def hex(self) -> str:
        return hex_of(self.manifest)

    @property
    def digest(self) -> str:
        return f"sha256:{self.hex}"

    def descriptor(self) -> Document:
        row = descriptor(self.manifest, self.media_type)
        return row if self.children else {**row, "platform": {"os": "linux", "architecture": self.platform}}


def hex_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def descriptor(content: bytes, media_type: str) -> Document:
    return {"mediaType": media_type, "digest": f"sha256:{hex_of(content)}", "size": len(content)}


def layer(seed: int, size: int = 2000) -> tuple[bytes, str]:
    """A gzip tar with one file of random bytes, and the hex digest of the plain tar."""
    content = random.Random(seed).randbytes(size)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(f"file-{seed}")
        entry.size = size
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0), hex_of(stream.getvalue())


def random_image(
    seeds: typing.Sequence[int] = (1, 2),
    *,
    media_type: str = DOCKER_MANIFEST,
    has_media_type: bool = True,
    platform: str = "amd64",
    size: int = 2000,
    **fields: object,
) -> Image:
    """An image whose layers are these seeds: equal seeds are equal blobs."""
    types = _DOCKER_TYPES if media_type == DOCKER_MANIFEST else _OCI_TYPES
    made = [layer(seed, size) for seed in seeds]
    config = _json(
        {
            "architecture": platform,
            "os": "linux",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}" for _, diff_id in made]},
        }
    )
    document: Document = {"schemaVersion": 2}
    if has_media_type:
        document["mediaType"] = media_type
    document["config"] = descriptor(config, types["config"])
    document["layers"] = [descriptor(content, types["layer"]) for content, _ in made]
    blobs = (config, *(content for content, _ in made))
    return Image(_json({**document, **fields}), media_type, blobs, platform=platform)


def index(children: typing.Sequence[Image], *, media_type: str = OCI_INDEX, has_media_type: bool = True) -> Image:
    document: Document = {"schemaVersion": 2}
    if has_media_type:
        document["mediaType"] = media_type
    document["manifests"] = [child.descriptor() for child in children]
    return Image(_json(document), media_type, children=tuple(children))


def artifact(subject: Image | None, artifact_type: str, annotations: dict[str, str] | None = None) -> Image:
    """An OCI 1.1 artifact without layers of its own but the empty one, perhaps about another image."""
    empty = b"{}"
    kind = "application/vnd.oci.empty.v1+json"
    document: Document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor(empty, kind),
        "layers": [descriptor(empty, kind)],
    }
    if subject is not None:
        document["subject"] = descriptor(subject.manifest, subject.media_type)
    if annotations:
        document["annotations"] = annotations
    return Image(_json(document), OCI_MANIFEST, (empty,))


def files_of(image: Image) -> dict[str, bytes]:
    """The files of a `dir:` folder, as `skopeo copy --all` writes them."""
    files = {"manifest.json": image.manifest, "version": b"Directory Transport Version: 1.1\n"}
    for each in _flat(image):
        files.update({hex_of(blob): blob for blob in each.blobs})
        if each is not image:
            files[f"{each.hex}.manifest.json"] = each.manifest
    return files


def write_directory(directory: pathlib.Path, image: Image, *untagged: Image) -> None:
    """Write `NAME/TAG/`; further images stand in it without a tag."""
    directory.mkdir(parents=True)
    files = files_of(image)
    for each in untagged:
        files.update({hex_of(blob): blob for blob in each.blobs})
        files[f"{each.hex}.manifest.json"] = each.manifest
    for name, content in files.items():
        (directory / name).write_bytes(content)


def write_layout(directory: pathlib.Path, tagged: typing.Mapping[str, Image], *untagged: Image) -> None:
    """Write an OCI image layout; the keys become `org.opencontainers.image.ref.name`."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    rows = [
        {**image.descriptor(), "annotations": {"org.opencontainers.image.ref.name": name}}
        for name, image in tagged.items()
    ]
    rows += [image.descriptor() for image in untagged]
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": rows}))
    for image in [*tagged.values(), *untagged]:
        for each in _flat(image):
            for content in (each.manifest, *each.blobs):
                (blobs / hex_of(content)).write_bytes(content)


def _flat(image: Image) -> list[Image]:
    return [image, *(each for child in image.children for each in _flat(child))]


def _json(document: Document) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
