"""The author's intent: what `solution.yaml` says, as values that refuse nonsense."""

import dataclasses
import pathlib
import typing
from collections.abc import Iterator, Mapping

from buildchain import dockerfile, document, errors, lock, manifest

FILE_NAME = "solution.yaml"
LOCK_NAME = "solution.lock.json"
SCHEMA = "solution.schema.json"
DEPLOY = "operator/deploy"
IMAGES = "images"
"""Folder of the recipes."""

KINDS = ("recipe", "dockerfile", "archive", "pull")
"""Where an image may come from; each is a key of `solution.yaml` and a row of `kinds.KINDS`."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image that ships as `name:tag`; `kind` is one of `KINDS`, `origin` what stands at that key.

    `reference` and `digest` narrow an origin that holds more than one image; both may be empty.
    """

    name: str
    tag: str
    kind: str
    origin: str
    reference: str = ""
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


@dataclasses.dataclass(frozen=True, slots=True)
class Project:
    """Everything `solution.yaml` says."""

    root: pathlib.Path
    name: str
    version: str
    display_name: str
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    api_groups: tuple[str, ...]
    operator_image: str
    operator_options: tuple[str, ...]
    ui_image: str | None
    archives: Mapping[str, manifest.Archive]
    images: tuple[ImageSpec, ...]

    @property
    def id(self) -> str:
        """What MetalK8s calls it: the name of its repository, mount point and ISO."""
        return f"{self.name}-{self.version}"

    @property
    def volume_id(self) -> str:
        """`{display name} {version}`."""
        return f"{self.display_name} {self.version}"

    @property
    def is_release(self) -> bool:
        """Whether the version has no suffix: then the development key must not sign it."""
        return "-" not in self.version

    @property
    def pulled_images(self) -> Mapping[lock.ImageRequest, str]:
        """The images to pull, as the lock must hold them, each with the digest that the intent pins it to, or ""."""
        platforms = (manifest.DEFAULT_PLATFORM,)
        return {
            lock.ImageRequest(each.name, each.origin, each.tag, platforms): each.digest
            for each in self.images
            if each.kind == "pull"
        }

    def image(self, name: str) -> ImageSpec:
        """The image of a name that `load` has checked."""
        return next(each for each in self.images if each.name == name)


def load(root: pathlib.Path) -> Project:
    """Load a project's intent.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    path = root / FILE_NAME
    loaded = document.load(path, SCHEMA)
    problems = sorted(problems_of(loaded.value, root), key=lambda problem: loaded.line(problem[0]))
    if problems:
        raise errors.ConfigError(str(path), (loaded.problem(*problem) for problem in problems))
    return of_value(root, loaded.value)


def of_value(root: pathlib.Path, value: dict[str, typing.Any]) -> Project:
    """The project that a checked value describes."""
    return Project(
        root=root,
        name=value["name"],
        version=value["version"],
        display_name=value["display-name"],
        annotations=dict(sorted(value.get("annotations", {}).items())),
        labels=dict(sorted(value.get("labels", {}).items())),
        api_groups=tuple(sorted(value.get("custom-api-groups", ()))),
        operator_image=value["operator"]["image"],
        operator_options=tuple(value["operator"]["options"]),
        ui_image=value["ui"]["image"] if "ui" in value else None,
        archives={name: _archive(root, name, row) for name, row in sorted(value.get("archives", {}).items())},
        images=tuple(_image(name, row, value["version"]) for name, row in sorted(value["images"].items())),
    )


def _archive(root: pathlib.Path, name: str, row: dict[str, typing.Any]) -> manifest.Archive:
    keys = tuple(root / key for key in row["keys"])
    return manifest.Archive(name, row["origin"], row["suite"], tuple(row["components"]), keys)


def _image(name: str, row: dict[str, str], version: str) -> ImageSpec:
    kind = next(kind for kind in KINDS if kind in row)
    tag = row.get("tag", version)
    return ImageSpec(name, tag, kind, row[kind], row.get("reference", ""), row.get("digest", ""))


def problems_of(value: dict[str, typing.Any], root: pathlib.Path) -> Iterator[tuple[document.Place, str]]:
    """What a schema cannot say about a value that it accepts: the place and the reason."""
    images = value["images"]
    for part in ("operator", "ui"):
        if part in value and value[part]["image"] not in images:
            yield (part, "image"), f"no image {value[part]['image']!r}; known: {', '.join(sorted(images))}"
    for name, row in images.items():
        for key, message in _problems_of_image(row, root, has_archives=bool(value.get("archives"))):
            yield ("images", name, *key), message
    for name, row in value.get("archives", {}).items():
        for index, key in enumerate(row["keys"]):
            if not (root / key).is_file():
                yield ("archives", name, "keys", index), f"no file {key}"


def _problems_of_image(
    row: dict[str, str], root: pathlib.Path, *, has_archives: bool
) -> Iterator[tuple[document.Place, str]]:
    kinds = [kind for kind in KINDS if kind in row]
    if len(kinds) != 1:
        yield (), f"needs one of {', '.join(KINDS)}"
    elif kinds == ["archive"] and not (root / row["archive"]).is_file():
        yield ("archive",), f"no file {row['archive']}"
    elif kinds == ["recipe"] and not has_archives:
        yield ("recipe",), "needs `archives` to take packages from"
    elif kinds == ["dockerfile"] and not dockerfile.is_recipe(root / IMAGES / row["dockerfile"]):
        yield ("dockerfile",), f"no file {IMAGES}/{row['dockerfile']}/Dockerfile"
    if kinds != ["archive"] and "reference" in row:
        yield ("reference",), "is only for an `archive`"
    if kinds in (["recipe"], ["dockerfile"]) and "digest" in row:
        yield ("digest",), "is only for an `archive` or a `pull`"
