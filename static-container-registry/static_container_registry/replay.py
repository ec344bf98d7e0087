"""Ask a running registry everything that a pulling client may ask, and judge each answer.

The questions are those of the pull and content-discovery parts of the OCI distribution specification 1.1 and of its
conformance suite; each names the section it comes from. Beyond the suite, every reachable byte is fetched and
compared: type, length, digest, ranges, conditions, error bodies. Standard library only.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import http.client
import json
import pathlib
import ssl
import sys
import typing
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence

from static_container_registry import discovery, listing, names

SUPPORT = "Determining Support"
MANIFESTS = "Pulling manifests"
BLOBS = "Pulling blobs"
EXISTENCE = "Checking if content exists in the registry"
TAGS = "Listing Tags"
REFERRERS = "Listing Referrers"
ERRORS = "Error Codes"
CATALOG = "Catalog (of the Docker Registry HTTP API V2)"

_ABSENT = "0" * 64
_REFUSED = ("PUT", "POST", "PATCH", "DELETE", "OPTIONS")


class Check(typing.NamedTuple):
    """One question; `problem` is "" when the answer was right."""

    section: str
    question: str
    problem: str


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in small letters) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> typing.Any:
        """The body as JSON, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Registry:
    """A registry at an address; every request has a connection of its own, as that of an old client.

    Raises:
        ValueError: the address is not one.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        self._parts = urllib.parse.urlsplit(url)
        self._context = context
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise ValueError(f"{url!a} is no URL of a registry, such as http://127.0.0.1:8080")

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request and read its answer whole."""
        with contextlib.closing(self._connect()) as connection:
            connection.request(method, path, headers=dict(headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=60, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=60)

    def get(self, path: str, **headers: str) -> Answer:
        """GET with headers given as `If_None_Match=`."""
        return self.ask("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})


def checks(registry: Registry, found: listing.Listing, root: pathlib.Path, prefix: str = "") -> Iterator[Check]:
    """Ask everything about a listing; `prefix` is the name prefix it is served with, such as `a/`."""
    yield from _base(registry)
    yield from _catalog(registry, [f"{prefix}{repository.name}" for repository in found.repositories])
    yield from _unknown_repository(registry, f"{prefix}no-such-repository")
    for repository in found.repositories:
        path = f"/v2/{prefix}{repository.name}"
        for manifest in repository.manifests:
            yield from _manifest(registry, path, repository, manifest, (root / manifest.path).read_bytes())
        blobs = {blob.hex: blob for manifest in repository.manifests for blob in manifest.blobs}
        for hex_digest in sorted(blobs):
            yield from _blob(registry, path, (root / blobs[hex_digest].path).read_bytes())
        yield from _missing(registry, path)
        yield from _tags(registry, path, f"{prefix}{repository.name}", list(repository.tags))
        yield from _referrers(registry, path, repository)


def _judge(section: str, question: str, **wrong: object) -> Check:
    """A check whose keywords are (expected, actual) pairs."""
    problems = [
        f"{name}: expected {pair[0]!r}, got {pair[1]!r}"
        for name, pair in wrong.items()
        if isinstance(pair, tuple) and pair[0] != pair[1]
    ]
    return Check(section, question, "; ".join(problems))


def _base(registry: Registry) -> Iterator[Check]:
    for path in ("/v2/", "/v2"):
        answer = registry.get(path)
        yield _judge(
            SUPPORT,
            f"GET {path}",
            status=(200, answer.status),
            version=("registry/2.0", answer.headers.get("docker-distribution-api-version")),
        )
    yield from _refusals(registry, "/v2/")


def _refusals(registry: Registry, path: str) -> Iterator[Check]:
    for method in _REFUSED:
        answer = registry.ask(method, path)
        yield _judge(
            ERRORS,
            f"{method} {path}",
            status=(405, answer.status),
            allow=("GET, HEAD", answer.headers.get("allow")),
            code=("UNSUPPORTED", _code(answer)),
            type=("application/json", answer.headers.get("content-type")),
        )


def _code(answer: Answer) -> object:
    try:
        return answer.json()["errors"][0]["code"]
    except (TypeError, KeyError, IndexError):
        return f"no error body: {answer.body[:60]!r}"


def _error(registry: Registry, section: str, path: str, status: int, code: str) -> Iterator[Check]:
    answer = registry.get(path)
    yield _judge(
        section,
        f"GET {path}",
        status=(status, answer.status),
        code=(code, _code(answer)),
        type=("application/json", answer.headers.get("content-type")),
    )
    answer = registry.ask("HEAD", path)
    yield _judge(section, f"HEAD {path}", status=(status, answer.status), body=(b"", answer.body))


def _unknown_repository(registry: Registry, name: str) -> Iterator[Check]:
    for rest in ("tags/list", "manifests/latest", f"blobs/sha256:{_ABSENT}"):
        yield from _error(registry, ERRORS, f"/v2/{name}/{rest}", 404, "NAME_UNKNOWN")


def _missing(registry: Registry, path: str) -> Iterator[Check]:
    yield from _error(registry, MANIFESTS, f"{path}/manifests/no-such-tag", 404, "MANIFEST_UNKNOWN")
    yield from _error(registry, MANIFESTS, f"{path}/manifests/sha256:{_ABSENT}", 404, "MANIFEST_UNKNOWN")
    yield from _error(registry, BLOBS, f"{path}/blobs/sha256:{_ABSENT}", 404, "BLOB_UNKNOWN")
    for rest in ("manifests/sha256:baddigeststring", "blobs/sha256:baddigeststring", "referrers/sha256:x"):
        yield from _error(registry, ERRORS, f"{path}/{rest}", 400, "DIGEST_INVALID")
    for rest in (f"manifests/sha256:{_ABSENT}", "blobs/uploads/", "tags/list"):
        yield from _refusals(registry, f"{path}/{rest}")


def _manifest(
    registry: Registry, path: str, repository: listing.Repository, manifest: listing.Manifest, content: bytes
) -> Iterator[Check]:
    digest = f"sha256:{manifest.hex}"
    tags = [tag for tag, hex_digest in repository.tags.items() if hex_digest == manifest.hex]
    for reference in (digest, *tags):
        where = f"{path}/manifests/{reference}"
        expected = {"type": manifest.media_type, "length": str(len(content)), "digest": digest, "etag": f'"{digest}"'}
        for method, section, body in (("GET", MANIFESTS, content), ("HEAD", EXISTENCE, b"")):
            answer = registry.ask(method, where)
            yield _judge(
                section,
                f"{method} {where}",
                status=(200, answer.status),
                body=(hashlib.sha256(body).hexdigest(), hashlib.sha256(answer.body).hexdigest()),
                **_headers(answer, expected),
            )
        yield from _conditions(registry, where, f'"{digest}"')
    yield from _refusals(registry, f"{path}/manifests/{digest}")


def _headers(answer: Answer, expected: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    fields = {"type": "content-type", "length": "content-length", "digest": "docker-content-digest", "etag": "etag"}
    return {name: (value, answer.headers.get(fields[name])) for name, value in expected.items()}


def _conditions(registry: Registry, where: str, etag: str) -> Iterator[Check]:
    for value, status in ((etag, 304), (f'"other", W/{etag}', 304), ("*", 304), ('"other"', 200)):
        answer = registry.get(where, If_None_Match=value)
        yield _judge(EXISTENCE, f"GET {where} If-None-Match: {value}", status=(status, answer.status))


def _blob(registry: Registry, path: str, content: bytes) -> Iterator[Check]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    where = f"{path}/blobs/{digest}"
    expected = {
        "type": "application/octet-stream",
        "length": str(len(content)),
        "digest": digest,
        "etag": f'"{digest}"',
    }
    for method, section, body in (("GET", BLOBS, content), ("HEAD", EXISTENCE, b"")):
        answer = registry.ask(method, where)
        yield _judge(
            section,
            f"{method} {where}",
            status=(200, answer.status),
            is_body_right=(True, answer.body == body),
            **_headers(answer, expected),
        )
    yield from _ranges(registry, where, content, f'"{digest}"')
    yield from _conditions(registry, where, f'"{digest}"')


def _ranges(registry: Registry, where: str, content: bytes, etag: str) -> Iterator[Check]:
    size = len(content)
    if not size:
        return  # RFC 9110 lets a server ignore any Range; of nothing nginx does
    for asked, first, last in _parts(size):
        answer = registry.get(where, Range=f"bytes={asked}", If_Range=etag)
        yield _judge(
            BLOBS,
            f"GET {where} Range: bytes={asked}",
            status=(206, answer.status),
            is_body_right=(True, answer.body == content[first : last + 1]),
            range=(f"bytes {first}-{last}/{size}", answer.headers.get("content-range")),
        )
    answer = registry.get(where, Range="bytes=0-0", If_Range='"other"')
    yield _judge(BLOBS, f"GET {where} If-Range of another", status=(200, answer.status), size=(size, len(answer.body)))
    answer = registry.get(where, Range=f"bytes={size}-")
    yield _judge(
        BLOBS,
        f"GET {where} Range: bytes={size}-",
        status=(416, answer.status),
        range=(f"bytes */{size}", answer.headers.get("content-range")),
        code=("SIZE_INVALID", _code(answer)),
    )


def _parts(size: int) -> list[tuple[str, int, int]]:
    """Ranges to ask of a blob, each with the first and the last byte of the answer; RFC 9110, section 14.1.2."""
    half, end = size // 2, size - 1
    return [
        ("0-0", 0, 0),
        (f"{half}-{end}", half, end),
        (f"{end}-{size + 10}", end, end),
        (f"{half}-", half, end),
        ("-1", end, end),
        (f"-{size + 10}", 0, end),
    ]


def _pages(registry: Registry, section: str, path: str, field: str, items: Sequence[str]) -> Iterator[Check]:
    """`n` and `last`, alone and together, and the chain of Link headers."""
    ordered = sorted(items)
    asked: list[tuple[str, Sequence[str]]] = [("", ordered), ("n=0", []), ("n=100000", ordered[:100])]
    for last in (*ordered[:2], *ordered[-1:], "-", "zzzz"):
        query = f"last={urllib.parse.quote(last, safe='')}"
        asked.append((query, [item for item in ordered if item > last]))
        asked.append((f"{query}&n=1", [item for item in ordered if item > last][:1]))
    for query, expected in asked:
        answer = registry.get(f"{path}?{query}")
        document = answer.json() or {}
        yield _judge(
            section,
            f"GET {path}?{query}",
            status=(200, answer.status),
            items=(list(expected), document.get(field)),
            type=("application/json", answer.headers.get("content-type")),
        )
    for size in (1, 2, 30):
        yield _judge(
            section, f"following Link from {path}?n={size}", items=(ordered, _follow(registry, path, field, size))
        )


def _follow(registry: Registry, path: str, field: str, size: int) -> list[str]:
    collected: list[str] = []
    where = f"{path}?n={size}"
    for _ in range(10_000):
        answer = registry.get(where)
        page = (answer.json() or {}).get(field, [])
        collected += page
        link = answer.headers.get("link", "")
        if not link or not page or len(page) > size:
            break
        where = link[link.index("<") + 1 : link.index(">")]
    return collected


def _tags(registry: Registry, path: str, name: str, tags: list[str]) -> Iterator[Check]:
    answer = registry.get(f"{path}/tags/list")
    document = answer.json() or {}
    yield _judge(TAGS, f"GET {path}/tags/list", name=(name, document.get("name")))
    yield from _pages(registry, TAGS, f"{path}/tags/list", "tags", tags)


def _catalog(registry: Registry, own: list[str]) -> Iterator[Check]:
    document = registry.get("/v2/_catalog").json() or {}
    every_name = document.get("repositories", [])
    yield _judge(CATALOG, "GET /v2/_catalog", missing=([], sorted(set(own) - set(every_name))))
    yield from _pages(registry, CATALOG, "/v2/_catalog", "repositories", every_name)


def _referrers(registry: Registry, path: str, repository: listing.Repository) -> Iterator[Check]:
    known = repository.referrers()
    for subject in (_ABSENT, *(manifest.hex for manifest in repository.manifests), *known):
        manifests = known.get(subject, [])
        where = f"{path}/referrers/sha256:{subject}"
        yield _referrers_check(where, registry.get(where), manifests, None)
        for artifact_type in sorted({"no/type", *(manifest.artifact_type for manifest in manifests)}):
            chosen = [manifest for manifest in manifests if manifest.artifact_type == artifact_type]
            for query in (artifact_type, urllib.parse.quote(artifact_type, safe="")):
                filtered = f"{where}?artifactType={query}"
                yield _referrers_check(filtered, registry.get(filtered), chosen, "artifactType")
        if manifests:
            yield from _fallback_tag(registry, path, subject, manifests)


def _referrers_check(where: str, answer: Answer, manifests: list[listing.Manifest], filters: str | None) -> Check:
    document = answer.json() or {}
    rows = [
        (row.get("digest"), row.get("size"), row.get("mediaType"), row.get("artifactType"), row.get("annotations"))
        for row in document.get("manifests", [])
    ]
    expected = [
        (f"sha256:{each.hex}", each.size, each.media_type, each.artifact_type or None, dict(each.annotations) or None)
        for each in manifests
    ]
    return _judge(
        REFERRERS,
        f"GET {where}",
        status=(200, answer.status),
        type=(listing.OCI_INDEX, answer.headers.get("content-type")),
        schema=((2, listing.OCI_INDEX), (document.get("schemaVersion"), document.get("mediaType"))),
        rows=(expected, rows),
        filters=(filters, answer.headers.get("oci-filters-applied")),
    )


def _fallback_tag(registry: Registry, path: str, subject: str, manifests: list[listing.Manifest]) -> Iterator[Check]:
    """Referrers Tag Schema: an index under a tag, retrievable by its digest as well."""
    answer = registry.get(f"{path}/manifests/sha256-{subject}")
    digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
    listed = {row.get("digest") for row in (answer.json() or {}).get("manifests", [])}
    yield _judge(
        REFERRERS,
        f"GET {path}/manifests/sha256-{subject}",
        status=(200, answer.status),
        type=(listing.OCI_INDEX, answer.headers.get("content-type")),
        digest=(digest, answer.headers.get("docker-content-digest")),
        missing=(set(), {f"sha256:{each.hex}" for each in manifests} - listed),
    )
    again = registry.get(f"{path}/manifests/{digest}")
    yield _judge(REFERRERS, f"GET {path}/manifests/{digest}", is_same=(True, again.body == answer.body))


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay against a running registry; 0 when every answer was right, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m static_container_registry.replay",
        description="Check a running registry against the folder it serves.",
        epilog="example: python -m static_container_registry.replay http://127.0.0.1:8080 /srv/images",
    )
    parser.add_argument("url", metavar="URL")
    parser.add_argument("root", metavar="ROOT", type=pathlib.Path)
    parser.add_argument("--name-prefix", metavar="PREFIX", default="")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the checks that passed as well")
    chosen = parser.parse_args(arguments)
    try:
        found, prefix = discovery.discover(chosen.root), names.normal_prefix(chosen.name_prefix)
        results = list(checks(Registry(chosen.url), found, chosen.root, prefix))
    except OSError as error:
        parser.error(f"{error.filename or chosen.url}: {error.strerror or error}")
    except (ValueError, http.client.HTTPException) as error:
        parser.error(str(error))
    for check in results:
        if check.problem or chosen.verbose:
            print(
                f"{'WRONG' if check.problem else 'good '} [{check.section}] {check.question} {check.problem}".rstrip()
            )
    wrong = sum(1 for check in results if check.problem)
    print(f"{len(results)} checks, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
