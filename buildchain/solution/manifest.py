"""`manifest.yaml`: what a Solution says of itself, in the format `solutions.metalk8s.scality.com/v1alpha1`.

The pairs are those of MetalK8s 2.5.1, "Solution archive guidelines"; an optional key without a value stays absent,
because MetalK8s deploys what a key names.
"""

import dataclasses
import typing
from collections.abc import Mapping, Sequence

import yaml

GROUP = "solutions.metalk8s.scality.com"
API_VERSION = f"{GROUP}/v1alpha1"
KIND = "Solution"
FILE_NAME = "manifest.yaml"

DISPLAY_NAME = f"{GROUP}/display-name"
BUILD_TIMESTAMP = f"{GROUP}/build-timestamp"
BUILD_HOST = f"{GROUP}/build-host"
GIT_REVISION = f"{GROUP}/git-revision"
DEVELOPMENT_RELEASE = f"{GROUP}/development-release"
OPERATOR_OPTIONS = f"{GROUP}/operator-options"
BASE = f"{GROUP}/base"
REQUIRED_BLOBS = f"{GROUP}/required-blobs"
"""Digests, one a line, of the blobs that a thin Solution leaves to its base."""

Reference = tuple[str, str]
"""Name and tag of an image."""


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """The values of a manifest; the list of images holds the operator's and the UI's too."""

    name: str
    version: str
    images: Sequence[Reference] = ()
    operator: Reference | None = None
    ui: Reference | None = None
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    api_groups: Sequence[str] = ()


def dump(value: Manifest) -> bytes:
    """The manifest as YAML, sorted: a function of its values."""
    named = [each for each in (value.operator, value.ui) if each]
    spec: dict[str, typing.Any] = {
        "images": sorted({f"{name}:{tag}" for name, tag in [*value.images, *named]}),
        "version": value.version,
    }
    if value.operator:
        spec["operator"] = _image(value.operator)
    if value.ui:
        spec["ui"] = _image(value.ui)
    if value.api_groups:
        spec["customApiGroups"] = sorted(value.api_groups)
    metadata = {"annotations": dict(value.annotations), "labels": dict(value.labels), "name": value.name}
    whole = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}
    return yaml.safe_dump(whole, sort_keys=True, allow_unicode=True, width=1000, default_flow_style=False).encode()


def _image(reference: Reference) -> dict[str, dict[str, str]]:
    return {"image": {"name": reference[0], "tag": reference[1]}}
