"""Read one manifest or index: OCI image specification 1.1 and Docker image manifest version 2, schema 2."""

import dataclasses
import json
import typing

from static_container_registry import listing, names

_MANIFEST_TYPES = frozenset({listing.OCI_MANIFEST, listing.DOCKER_MANIFEST})
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

Document = dict[str, typing.Any]


class UnfitError(ValueError):
    """This is no manifest that a registry could serve; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """What a manifest says about other content."""

    hex: str
    size: int
    is_elsewhere: bool = False
    """A foreign layer, which clients fetch from its `urls`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parsed:
    """A manifest without its place."""

    media_type: str
    blobs: tuple[Reference, ...]
    children: tuple[Reference, ...]
    subject: str
    artifact_type: str
    annotations: dict[str, str]


def manifest(content: bytes) -> Parsed:
    """Read a manifest or an index.

    Raises:
        UnfitError: with the reason.
    """
    document = json_object(content)
    media_type = _media_type(document)
    if media_type in listing.INDEX_TYPES:
        blobs, children = [], _references(document, "manifests")
        artifact_type = document.get("artifactType")
    else:
        config = document.get("config", {})
        blobs, children = _references({"config": [config]}, "config") + _references(document, "layers"), []
        artifact_type = document.get("artifactType") or config.get("mediaType")
    subject = _references({"subject": [document["subject"]]}, "subject")[0].hex if document.get("subject") else ""
    return Parsed(
        media_type,
        tuple(blobs),
        tuple(children),
        subject,
        artifact_type if isinstance(artifact_type, str) else "",
        string_map(document.get("annotations")),
    )


def json_object(content: bytes) -> Document:
    """Read a JSON object.

    Raises:
        UnfitError: it is not JSON, or not an object.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise UnfitError("not a JSON object")
    return document


def string_map(value: object) -> dict[str, str]:
    """The annotations that are strings, sorted."""
    if not isinstance(value, dict):
        return {}
    return {key: value[key] for key in sorted(value) if isinstance(value[key], str)}


def _media_type(document: Document) -> str:
    if document.get("schemaVersion") != 2:
        raise UnfitError(f"schemaVersion is {document.get('schemaVersion')!r}, not 2")
    is_index = isinstance(document.get("manifests"), list)
    is_manifest = isinstance(document.get("config"), dict)
    if is_index == is_manifest or (is_index and "layers" in document):
        raise UnfitError("has neither the fields of a manifest nor of an index, or those of both")
    declared = document.get("mediaType")
    if declared is None:
        return listing.OCI_INDEX if is_index else _guessed(document)
    fitting = listing.INDEX_TYPES if is_index else _MANIFEST_TYPES
    if not isinstance(declared, str) or declared not in fitting:
        raise UnfitError(f"media type {declared!r} does not fit a{'n index' if is_index else ' manifest'}")
    return declared


def _guessed(document: Document) -> str:
    is_docker = document["config"].get("mediaType") == _DOCKER_CONFIG
    return listing.DOCKER_MANIFEST if is_docker else listing.OCI_MANIFEST


def _references(document: Document, field: str) -> list[Reference]:
    values = document.get(field) or []
    if not isinstance(values, list):
        raise UnfitError(f"{field} is not a list")
    return [_reference(value, field) for value in values]


def _reference(value: object, field: str) -> Reference:
    if not isinstance(value, dict) or not names.is_digest(value.get("digest")):
        raise UnfitError(f"{field}: no sha256 digest")
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise UnfitError(f"{field}: {value['digest']} has no size")
    return Reference(value["digest"].removeprefix("sha256:"), size, bool(value.get("urls")))
