"""Small documents from a registry: manifests by tag or digest, configurations, lists of referrers."""

import dataclasses
import hashlib
import re
import typing
import urllib.parse
from collections.abc import Callable, Iterator

from buildchain import digest, errors, fetch
from buildchain.registry_client import _documents, _sites

_MAX_PAGES = 100
_LINK = re.compile(r"<([^>]+)>\s*;[^,]*\brel=\"?next\"?")

_HINT_MIRROR = "Choose another mirror in registries.yaml, or ask its owner."

_Answer = typing.TypeVar("_Answer")


@dataclasses.dataclass(frozen=True, slots=True)
class Raw:
    """A manifest as it came, and where from."""

    content: bytes
    content_type: str
    url: str

    @property
    def descriptor(self) -> digest.Descriptor:
        """Its digest and size."""
        return digest.Descriptor.of_bytes(self.content)


class Client:
    """Asks the places of a registry in order; the first good answer counts."""

    def __init__(self, sites: _sites.Sites, options: fetch.Options) -> None:
        self._sites = sites
        self._options = options

    def manifest(self, source: str, reference: str) -> Raw:
        """A manifest by tag or digest.

        Raises:
            TransportError: it cannot be had; its status is 404 if every place says that there is none.
            IntegrityError: it is not what its digest says, or longer than any manifest may be.
        """
        return self._first(source, "manifests", reference, lambda url: _manifest(url, reference, self._options))

    def blob(self, source: str, content: digest.Descriptor) -> bytes:
        """A small blob.

        Raises:
            TransportError: it cannot be had.
            IntegrityError: these are other bytes.
        """

        def ask(url: str) -> bytes:
            found = fetch.ask(url, self._options, max_bytes=content.size).content
            _check_digest(url, found, str(content.digest))
            return found

        return self._first(source, "blobs", str(content.digest), ask)

    def referrers(self, source: str, subject: digest.Digest) -> tuple[_documents.Reference, ...]:
        """What refers to a manifest: by the registry's own list, or by the tag of those that keep none.

        Raises:
            TransportError: the registry does not say so clearly.
            UnfitError:     it answers with something else than an index.
        """
        try:
            return self._first(source, "referrers", str(subject), lambda url: tuple(self._pages(url)))
        except errors.TransportError as error:
            if error.status not in (400, 404, 405):
                raise
        raw = self.optional_manifest(source, f"sha256-{subject.hex}")
        return _documents.parse(raw.content, raw.content_type).manifests if raw else ()

    def optional_manifest(self, source: str, reference: str) -> Raw | None:
        """A manifest by tag; None if there is none.

        Raises:
            TransportError, IntegrityError: as `manifest` does.
        """
        try:
            return self.manifest(source, reference)
        except errors.TransportError as error:
            if error.status == 404:
                return None
            raise

    def _pages(self, url: str) -> Iterator[_documents.Reference]:
        for _ in range(_MAX_PAGES):
            answer = fetch.ask(url, self._options, max_bytes=_documents.MAX_BYTES)
            yield from _documents.parse(answer.content, answer.headers.get("content-type", "")).manifests
            following = _LINK.search(answer.headers.get("link", ""))
            if not following:
                return
            target = urllib.parse.urljoin(url, following[1])
            if urllib.parse.urlsplit(target)[:2] != urllib.parse.urlsplit(url)[:2]:
                raise errors.TransportError(url, f"continues its list on another host: {target[:200]!r}", _HINT_MIRROR)
            url = target
        raise errors.TransportError(url, f"its list has more than {_MAX_PAGES} pages", _HINT_MIRROR)

    def _first(self, source: str, kind: str, reference: str, ask: Callable[[str], _Answer]) -> _Answer:
        registry, _, repository = source.partition("/")
        failures: list[errors.TransportError | errors.IntegrityError] = []
        for endpoint in self._sites.endpoints(registry):
            try:
                return ask(endpoint.url(repository, kind, reference))
            except (errors.TransportError, errors.IntegrityError) as error:
                failures.append(error)
        worst, *others = sorted(failures, key=_weight)
        worst.hint += "".join(f"\nAlso tried: {other.what}: {other.why}" for other in others)
        raise worst


def _weight(error: errors.TransportError | errors.IntegrityError) -> int:
    """Wrong bytes weigh more than a fault, a fault more than a missing file."""
    if isinstance(error, errors.IntegrityError):
        return 0
    return 2 if error.status == 404 else 1


def _manifest(url: str, reference: str, options: fetch.Options) -> Raw:
    answer = fetch.ask(url, options, max_bytes=_documents.MAX_BYTES)
    said = answer.headers.get("docker-content-digest", "")
    expected = reference if ":" in reference else said
    if expected.startswith("sha256:"):
        _check_digest(url, answer.content, expected)
    return Raw(answer.content, answer.headers.get("content-type", ""), url)


def _check_digest(url: str, content: bytes, expected: str) -> None:
    actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if actual != expected:
        raise errors.IntegrityError(url, "the registry", expected, actual, _HINT_MIRROR)
