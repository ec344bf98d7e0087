"""How registries are reached from here: `registries.yaml`, which is the host's and not the intent's."""

import dataclasses
import pathlib
import types
import typing
import urllib.parse
from collections.abc import Iterator, Mapping

from buildchain import document, errors, fetch

_ADDRESSES: Mapping[str, str] = types.MappingProxyType({"docker.io": "registry-1.docker.io"})
"""Names of registries that are no hosts (github.com/distribution/reference, normalize.go)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where the repositories of a registry can be had.

    `base` is a URL without a path; `prefix` stands before the names of repositories: empty, or with a slash at its end.
    """

    base: str
    prefix: str = ""

    def url(self, repository: str, kind: str, reference: str) -> str:
        """Where a manifest, blob or list of referrers is."""
        return f"{self.base}/v2/{self.prefix}{repository}/{kind}/{reference}"


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """What is said of one host."""

    mirrors: tuple[Endpoint, ...] = ()
    has_only_mirrors: bool = False
    is_plain: bool = False
    trust: fetch.Trust | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sites:
    """What is said of hosts, by name and port; of all others holds the default."""

    by_host: Mapping[str, Site] = dataclasses.field(default_factory=dict)

    def endpoints(self, registry: str) -> tuple[Endpoint, ...]:
        """Where to ask for the repositories of a registry, in order."""
        site = self.by_host.get(registry, Site())
        own = Endpoint(f"{'http' if site.is_plain else 'https'}://{_ADDRESSES.get(registry, registry)}")
        return site.mirrors if site.has_only_mirrors else (*site.mirrors, own)

    def trust(self, url: str) -> fetch.Trust | None:
        """What is said of the certificates of a URL's host."""
        host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        names = [host, *(name for name, address in _ADDRESSES.items() if address == host)]
        return next((self.by_host[name].trust for name in names if name in self.by_host), None)


def load_sites(path: pathlib.Path) -> Sites:
    """Read `registries.yaml`; a file that is not there says nothing.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    if not path.exists():
        return Sites()
    loaded = document.load(path, "registries.schema.json")
    problems = [loaded.problem(*problem) for problem in _problems(loaded.value, path.parent)]
    if problems:
        raise errors.ConfigError(str(path), problems)
    return Sites({host: _site(row, path.parent) for host, row in loaded.value.items()})


def _site(row: Mapping[str, typing.Any], folder: pathlib.Path) -> Site:
    files = [str(folder / row[key]) if key in row else None for key in ("ca", "client-certificate", "client-key")]
    return Site(
        mirrors=tuple(_mirror(url) for url in row.get("mirrors", [])),
        has_only_mirrors=row.get("only-mirrors", False),
        is_plain=row.get("plain-http", False),
        trust=fetch.Trust(*files) if any(files) else None,
    )


def _mirror(url: str) -> Endpoint:
    parts = urllib.parse.urlsplit(url)
    prefix = parts.path.strip("/")
    return Endpoint(f"{parts.scheme}://{parts.netloc}", f"{prefix}/" if prefix else "")


def _problems(
    value: Mapping[str, Mapping[str, typing.Any]], folder: pathlib.Path
) -> Iterator[tuple[document.Place, str]]:
    for host, row in value.items():
        for key in ("ca", "client-certificate", "client-key"):
            if key in row and not (folder / row[key]).is_file():
                yield (host, key), f"no file {row[key]}"
        if "client-key" in row and "client-certificate" not in row:
            yield (host, "client-key"), "stands without a client-certificate"
        if row.get("only-mirrors") and "mirrors" not in row:
            yield (host, "only-mirrors"), "stands without mirrors"
        if row.get("plain-http") and {"ca", "client-certificate"} & row.keys():
            yield (host, "plain-http"), "stands beside certificates, which plain HTTP does not use"
