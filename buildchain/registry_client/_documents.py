"""What upstream manifests and indexes say: OCI image specification 1.1 and Docker's image manifest version 2, schema 2.

Nothing is ever written back: the raw bytes are what ships, and what has the digest.
"""

import dataclasses
import json
import re
import typing
from collections.abc import Iterator, Mapping

from buildchain import digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

INDEXES = (OCI_INDEX, DOCKER_LIST)
TYPES = (*INDEXES, OCI_MANIFEST, DOCKER_MANIFEST)

IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
"""Of images that run; a manifest with another one is an artefact."""

MAX_BYTES = 4 << 20
"""Of a manifest (OCI distribution specification 1.1, "Pushing manifests"), and of a configuration that is read."""

_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+"
_FOREIGN = re.compile(r"vnd\.docker\.image\.rootfs\.foreign\.|vnd\.oci\.image\.layer\.nondistributable\.")


class UnfitError(ValueError):
    """This is no manifest that could ship; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A descriptor of a manifest; `platform` is `linux/amd64` or `linux/arm/v7`, or empty."""

    content: digest.Descriptor
    media_type: str
    platform: str = ""
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A manifest (config and layers) or an index (manifests)."""

    media_type: str
    config: Reference | None = None
    layers: tuple[Reference, ...] = ()
    manifests: tuple[Reference, ...] = ()
    subject: digest.Digest | None = None

    @property
    def is_index(self) -> bool:
        """Whether this names manifests and no blobs."""
        return self.media_type in INDEXES

    @property
    def blobs(self) -> tuple[Reference, ...]:
        """The configuration and the layers."""
        return (*([self.config] if self.config else []), *self.layers)


def parse(content: bytes, content_type: str = "") -> Document:
    """Read a manifest or index.

    Arguments:
        content_type: what its server calls it; empty if nobody said.

    Raises:
        UnfitError: with the reason.
    """
    row = _json_object(content)
    media_type = _media_type(row, content_type.partition(";")[0].strip())
    subject = _reference(row["subject"], "subject").content.digest if row.get("subject") else None
    if media_type in INDEXES:
        return Document(media_type, manifests=tuple(_references(row, "manifests")), subject=subject)
    layers = tuple(_references(row, "layers"))
    for number, layer in enumerate(row["layers"]):
        _check_layer(layer, number)
    return Document(media_type, _reference(row.get("config"), "config"), layers, subject=subject)


def platform_of_config(content: bytes) -> str:
    """The platform that an image's configuration names.

    Raises:
        UnfitError: it names none.
    """
    found = _platform(_json_object(content))
    if not found:
        raise UnfitError("its configuration names no platform")
    return found


def is_platform(wanted: str, found: str) -> bool:
    """Whether a platform is the wanted one; without a variant every variant is."""
    return found == wanted or (wanted.count("/") == 1 and found.startswith(f"{wanted}/"))


def _json_object(content: bytes) -> dict[str, typing.Any]:
    try:
        row = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"is not proper JSON: {error}") from error
    if not isinstance(row, dict):
        raise UnfitError("is not a JSON object")
    return row


def _unique(pairs: list[tuple[str, typing.Any]]) -> dict[str, typing.Any]:
    """Two readers could take two values for one key that stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _media_type(row: Mapping[str, typing.Any], content_type: str) -> str:
    if row.get("schemaVersion") == 1 or content_type.startswith(_SCHEMA_1):
        why = "is of Docker's schema 1, which names no digest of its configuration and is no longer supported"
        raise UnfitError(f"{why}: its owner has to push it again with a newer docker")
    if row.get("schemaVersion") != 2:
        raise UnfitError(f"is of the unknown schema version {str(row.get('schemaVersion'))[:20]!r}")
    said = row.get("mediaType") or (content_type if content_type in TYPES else None)
    is_index, is_manifest = "manifests" in row, "config" in row or "layers" in row
    if is_index == is_manifest:
        raise UnfitError("has neither the fields of a manifest nor of an index, or those of both")
    media_type = said or (OCI_INDEX if is_index else OCI_MANIFEST)
    if media_type not in TYPES:
        raise UnfitError(f"is of the unknown media type {str(media_type)[:200]!r}")
    if (media_type in INDEXES) != is_index:
        raise UnfitError(f"calls itself {media_type}, which it is not")
    if content_type in TYPES and content_type != media_type:
        raise UnfitError(f"calls itself {media_type}, but its registry calls it {content_type}")
    return str(media_type)


def _references(row: Mapping[str, typing.Any], key: str) -> Iterator[Reference]:
    rows = row.get(key)
    if not isinstance(rows, list):
        raise UnfitError(f"has no list of {key}")
    return (_reference(each, f"{key}[{number}]") for number, each in enumerate(rows))


def _reference(row: object, place: str) -> Reference:
    if not isinstance(row, dict):
        raise UnfitError(f"has no proper {place}")
    media_type, size, text = row.get("mediaType"), row.get("size"), row.get("digest")
    if not isinstance(media_type, str) or not re.fullmatch(r"[A-Za-z0-9][!-~]{0,254}", media_type):
        raise UnfitError(f"has a {place} without a proper media type")
    if type(size) is not int or size < 0:
        raise UnfitError(f"has a {place} without a proper size")
    try:
        content = digest.Descriptor(digest.Digest.parse(str(text)), size)
    except ValueError as error:
        algorithm = str(text).partition(":")[0]
        why = "is malformed" if algorithm == "sha256" else "is of an unknown algorithm; only sha256 is known"
        raise UnfitError(f"has a {place} whose digest {str(text)[:100]!r} {why}") from error
    found = row.get("platform")
    annotations = row.get("annotations")
    return Reference(
        content,
        media_type,
        _platform(found) if isinstance(found, dict) else "",
        {key: text for key, text in annotations.items() if isinstance(text, str)}
        if isinstance(annotations, dict)
        else {},
    )


def _platform(row: Mapping[str, object]) -> str:
    parts = [row.get(key) for key in ("os", "architecture", "variant")]
    if not all(isinstance(each, str) and re.fullmatch("[A-Za-z0-9._-]+", each) for each in parts[:2]):
        return ""
    return "/".join(str(each) for each in parts if each)


def _check_layer(row: Mapping[str, typing.Any], number: int) -> None:
    if _FOREIGN.search(str(row["mediaType"])) or row.get("urls"):
        why = "is a foreign layer: its registry does not hold it, and its licence forbids to pass it on"
        raise UnfitError(f"cannot ship, because layers[{number}] ({row['mediaType']}) {why}")
