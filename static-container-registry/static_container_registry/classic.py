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

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from static_container_registry import answers, listing, names, nginx, pages

MAX_RULES = 48
"""Rewrites tried one after the other in one location; with more, the location is cut by the next character."""

_PARTS = ("blobs", "manifests", "referrers", "tags")


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
    def internal(self) -> answers.Internal:
        """Locations of this include alone."""
        return answers.Internal(f"/.static-registry:{self.prefix}:")

    def path(self, name: str) -> str:
        """The path of a repository."""
        return f"/v2/{self.prefix}{name}/"


def constants() -> Iterator[str]:
    """What a server needs once, however many includes it has."""
    yield from nginx.block("location = /v2", answers.base())
    yield from nginx.block("location = /v2/", answers.base())
    yield from nginx.block("location = /v2/_catalog", _catalog())
    yield from nginx.block("location ^~ /v2/", [*answers.guard(), *answers.unknown_name()])
    # Includes of the original generator refer to it.
    old = ["internal;", answers.JSON, *answers.error(404, "TAG_INVALID", "manifest unknown")]
    yield from nginx.block("location @404_tag", old)


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
    yield from answers.internal(site.internal, _internal(site, has_referrers=has_referrers))


def _catalog_part(found: listing.Listing, site: Site) -> Iterator[str]:
    names = "".join(f'"{site.prefix}{repository.name}",' for repository in found.repositories)
    yield from nginx.set_long("static_registry_catalog", names, "${static_registry_catalog}")


def _catalog() -> Iterator[str]:
    yield from answers.guard()
    yield "uninitialized_variable_warn off;"
    yield 'set $static_registry_catalog "$static_registry_catalog";'
    yield from pages.directives("static_registry_catalog", "/v2/_catalog")
    yield answers.VERSION_HEADER
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
    rewrites = [
        site.internal.rewrite(nginx.literal_pattern(base + rule.key) + rule.tail, rule.target) for rule in rules
    ]
    anything_else = site.internal.rewrite(f"{nginx.literal_pattern(base)}(.*)", "other/$1")
    body = ["client_max_body_size 0;", *rewrites, *more, anything_else]
    yield from nginx.block(f"location ^~ {nginx.text(base + key)}", body)


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
    return f"manifest/{manifest.hex}/{manifest.path}.{listing.ENDINGS[manifest.media_type]}"


def _blob_rules(repository: listing.Repository) -> list[Rule]:
    """One rule for the folder with most blobs, and one for every other blob by as many digits as tell them apart."""
    owners = _owners(repository)
    if not owners:
        return []
    counts = collections.Counter(owners.values())
    default = min(counts, key=lambda folder: (-counts[folder], folder))
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
    yield site.internal.rewrite(f"{nginx.literal_pattern(base)}referrers/sha256:[0-9a-f]{{64}}", "referrers")
    yield f'set $static_registry_name "{site.prefix}{repository.name}";'
    yield from nginx.set_long("static_registry_tags", "".join(f'"{tag}",' for tag in repository.tags))
    yield site.internal.rewrite(nginx.literal_pattern(f"{base}tags/list"), "tags")


def _referrers(repository: listing.Repository, site: Site) -> Iterator[str]:
    """Referrers API of the distribution specification 1.1, and the index that older clients ask for by tag."""
    for subject, manifests in repository.referrers().items():
        base = site.path(repository.name)
        yield from nginx.block(
            f"location = {nginx.text(f'{base}referrers/sha256:{subject}')}", _referrers_of(manifests, site)
        )
        if f"sha256-{subject}" not in repository.tags:
            content = nginx.json_text(answers.index_of(manifests))
            digest = hashlib.sha256(content.encode()).hexdigest()
            for reference in (f"sha256-{subject}", f"sha256:{digest}"):
                head = f"location = {nginx.text(f'{base}manifests/{reference}')}"
                yield from nginx.block(head, _inline_index(content, digest, site))


def _referrers_of(manifests: list[listing.Manifest], site: Site) -> Iterator[str]:
    yield "client_max_body_size 0;"
    yield from nginx.set_long("static_registry_referrers", answers.descriptors(manifests))
    types = sorted(
        {manifest.artifact_type.lower() for manifest in manifests if names.is_media_type(manifest.artifact_type)}
    )
    yield from nginx.block('if ($arg_artifactType != "")', ['set $static_registry_referrers "";'])
    for artifact_type in types:
        chosen = [manifest for manifest in manifests if manifest.artifact_type.lower() == artifact_type]
        yield from nginx.block(
            f"if ($arg_artifactType ~* {nginx.text(_in_query(artifact_type))})",
            nginx.set_long("static_registry_referrers", answers.descriptors(chosen)),
        )
    yield site.internal.rewrite(".*", "found-referrers")


def _in_query(media_type: str) -> str:
    """A pattern for a media type in a query, where each character may be percent-encoded."""
    found = [f"(?:[{character}]|%{ord(character):02X})" for character in media_type]
    return rf"^{''.join(found)}\z"


def _inline_index(content: str, digest: str, site: Site) -> Iterator[str]:
    yield "client_max_body_size 0;"
    yield from nginx.set_long("static_registry_referrers", content)
    yield site.internal.rewrite(".*", f"index/{digest}")


def _internal(site: Site, *, has_referrers: bool) -> Iterator[str]:
    at = site.internal
    manifest = [f"alias {nginx.text(f'{site.server_root}/$static_registry_path')};"]
    path = "(?<static_registry_path>.+)"
    yield from at.location(f"manifest/{answers.HEX}/{path}[.][a-z][a-z]", answers.manifest(at, manifest))
    yield from at.location(f"blob/{answers.HEX}/{path}", answers.blob(at, site.server_root))
    yield from at.location("tags", _tags())
    yield from at.location("referrers", answers.referrers(""))
    if has_referrers:
        yield from at.location("found-referrers", answers.referrers("$static_registry_referrers"))
        yield from at.location(f"index/{answers.HEX}", _index_answer())


def _tags() -> Iterator[str]:
    yield from pages.directives("static_registry_tags", "/v2/$static_registry_name/tags/list")
    yield answers.VERSION_HEADER
    yield "add_header Link $static_registry_next;"
    yield """return 200 '{"name":"$static_registry_name","tags":[$static_registry_page]}';"""


def _index_answer() -> Iterator[str]:
    yield f"default_type {listing.OCI_INDEX};"
    yield answers.VERSION_HEADER
    yield "add_header Docker-Content-Digest sha256:$static_registry_hex;"
    yield """add_header ETag '"sha256:$static_registry_hex"';"""
    yield "return 200 $static_registry_referrers;"
