"""Container images for tests, as the registry's own tests make them."""

from scr_testing.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    artifact,
    descriptor,
    files_of,
    hex_of,
    index,
    layer,
    random_image,
    write_directory,
    write_layout,
)

__all__ = [
    "DOCKER_LIST",
    "DOCKER_MANIFEST",
    "OCI_INDEX",
    "OCI_MANIFEST",
    "Image",
    "artifact",
    "descriptor",
    "files_of",
    "hex_of",
    "index",
    "layer",
    "random_image",
    "write_directory",
    "write_layout",
]
