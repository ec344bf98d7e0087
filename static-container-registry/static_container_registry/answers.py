"""What both outputs have in common: the internal locations that answer, and the headers and bodies they answer with."""

import dataclasses
from collections.abc import Iterable, Iterator

from static_container_registry import listing, nginx

HEX = "(?<static_registry_hex>[0-9a-f]{64})"
JSON = "default_type application/json;"
VERSION_HEADER = "add_header Docker-Distribution-Api-Version registry/2.0 always;"

_TAG_OR_DIGEST = "(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})"


@dataclasses.dataclass(frozen=True, slots=True)
class Internal:
    """Locations below a path that no request can name.

    A request gets there by a rewrite that puts its method before the target, so that one pattern refuses all methods
    but two.
    """

    path: str

    def location(self, pattern: str, body: Iterable[str]) -> Iterator[str]:
        """A location for targets that match a pattern, asked for by GET or HEAD."""
        full = rf"(?s)^{nginx.literal_pattern(self.path)}(?:GET|HEAD)/{pattern}\z"
        return nginx.block(f"location ~ {nginx.text(full)}", ["internal;", *body])

    def rewrite(self, pattern: str, target: str) -> str:
        r"""Send a request on; `pattern` matches its whole path.

        `\z` and not `$`, which also matches before a last newline; `(?s)` makes the newline nothing special.
        """
        regex = nginx.text(rf"(?s)^{pattern}\z")
        return f"rewrite {regex} {nginx.text(f'{self.path}$request_method/{target}')} last;"

    def error_page(self, statuses: str, target: str) -> str:
        """Answer nginx's own errors with a target."""
        return f"error_page {statuses} = {nginx.text(f'{self.path}GET/{target}')};"


def base() -> Iterator[str]:
    """`GET /v2/`: distribution specification 1.1, "Determining Support"."""
    yield from guard()
    yield VERSION_HEADER
    yield 'return 200 "{}";'


def guard() -> Iterator[str]:
    """Refuse every method but GET and HEAD, whatever the size of what it carries."""
    yield "client_max_body_size 0;"
    yield JSON
    yield from nginx.block('if ($request_method !~ "^(?:GET|HEAD)$")', refusal())


def refusal() -> Iterator[str]:
    """The answer to a method that would write."""
    yield 'add_header Allow "GET, HEAD" always;'
    yield from error(405, "UNSUPPORTED", "this registry is read-only")


def unknown_name() -> list[str]:
    """The answer for a repository that is not here."""
    return error(404, "NAME_UNKNOWN", "repository name not known to registry")


def error(status: int, code: str, message: str) -> list[str]:
    """An error as in the distribution specification 1.1, "Error Codes"."""
    return [VERSION_HEADER, _return_error(status, code, message)]


def _return_error(status: int, code: str, message: str) -> str:
    body = nginx.json_text({"errors": [{"code": code, "message": message, "detail": {}}]})
    return f"return {status} '{body}';"


def internal(at: Internal, locations: Iterable[str]) -> Iterator[str]:
    """The block with all internal locations; whatever method is not GET or HEAD ends in the outer one."""
    body = ["internal;", "client_max_body_size 0;", JSON, *refusal(), *locations, *_errors(at)]
    return nginx.block(f"location ^~ {nginx.text(at.path)}", body)


def _errors(at: Internal) -> Iterator[str]:
    """`other/PATH` is what no rule of a repository has taken, `error/KIND` is asked for by name."""
    yield from at.location(
        f"(?:error/manifest|other/manifests/{_TAG_OR_DIGEST})",
        error(404, "MANIFEST_UNKNOWN", "manifest unknown to registry"),
    )
    yield from at.location(
        "(?:error/blob|other/blobs/sha256:[0-9a-f]{64})", error(404, "BLOB_UNKNOWN", "blob unknown to registry")
    )
    # nginx has written the file's headers already; one of its own keeps the location from inheriting more.
    out_of_range = _return_error(416, "SIZE_INVALID", "the range lies outside of the content")
    yield from at.location("error/range", ["add_header Accept-Ranges bytes;", out_of_range])
    yield from at.location("error/last", error(400, "UNSUPPORTED", "last is not one of the listed tags"))
    yield from at.location(
        "(?:error/digest|other/(?:manifests|blobs|referrers)/[^/]+)",
        error(400, "DIGEST_INVALID", "provided digest is not a sha256 digest"),
    )
    # The capture's name declares the variable: nginx warns of an unset one unless some capture may set it.
    yield from at.location("(?<static_registry_catalog>.*)", unknown_name())


def manifest(at: Internal, where: Iterable[str]) -> Iterator[str]:
    """A manifest's file; the ending of its path tells the media type."""
    yield from _file(at, "manifest")
    yield from where
    yield from nginx.block("types", [f"{media_type} {ending};" for media_type, ending in listing.ENDINGS.items()])


def blob(at: Internal, server_root: str) -> Iterator[str]:
    """A blob's file, of the type that says nothing about it."""
    yield from _file(at, "blob")
    yield f"alias {nginx.text(f'{server_root}/$static_registry_path/$static_registry_hex')};"
    yield "sendfile on;"
    yield 'add_header Cache-Control "max-age=31536000, immutable";'
    yield "types { }"
    yield "default_type application/octet-stream;"


def _file(at: Internal, kind: str) -> Iterator[str]:
    """What manifests and blobs have in common: a file that never changes, known by its digest.

    nginx's own ETag is made of time and size, and both can be those of another file of the same name.
    """
    etag = """add_header ETag '"$static_registry_digest"';"""
    yield "set $static_registry_digest sha256:$static_registry_hex;"
    yield 'set $static_registry_key "$static_registry_hex $http_if_none_match";'
    yield from nginx.block(
        r"""if ($static_registry_key ~ '^([0-9a-f]{64}) (?:\*|.*"sha256:\1".*)\z')""",
        [VERSION_HEADER, etag, "return 304;"],
    )
    yield "gzip off;"
    yield "charset off;"
    yield "etag off;"
    yield "if_modified_since off;"
    yield at.error_page("403 404", f"error/{kind}")
    yield at.error_page("416", "error/range")
    yield VERSION_HEADER
    yield "add_header Docker-Content-Digest $static_registry_digest;"
    yield etag


def referrers(rows: str) -> Iterator[str]:
    """The referrers API's index, with rows from a variable."""
    yield from referrers_headers()
    yield f"""return 200 '{{"schemaVersion":2,"mediaType":"{listing.OCI_INDEX}","manifests":[{rows}]}}';"""


def referrers_headers() -> Iterator[str]:
    """Type and filter of the distribution specification 1.1, "Listing Referrers"."""
    yield 'set $static_registry_filter "";'
    yield from nginx.block('if ($arg_artifactType != "")', ["set $static_registry_filter artifactType;"])
    yield f"default_type {listing.OCI_INDEX};"
    yield VERSION_HEADER
    yield "add_header OCI-Filters-Applied $static_registry_filter;"


def index_of(manifests: Iterable[listing.Manifest]) -> dict[str, object]:
    """The index that the referrers API answers."""
    rows = [_descriptor(each) for each in manifests]
    return {"schemaVersion": 2, "mediaType": listing.OCI_INDEX, "manifests": rows}


def descriptors(manifests: Iterable[listing.Manifest]) -> str:
    """The rows of that index, as JSON."""
    return ",".join(nginx.json_text(_descriptor(each)) for each in manifests)


def _descriptor(each: listing.Manifest) -> dict[str, object]:
    row: dict[str, object] = {"mediaType": each.media_type, "digest": f"sha256:{each.hex}", "size": each.size}
    if each.artifact_type:
        row["artifactType"] = each.artifact_type
    if each.annotations:
        row["annotations"] = dict(each.annotations)
    return row
