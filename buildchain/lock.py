"""The lock: exactly what ships, by digest. Made by `./doit.sh lock`, committed, never edited by hand.

The file is JSON with one line for each package, sorted, so that a review reads like a list of changes.
"""

import collections
import dataclasses
import datetime
import json
import pathlib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest, errors

FORMAT = 1
FILE_NAME = "distribution.lock.json"
_DATE = "%Y-%m-%dT%H:%M:%SZ"
_NO_SUITES: Mapping[str, str] = types.MappingProxyType({})
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
    archives: tuple[str, ...] = ()


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
        raise errors.BuildchainError(str(path), f"is not a lock of format {FORMAT} ({error!r:.200})", HINT) from error


def parse(content: bytes) -> Lock:
    """Read back what `dump` wrote; anything else is a ValueError, KeyError, TypeError or RecursionError."""
    value = json.loads(content)
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']!r}")
    packages = [_read_package(row) for row in value["packages"]]
    by_reference = dict(zip(_references(packages), packages, strict=True))
    sets = [_read_set(row, by_reference) for row in value["sets"]]
    if len({each.name for each in sets}) < len(sets):
        raise ValueError("two sets of one name")
    return Lock(tuple(sorted(_read_index(row) for row in value["indexes"])), tuple(sets))


def dump(value: Lock) -> bytes:
    """The lock as JSON, a function of the lock alone."""
    packages = value.packages()
    references = dict(zip(packages, _references(packages), strict=True))
    sets = []
    for each in sorted(value.sets, key=lambda each: each.name):
        members = ",\n".join(f"    {json.dumps(references[package])}" for package in each.packages)
        head = {
            "name": each.name,
            "architecture": each.architecture,
            "archives": list(each.archives),
            "requested": list(each.requested),
        }
        sets.append(f'{_row(head)[:-1]}, "packages": [\n{members}\n  ]}}')
    parts = [
        f'"format": {FORMAT}',
        _rows("indexes", [_row(_write_index(index)) for index in sorted(value.indexes)]),
        _rows("packages", [_row(_write_package(package)) for package in packages]),
        _rows("sets", sets),
    ]
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def differences(value: Lock, requests: Sequence[Request], suites: Mapping[str, str] = _NO_SUITES) -> list[str]:
    """What the intent asks for and the lock does not hold, or the other way round; empty if the lock covers it.

    Arguments:
        suites: the suite by archive name.
    """
    wanted = {each.name: _features(each.architecture, each.archives, each.words) for each in requests}
    held = {each.name: _features(each.architecture, each.archives, each.requested) for each in value.sets}
    found = [f"{name} is wanted but not locked" for name in sorted(wanted.keys() - held.keys())]
    found += [f"{name} is locked but not wanted" for name in sorted(held.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & held.keys()):
        found += [f"{name}: {word} is wanted but not locked" for word in wanted[name] if word not in held[name]]
        found += [f"{name}: {word} is locked but not wanted" for word in held[name] if word not in wanted[name]]
    return found + [
        f"archive {index.archive}: suite {index.suite} is locked but {suites[index.archive]} is wanted"
        for index in value.indexes
        if suites.get(index.archive, index.suite) != index.suite
    ]


def check_covers(value: Lock, requests: Sequence[Request], suites: Mapping[str, str] = _NO_SUITES) -> None:
    """Refuse a lock that was made for another intent.

    Arguments:
        suites: the suite by archive name.

    Raises:
        BuildchainError: naming every difference.
    """
    found = differences(value, requests, suites)
    if found:
        why = "\n".join(["does not cover distribution.yaml and the recipes", *(f"  {line}" for line in found)])
        raise errors.BuildchainError(FILE_NAME, why, HINT)


def check_not_older(old: Lock, new: Lock) -> None:
    """Refuse indexes older than those locked before: a stale mirror, or an attacker who replays them.

    Raises:
        ResolveError: naming every such archive.
    """
    before = {(index.archive, index.suite): index.date for index in old.indexes}
    stale = [index.archive for index in new.indexes if index.date < before.get((index.archive, index.suite), 0)]
    if stale:
        why = f"their index is older than the one in {FILE_NAME}: a stale mirror, or a replay"
        raise errors.ResolveError(f"archives {', '.join(stale)}", why, "Use another mirror (DEBIAN_MIRROR in .env).")


def changes(old: Lock, new: Lock) -> list[str]:
    """What a new lock changes, one line a package, for a reviewer."""
    before, after = _versions(old), _versions(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before[name], after[name]
        if was.keys() != now.keys():
            lines.append(f"{name}: {', '.join(sorted(was)) or 'absent'} -> {', '.join(sorted(now)) or 'absent'}")
        elif was != now:
            lines.append(f"{name}: {', '.join(sorted(now))} has other bytes under the same version")
    return lines


def _versions(value: Lock) -> dict[str, dict[str, set[digest.Digest]]]:
    """By name and version, the contents."""
    versions: dict[str, dict[str, set[digest.Digest]]] = collections.defaultdict(dict)
    for package in value.packages():
        known = versions[f"{package.name}:{package.architecture}"]
        known.setdefault(package.version, set()).add(package.content.digest)
    return versions


def _features(architecture: str, archives: Iterable[str], words: Iterable[str]) -> list[str]:
    """What must be equal in a request and the set that was made of it."""
    return [f"architecture {architecture}", *(f"archive {name}" for name in archives), *words]


def _references(packages: Iterable[Package]) -> list[str]:
    """How sets name packages: by no more than tells them apart, so that an update changes one line."""
    spellings = [
        (
            f"{package.name}:{package.architecture}",
            package.key,
            f"{package.key}@{package.archive}/{package.content.digest}",
        )
        for package in packages
    ]
    count = collections.Counter(spelling for each in spellings for spelling in each)
    if any(count[longest] > 1 for _, _, longest in spellings):
        raise ValueError("two entries for one package")
    return [next(spelling for spelling in each if count[spelling] == 1) for each in spellings]


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
        "date": date.strftime(_DATE),
    }


def _read_index(row: dict[str, typing.Any]) -> Index:
    date = datetime.datetime.strptime(_text(row, "date"), _DATE).replace(tzinfo=datetime.UTC)
    content = digest.Digest.parse(_text(row, "digest"))
    return Index(_text(row, "archive"), _text(row, "suite"), content, int(date.timestamp()))


def _write_package(package: Package) -> dict[str, typing.Any]:
    row = {field.name: getattr(package, field.name) for field in dataclasses.fields(package) if field.name != "content"}
    return row | {"size": package.content.size, "digest": str(package.content.digest)}


def _read_package(row: dict[str, typing.Any]) -> Package:
    texts = {field.name: _text(row, field.name) for field in dataclasses.fields(Package) if field.name != "content"}
    if type(row["size"]) is not int:
        raise TypeError(f"size is {row['size']!r}")
    return Package(**texts, content=digest.Descriptor(digest.Digest.parse(_text(row, "digest")), row["size"]))


def _read_set(row: dict[str, typing.Any], packages: Mapping[str, Package]) -> PackageSet:
    members = tuple(sorted(packages[reference] for reference in _texts(row, "packages")))
    archives, requested = _texts(row, "archives"), _texts(row, "requested")
    return PackageSet(_text(row, "name"), _text(row, "architecture"), requested, members, archives)


def _text(row: dict[str, typing.Any], name: str) -> str:
    if not isinstance(row[name], str):
        raise TypeError(f"{name} is {row[name]!r}")
    return str(row[name])


def _texts(row: dict[str, typing.Any], name: str) -> tuple[str, ...]:
    if not isinstance(row[name], list) or not all(isinstance(each, str) for each in row[name]):
        raise TypeError(f"{name} is {row[name]!r}")
    return tuple(row[name])
