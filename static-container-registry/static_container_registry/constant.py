"""The constant output: one text for every registry, and a tree of links and lists that says what there is.

    repos/NAME/_manifests/TAG, sha256:HEX          links to _digests/HEX: where a link leads is the digest
    repos/NAME/_digests/HEX/m.om                   link to the manifest; the ending is its media type
    repos/NAME/_blobs/HEX                          link to the blob
    repos/NAME/_tags.json, _tags/TAG.json          the tags, and those after TAG
    repos/NAME/_referrers/HEX.json, HEX/A/B.json   what refers to a manifest, and what of type A/B does
    _catalog.json                                  the repositories

New images are new links, and nginx need not be told. What a file cannot do is count: `n` is not heeded, which the
specification leaves to a registry only when all items are sent, as they are here.
"""

from collections.abc import Iterable, Iterator

from static_container_registry import answers, listing, nginx

# The grammar of names.py. No component begins with an underscore, so the names above are free.
_COMPONENT = "[a-z0-9]+(?:(?:[.]|__?|-+)[a-z0-9]+)*"
_NAME = f"(?<static_registry_name>{_COMPONENT}(?:/{_COMPONENT})*)"
_TAG = "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_TYPE = "[A-Za-z0-9][A-Za-z0-9.+_-]{0,126}"
_REPOSITORY = "repos/$static_registry_name"
_AT = answers.Internal("/.static-registry::")
_END = r"\z"


def configuration(server_root: str) -> Iterator[str]:
    """Text for inside a `server` block: a function of the tree's place alone."""
    yield from nginx.block("location = /v2", answers.base())
    yield from nginx.block("location = /v2/", answers.base())
    yield from nginx.block("location ^~ /v2/", _questions(server_root))
    yield from answers.internal(_AT, _answers(server_root))


def _questions(server_root: str) -> Iterator[str]:
    yield "client_max_body_size 0;"
    yield _go("error/name")
    yield from _location("/v2/_catalog", [_go("list/_catalog.json")])
    yield from _location(f"/v2/{_NAME}/tags/list", [*_known(server_root), *_tags()])
    reference = f"(?<static_registry_reference>{_TAG}|sha256:[0-9a-f]{{64}})"
    yield from _location(f"/v2/{_NAME}/manifests/{reference}", [*_known(server_root), *_manifest(server_root)])
    blob = _go(f"blob/$static_registry_hex/{_REPOSITORY}/_blobs")
    yield from _location(f"/v2/{_NAME}/blobs/sha256:{answers.HEX}", [*_known(server_root), blob])
    yield from _location(f"/v2/{_NAME}/referrers/sha256:{answers.HEX}", [*_known(server_root), *_referrers()])
    invalid = [*_known(server_root), _go("error/digest")]
    yield from _location(f"/v2/{_NAME}/(?:manifests|blobs|referrers)/[^/]+", invalid)


def _location(pattern: str, body: Iterable[str]) -> Iterator[str]:
    return nginx.block(f"location ~ {nginx.text(rf'(?s)^{pattern}' + _END)}", body)


def _go(target: str) -> str:
    return _AT.rewrite(".*", target)


def _if(subject: str, pattern: str, body: Iterable[str]) -> Iterator[str]:
    return nginx.block(f"if ({subject} ~* {nginx.text(f'^{pattern}' + _END)})", body)


def _known(server_root: str) -> Iterator[str]:
    yield from nginx.block(f"if (!-d {nginx.text(f'{server_root}/{_REPOSITORY}/_manifests')})", [_go("error/name")])


def _tags() -> Iterator[str]:
    after = _go(f"list/{_REPOSITORY}/_tags/$static_registry_last.json")
    yield from _if("$arg_last", f"(?<static_registry_last>{_TAG})", [after])
    yield _go(f"list/{_REPOSITORY}/_tags.json")


def _manifest(server_root: str) -> Iterator[str]:
    place = nginx.text(f"{server_root}/{_REPOSITORY}/_manifests/$static_registry_reference")
    yield from nginx.block(f"if (!-d {place})", [_go("error/manifest")])
    yield f"root {place};"
    yield from _if(
        "$realpath_root", f".*/{answers.HEX}", [_go(f"manifest/$static_registry_hex/{_REPOSITORY}/_digests")]
    )


def _referrers() -> Iterator[str]:
    yield "set $static_registry_type $arg_artifactType;"
    for encoded, plain in (("%2F", "/"), ("%2B", "+"), ("%2B", "+")):
        pattern = f"(?<static_registry_head>.*){encoded}(?<static_registry_tail>.*)"
        decoded = f'set $static_registry_type "$static_registry_head{plain}$static_registry_tail";'
        yield from _if("$static_registry_type", pattern, [decoded])
    every = f"referrers/{_REPOSITORY}/_referrers/$static_registry_hex"
    yield from _if("$static_registry_type", f"{_TYPE}/{_TYPE}", [_go(f"{every}/$static_registry_type.json")])
    yield from _if("$static_registry_type", ".+", [_go("empty")])
    yield _go(f"{every}.json")


def _answers(server_root: str) -> Iterator[str]:
    path = "(?<static_registry_path>.+)"
    yield from _AT.location(f"manifest/{answers.HEX}/{path}", answers.manifest(_AT, _manifest_file(server_root)))
    yield from _AT.location(f"blob/{answers.HEX}/{path}", answers.blob(_AT, server_root))
    yield from _AT.location(f"list/{path}", [*_file(server_root, "error/last"), answers.VERSION_HEADER])
    yield from _AT.location(f"referrers/{path}", [*_file(server_root, "empty?$args"), *answers.referrers_headers()])
    yield from _AT.location("empty", answers.referrers(""))


def _manifest_file(server_root: str) -> Iterator[str]:
    yield f"root {nginx.text(f'{server_root}/$static_registry_path/$static_registry_hex')};"
    yield f"try_files {' '.join(f'/m.{ending}' for ending in listing.ENDINGS.values())} =404;"


def _file(server_root: str, missing: str) -> Iterator[str]:
    yield f"alias {nginx.text(f'{server_root}/$static_registry_path')};"
    yield "types { }"
    yield _AT.error_page("403 404", missing)
