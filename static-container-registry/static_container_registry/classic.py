r"""The classic output: text for inside a `server` block, one `location` for each repository.

How a request runs, for a repository `nginx` with the prefix `metalk8s-2.11.0/`:

    GET /v2/metalk8s-2.11.0/nginx/manifests/1.27       chooses the location of the repository
      rewrite ^\Q/v2/metalk8s-2.11.0/nginx/manifests/1.27\E\z
      -> /.static-registry:metalk8s-2.11.0/:GET/manifest/HEX/nginx/1.27/manifest.json.om    internal
         the digest becomes a header, the ending a Content-Type, the rest the file

A rewrite costs a hundredth of a location, so what is many (manifests) is a rewrite and what is few is a location.
The internal locations stand under a name of their own for each prefix: includes of several media, made by several
versions of this program, live in one server. `_catalog` is the one thing they share: each adds its names to it.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from static_container_registry import listing, nginx, pages

MAX_RULES = 48
"""Rewrites tried one after the other in one location; with more, the location is cut by the next character."""

_ENDINGS = {
    listing.OCI_MANIFEST: "om",
    listing.OCI_INDEX: "oi",
    listing.DOCKER_MANIFEST: "dm",
    listing.DOCKER_LIST: "dl",
}
_VERSION_HEADER = "add_header Docker-Distribution-Api-Version registry/2.0 always;"
_JSON = "default_type application/json;"
_PARTS = ("blobs", "manifests", "referrers", "tags")
_HEX = "(?<static_registry_hex>[0-9a-f]{64})"
_REFUSED = 'if ($request_method !~ "^(?:GET|HEAD)$")'


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite inside a repository's location.

    `key` is literal text after the repository's path, `tail` a regular expression after it; the target may use what
    the tail captures.
    """

    key: str
    target: str
    tail: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """Where the include stands: name prefix (`a/b/` or ""), server root, and the path of its internal locations."""

    prefix: str
    server_root: str

    @property
    def internal(self) -> str:
        """A path that no request can name, because it is internal, and no other include uses."""
        return f"/.static-registry:{self.prefix}:"

    def path(self, name: str) -> str:
        """The path of a repository."""
        return f"/v2/{self.prefix}{name}/"


def constants() -> Iterator[str]:
    """What a server needs once, however many includes it has."""
    yield from nginx.block("location = /v2", _base())
    yield from nginx.block("location = /v2/", _base())
    yield from nginx.block("location = /v2/_catalog", _catalog())
    yield from nginx.block("location ^~ /v2/", _unknown_name())
    # Includes of the original generator refer to it.
    yield from nginx.block("location @404_tag", ["internal;", _JSON, *_error(404, "TAG_INVALID", "manifest unknown")])


def images(found: listing.Listing, site: Site) -> Iterator[str]:
    """What the images of one root need."""
    if not found.repositories:
        return
    yield from nginx.block("if ($uri = /v2/_catalog)", _catalog_part(found, site))
    every_name = {repository.name for repository in found.repositories}
    for repository in found.repositories:
        yield from _repository(repository, site, is_ambiguous=_is_ambiguous(repository.name, every_name))
    has_referrers = any(repository.referrers() for repository in found.repositories)
    yield ""
    yield from nginx.block(f"location ^~ {nginx.text(site.internal)}", _internal(site, has_referrers=has_referrers))


def _base() -> Iterator[str]:
    yield from _guard()
    yield _VERSION_HEADER
    yield 'return 200 "{}";'


def _guard() -> Iterator[str]:
    yield "client_max_body_size 0;"
    yield _JSON
    yield from nginx.block(_REFUSED, _refusal())


def _refusal() -> Iterator[str]:
    yield 'add_header Allow "GET, HEAD" always;'
    yield from _error(405, "UNSUPPORTED", "this registry is read-only")


def _unknown_name() -> Iterator[str]:
    yield from _guard()
    yield from _error(404, "NAME_UNKNOWN", "repository name not known to registry")


def _error(status: int, code: str, message: str) -> list[str]:
    """An error as in the distribution specification 1.1, "Error codes"."""
    return [_VERSION_HEADER, _return_error(status, code, message)]


def _return_error(status: int, code: str, message: str) -> str:
    body = nginx.json_text({"errors": [{"code": code, "message": message, "detail": {}}]})
    return f"return {status} '{body}';"


def _catalog_part(found: listing.Listing, site: Site) -> Iterator[str]:
    names = "".join(f'"{site.prefix}{repository.name}",' for repository in found.repositories)
    yield from nginx.set_long("static_registry_catalog", names, "${static_registry_catalog}")


def _catalog() -> Iterator[str]:
    yield from _guard()
    yield "uninitialized_variable_warn off;"
    yield 'set $static_registry_catalog "$static_registry_catalog";'
    yield from pages.directives("static_registry_catalog", "/v2/_catalog")
    yield _VERSION_HEADER
    yield "add_header Link $static_registry_next;"
    yield """return 200 '{"repositories":[$static_registry_page]}';"""


def _is_ambiguous(name: str, every_name: set[str]) -> bool:
    """Whether paths of a repository above begin like this one's, as those of `a` and `a/manifests` do."""
    parts = name.split("/")
    return any(part in _PARTS and "/".join(parts[:depth]) in every_name for depth, part in enumerate(parts))


def _repository(repository: listing.Repository, site: Site, *, is_ambiguous: bool) -> Iterator[str]:
    base = site.path(repository.name)
    manifests = list(_manifest_rules(repository))
    blobs = _blob_rules(repository)
    yield ""
    if is_ambiguous:
        for part in _PARTS:
            yield from _location(base, [*manifests, *blobs], site, _list_of_tags(repository, site), key=f"{part}/")
    elif len(manifests) + len(blobs) <= MAX_RULES:
        yield from _location(base, [*manifests, *blobs], site, _list_of_tags(repository, site))
    else:
        yield from _location(base, [], site, _list_of_tags(repository, site))
        yield from _split(base, "manifests/", manifests, site)
        yield from _split(base, "blobs/sha256:", blobs, site)
    yield from _referrers(repository, site)


def _location(base: str, rules: Iterable[Rule], site: Site, more: Iterable[str] = (), key: str = "") -> Iterator[str]:
    """The location of a repository, or of those of its paths that begin with `key`."""
    rewrites = [_rewrite(nginx.literal_pattern(base + rule.key) + rule.tail, site, rule.target) for rule in rules]
    anything_else = _rewrite(f"{nginx.literal_pattern(base)}(.*)", site, "other/$1")
    body = ["client_max_body_size 0;", *rewrites, *more, anything_else]
    yield from nginx.block(f"location ^~ {nginx.text(base + key)}", body)


def _rewrite(pattern: str, site: Site, target: str) -> str:
    # \\z and not $, which also matches before a last newline; (?s) makes the newline nothing special.
    regex = nginx.text(rf"(?s)^{pattern}\z")
    replacement = nginx.text(f"{site.internal}$request_method/{target}")
    return f"rewrite {regex} {replacement} last;"


def _split(base: str, key: str, rules: Sequence[Rule], site: Site, wider: Sequence[Rule] = ()) -> Iterator[str]:
    """Locations for rules that begin with `key`, cut by the next character until each has few rules.

    Arguments:
        wider: rules with a shorter key, which hold where no longer one does.
    """
    own = [rule for rule in rules if rule.key == key]
    longer: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.key != key:
            longer.setdefault(rule.key[: len(key) + 1], []).append(rule)
    if len(rules) <= MAX_RULES or not longer:
        yield from _location(base, [*rules, *wider], site, key=key)
        return
    yield from _location(base, [*own, *wider], site, key=key)
    for next_key, group in longer.items():
        yield from _split(base, next_key, group, site, [*own, *wider])


def _manifest_rules(repository: listing.Repository) -> Iterator[Rule]:
    by_hex = {manifest.hex: manifest for manifest in repository.manifests}
    for tag, hex_digest in repository.tags.items():
        yield Rule(f"manifests/{tag}", _manifest_target(by_hex[hex_digest]))
    for manifest in repository.manifests:
        yield Rule(f"manifests/sha256:{manifest.hex}", _manifest_target(manifest))


def _manifest_target(manifest: listing.Manifest) -> str:
    return f"manifest/{manifest.hex}/{manifest.path}.{_ENDINGS[manifest.media_type]}"


def _blob_rules(repository: listing.Repository) -> list[Rule]:
    """One rule for the folder with most blobs, and one for every other blob by as many digits as tell them apart."""
    owners = _owners(repository)
    if not owners:
        return []
    default = max(sorted(set(owners.values())), key=lambda folder: sum(1 for each in owners.values() if each == folder))
    ordered = sorted(owners)
    rules = []
    for number, hex_digest in enumerate(ordered):
        if owners[hex_digest] != default:
            neighbours = ordered[max(number - 1, 0) : number] + ordered[number + 1 : number + 2]
            length = 1 + max((_common(hex_digest, other) for other in neighbours), default=0)
            rules.append(_blob_rule(hex_digest[:length], owners[hex_digest]))
    return [*rules, _blob_rule("", default)]


def _blob_rule(digits: str, folder: str) -> Rule:
    """Blobs that begin with these digits are in this folder."""
    return Rule(f"blobs/sha256:{digits}", f"blob/{digits}$1/{folder}", f"([0-9a-f]{{{64 - len(digits)}}})")


def _owners(repository: listing.Repository) -> dict[str, str]:
    """Hex digest of each blob to the folder it is served from; few folders, so that few rules are needed."""
    folders: dict[str, set[str]] = {}
    for manifest in repository.manifests:
        for blob in manifest.blobs:
            folders.setdefault(blob.path.rpartition("/")[0], set()).add(blob.hex)
    owners: dict[str, str] = {}
    for folder in sorted(folders, key=lambda each: (-len(folders[each]), each)):
        for hex_digest in folders[folder]:
            owners.setdefault(hex_digest, folder)
    return owners


def _common(one: str, other: str) -> int:
    return next((place for place in range(64) if one[place] != other[place]), 64)


def _list_of_tags(repository: listing.Repository, site: Site) -> Iterator[str]:
    base = site.path(repository.name)
    yield _rewrite(f"{nginx.literal_pattern(base)}referrers/sha256:[0-9a-f]{{64}}", site, "referrers")
    yield f'set $static_registry_name "{site.prefix}{repository.name}";'
    yield from nginx.set_long("static_registry_tags", "".join(f'"{tag}",' for tag in repository.tags))
    yield _rewrite(nginx.literal_pattern(f"{base}tags/list"), site, "tags")


def _referrers(repository: listing.Repository, site: Site) -> Iterator[str]:
    """Referrers API of the distribution specification 1.1, and the index that older clients ask for by tag."""
    for subject, manifests in repository.referrers().items():
        base = site.path(repository.name)
        yield from nginx.block(
            f"location = {nginx.text(f'{base}referrers/sha256:{subject}')}", _referrers_of(manifests, site)
        )
        if f"sha256-{subject}" not in repository.tags:
            content = nginx.json_text(index_of(manifests))
            digest = hashlib.sha256(content.encode()).hexdigest()
            for reference in (f"sha256-{subject}", f"sha256:{digest}"):
                head = f"location = {nginx.text(f'{base}manifests/{reference}')}"
                yield from nginx.block(head, _inline_index(content, digest, site))


def _referrers_of(manifests: list[listing.Manifest], site: Site) -> Iterator[str]:
    yield "client_max_body_size 0;"
    yield from nginx.set_long("static_registry_referrers", descriptors(manifests))
    types = sorted({manifest.artifact_type.lower() for manifest in manifests if manifest.artifact_type})
    yield from nginx.block('if ($arg_artifactType != "")', ['set $static_registry_referrers "";'])
    for artifact_type in types:
        chosen = [manifest for manifest in manifests if manifest.artifact_type.lower() == artifact_type]
        yield from nginx.block(
            f"if ($arg_artifactType ~* {nginx.text(_in_query(artifact_type))})",
            nginx.set_long("static_registry_referrers", descriptors(chosen)),
        )
    yield _rewrite(".*", site, "found-referrers")


def _in_query(value: str) -> str:
    """A pattern for a value in a query, each character plain or percent-encoded."""
    found = []
    for character in value:
        encoded = "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        is_plain = re.fullmatch(r"[A-Za-z0-9_/.+;=-]", character) is not None
        found.append(f"(?:[{character}]|{encoded})" if is_plain else f"(?:{encoded})")
    return rf"^{''.join(found)}\z"


def index_of(manifests: Iterable[listing.Manifest]) -> dict[str, object]:
    """The index that the referrers API answers."""
    rows = [_descriptor(manifest) for manifest in manifests]
    return {"schemaVersion": 2, "mediaType": listing.OCI_INDEX, "manifests": rows}


def descriptors(manifests: Iterable[listing.Manifest]) -> str:
    """The rows of that index, as JSON."""
    return ",".join(nginx.json_text(_descriptor(manifest)) for manifest in manifests)


def _descriptor(manifest: listing.Manifest) -> dict[str, object]:
    row: dict[str, object] = {
        "mediaType": manifest.media_type,
        "digest": f"sha256:{manifest.hex}",
        "size": manifest.size,
    }
    if manifest.artifact_type:
        row["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        row["annotations"] = dict(manifest.annotations)
    return row


def _inline_index(content: str, digest: str, site: Site) -> Iterator[str]:
    yield "client_max_body_size 0;"
    yield from nginx.set_long("static_registry_referrers", content)
    yield _rewrite(".*", site, f"index/{digest}")


def _internal(site: Site, *, has_referrers: bool) -> Iterator[str]:
    """The locations that answer; whatever method is not GET or HEAD ends in the outer one."""

    def at(pattern: str, body: Iterable[str]) -> Iterator[str]:
        full = rf"(?s)^{nginx.literal_pattern(site.internal)}(?:GET|HEAD)/{pattern}\z"
        return nginx.block(f"location ~ {nginx.text(full)}", ["internal;", *body])

    yield "internal;"
    yield "client_max_body_size 0;"
    yield _JSON
    yield from _refusal()
    yield from at(f"manifest/{_HEX}/(?<static_registry_path>.+)[.][a-z][a-z]", _manifest_file(site))
    yield from at(f"blob/{_HEX}/(?<static_registry_path>.+)", _blob_file(site))
    yield from at("tags", _tags())
    yield from at("referrers", _referrers_answer(""))
    if has_referrers:
        yield from at("found-referrers", _referrers_answer("$static_registry_referrers"))
        yield from at(f"index/{_HEX}", _index_answer())
    tag_or_digest = "(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})"
    yield from at(
        f"(?:error|other)/manifests/{tag_or_digest}",
        _error(404, "MANIFEST_UNKNOWN", "manifest unknown to registry"),
    )
    yield from at("(?:error|other)/blobs/sha256:[0-9a-f]{64}", _error(404, "BLOB_UNKNOWN", "blob unknown to registry"))
    # nginx has written the file's headers already; one of its own keeps the location from inheriting more.
    out_of_range = _return_error(416, "SIZE_INVALID", "the range lies outside of the content")
    yield from at("error/range", ["add_header Accept-Ranges bytes;", out_of_range])
    yield from at(
        "other/(?:manifests|blobs|referrers)/[^/]+",
        _error(400, "DIGEST_INVALID", "provided digest is not a sha256 digest"),
    )
    # The capture's name declares the variable: nginx warns of an unset one unless some capture may set it.
    yield from at(
        "(?<static_registry_catalog>.*)", _error(404, "NAME_UNKNOWN", "repository name not known to registry")
    )


def _file(site: Site, kind: str) -> Iterator[str]:
    """What manifests and blobs have in common: a file that never changes, known by its digest."""
    yield "set $static_registry_digest sha256:$static_registry_hex;"
    yield 'set $static_registry_key "$static_registry_hex $http_if_none_match";'
    yield from nginx.block(
        """if ($static_registry_key ~ '^([0-9a-f]{64}) (?:\\*|.*"sha256:\\1".*)\\z')""",
        [_VERSION_HEADER, """add_header ETag '"$static_registry_digest"';""", "return 304;"],
    )
    file = "$static_registry_path" if kind == "manifest" else "$static_registry_path/$static_registry_hex"
    yield f"alias {nginx.text(f'{site.server_root}/{file}')};"
    yield "gzip off;"
    yield "charset off;"
    yield "etag off;"
    yield "if_modified_since off;"
    error = f"{site.internal}GET/error/{kind}s/sha256:{'0' * 64}"
    yield f"error_page 403 404 = {nginx.text(error)};"
    yield f"error_page 416 = {nginx.text(f'{site.internal}GET/error/range')};"
    yield _VERSION_HEADER
    yield "add_header Docker-Content-Digest $static_registry_digest;"
    yield """add_header ETag '"$static_registry_digest"';"""


def _manifest_file(site: Site) -> Iterator[str]:
    yield from _file(site, "manifest")
    yield from nginx.block("types", [f"{media_type} {ending};" for media_type, ending in _ENDINGS.items()])


def _blob_file(site: Site) -> Iterator[str]:
    yield from _file(site, "blob")
    yield "sendfile on;"
    yield 'add_header Cache-Control "max-age=31536000, immutable";'
    yield "types { }"
    yield "default_type application/octet-stream;"


def _tags() -> Iterator[str]:
    yield from pages.directives("static_registry_tags", "/v2/$static_registry_name/tags/list")
    yield _VERSION_HEADER
    yield "add_header Link $static_registry_next;"
    yield """return 200 '{"name":"$static_registry_name","tags":[$static_registry_page]}';"""


def _referrers_answer(rows: str) -> Iterator[str]:
    yield 'set $static_registry_filter "";'
    yield from nginx.block('if ($arg_artifactType != "")', ["set $static_registry_filter artifactType;"])
    yield f"default_type {listing.OCI_INDEX};"
    yield _VERSION_HEADER
    yield "add_header OCI-Filters-Applied $static_registry_filter;"
    yield f"""return 200 '{{"schemaVersion":2,"mediaType":"{listing.OCI_INDEX}","manifests":[{rows}]}}';"""


def _index_answer() -> Iterator[str]:
    yield f"default_type {listing.OCI_INDEX};"
    yield _VERSION_HEADER
    yield "add_header Docker-Content-Digest sha256:$static_registry_hex;"
    yield """add_header ETag '"sha256:$static_registry_hex"';"""
    yield "return 200 $static_registry_referrers;"
