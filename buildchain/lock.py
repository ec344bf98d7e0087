"""The lock: exactly what ships, by digest. Made by `./doit.sh lock`, committed, never edited by hand.

The file is JSON with one line for each package, sorted, so that a review reads like a list of changes.
"""

import dataclasses
from collections.abc import Iterable

from buildchain import digest, errors

FORMAT = 1
HINT = "Run ./doit.sh lock and commit the result."


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


@dataclasses.dataclass(frozen=True, slots=True)
class PackageSet:
    """The closure of what one consumer (a repository or an image) asked for.

    `requested` is the consumer's part of the intent, word for word: a build compares it with today's intent.
    """

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
        raise errors.BuildchainError("distribution.lock.json", f"has no entry for {name}", HINT)

    def date_of(self, packages: Iterable[Package]) -> int:
        """The newest date of the indexes these packages came from."""
        archives = {package.archive for package in packages}
        return max((index.date for index in self.indexes if index.archive in archives), default=0)
