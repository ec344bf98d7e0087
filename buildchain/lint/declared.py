"""Rules about what a Solution says of itself: the same for `manifest.yaml` and for the project's `solution.yaml`."""

import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping

from buildchain.lint import findings, yaml_file
from buildchain.verify import solution

GROUP = solution.GROUP
MAX_LABEL = 63
MAX_VOLUME_ID = 32

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VERSION = re.compile(r"\d+(\.\d+){2}(-[0-9a-z]+([.-][0-9a-z]+)*)?")
# OCI distribution-spec 1.1, "Pulling manifests", of what an RFC 1123 label may hold.
_REPOSITORY = re.compile(r"[0-9a-z]+((\.|-+)[0-9a-z]+)*")
_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_QUALIFIED = re.compile(rf"({_DNS}/)?[A-Za-z0-9]([-._A-Za-z0-9]{{0,61}}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-._A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """A value and its line."""

    value: typing.Any
    line: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """What is said, and where. `images` maps NAME:TAG to its line; `operator` and `ui` are such names."""

    path: str
    name: Value
    version: Value
    display_name: Value
    annotations: Mapping[str, Value]
    labels: Mapping[str, Value]
    images: Mapping[str, int]
    operator: Value
    options: Value
    ui: Value | None
    api_groups: Mapping[str, int]

    @property
    def id(self) -> str:
        """NAME-VERSION."""
        return f"{self.name.value}-{self.version.value}"


def of_manifest(manifest: yaml_file.Object) -> Declared:
    """What `manifest.yaml` says, with MetalK8s' defaults."""
    name, version = manifest.get("metadata", "name"), manifest.get("spec", "version")
    annotations = _values(manifest, "metadata", "annotations")
    display = annotations.get(f"{GROUP}/display-name", Value("", manifest.line("metadata", "annotations")))
    operator = _part(manifest, "operator", f"{name}-operator:{version}")
    return Declared(
        path=manifest.path,
        name=Value(name, manifest.line("metadata", "name")),
        version=Value(version, manifest.line("spec", "version")),
        display_name=display,
        annotations=annotations,
        labels=_values(manifest, "metadata", "labels"),
        images={
            entry: manifest.line("spec", "images", index)
            for index, entry in enumerate(manifest.items("spec", "images"))
            if isinstance(entry, str)
        },
        operator=operator,
        options=annotations.get(f"{GROUP}/operator-options", Value("", operator.line)),
        ui=_part(manifest, "ui", f"{name}-ui:{version}") if manifest.get("spec", "ui") is not None else None,
        api_groups=_groups(manifest, "spec", "customApiGroups"),
    )


def of_project(value: yaml_file.Object) -> Declared:
    """What `solution.yaml` says."""
    version = value.get("version")
    tags = {
        name: row.get("tag", version) if isinstance(row, dict) else version
        for name, row in value.mapping("images").items()
    }

    def part(name: str) -> Value:
        image = value.text(name, "image")
        return Value(f"{image}:{tags.get(image, version)}", value.line(name, "image"))

    return Declared(
        path=value.path,
        name=Value(value.get("name"), value.line("name")),
        version=Value(version, value.line("version")),
        display_name=Value(value.get("display-name"), value.line("display-name")),
        annotations=_values(value, "annotations"),
        labels=_values(value, "labels"),
        images={f"{name}:{tag}": value.line("images", name) for name, tag in tags.items()},
        operator=part("operator"),
        options=Value(" ".join(map(str, value.items("operator", "options"))), value.line("operator", "options")),
        ui=part("ui") if "ui" in value.value else None,
        api_groups=_groups(value, "custom-api-groups"),
    )


def _values(file: yaml_file.Object, *place: str) -> dict[str, Value]:
    return {key: Value(value, file.line(*place, key)) for key, value in file.mapping(*place).items()}


def _groups(file: yaml_file.Object, *place: str) -> dict[str, int]:
    return {str(group): file.line(*place, index) for index, group in enumerate(file.items(*place))}


def _part(manifest: yaml_file.Object, part: str, default: str) -> Value:
    name, tag = manifest.text("spec", part, "image", "name"), manifest.text("spec", part, "image", "tag")
    default_name, _, default_tag = default.partition(":")
    return Value(f"{name or default_name}:{tag or default_tag}", manifest.line("spec", part))


def check(declared: Declared, found: findings.Findings) -> None:
    """Check names, version and annotations."""

    def add(rule: str, value: Value, message: str) -> None:
        found.add(rule, declared.path, message, value.line)

    for rule, message in _problems_of_name(declared.name.value):
        add(rule, declared.name, message)
    for rule, message in _problems_of_version(declared):
        add(rule, declared.version, message)
    for rule, message in _problems_of_display_name(declared):
        add(rule, declared.display_name, message)
    _check_pairs(declared, found)
    if "--config" not in str(declared.options.value).split():
        add("operator-config", declared.options, "nothing says that the Operator accepts --config")
    if declared.ui is not None:
        add("ui-deprecated", declared.ui, "lets MetalK8s deploy the UI")


def _problems_of_name(name: object) -> Iterator[tuple[str, str]]:
    if not isinstance(name, str):
        yield "name-rfc1123", "is not given" if name is None else f"{name!r} is not text; put it in quotes"
        return
    if not _LABEL.fullmatch(name):
        yield "name-rfc1123", f"{name!r} is not an RFC 1123 label"
    if len(f"{name}-operator") > MAX_LABEL:
        yield "name-length", f"{name}-operator has {len(name) + 9} characters"
    if name.startswith("metalk8s-"):
        yield "name-reserved", f"{name!r} reads like a MetalK8s mount"


def _problems_of_version(declared: Declared) -> Iterator[tuple[str, str]]:
    version = declared.version.value
    if not isinstance(version, str):
        yield "version-text", f"{version!r} is not text"
        return
    volume = declared.id.replace(".", "-")
    if _LABEL.fullmatch(str(declared.name.value)) and not _LABEL.fullmatch(volume):
        yield "version-volume-name", f"{volume!r} cannot name a volume"
    if not _REPOSITORY.fullmatch(version):
        yield "version-repository", f"{declared.id!r} cannot begin the name of an image"
    if len(declared.id) > MAX_LABEL:
        yield "id-length", f"{declared.id!r} has {len(declared.id)} characters"
    if not _VERSION.fullmatch(version):
        yield "version-order", f"{version!r} is not X.Y.Z[-suffix]"


def _problems_of_display_name(declared: Declared) -> Iterator[tuple[str, str]]:
    if not declared.display_name.value:
        yield "display-name-missing", "is not given"
    volume_id = f"{declared.display_name.value} {declared.version.value}"
    if len(volume_id) > MAX_VOLUME_ID:
        yield "volume-id-length", f"{volume_id!r} has {len(volume_id)} characters"
    elif not (volume_id.isascii() and volume_id.isprintable()):
        yield "volume-id-length", f"{volume_id!r} has characters other than printable ASCII"


def _check_pairs(declared: Declared, found: findings.Findings) -> None:
    for pairs in (declared.annotations, declared.labels):
        for key, value in pairs.items():
            prefix = key.rpartition("/")[0]
            if not _QUALIFIED.fullmatch(key) or len(prefix) > 253:
                found.add("annotation-key", declared.path, f"{key!r} is not a qualified name", value.line)
            if not isinstance(value.value, str):
                found.add("annotation-text", declared.path, f"{key}: {value.value!r} is not text", value.line)
    for key, value in declared.labels.items():
        if isinstance(value.value, str) and not _LABEL_VALUE.fullmatch(value.value):
            found.add("label-value", declared.path, f"{key}: {value.value!r} cannot be a label's value", value.line)


def check_annotations(declared: Declared, found: findings.Findings) -> None:
    """Check what a build wrote about itself."""
    known = {key.removeprefix(f"{GROUP}/"): value for key, value in declared.annotations.items()}
    missing = [key for key in ("build-timestamp", "git-revision") if key not in known]
    if missing:
        found.add("build-annotations", declared.path, f"{', '.join(missing)} not given")
    stamp = known.get("build-timestamp", Value("1970-01-01T00:00:00Z"))
    if not _TIME.fullmatch(str(stamp.value)):
        found.add("build-timestamp", declared.path, f"{stamp.value!r} is not a time in UTC", stamp.line)
    revision = known.get("git-revision", Value(""))
    if str(revision.value).endswith("-dirty"):
        found.add("git-dirty", declared.path, f"{revision.value} had changes", revision.line)
    expected = "1" if str(declared.version.value).endswith("-dev") else "0"
    release = known.get("development-release", Value(expected))
    if str(release.value) != expected:
        message = f"is {release.value!r}, but the version is {declared.version.value}"
        found.add("development-release", declared.path, message, release.line)
    if known.get("required-blobs", Value("")).value and not known.get("base", Value("")).value:
        found.add("base-missing", declared.path, "blobs are left out", known["required-blobs"].line)
