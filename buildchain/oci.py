"""OCI images: configuration, manifest, and the directory layout that skopeo calls `dir:`.

Follows the OCI image specification 1.1. All bytes are functions of the values: no time but that of the packages.
"""

import dataclasses
import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest, errors, lock, registry_client, store, tree

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

DIRECTORY_VERSION = b"Directory Transport Version: 1.1\n"
"""containers/image, directory transport: without this file its readers refuse the folder."""

CHILD_SUFFIX = ".manifest.json"
"""In that transport: what follows the digest in the name of a manifest that the index names."""

# OCI distribution specification 1.1, section "Pulling manifests".
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """How a container of an image starts; `ports` are spelled `8080/tcp`, `architecture` as Go does (amd64, arm64)."""

    architecture: str = "amd64"
    user: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_directory: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A gzip-compressed layer, the digest of what it unpacks to, and its line in the history."""

    blob: digest.Descriptor
    diff_id: digest.Digest
    created: int
    created_by: str
    comment: str


def config_bytes(config: Config, layers: Sequence[Layer]) -> bytes:
    """The image configuration; the image is as old as its newest layer."""
    return _json(
        {
            "created": _time(max(layer.created for layer in layers)),
            "architecture": config.architecture,
            "os": "linux",
            "config": _runtime(config),
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": [
                {"created": _time(layer.created), "created_by": layer.created_by, "comment": layer.comment}
                for layer in layers
            ],
        }
    )


def _runtime(config: Config) -> dict[str, object]:
    values: dict[str, object] = {
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.ports},
        "Env": [f"{name}={value}" for name, value in sorted(config.environment.items())],
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "Volumes": {volume: {} for volume in config.volumes},
        "WorkingDir": config.working_directory,
        "StopSignal": config.stop_signal,
        "Labels": dict(config.labels),
    }
    return {key: value for key, value in values.items() if value}


def manifest_bytes(config: digest.Descriptor, layers: Iterable[Layer]) -> bytes:
    """The image manifest."""
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(CONFIG_TYPE, config),
            "layers": [_descriptor(LAYER_TYPE, layer.blob) for layer in layers],
        }
    )


def directory(
    name: str,
    tag: str,
    manifest: digest.Descriptor,
    version: digest.Descriptor,
    blobs: Iterable[digest.Descriptor],
) -> tree.Tree:
    """The tree `images/NAME/TAG/` of one image; all contents are in the store.

    Raises:
        BuildchainError: a registry could not serve this name or tag.
    """
    if not _NAME.fullmatch(name) or not _TAG.fullmatch(tag):
        hint = (
            "Names are lower-case words joined by . _ - or /; a tag has at most 128 letters, digits, dots and dashes."
        )
        raise errors.BuildchainError(f"image {name}:{tag}", "is not a name and tag that a registry can serve", hint)
    files = [tree.File("manifest.json", manifest), tree.File("version", version)]
    files += [tree.File(blob.digest.hex, blob) for blob in blobs]
    return tree.build(files).moved_to(f"images/{name}/{tag}")


def pulled(image: lock.Image, source: store.Store) -> tree.Tree:
    """The tree of an image that was pulled: all bytes as they came, an index with those of its images that are locked.

    Arguments:
        source: holds them; receives the version of the layout.

    Raises:
        BuildchainError: the lock does not name what a manifest names, or a registry could not serve a name or tag.
    """
    version = source.add_bytes(DIRECTORY_VERSION)
    parts = []
    for folder in registry_client.folders(image, source):
        directory_of_tag = directory(image.request.name, folder.tag, folder.top, version, folder.blobs)
        more = [tree.File(f"{each.digest.hex}{CHILD_SUFFIX}", each) for each in folder.manifests]
        parts += [directory_of_tag, tree.build(more).moved_to(f"images/{image.request.name}/{folder.tag}")]
    return tree.merge(*parts)


def layout(directories: Mapping[str, tree.Tree], source: store.Store) -> tree.Tree:
    """An OCI image layout (image specification 1.1, "image-layout") of images that ship as directories already.

    It is a view: its blobs are those of the directories, so on the medium they are the same files.

    Arguments:
        directories: by full name (`host/path:tag`), what `directory` made, with paths relative to the image.
        source:      holds their manifests; receives the index.
    """
    files = [tree.File("oci-layout", source.add_bytes(_json({"imageLayoutVersion": "1.0.0"})))]
    manifests = []
    for name, image in sorted(directories.items()):
        by_path = {file.path: file.content for file in image.files()}
        manifest = by_path.pop("manifest.json")
        media_type = json.loads(source.read(manifest.digest)).get("mediaType", MANIFEST_TYPE)
        # No io.containerd.image.name: with it, `ctr images import --base-name` takes every image for the wanted one.
        names = {"org.opencontainers.image.ref.name": name}
        manifests.append({**_descriptor(media_type, manifest), "annotations": names})
        blobs = [manifest, *(content for path, content in by_path.items() if path in _names(content))]
        files += [tree.File(f"blobs/sha256/{blob.digest.hex}", blob) for blob in blobs]
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
    return tree.build([*files, tree.File("index.json", source.add_bytes(_json(index)))])


def _names(content: digest.Descriptor) -> tuple[str, str]:
    """What a blob, and what a further manifest, is called in a directory."""
    return content.digest.hex, f"{content.digest.hex}{CHILD_SUFFIX}"


def _descriptor(media_type: str, content: digest.Descriptor) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(content.digest), "size": content.size}


def _time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
