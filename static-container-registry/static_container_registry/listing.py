"""What a registry holds, as a value: repositories, tags, manifests, blobs, and what was left out and why."""

import dataclasses
import typing
from collections.abc import Mapping

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

ENDINGS = {OCI_MANIFEST: "om", OCI_INDEX: "oi", DOCKER_MANIFEST: "dm", DOCKER_LIST: "dl"}
"""How a path tells nginx a media type."""

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Blob:
    """A blob and the file that holds it."""

    hex: str
    """SHA-256 without its `sha256:`."""
    size: int
    path: str
    """Relative to the root, with `/`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index, as its bytes are."""

    hex: str
    size: int
    media_type: str
    path: str
    blobs: tuple[Blob, ...] = ()
    children: tuple[str, ...] = ()
    """Hex digests an index names, in its order, whether they are here or not."""
    subject: str = ""
    """Hex digest of the manifest that this one refers to; OCI image specification 1.1, `subject`."""
    artifact_type: str = ""
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Repository:
    """One repository: its tags and everything that can be asked for by digest, sorted."""

    name: str
    tags: Mapping[str, str]
    """Tag to hex digest, sorted by tag."""
    manifests: tuple[Manifest, ...]
    """Sorted by hex digest, each once."""

    def manifest(self, hex_digest: str) -> Manifest:
        """The manifest of a digest; a KeyError when it is not here."""
        for manifest in self.manifests:
            if manifest.hex == hex_digest:
                return manifest
        raise KeyError(hex_digest)

    def referrers(self) -> dict[str, list[Manifest]]:
        """Hex digest of each subject to the manifests that refer to it, sorted."""
        found: dict[str, list[Manifest]] = {}
        for manifest in self.manifests:
            if manifest.subject:
                found.setdefault(manifest.subject, []).append(manifest)
        return dict(sorted(found.items()))


class Remark(typing.NamedTuple):
    """A path below the root and what is to be said about it."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """Everything found below one root."""

    repositories: tuple[Repository, ...] = ()
    """Sorted by name."""
    skipped: tuple[Remark, ...] = ()
    """What is not served, with the reason; sorted."""
    notes: tuple[Remark, ...] = ()
    """What is served and yet worth a look, such as an index of which not every child is here; sorted."""
