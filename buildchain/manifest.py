"""The intent: what `distribution.yaml` says shall ship, as values that refuse nonsense."""

import dataclasses
import pathlib
import re
import typing
from collections.abc import Iterator, Mapping

from buildchain import bases, document, errors

FILE_NAME = "distribution.yaml"
DEFAULT_ARCHITECTURE = "amd64"
DEFAULT_RPM_ARCHITECTURE = "x86_64"
DEB, RPM = "deb", "rpm"
"""The types of archives and repositories."""
FAMILIES = {DEB: "debian", RPM: "redhat"}
"""The families of operating systems: their folders in packages/, and their names in salt/metalk8s/versions.json."""
DEFAULT_PLATFORM = "linux/amd64"


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """An upstream package archive; `keys` are paths of the public keys that may sign its index.

    One of RPMs has no origin, suite or components; its keys sign its packages too. `modules` are the streams
    (`name:stream`) that are enabled in it.
    """

    name: str
    origin: str
    suite: str
    components: tuple[str, ...]
    keys: tuple[pathlib.Path, ...]
    type: str = DEB
    url: str = ""
    modules: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Repository:
    """A package repository on the medium; one of RPMs names the `distribution` it is for.

    `base` is what its hosts hold already; None if it shall hold all that its packages need. `builds` are packages of it
    that are made here, by recipe.
    """

    name: str
    archives: tuple[str, ...]
    architecture: str
    bootstraps: bool
    packages: tuple[str, ...]
    distribution: str = ""
    base: bases.Base | None = None
    builds: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Of its packages: DEB or RPM."""
        return RPM if self.distribution else DEB

    @property
    def full_name(self) -> str:
        """Its name on the medium and in the lock, without the project's: `debian-12`, `tools-el9`."""
        return f"{self.name}-{self.distribution}" if self.distribution else self.name

    @property
    def folder(self) -> str:
        """Where it stands on the medium."""
        return f"packages/{FAMILIES[self.type]}/metalk8s-{self.full_name}"


@dataclasses.dataclass(frozen=True, slots=True)
class ImageSpec:
    """An image that ships under `name:tag`.

    `follows` is the package whose version the tag must equal, or empty; `bootstraps` says that a node needs the image
    before the registry runs. An image with a `source` (`HOST[:PORT]/REPOSITORY`) is pulled from there, by `pinned` if
    that digest is given; the others are built from the recipe of their name.
    """

    name: str
    tag: str
    follows: str
    bootstraps: bool = False
    source: str = ""
    pinned: str = ""
    platforms: tuple[str, ...] = ()
    has_signatures: bool = False

    @property
    def is_pulled(self) -> bool:
        """Whether the image comes from a registry."""
        return bool(self.source)


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """Everything `distribution.yaml` says."""

    archives: Mapping[str, Archive]
    repositories: tuple[Repository, ...]
    image_archives: tuple[str, ...]
    builder_archives: tuple[str, ...]
    """Where the tools come from that build the packages of `builds`."""
    images: tuple[ImageSpec, ...]


def load(path: pathlib.Path) -> Manifest:
    """Load the intent.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    loaded = document.load(path, "distribution.schema.json")
    found = [*_dangling(loaded, path.parent), *_contradictions(loaded.value["images"]["ship"])]
    if "builder" not in loaded.value:
        found += _builds(loaded.value["repositories"])
    if found:
        found.sort(key=lambda problem: loaded.line(problem[0]))
        raise errors.ConfigError(str(path), (loaded.problem(*problem) for problem in found))
    value = loaded.value
    known = _bases(loaded, path.parent)
    return Manifest(
        archives={name: _archive(name, row, path.parent) for name, row in value["archives"].items()},
        repositories=tuple(_repository(name, row, known) for name, row in sorted(value["repositories"].items())),
        image_archives=tuple(value["images"]["archives"]),
        builder_archives=tuple(value.get("builder", {}).get("archives", ())),
        images=tuple(_image(name, row) for name, row in sorted(value["images"]["ship"].items())),
    )


def _archive(name: str, row: Mapping[str, typing.Any], directory: pathlib.Path) -> Archive:
    return Archive(
        name=name,
        origin=row.get("origin", ""),
        suite=row.get("suite", ""),
        components=tuple(row.get("components", ())),
        keys=tuple(directory / key for key in row["keys"]),
        type=row.get("type", DEB),
        url=row.get("url", "").rstrip("/"),
        modules=tuple(sorted(row.get("modules", ()))),
    )


def _repository(name: str, row: Mapping[str, typing.Any], known: Mapping[str, bases.Base]) -> Repository:
    return Repository(
        name=name,
        archives=tuple(row.get("archives", ())),
        architecture=row.get("architecture", DEFAULT_ARCHITECTURE),
        bootstraps=row.get("bootstraps", False),
        packages=tuple(sorted(row.get("packages", ()))),
        builds=tuple(sorted(row.get("builds", ()))),
        distribution=row.get("distribution", ""),
        base=known[row["base"]] if "base" in row else None,
    )


def _bases(loaded: document.Document, directory: pathlib.Path) -> dict[str, bases.Base]:
    """By path, what hosts hold; those of the named files."""
    rows = loaded.value["repositories"].values()
    return {path: bases.load(directory / path) for path in sorted({row["base"] for row in rows if "base" in row})}


def _image(name: str, row: Mapping[str, typing.Any]) -> ImageSpec:
    platforms = row.get("platforms") or [row.get("platform", DEFAULT_PLATFORM)]
    return ImageSpec(
        name=name,
        tag=row["tag"],
        follows=row.get("follows", ""),
        bootstraps=row.get("bootstraps", False),
        source=row.get("source", ""),
        pinned=row.get("digest", ""),
        platforms=tuple(sorted(platforms)) if "source" in row else (),
        has_signatures=row.get("signatures", False),
    )


def _builds(repositories: Mapping[str, Mapping[str, typing.Any]]) -> Iterator[tuple[document.Place, str]]:
    """What cannot be built without tools."""
    for name, row in repositories.items():
        if row.get("builds"):
            yield ("repositories", name, "builds"), "needs `builder`, from whose `archives` the tools come"


def _contradictions(images: Mapping[str, Mapping[str, typing.Any]]) -> Iterator[tuple[document.Place, str]]:
    """Keys that make no sense together."""
    for name, row in images.items():
        place = ("images", "ship", name)
        if "source" not in row:
            lonely = [key for key in ("digest", "platform", "platforms", "signatures") if key in row]
            yield from (((*place, key), "is only for an image with a source") for key in lonely)
            continue
        if re.fullmatch(r"docker\.io/[^/]+", row["source"]):
            name = row["source"].partition("/")[2]
            yield (*place, "source"), f"is docker.io/library/{name} in full: write that"
        if "follows" in row:
            yield (*place, "follows"), "is only for an image without a source: this one is pulled"
        if "platform" in row and "platforms" in row:
            yield (*place, "platforms"), "stands beside platform: give one of them"


def _dangling(loaded: document.Document, directory: pathlib.Path) -> Iterator[tuple[document.Place, str]]:
    """References to archives and files that do not exist, or to archives of the wrong type."""
    known = loaded.value["archives"]
    uses: list[tuple[document.Place, list[str], str]] = [
        (("repositories", name, "archives"), row.get("archives", []), RPM if "distribution" in row else DEB)
        for name, row in loaded.value["repositories"].items()
    ]
    uses += [
        ((place, "archives"), loaded.value[place]["archives"], DEB)
        for place in ("builder", "images")
        if place in loaded.value
    ]
    for place, names, wanted in uses:
        for index, name in enumerate(names):
            if name not in known:
                yield (*place, index), f"no archive {name!r}; known: {', '.join(sorted(known))}"
            elif known[name].get("type", DEB) != wanted:
                yield (*place, index), f"archive {name!r} is not one of {wanted.upper()} packages"
    for place, path in _files(loaded.value):
        if not (directory / path).is_file():
            yield place, f"no file {path}"


def _files(value: Mapping[str, typing.Any]) -> Iterator[tuple[document.Place, str]]:
    """The files that an intent names."""
    for name, row in value["archives"].items():
        yield from ((("archives", name, "keys", index), key) for index, key in enumerate(row["keys"]))
    for name, row in value["repositories"].items():
        if "base" in row:
            yield ("repositories", name, "base"), row["base"]
