"""What a lock holds, as values."""

import dataclasses
from collections.abc import Iterable

from buildchain import digest, errors
from buildchain.lock import _files

FILE_NAME = "distribution.lock.json"
HINT = "Run ./doit.sh lock, review what it changes, and commit the result."


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Package:
    """One DEB or RPM: what it is, where its archive has it, and its bytes.

    `version` of an RPM is [EPOCH:]VERSION-RELEASE, `source` the name of its source package. `path` is relative to the
    archive's base URL, unquoted, as in `Filename:` of its index.
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
    """`Date:` of the InRelease file, or the newest timestamp in the repomd.xml; in seconds since 1970."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Request:
    """What one consumer (a repository or an image) wants: the part of the intent that its set must cover.

    `without` are packages of the closure that shall not ship; `bootstraps` asks for apt and the Essential set too.
    `modules` are the streams that are enabled in the archives; `base` is the word for what the hosts hold already.
    """

    name: str
    architecture: str
    archives: tuple[str, ...]
    packages: tuple[str, ...]
    without: tuple[str, ...] = ()
    bootstraps: bool = False
    modules: tuple[str, ...] = ()
    base: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The request as the lock records it: sorted words, a dash before what shall not ship."""
        essential = ["?essential", "apt"] if self.bootstraps else []
        wanted = sorted({*self.packages, *essential})
        conditions = [*(f"@{stream}" for stream in self.modules), *([self.base] if self.base else [])]
        return (*wanted, *(f"-{name}" for name in sorted(self.without)), *conditions)


@dataclasses.dataclass(frozen=True, slots=True)
class PackageSet:
    """The closure of one request; `requested` are the words of that request, packages are sorted.

    `assumes` are the packages that its hosts must hold, beside the set, by name.
    """

    name: str
    architecture: str
    requested: tuple[str, ...]
    packages: tuple[Package, ...]
    archives: tuple[str, ...] = ()
    assumes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ImageRequest:
    """A pulled image as the intent wants it.

    `source` is `HOST[:PORT]/REPOSITORY`; `platforms` are spelled `linux/amd64` or `linux/arm/v7`.
    """

    name: str
    source: str
    tag: str
    platforms: tuple[str, ...]
    has_signatures: bool = False


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Blob:
    """A configuration, a layer, or what else a manifest names."""

    content: digest.Descriptor
    media_type: str


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ImageManifest:
    """An image manifest or index: its raw bytes are kept.

    `tag` is what it is served by besides its digest, or empty; `platform` is that of its image, or empty.
    """

    content: digest.Descriptor
    media_type: str
    tag: str = ""
    platform: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """What a pulled image is made of; manifests and blobs are sorted."""

    request: ImageRequest
    manifests: tuple[ImageManifest, ...]
    blobs: tuple[Blob, ...]

    @property
    def top(self) -> ImageManifest:
        """What the tag of the image stands for: a manifest or an index."""
        return next(each for each in self.manifests if each.tag == self.request.tag)

    def contents(self) -> list[digest.Descriptor]:
        """Everything that has to be in the store."""
        return [*(each.content for each in self.manifests), *(each.content for each in self.blobs)]


@dataclasses.dataclass(frozen=True, slots=True)
class Lock:
    """All indexes used, all package sets and all pulled images, sorted by name."""

    indexes: tuple[Index, ...] = ()
    sets: tuple[PackageSet, ...] = ()
    images: tuple[Image, ...] = ()
    files: tuple[_files.File, ...] = ()
    """Of a package index of Python."""

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

    def image(self, name: str) -> Image:
        """A pulled image.

        Raises:
            BuildchainError: the lock has no such image.
        """
        for each in self.images:
            if each.request.name == name:
                return each
        raise errors.BuildchainError(FILE_NAME, f"has no image {name}", HINT)

    def date_of(self, packages: Iterable[Package]) -> int:
        """The newest date of the indexes these packages came from."""
        archives = {package.archive for package in packages}
        return max((index.date for index in self.indexes if index.archive in archives), default=0)
