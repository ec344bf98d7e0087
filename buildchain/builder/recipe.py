"""Recipes of the packages that are built here, and what their rooms hold, as values that refuse nonsense.

    packages/NAME.yaml            which families, which sources
    packages/debian/NAME/         the folder debian/ of the source (or, with `dsc`, none: the source has its own)
    packages/redhat/NAME.spec     the spec file
    packages/common/NAME/         sources of both
    packages/builder.yaml         the tools of every room

In the files of the first two folders `@@VERSION` stands for the upstream version as packages write it.
"""

import dataclasses
import pathlib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence

from buildchain import digest, document, errors, lock, wheels
from buildchain.rootfs import exclusions

TOOLS = "builder.yaml"
ARCHITECTURE = "amd64"
DEBIAN = "debian"
REDHAT = "redhat"

MAX_FILE = 4 << 20
"""Bytes of one file of a recipe; what is larger is pulled."""

_ESSENTIAL = "build-essential"


@dataclasses.dataclass(frozen=True, slots=True)
class Pulled:
    """A source of elsewhere; `path` is a URL, or relative to the base URL of `archive`."""

    name: str
    archive: str
    path: str
    content: digest.Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Tools:
    """What rooms hold: packages, what compiling alone needs, exclusions, links by path."""

    packages: tuple[str, ...]
    without: tuple[str, ...]
    exclude: tuple[exclusions.Exclusion, ...]
    alternatives: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """A package that is built here.

    `debian` are the files of its folder debian/ by path, `spec` is the text of its spec file; empty if the family is
    not built. `files` are the sources of this repository by name. `requirements` is the file of the Python environment
    that it ships, from the checkout on, or nothing; `left_out` are projects of that file with a reason.
    """

    name: str
    version: str
    families: tuple[str, ...]
    compiles: bool
    requires: tuple[str, ...]
    provides: Mapping[str, str]
    files: Mapping[str, bytes]
    made: tuple[str, ...]
    pulled: tuple[Pulled, ...]
    dsc: str
    dsc_key: bytes
    debian: Mapping[str, bytes]
    spec: bytes
    requirements: str = ""
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def build_requires(self) -> tuple[str, ...]:
        """The capabilities that the spec file asks for, without their versions."""
        found = re.findall(rb"^BuildRequires:[ \t]*(.+)$", self.spec, re.MULTILINE)
        words = (word for line in found for word in re.split(r"[\s,]+", line.decode()) if word)
        return tuple(sorted({word for word in words if not re.fullmatch(r"[<>=]+|[0-9].*", word)}))

    def build_depends(self) -> tuple[str, ...]:
        """The packages that debian/control asks for, the first of alternatives, without their versions."""
        text = self.debian.get("control", b"").decode()
        found = re.findall(r"^Build-Depends(?:-Indep|-Arch)?:((?:.*\n[ \t])*.*)$", text, re.MULTILINE)
        names = (re.match(r"\s*([a-z0-9][a-z0-9+.-]+)", item) for field in found for item in field.split(","))
        return tuple(sorted({name[1] for name in names if name} - {"debhelper-compat"}))

    def request(self, family: str, tools: Tools, archives: Sequence[str]) -> lock.Request:
        """What to resolve for its room; recipes that want nothing but the tools share one, whatever their family."""
        asked = self.build_depends() if family == DEBIAN else map(self.stand_in, self.build_requires())
        compiler = {_ESSENTIAL} if self.compiles else set()
        compiler |= set(wheels.steps.NEEDS) if self.requirements and family == DEBIAN else set()
        held = set(tools.packages)
        added = {*self.requires, *asked, *compiler} - held
        return lock.Request(
            name=f"builder {family} {self.name}" if added else "builder",
            architecture=ARCHITECTURE,
            archives=tuple(archives),
            packages=tuple(sorted(held | added)),
            without=() if self.compiles else tools.without,
        )

    def stand_in(self, capability: str) -> str:
        """The Debian package that stands for an RPM capability."""
        return self.provides.get(capability, capability)


def load_tools(path: pathlib.Path) -> Tools:
    """Load what rooms hold.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    value = document.load(path, "builder.schema.json").value
    return Tools(
        packages=tuple(sorted(value["packages"])),
        without=tuple(sorted(value.get("without", ()))),
        exclude=exclusions.parse(value["exclude"]),
        alternatives=dict(sorted(value["alternatives"].items())),
    )


def load(directory: pathlib.Path, name: str, product_version: str) -> Recipe:
    """Load a recipe.

    Arguments:
        directory:       the folder `packages/`.
        product_version: of what has no version of its own.

    Raises:
        ConfigError: with every problem of the recipe and its files.
    """
    path = directory / f"{name}.yaml"
    loaded = document.load(path, "package.schema.json")
    value = loaded.value
    version = value.get("version", product_version.replace("-", "~"))
    reader = _Reader(directory, version)
    problems = [loaded.problem(*problem) for problem in _problems(value)]
    families = tuple(sorted(value["families"]))
    recipe = Recipe(
        name=name,
        version=version,
        families=families,
        compiles=value.get("compiles", False),
        requires=tuple(sorted(value.get("requires", ()))),
        provides=dict(sorted(value.get("provides", {}).items())),
        files={each: reader.file(f"common/{name}/{each}") for each in sorted(value.get("files", ()))},
        made=tuple(sorted(value.get("made", ()))),
        pulled=tuple(_pulled(each, row) for each, row in sorted(value.get("pulled", {}).items())),
        dsc=value.get("dsc", ""),
        dsc_key=reader.file(value["dsc-key"]) if "dsc-key" in value else b"",
        debian=reader.folder(f"debian/{name}") if DEBIAN in families and "dsc" not in value else {},
        spec=reader.text(f"redhat/{name}.spec") if REDHAT in families else b"",
        requirements=value.get("environment", {}).get("requirements", ""),
        left_out=dict(sorted(value.get("environment", {}).get("without", {}).items())),
    )
    problems += reader.problems
    problems += _problems_of_text(recipe)
    if problems:
        raise errors.ConfigError(str(path), problems)
    return recipe


def _problems_of_text(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What we read ourselves, to know what a package is built with."""
    for path, content in (
        (f"redhat/{recipe.name}.spec", recipe.spec),
        (f"debian/{recipe.name}/control", recipe.debian.get("control", b"")),
    ):
        try:
            content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            yield "", f"{path}: line {line} is not UTF-8"


def _problems(value: Mapping[str, typing.Any]) -> Iterator[tuple[document.Place, str]]:
    pulled = value.get("pulled", {})
    if "environment" in value and DEBIAN not in value["families"]:
        yield ("environment",), "is made in the room of the family debian, which is not among `families`"
    if "dsc" in value and value["dsc"] not in pulled:
        yield ("dsc",), f"{value['dsc']!r} is not among the pulled sources"
    for name, row in pulled.items():
        if "archive" not in row and not re.match(r"https?://", row["path"]):
            yield ("pulled", name, "path"), "is no http or https URL, and no archive is named"
    names = [*value.get("files", ()), *value.get("made", ()), *pulled]
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield (), f"two sources are named {name}"


def _pulled(name: str, row: Mapping[str, typing.Any]) -> Pulled:
    content = digest.Descriptor(digest.Digest(row["sha256"]), row["size"])
    return Pulled(name, row.get("archive", ""), row["path"], content)


class _Reader:
    """Reads the files of a recipe and gathers what is wrong with them."""

    def __init__(self, directory: pathlib.Path, version: str) -> None:
        self._directory = directory
        self._version = version
        self.problems: list[tuple[str, str]] = []

    def file(self, path: str) -> bytes:
        """A file as it is."""
        full = self._directory / path
        try:
            if full.is_symlink() or full.stat().st_size > MAX_FILE:
                self.problems.append(("", f"{path} is a link, or larger than {MAX_FILE} bytes"))
                return b""
            return full.read_bytes()
        except OSError as error:
            self.problems.append(("", f"{path}: {error.strerror}"))
            return b""

    def text(self, path: str) -> bytes:
        """A file with its placeholders filled."""
        content = self.file(path).replace(b"@@VERSION", self._version.encode())
        left = re.search(rb"@@[A-Z]+", content)
        if left:
            self.problems.append(("", f"{path}: there is no value for {left[0].decode()}"))
        return content

    def folder(self, path: str) -> dict[str, bytes]:
        """All files below a folder, by their paths in it."""
        root = self._directory / path
        found = sorted(each for each in root.rglob("*") if not each.is_dir())
        if not found:
            self.problems.append(("", f"{path}/ is missing or empty"))
            return {}
        if root / "control" not in found:
            self.problems.append(("", f"{path}/control is missing"))
        return {
            each.relative_to(root).as_posix(): self.text(each.relative_to(self._directory).as_posix()) for each in found
        }
