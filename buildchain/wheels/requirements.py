"""Requirements with hashes, as `uv pip compile --generate-hashes` and `pip --require-hashes` write and read them."""

import dataclasses
import pathlib
import re
import types
from collections.abc import Collection, Iterator, Mapping, Sequence

from buildchain import digest, errors, lock

PYTHON = (3, 11)
"""The Python of both families: /usr/bin/python3.11 of Debian 12 and of EL 9's application stream."""

ENVIRONMENT: Mapping[str, str] = types.MappingProxyType(
    {
        "implementation_name": "cpython",
        "implementation_version": "3.11.2",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": "3.11.2",
        "python_version": "3.11",
        "sys_platform": "linux",
    }
)
"""What markers are judged by (PEP 508): the host has no say. Debian 12 has 3.11.2, the oldest of both families."""

_HINT = "Make the file anew: uv pip compile --universal --generate-hashes --python-version 3.11"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Requirement:
    """One version of one project, and the digests that its files may have."""

    project: str
    version: str
    digests: frozenset[digest.Digest]


def load(path: pathlib.Path, without: Collection[str] = ()) -> tuple[Requirement, ...]:
    """The requirements that concern us, sorted.

    Arguments:
        without: projects to leave out.

    Raises:
        BuildchainError: the file cannot be read.
        ConfigError:     with every line that has no version or no hash, and every project of `without` it lacks.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT) from error
    found: list[Requirement] = []
    problems: list[tuple[str, str]] = []
    for line in _lines(text):
        parsed = _parse(line)
        if isinstance(parsed, str):
            problems.append((line.split(" ")[0], parsed))
        elif parsed is not None:
            found.append(parsed)
    projects = {each.project for each in found}
    problems += [(project, "is to be left out, but not required") for project in sorted({*without} - projects)]
    if problems:
        raise errors.ConfigError(str(path), problems, _HINT)
    return tuple(sorted(each for each in found if each.project not in without))


def wanted(environments: Mapping[str, Sequence[Requirement]]) -> lock.Wanted:
    """What a lock has to hold for requirements by environment."""
    return {
        (name, each.project): (each.version, each.digests) for name, found in environments.items() for each in found
    }


def _lines(text: str) -> Iterator[str]:
    """Logical lines, without comments."""
    plain = re.sub(r"(?m)^\s*#.*\n?", "", text)
    yield from filter(None, (line.strip() for line in re.sub(r"\\\n\s*", " ", plain).splitlines()))


def _parse(line: str) -> Requirement | str | None:
    """A requirement; what is wrong with it; or nothing, if it is for other systems."""
    # Late: most runs read no requirements.
    from packaging import requirements, utils

    head, *words = re.split(r"\s+--hash=", line)
    try:
        wanted = requirements.Requirement(head)
        digests = frozenset(digest.Digest.parse(word) for word in words)
    except ValueError as error:
        return str(error).splitlines()[0]
    versions = [each.version for each in wanted.specifier if each.operator == "=="]
    if len(versions) != 1 or len(wanted.specifier) != 1:
        return "has no exact version"
    if not digests:
        return "has no hash"
    if wanted.marker and not wanted.marker.evaluate(dict(ENVIRONMENT)):
        return None
    return Requirement(utils.canonicalize_name(wanted.name), versions[0], digests)
