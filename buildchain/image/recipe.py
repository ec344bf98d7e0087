"""Recipes of images: `images/<name>/image.yaml` as values that refuse nonsense."""

import dataclasses
import pathlib
import typing
from collections.abc import Iterator, Mapping, Sequence

from buildchain import document, errors, lock, oci, tar
from buildchain.rootfs import accounts, entries, exclusions

FILE_NAME = "image.yaml"
_SCHEMA = "image.schema.json"

MAX_SOURCE = 1 << 20
"""Bytes of a file beside a recipe: configuration, not payload."""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file of a recipe; `place` is the line of the recipe that asks for it."""

    path: str
    content: bytes
    mode: int
    owner: str
    place: str


@dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """A directory of a recipe."""

    path: str
    mode: int
    owner: str
    place: str


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerated:
    """Something shipped may lack what it needs: file pattern, what it needs, and why nobody misses it."""

    file: str
    needs: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What one layer holds, and how a container of it starts."""

    name: str
    packages: tuple[str, ...]
    without: Mapping[str, str]
    base: str | None
    files: tuple[File, ...]
    directories: tuple[Directory, ...]
    users: tuple[accounts.User, ...]
    groups: tuple[accounts.Group, ...]
    alternatives: Mapping[str, str]
    exclude: tuple[exclusions.Exclusion, ...]
    may_lack: tuple[Tolerated, ...]
    config: oci.Config
    builds: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """By recipe of packages/, the DEBs of it that the layer holds; what they depend on stands in `packages`."""

    @property
    def source(self) -> str:
        """How errors and origins name the recipe: never where the checkout is."""
        return f"images/{self.name}/{FILE_NAME}"


def load(path: pathlib.Path) -> Recipe:
    """Load a recipe; its name is that of its folder.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    loaded = document.load(path, _SCHEMA)
    problems = [loaded.problem(*problem) for problem in _problems(loaded.value, path.parent)]
    if problems:
        raise errors.ConfigError(str(path), problems)
    value = loaded.value
    name = path.parent.name
    return Recipe(
        name=name,
        packages=tuple(sorted(value.get("packages", ()))),
        without=dict(sorted(value.get("without", {}).items())),
        base=value.get("base"),
        files=tuple(_file(place, row, path.parent) for place, row in sorted(value.get("files", {}).items())),
        directories=tuple(
            Directory(entries.canonical(place[1:]), _mode(row, "0755"), row.get("owner", "root"), place)
            for place, row in sorted(value.get("directories", {}).items())
        ),
        users=tuple(
            accounts.User(user, row["uid"], row.get("group", user), row.get("home", "/"), row.get("shell", NO_SHELL))
            for user, row in sorted(value.get("users", {}).items())
        ),
        groups=tuple(accounts.Group(group, gid) for group, gid in sorted(value.get("groups", {}).items())),
        alternatives=dict(sorted(value.get("alternatives", {}).items())),
        exclude=exclusions.parse(value.get("exclude", ())),
        may_lack=tuple(Tolerated(row["file"], row["needs"], row["reason"]) for row in value.get("may-lack", ())),
        config=_config(name, value),
        builds={each: tuple(sorted(names)) for each, names in sorted(value.get("builds", {}).items())},
    )


NO_SHELL = "/usr/sbin/nologin"


def load_chain(directory: pathlib.Path, name: str) -> tuple[Recipe, ...]:
    """A recipe and those it stands on, the lowest first.

    Arguments:
        directory: the folder that holds a folder for each recipe.

    Raises:
        ConfigError: a recipe is wrong, its base does not exist, or it stands on itself.
    """
    chain = [load(directory / name / FILE_NAME)]
    while base := chain[0].base:
        top = chain[0]
        path = directory / top.name / FILE_NAME
        if base in {each.name for each in chain}:
            raise _wrong_base(path, f"{base!r} stands on this recipe already")
        if not (directory / base / FILE_NAME).is_file():
            raise _wrong_base(path, f"there is no recipe {base!r}")
        chain.insert(0, load(directory / base / FILE_NAME))
        if chain[0].config.architecture != top.config.architecture:
            why = f"{base!r} is for {chain[0].config.architecture}, this recipe for {top.config.architecture}"
            raise _wrong_base(path, why)
    return tuple(chain)


def _wrong_base(path: pathlib.Path, why: str) -> errors.ConfigError:
    return errors.ConfigError(str(path), [document.load(path, _SCHEMA).problem(("base",), why)])


def request(chain: Sequence[Recipe], archives: Sequence[str]) -> lock.Request:
    """What to resolve for an image: all packages of its chain; what one recipe drops, another may ask for by name."""
    top = chain[-1]
    wanted = {name for recipe in chain for name in recipe.packages}
    dropped = {name for recipe in chain for name in recipe.without}
    return lock.Request(
        name=f"image {top.name}",
        architecture=top.config.architecture,
        archives=tuple(archives),
        packages=tuple(sorted(wanted)),
        without=tuple(sorted(dropped - wanted)),
    )


def _config(name: str, value: Mapping[str, typing.Any]) -> oci.Config:
    return oci.Config(
        architecture=value.get("architecture", "amd64"),
        user=value.get("user", ""),
        environment=value.get("environment", {}),
        entrypoint=tuple(value.get("entrypoint", ())),
        command=tuple(value.get("command", ())),
        ports=tuple(sorted(_port(port) for port in value.get("ports", ()))),
        volumes=tuple(sorted(value.get("volumes", ()))),
        working_directory=value.get("working-directory", ""),
        stop_signal=value.get("stop-signal", ""),
        labels={"org.opencontainers.image.title": name, **value.get("labels", {})},
    )


def _port(port: int | str) -> str:
    return port if isinstance(port, str) else f"{port}/tcp"


def _file(place: str, row: Mapping[str, str], directory: pathlib.Path) -> File:
    content = row["content"].encode() if "content" in row else (directory / row["source"]).read_bytes()
    return File(entries.canonical(place[1:]), content, _mode(row, "0644"), row.get("owner", "root"), place)


def _mode(row: Mapping[str, str], default: str) -> int:
    return int(row.get("mode", default), 8)


def _problems(value: Mapping[str, typing.Any], directory: pathlib.Path) -> Iterator[tuple[document.Place, str]]:
    """What a schema cannot say."""
    yield from _problems_of_paths(value)
    for path, row in value.get("files", {}).items():
        if ("content" in row) == ("source" in row):
            yield ("files", path), "needs either `content` or `source`"
        elif "source" in row:
            yield from _problems_of_source(("files", path, "source"), directory / row["source"], directory)
    for name in sorted(set(value.get("without", {})) & set(value.get("packages", ()))):
        yield ("without", name), "is also asked for in `packages`"
    for group in _primary_groups(value):
        yield ("groups",), f"the group {group!r} is not listed; a user's own group has to be, too"


def _problems_of_paths(value: Mapping[str, typing.Any]) -> Iterator[tuple[document.Place, str]]:
    for kind in ("files", "directories", "alternatives"):
        for path in value.get(kind, {}):
            try:
                entries.canonical(path[1:])
            except tar.TarError as error:
                yield (kind, path), str(error)


def _problems_of_source(
    place: document.Place, source: pathlib.Path, directory: pathlib.Path
) -> Iterator[tuple[document.Place, str]]:
    if not source.resolve().is_relative_to(directory.resolve()):
        yield place, "leads out of the recipe's folder"
    elif not source.is_file():
        yield place, "there is no such file beside the recipe"
    elif source.stat().st_size > MAX_SOURCE:
        yield place, f"is larger than {MAX_SOURCE} bytes"


def _primary_groups(value: Mapping[str, typing.Any]) -> list[str]:
    """Own groups of users that nobody lists."""
    users = value.get("users", {})
    return sorted(name for name, row in users.items() if "group" not in row and name not in value.get("groups", {}))
