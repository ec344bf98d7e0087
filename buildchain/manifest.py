"""The intent: what `distribution.yaml` says shall ship, as values that refuse nonsense."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping

from buildchain import document, errors

FILE_NAME = "distribution.yaml"
DEFAULT_ARCHITECTURE = "amd64"


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """An upstream package archive; `keys` are paths of the public keys that may sign its index."""

    name: str
    origin: str
    suite: str
    components: tuple[str, ...]
    keys: tuple[pathlib.Path, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Repository:
    """A package repository on the medium."""

    name: str
    archives: tuple[str, ...]
    architecture: str
    bootstraps: bool
    packages: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image that ships under `name:tag`.

    `follows` is the package whose version the tag must equal, or empty; `bootstraps` says that a node needs the image
    before the registry runs.
    """

    name: str
    tag: str
    follows: str
    bootstraps: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """Everything `distribution.yaml` says."""

    archives: Mapping[str, Archive]
    repositories: tuple[Repository, ...]
    image_archives: tuple[str, ...]
    images: tuple[ImageSpec, ...]


def load(path: pathlib.Path) -> Manifest:
    """Load the intent.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    loaded = document.load(path, "distribution.schema.json")
    dangling = sorted(_dangling(loaded, path.parent), key=lambda problem: loaded.line(problem[0]))
    if dangling:
        raise errors.ConfigError(str(path), (loaded.problem(*problem) for problem in dangling))
    value = loaded.value
    return Manifest(
        archives={name: _archive(name, row, path.parent) for name, row in value["archives"].items()},
        repositories=tuple(_repository(name, row) for name, row in sorted(value["repositories"].items())),
        image_archives=tuple(value["images"]["archives"]),
        images=tuple(
            ImageSpec(name, row["tag"], row.get("follows", ""), row.get("bootstraps", False))
            for name, row in sorted(value["images"]["ship"].items())
        ),
    )


def _archive(name: str, row: Mapping[str, list[str] | str], directory: pathlib.Path) -> Archive:
    keys = tuple(directory / key for key in row["keys"])
    return Archive(name, str(row["origin"]), str(row["suite"]), tuple(row["components"]), keys)


def _repository(name: str, row: Mapping[str, list[str] | str | bool]) -> Repository:
    return Repository(
        name=name,
        archives=tuple(_names(row["archives"])),
        architecture=str(row.get("architecture", DEFAULT_ARCHITECTURE)),
        bootstraps=bool(row.get("bootstraps", False)),
        packages=tuple(sorted(_names(row["packages"]))),
    )


def _names(value: list[str] | str | bool) -> list[str]:
    return value if isinstance(value, list) else []


def _dangling(loaded: document.Document, directory: pathlib.Path) -> Iterator[tuple[document.Place, str]]:
    """References to archives and keys that do not exist."""
    known = loaded.value["archives"]
    uses: list[tuple[document.Place, list[str]]] = [
        (("repositories", name, "archives"), row["archives"]) for name, row in loaded.value["repositories"].items()
    ]
    uses.append((("images", "archives"), loaded.value["images"]["archives"]))
    for place, names in uses:
        for index, name in enumerate(names):
            if name not in known:
                yield (*place, index), f"no archive {name!r}; known: {', '.join(sorted(known))}"
    for name, row in known.items():
        for index, key in enumerate(row["keys"]):
            if not (directory / key).is_file():
                yield ("archives", name, "keys", index), f"no file {key}"
