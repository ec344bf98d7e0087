"""Files of a package index of Python that the lock names: the wheels and source distributions of an environment."""

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence

from buildchain import digest


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class File:
    """One file of an index; `environment` is the recipe whose environment it is for, `name` the file's own name."""

    environment: str
    project: str
    version: str
    name: str
    content: digest.Descriptor

    @property
    def is_wheel(self) -> bool:
        """Whether it can be installed as it is; what is no wheel has to be built."""
        return self.name.endswith(".whl")

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"{self.environment}: {self.name}"


Wanted = Mapping[tuple[str, str], tuple[str, frozenset[digest.Digest]]]
"""By environment and project: the version, and the digests that the requirements allow."""


def differences(files: Iterable[File], wanted: Wanted) -> Iterator[str]:
    """What the requirements want and the files are not, or the other way round."""
    held = {(each.environment, each.project): each for each in files}
    for name, project in sorted(wanted.keys() | held.keys()):
        if (name, project) not in held:
            yield f"{name}: {project} is wanted but not locked"
        elif (name, project) not in wanted:
            yield f"{name}: {project} is locked but not wanted"
        else:
            file, (version, digests) = held[name, project], wanted[name, project]
            if file.version != version:
                yield f"{name}: {project} {file.version} is locked but {version} is wanted"
            elif file.content.digest not in digests:
                yield f"{name}: {file.name} is locked with a digest that the requirements do not allow"


def write(files: Iterable[File]) -> list[dict[str, typing.Any]]:
    """The rows of the lock's section `files`."""
    names = [field.name for field in dataclasses.fields(File) if field.name != "content"]
    return [
        {name: getattr(each, name) for name in names} | {"size": each.content.size, "digest": str(each.content.digest)}
        for each in sorted(files)
    ]


def read(rows: Sequence[Mapping[str, typing.Any]]) -> tuple[File, ...]:
    """Read back what `write` wrote; anything else is a ValueError, KeyError or TypeError."""
    return tuple(sorted(_read(row) for row in rows))


def _read(row: Mapping[str, typing.Any]) -> File:
    texts = {name: row[name] for name in ("environment", "project", "version", "name")}
    if not all(isinstance(each, str) for each in (*texts.values(), row["digest"])) or type(row["size"]) is not int:
        raise TypeError(f"not a file: {row!r:.200}")
    if "/" in texts["name"] or texts["name"].startswith("."):
        raise ValueError(f"not a file name: {texts['name']!r}")
    return File(**texts, content=digest.Descriptor(digest.Digest.parse(row["digest"]), row["size"]))
