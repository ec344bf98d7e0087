"""The lock: exactly what ships, by digest. Made by `./doit.sh lock`, committed, never edited by hand.

The file is JSON with one line for each package, sorted, so that a review reads like a list of changes.
"""

import collections
import dataclasses
import datetime
import json
import pathlib
import typing
from collections.abc import Iterable, Sequence

from buildchain import digest, errors

FORMAT = 1
FILE_NAME = "distribution.lock.json"
HINT = "Run ./doit.sh lock, review what it changes, and commit the result."


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Package:
    """One DEB: what it is, where its archive has it, and its bytes.

    `path` is relative to the archive's base URL, unquoted, as in `Filename:` of its index.
    """

    name: str
    architecture: str
    version: str
    source: str
    archive: str
    path: str
    content: digest.Descriptor

    @property
    def key(self) -> str:
        """The name of this package among all packages of the lock."""
        return f"{self.name}:{self.architecture}={self.version}"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Index:
    """An archive's index as it stood when the lock was made: the identity of the snapshot."""

    archive: str
    suite: str
    content: digest.Digest
    date: int
    """`Date:` of the InRelease file, in seconds since 1970."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Request:
    """What one consumer (a repository or an image) wants: the part of the intent that its set must cover.

    `without` are packages of the closure that shall not ship; `bootstraps` asks for apt and the Essential set too.
    """

    name: str
    architecture: str
    archives: tuple[str, ...]
    packages: tuple[str, ...]
    without: tuple[str, ...] = ()
    bootstraps: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The request as the lock records it: sorted words, a dash before what shall not ship."""
        essential = ["?essential", "apt"] if self.bootstraps else []
        return (*sorted({*self.packages, *essential}), *(f"-{name}" for name in sorted(self.without)))


@dataclasses.dataclass(frozen=True, slots=True)
class PackageSet:
    """The closure of one request; `requested` are the words of that request, packages are sorted."""

    name: str
    architecture: str
    requested: tuple[str, ...]
    packages: tuple[Package, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Lock:
    """All indexes used and all package sets, sorted by name."""

    indexes: tuple[Index, ...] = ()
    sets: tuple[PackageSet, ...] = ()

    def packages(self) -> list[Package]:
        """Every package once, sorted."""
        return sorted({package for each in self.sets for package in each.packages})

    def set(self, name: str) -> PackageSet:
        """The set of one consumer.

        Raises:
            BuildchainError: the lock has no such set.
        """
        for each in self.sets:
            if each.name == name:
                return each
        raise errors.BuildchainError(FILE_NAME, f"has no entry for {name}", HINT)

    def date_of(self, packages: Iterable[Package]) -> int:
        """The newest date of the indexes these packages came from."""
        archives = {package.archive for package in packages}
        return max((index.date for index in self.indexes if index.archive in archives), default=0)


def load(path: pathlib.Path) -> Lock:
    """Read a lock.

    Raises:
        BuildchainError: there is none, or it is not one that `dump` wrote.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), HINT) from error
    try:
        return parse(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.BuildchainError(str(path), f"is not a lock of format {FORMAT} ({error!r})", HINT) from error


def parse(content: bytes) -> Lock:
    """Read back what `dump` wrote; anything else is a ValueError, KeyError or TypeError."""
    value = json.loads(content)
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']!r}")
    packages = [_read_package(row) for row in value["packages"]]
    by_reference = dict(zip(_references(packages), packages, strict=True))
    return Lock(
        indexes=tuple(sorted(_read_index(row) for row in value["indexes"])),
        sets=tuple(
            PackageSet(
                row["name"],
                row["architecture"],
                tuple(row["requested"]),
                tuple(sorted(by_reference[reference] for reference in row["packages"])),
            )
            for row in value["sets"]
        ),
    )


def dump(value: Lock) -> bytes:
    """The lock as JSON, a function of the lock alone."""
    packages = value.packages()
    references = dict(zip(packages, _references(packages), strict=True))
    sets = []
    for each in sorted(value.sets, key=lambda each: each.name):
        members = ",\n".join(f"    {json.dumps(references[package])}" for package in each.packages)
        head = {"name": each.name, "architecture": each.architecture, "requested": list(each.requested)}
        sets.append(f'{_row(head)[:-1]}, "packages": [\n{members}\n  ]}}')
    parts = [
        f'"format": {FORMAT}',
        _rows("indexes", [_row(_write_index(index)) for index in sorted(value.indexes)]),
        _rows("packages", [_row(_write_package(package)) for package in packages]),
        _rows("sets", sets),
    ]
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def differences(value: Lock, requests: Sequence[Request]) -> list[str]:
    """What the intent asks for and the lock does not hold, or the other way round; empty if the lock covers it."""
    wanted = {request.name: request.words for request in requests}
    held = {each.name: each.requested for each in value.sets}
    return [
        f"{name}: {change}"
        for name in sorted(wanted.keys() | held.keys())
        for change in _changed_words(held.get(name, ()), wanted.get(name, ()))
    ]


def check_covers(value: Lock, requests: Sequence[Request]) -> None:
    """Refuse a lock that was made for another intent.

    Raises:
        BuildchainError: naming every difference.
    """
    found = differences(value, requests)
    if found:
        why = "\n".join(["does not cover distribution.yaml and the recipes", *(f"  {line}" for line in found)])
        raise errors.BuildchainError(FILE_NAME, why, HINT)


def changes(old: Lock, new: Lock) -> list[str]:
    """What a new lock changes, one line a package, for a reviewer."""
    before, after = _versions(old), _versions(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, now = ", ".join(sorted(before[name])), ", ".join(sorted(after[name]))
        if was != now:
            lines.append(f"{name}: {was or 'absent'} -> {now or 'absent'}")
    return lines


def _versions(value: Lock) -> dict[str, set[str]]:
    versions: dict[str, set[str]] = collections.defaultdict(set)
    for package in value.packages():
        versions[f"{package.name}:{package.architecture}"].add(package.version)
    return versions


def _changed_words(held: Sequence[str], wanted: Sequence[str]) -> list[str]:
    missing = [f"{word} is wanted but not locked" for word in wanted if word not in held]
    return missing + [f"{word} is locked but not wanted" for word in held if word not in wanted]


def _references(packages: Iterable[Package]) -> list[str]:
    """How sets name packages: without the version where there is only one, so that an update changes one line."""
    packages = list(packages)
    count = collections.Counter((package.name, package.architecture) for package in packages)
    return [
        package.key if count[package.name, package.architecture] > 1 else f"{package.name}:{package.architecture}"
        for package in packages
    ]


def _rows(name: str, rows: Sequence[str]) -> str:
    lines = ",\n".join(f"  {row}" for row in rows)
    return f'"{name}": [\n{lines}\n]' if rows else f'"{name}": []'


def _row(value: dict[str, typing.Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_index(index: Index) -> dict[str, typing.Any]:
    date = datetime.datetime.fromtimestamp(index.date, datetime.UTC)
    return {
        "archive": index.archive,
        "suite": index.suite,
        "digest": str(index.content),
        "date": f"{date:%Y-%m-%dT%H:%M:%SZ}",
    }


def _read_index(row: dict[str, str]) -> Index:
    date = int(datetime.datetime.fromisoformat(row["date"]).timestamp())
    return Index(row["archive"], row["suite"], digest.Digest.parse(row["digest"]), date)


def _write_package(package: Package) -> dict[str, typing.Any]:
    row = {field.name: getattr(package, field.name) for field in dataclasses.fields(package) if field.name != "content"}
    return row | {"size": package.content.size, "digest": str(package.content.digest)}


def _read_package(row: dict[str, typing.Any]) -> Package:
    texts = {field.name: str(row[field.name]) for field in dataclasses.fields(Package) if field.name != "content"}
    content = digest.Descriptor(digest.Digest.parse(row["digest"]), int(row["size"]))
    return Package(**texts, content=content)
