"""Rules about `manifest.yaml`: its format, and its images against those in `images/`."""

import functools
import json
import typing
from collections.abc import Iterable

from buildchain import document
from buildchain.document import schema
from buildchain.lint import declared, findings, subject, yaml_file

PATH = "manifest.yaml"
SCHEMA = "solution-manifest.schema.json"
MAX_SIZE = 64 << 10
"""Bytes; the bootstrap node reads no more of it."""
_TOLD_OTHERWISE = {
    ("apiVersion",),
    ("kind",),
    ("metadata", "name"),
    ("spec", "version"),
    ("spec", "operator"),
    ("spec", "ui"),
}
"""Places that have rules of their own."""


def load(of: subject.Subject, found: findings.Findings) -> declared.Declared | None:
    """Check the format; what it declares, if that could be read."""
    if not of.contents.has_file(PATH):
        found.add("manifest-missing", PATH, "is not there")
        return None
    size = of.contents.nodes[PATH].size
    if size > MAX_SIZE:
        found.add("manifest-size", PATH, f"has {size} bytes")
    objects = yaml_file.load(PATH, of.contents.read, "manifest-yaml", found)
    if not objects or len(objects) > 1:
        if objects is not None:
            found.add("manifest-yaml", PATH, f"holds {len(objects)} documents")
        return None
    manifest = objects[0]
    _check_kind(manifest, found)
    check_schema(manifest, SCHEMA, "manifest-schema", _is_told_otherwise, found)
    _check_entries(manifest, found)
    _check_parts(manifest, found)
    return declared.of_manifest(manifest)


def _is_told_otherwise(place: yaml_file.Place) -> bool:
    is_pair = place[:2] in {("metadata", "annotations"), ("metadata", "labels")} and len(place) == 3
    in_part = place[:2] in {("spec", "operator"), ("spec", "ui")}
    return place in _TOLD_OTHERWISE or place[:2] == ("spec", "images") or is_pair or in_part


def check_schema(
    file: yaml_file.Object,
    name: str,
    rule: str,
    is_told_otherwise: typing.Callable[[yaml_file.Place], bool],
    found: findings.Findings,
) -> None:
    """Hold a document against one of the shipped schemas."""
    for place, message in schema.violations(file.value, _schema(name)):
        if not is_told_otherwise(place):
            where = ".".join(map(str, place))
            found.add(rule, file.path, f"{where}: {message}" if where else message, file.line(*place))


@functools.cache
def _schema(name: str) -> dict[str, typing.Any]:
    value: dict[str, typing.Any] = json.loads((document.SCHEMAS / name).read_bytes())
    return value


def _check_kind(manifest: yaml_file.Object, found: findings.Findings) -> None:
    for key, rule, wanted in (
        ("apiVersion", "manifest-api-version", f"{declared.GROUP}/v1alpha1"),
        ("kind", "manifest-kind", "Solution"),
    ):
        if key in manifest.value and manifest.value[key] != wanted:
            found.add(rule, PATH, f"is {manifest.value[key]!r}, not {wanted}", manifest.line(key))


def _check_entries(manifest: yaml_file.Object, found: findings.Findings) -> None:
    if "images" not in manifest.mapping("spec"):
        found.add("image-list-missing", PATH, "spec.images is not given", manifest.line("spec"))
    entries = manifest.items("spec", "images")
    for index, entry in enumerate(entries):
        line = manifest.line("spec", "images", index)
        if not isinstance(entry, str) or entry.count(":") != 1 or not all(entry.split(":")):
            found.add("image-entry", PATH, f"{entry!r} is not NAME:TAG", line)
        if entry in entries[:index]:
            found.add("image-list-duplicate", PATH, f"{entry!r} stands there twice", line)
    texts = [entry for entry in entries if isinstance(entry, str)]
    if texts != sorted(texts):
        found.add("image-list-order", PATH, "spec.images is not sorted", manifest.line("spec", "images"))


def _check_parts(manifest: yaml_file.Object, found: findings.Findings) -> None:
    for part in ("operator", "ui"):
        if part not in manifest.mapping("spec"):
            continue
        keys = manifest.mapping("spec", part)
        image = manifest.mapping("spec", part, "image")
        if (
            set(keys) != {"image"}
            or set(image) != {"name", "tag"}
            or not all(isinstance(v, str) for v in image.values())
        ):
            message = f"spec.{part} has {', '.join(map(str, keys)) or 'nothing'}, not `image` with `name` and `tag`"
            found.add("operator-image-nested", PATH, message, manifest.line("spec", part))


def check_images(said: declared.Declared, present: Iterable[str], found: findings.Findings) -> None:
    """Hold what the manifest says against the images that are there, as NAME:TAG."""
    names = set(present)
    for name, line in said.images.items():
        if name not in names and ":" in name:
            found.add("image-missing", said.path, f"{name} is not in images/", line)
    for name in sorted(names - set(said.images)):
        found.add("image-unlisted", said.path, f"{name} is not listed")
    if said.operator.value not in names:
        found.add("operator-image-missing", said.path, f"{said.operator.value} is not in images/", said.operator.line)
    if said.ui is not None and said.ui.value not in names:
        found.add("ui-image-missing", said.path, f"{said.ui.value} is not in images/", said.ui.line)
