"""Where the archives are: named in the settings, or found among the host's own apt sources.

No host name of a mirror stands in this repository. The mirror of an archive is `<ARCHIVE>_MIRROR`, or else the first
http(s) source of the host whose InRelease names the archive's origin and suite.
"""

import dataclasses
import pathlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping

from buildchain import errors, fetch, lock, manifest, store, urls

APT_DIRECTORY = pathlib.Path("/etc/apt")
MAX_INRELEASE_BYTES = 4 << 20

# sources.list(5), "THE DEB AND DEB-SRC TYPES": one-line style.
_ONE_LINE = re.compile(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>https?://\S+)\s+\S+", re.MULTILINE)

_OFF = {"no", "false", "without", "off", "disable", "0"}  # apt's StringToBool


@dataclasses.dataclass
class Mirrors:
    """Finds mirrors, asking the network at most once for each candidate."""

    configured: dict[str, str]
    options: fetch.Options
    apt_directory: pathlib.Path = APT_DIRECTORY
    _found: dict[str, str] = dataclasses.field(default_factory=dict)

    def url(self, archive: manifest.Archive) -> str:
        """Base URL of an archive, without a slash at its end.

        Raises:
            BuildchainError: no source of this host offers the archive, or one of RPMs has no URL.
        """
        if archive.name in self.configured:
            return self.configured[archive.name]
        if archive.url:
            return archive.url
        if archive.type == manifest.RPM:
            raise _unnamed(archive)
        if archive.name not in self._found:
            self._found[archive.name] = self._search(archive)
        return self._found[archive.name]

    def address(self, archive: manifest.Archive) -> str:
        """Base URL as a program asks for it that knows nothing of rewrites.

        Raises:
            BuildchainError: see `url`; or one rule leads the archive's indexes away from the archive.
        """
        indexes = f"/dists/{archive.suite}/InRelease"
        found = self.options.rewrites.apply(self.url(archive) + indexes)
        if not found.endswith(indexes):
            why = f"leads {self.url(archive)}{indexes} to {found}"
            hint = f"Let the rule's second URL end as the first one does, so that apt finds dists/{archive.suite}/."
            raise errors.BuildchainError("URL_REWRITES", urls.shown(why), hint)
        return found.removesuffix(indexes)

    def _search(self, archive: manifest.Archive) -> str:
        candidates = list(dict.fromkeys(host_sources(self.apt_directory)))
        for url in candidates:
            try:
                content = fetch.get(
                    f"{url}/dists/{archive.suite}/InRelease", self.options, max_bytes=MAX_INRELEASE_BYTES
                )
            except (errors.TransportError, errors.IntegrityError):
                continue
            if offers(content.decode(errors="replace"), archive):
                return url
        why = f"none of this host's {len(candidates)} apt sources offers {archive.origin} {archive.suite}"
        hint = f"Set {_variable(archive)} in .env to a mirror's base URL, the folder that holds dists/{archive.suite}/."
        raise errors.BuildchainError(f"archive {archive.name}", why, hint)


def package_url(found: Mirrors, archives: Mapping[str, manifest.Archive], package: lock.Package) -> str:
    """Where a package stands on the mirror of its archive."""
    return f"{found.url(archives[package.archive])}/{urllib.parse.quote(package.path)}"


def request(
    found: Mirrors, archives: Mapping[str, manifest.Archive], package: lock.Package, held: store.Store
) -> fetch.Request:
    """What asks for a package; with the package held, or offline, no mirror is looked for."""
    is_asked_for = not (found.options.is_offline or held.has(package.content))
    urls_of_it = (package_url(found, archives, package),) if is_asked_for else ()
    return fetch.Request(package.key, package.content, urls_of_it)


def _unnamed(archive: manifest.Archive) -> errors.BuildchainError:
    hint = f"Set {_variable(archive)} in .env to its base URL, or `url` in distribution.yaml."
    return errors.BuildchainError(f"archive {archive.name}", "its URL is nowhere named", hint)


def _variable(archive: manifest.Archive) -> str:
    return f"{archive.name.upper().replace('-', '_')}_MIRROR"


def offers(release: str, archive: manifest.Archive) -> bool:
    """Whether a Release text is that of the archive: its origin, and its suite or code name."""
    fields = dict(re.findall(r"^(Origin|Suite|Codename): *(\S.*?) *$", release, re.MULTILINE))
    return fields.get("Origin") == archive.origin and archive.suite in (fields.get("Suite"), fields.get("Codename"))


def host_sources(directory: pathlib.Path) -> Iterator[str]:
    """Base URLs of the host's enabled http(s) package sources, in apt's order."""
    lists = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*.list"))]
    for path in lists:
        for match in _ONE_LINE.finditer(_read(path)):
            yield match["uri"].rstrip("/")
    for path in sorted((directory / "sources.list.d").glob("*.sources")):
        yield from _deb822_uris(_read(path))


def _deb822_uris(text: str) -> Iterator[str]:
    # Imported here: only a run that asks the network needs it.
    from debian import deb822

    for stanza in deb822.Deb822.iter_paragraphs(text.splitlines(), use_apt_pkg=False):
        is_enabled = stanza.get("Enabled", "yes").strip().lower() not in _OFF
        if is_enabled and "deb" in stanza.get("Types", "").split():
            yield from (uri.rstrip("/") for uri in stanza.get("URIs", "").split() if re.match("https?://", uri))


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
