"""Recipes with a Dockerfile: `images/<name>/Dockerfile`, and `build.yaml` beside it, as values that refuse nonsense."""

import dataclasses
import fnmatch
import graphlib
import os
import pathlib
import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence

from buildchain import digest, document, errors
from buildchain.dockerfile import syntax

FILE_NAME = "Dockerfile"
OPTIONS_NAME = "build.yaml"

EPOCH_ARGUMENT = "SOURCE_DATE_EPOCH"
"""An ARG of this name gets the image's time (reproducible-builds.org, "SOURCE_DATE_EPOCH specification 1.1")."""

MAX_CONTEXT = 64 << 20
"""Bytes of all files of a context; what is larger is a source, which the store keeps."""

_PREDEFINED = {EPOCH_ARGUMENT}
_NEVER_SENT = (FILE_NAME, OPTIONS_NAME, ".dockerignore")
"""What an engine gets of these is of our making."""


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file of the context; `target` is that of a symbolic link."""

    path: str
    content: bytes
    mode: int
    target: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A file of the context that is pulled: the caller sees to it that the store has it."""

    path: str
    url: str
    content: digest.Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """Everything a build depends on, but for the images it stands on; `folder` is where it stands below `images/`."""

    name: str
    folder: str
    dockerfile: syntax.Dockerfile
    arguments: Mapping[str, str]
    context: tuple[File, ...]
    sources: tuple[Source, ...]
    has_network: bool

    @property
    def source(self) -> str:
        """How errors and the history name the recipe: never where the checkout is."""
        return f"images/{self.folder}/{FILE_NAME}"

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of the distribution's images that have to be built before, sorted."""
        return tuple(sorted({reference.name for reference in self.dockerfile.references()}))


def is_recipe(directory: pathlib.Path) -> bool:
    """Whether an image's folder holds a Dockerfile."""
    return (directory / FILE_NAME).is_file()


def load(directory: pathlib.Path, tracked: Iterable[str], name: str = "") -> Recipe:
    """Load the recipe in a folder.

    Arguments:
        tracked: the tracked files of the checkout, as `images/<folder>/…`: the context, unless `build.yaml` lists one.
        name:    the image's; that of the folder, if none is given.

    Raises:
        ConfigError: with every problem in one of its files, and its line.
    """
    options = _options(directory)
    arguments = options.value.get("arguments", {}) if options else {}
    sources = _sources(options)
    context = _context(directory, options, tracked)
    path = directory / FILE_NAME
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.ConfigError(str(path), [("", str(error))]) from error
    parsed, problems = syntax.parse(text, arguments)
    problems += _problems_of_arguments(parsed, arguments)
    problems += _problems_of_copies(parsed, [*(file.path for file in context), *(each.path for each in sources)])
    if problems:
        raise errors.ConfigError(str(path), [(f"line {line}", why) for line, why in sorted(problems)])
    return Recipe(
        name=name or directory.name,
        folder=directory.name,
        dockerfile=parsed,
        arguments=dict(sorted(arguments.items())),
        context=context,
        sources=sources,
        has_network=bool(options and options.value.get("network", "none") != "none"),
    )


def check_bases(recipe: Recipe, known: Mapping[str, str]) -> None:
    """Check that all it stands on is of this distribution.

    Arguments:
        known: the tags of the images that it may stand on, by name.

    Raises:
        ConfigError: with each line that names another one.
    """
    problems = []
    for reference in recipe.dockerfile.references():
        place = f"line {reference.line}"
        if reference.name not in known or reference.name == recipe.name:
            names = ", ".join(sorted(set(known) - {recipe.name})) or "none"
            problems.append((place, f"{reference} is not an image of the distribution; known: {names}"))
        elif reference.tag not in ("", known[reference.name]):
            problems.append((place, f"{reference}: its tag is {known[reference.name]}"))
    if problems:
        raise errors.ConfigError(recipe.source, problems, "Nothing is pulled from elsewhere during a build.")


def check_all(recipes: Mapping[str, Recipe], known: Mapping[str, str]) -> None:
    """Check the bases of all recipes of a distribution, and that none of them stands on itself in the end.

    Arguments:
        known: the tags of the images that they may stand on, by name.

    Raises:
        ConfigError: for the first recipe that is wrong.
    """
    for recipe in recipes.values():
        check_bases(recipe, known)
    try:
        graphlib.TopologicalSorter({name: recipe.bases for name, recipe in recipes.items()}).prepare()
    except graphlib.CycleError as error:
        names = error.args[1][::-1]  # it lists what is stood on first
        why = f"stands on itself: {' -> '.join(names)}"
        raise errors.ConfigError(recipes[names[0]].source, [("", why)]) from error


def _options(directory: pathlib.Path) -> document.Document | None:
    path = directory / OPTIONS_NAME
    return document.load(path, "build.schema.json") if path.exists() else None


def _sources(options: document.Document | None) -> tuple[Source, ...]:
    rows = options.value.get("sources", {}) if options else {}
    return tuple(
        Source(path, row["url"], digest.Descriptor(digest.Digest(row["sha256"]), row["size"]))
        for path, row in sorted(rows.items())
    )


def _context(directory: pathlib.Path, options: document.Document | None, tracked: Iterable[str]) -> tuple[File, ...]:
    prefix = f"images/{directory.name}/"
    files = sorted(path.removeprefix(prefix) for path in tracked if path.startswith(prefix))
    problems: list[tuple[str, str]] = []
    places: dict[str, str] = {}
    if options and "context" in options.value:
        for index, listed in enumerate(options.value["context"]):
            place, _ = options.problem(("context", index), "")
            found = list(_below(directory, listed, files))
            if not found:
                problems.append((place, f"there is no file {listed} beside the Dockerfile"))
            places |= dict.fromkeys(found, place)
    else:
        places = dict.fromkeys((path for path in files if path not in _NEVER_SENT), "")
    read = [_read(directory, path, place, problems) for path, place in sorted(places.items())]
    context = tuple(file for file in read if file)
    if options:
        taken = {*_NEVER_SENT, *(file.path for file in context)}
        twice = sorted(taken.intersection(options.value.get("sources", {})))
        problems += [options.problem(("sources", path), "is a file of the context already") for path in twice]
    if sum(len(file.content) for file in context) > MAX_CONTEXT:
        problems.append(("", f"the context is larger than {MAX_CONTEXT} bytes; large files belong under `sources`"))
    if problems:
        raise errors.ConfigError(str(directory / OPTIONS_NAME), problems)
    return context


def _below(directory: pathlib.Path, listed: str, tracked: Sequence[str]) -> Iterator[str]:
    """A file as it is listed; of a folder, its tracked files."""
    if listed in _NEVER_SENT:
        return
    if (directory / listed).is_dir() and not (directory / listed).is_symlink():
        yield from (path for path in tracked if path.startswith(f"{listed}/"))
    elif os.path.lexists(directory / listed):
        yield listed


def _read(directory: pathlib.Path, path: str, place: str, problems: list[tuple[str, str]]) -> File | None:
    file = directory / path
    home = directory.resolve()
    try:
        if not file.parent.resolve().is_relative_to(home) or not file.resolve().is_relative_to(home):
            problems.append((place, f"{path} leads out of the recipe's folder"))
            return None
        if file.is_symlink():
            target = str(file.readlink())
            if posixpath.isabs(target):
                problems.append((place, f"{path} is a link to an absolute path"))
            return File(path, b"", 0o777, target)
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_CONTEXT:
            problems.append((place, f"{path} is not a plain file of at most {MAX_CONTEXT} bytes"))
            return None
        # As git knows modes: the umask of a checkout is nobody's business.
        return File(path, file.read_bytes(), 0o755 if status.st_mode & stat.S_IXUSR else 0o644)
    except OSError as error:
        problems.append((place, f"{path}: {error.strerror or error}"))
        return None


def _problems_of_arguments(parsed: syntax.Dockerfile, arguments: Mapping[str, str]) -> Iterator[syntax.Problem]:
    declared = {each.rest.partition("=")[0]: each for each in parsed.instructions() if each.keyword == "ARG"}
    defaulted = {
        each.rest.partition("=")[0] for each in parsed.instructions() if each.keyword == "ARG" and "=" in each.rest
    }
    for name, each in declared.items():
        if name not in arguments.keys() | defaulted | _PREDEFINED:
            yield each.line, f"ARG {name} has no value; give it one under `arguments` in {OPTIONS_NAME}"
    for name in sorted(arguments.keys() - declared.keys()):
        yield 1, f"no ARG {name}, but {OPTIONS_NAME} has a value for it"


def _problems_of_copies(parsed: syntax.Dockerfile, paths: Sequence[str]) -> Iterator[syntax.Problem]:
    for each in parsed.instructions():
        if each.keyword in ("COPY", "ADD") and "from" not in each.flags:
            for pattern in each.sources():
                if "$" not in pattern and not _is_there(pattern, paths):
                    yield each.line, f"{pattern} is not in the context"


def _is_there(pattern: str, paths: Sequence[str]) -> bool:
    wanted = posixpath.normpath(pattern).lstrip("/")
    if wanted in ("", "."):
        return True
    names = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 2)}
    return any(fnmatch.fnmatchcase(name, wanted) for name in names)
