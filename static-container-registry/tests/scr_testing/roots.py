"""A root with one of everything a registry may hold."""

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
    images.write_layout(root / "layout", {"v1": images.index([oci, arm]), "v2": docker, "alias": docker}, sbom)
    images.write_layout(root / "single" / "v9", {}, oci)
