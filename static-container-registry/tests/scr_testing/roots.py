"""A root with one of everything a registry may hold."""

import base64
import dataclasses
import json
import pathlib

from scr_testing import images


def write_everything(root: pathlib.Path) -> None:
    """Docker and OCI images and indexes, with and without media types, aliases, nested names, layouts, referrers."""
    docker = images.random_image((1, 2))
    oci = images.random_image((2, 3), media_type=images.OCI_MANIFEST)
    bare = images.random_image((3, 4), media_type=images.OCI_MANIFEST, has_media_type=False)
    arm = images.random_image((2, 5), media_type=images.OCI_MANIFEST, platform="arm64")
    docker_arm = images.random_image((6,), platform="arm64")
    sbom = images.artifact(
        docker, "application/vnd.example.sbom+json", {"note": "$a {{ b }} {% c %} \"'\\ \u20ac\U0001f600"}
    )
    signature = images.artifact(docker, "application/vnd.example.signature")
    note = images.artifact(None, "application/vnd.example.note")
    images.write_directory(root / "nginx" / "1.0", docker, sbom, signature)
    images.write_directory(root / "nginx" / "latest", docker)
    for number in range(2, 12):
        images.write_directory(root / "nginx" / f"1.{number}", images.random_image((1, 100 + number)))
    images.write_directory(root / "etcd" / "v3", oci)
    images.write_directory(root / "bare" / "v1", bare)
    images.write_directory(root / "bare" / "index", images.index([oci, arm], has_media_type=False))
    images.write_directory(root / "a" / "b" / "c" / "v1", images.index([oci, arm]))
    images.write_directory(root / "a" / "v1", images.index([docker, docker_arm], media_type=images.DOCKER_LIST))
    images.write_directory(root / "a" / "manifests" / "manifests", oci)
    images.write_directory(root / "a" / "manifests" / "v1", arm)
    images.write_directory(root / "a" / "blobs" / "v1", bare)
    images.write_directory(root / "a" / "tags" / "list", bare)
    images.write_directory(root / "note" / "v1", note)
    images.write_directory(root / "odd" / "v1", _odd())
    images.write_directory(root / "odd" / "v2", _index_about(oci))
    images.write_layout(root / "layout", {"v1": images.index([oci, arm]), "v2": docker, "alias": docker}, sbom)
    images.write_layout(root / "single" / "v9", {}, oci)


def _odd() -> images.Image:
    """A blob of no bytes, a blob that stands in the manifest as well, a field that nobody knows."""
    config, blobs = b"{}", (b"", b"inline")
    rows = [images.descriptor(blob, "application/octet-stream") for blob in blobs]
    rows[1]["data"] = base64.b64encode(blobs[1]).decode()
    document = {
        "schemaVersion": 2,
        "mediaType": images.OCI_MANIFEST,
        "config": images.descriptor(config, "application/vnd.oci.empty.v1+json"),
        "layers": rows,
        "org.example.unknown": {"a": [1]},
    }
    return images.Image(json.dumps(document).encode(), images.OCI_MANIFEST, (config, *blobs))


def _index_about(subject: images.Image) -> images.Image:
    """An index that refers to a manifest which its repository does not have."""
    plain = images.index([images.random_image((7,), media_type=images.OCI_MANIFEST)])
    document = {
        **json.loads(plain.manifest),
        "artifactType": "application/vnd.example.bundle",
        "subject": images.descriptor(subject.manifest, subject.media_type),
    }
    return dataclasses.replace(plain, manifest=json.dumps(document).encode())
