"""What a Solution's medium has besides: its manifest, a registry configuration as a template, and perhaps a base.

MetalK8s 2.5.1, "Solution archive guidelines". A thin Solution leaves blobs to its base and names them by digest.
"""

import contextlib
import dataclasses
import re
import typing
from collections.abc import Mapping

from buildchain.document import strict_yaml
from buildchain.verify import medium

MANIFEST_PATH = "manifest.yaml"
CONFIG_PATH = "registry-config.inc.j2"
GROUP = "solutions.metalk8s.scality.com"

_BASE = f"{GROUP}/base"
_REQUIRED = f"{GROUP}/required-blobs"
_DIGEST = re.compile("sha256:([0-9a-f]{64})")
_PLACEHOLDER = re.compile(r"\{\{ *(\w+) *\}\}")
_VALUES = {"repository": "solution", "registry_root": "$registry_root"}


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """What the manifest says: name and version, what its base is called, and blobs (hex) that the base must have."""

    title: str = ""
    base: str = ""
    required: frozenset[str] = frozenset()


def of(contents: medium.Contents) -> Solution:
    """The Solution on a medium; an empty one where there is none, or where its manifest says nothing of all this."""
    value: object = None
    with contextlib.suppress(medium.DamagedError, strict_yaml.NotYamlError):
        value = strict_yaml.read(contents.read(MANIFEST_PATH))[0]
    metadata, spec = _mapping(value, "metadata"), _mapping(value, "spec")
    annotations = _mapping(metadata, "annotations")
    title = " ".join(str(each) for each in (metadata.get("name"), spec.get("version")) if each)
    required = frozenset(_DIGEST.findall(str(annotations.get(_REQUIRED, ""))))
    return Solution(title, str(annotations.get(_BASE, "")), required)


def fill_in(template: bytes) -> bytes:
    """The configuration with the placeholders that Salt fills in; any other stays, and is no nginx configuration."""
    text = template.decode("utf-8", "surrogateescape")
    filled = _PLACEHOLDER.sub(lambda match: _VALUES.get(match[1], match[0]), text)
    return filled.encode("utf-8", "surrogateescape")


def _mapping(value: object, key: str) -> Mapping[str, typing.Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
