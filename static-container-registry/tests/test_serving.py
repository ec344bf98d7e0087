"""A real nginx with the classic output, asked everything; hostile requests and configurations."""

import pathlib
import string
from collections.abc import Iterator

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import static_container_registry
from scr_testing import images, nginx, roots
from static_container_registry import discovery, listing, replay

pytestmark = pytest.mark.tools("nginx")

PREFIX = "media-1.0"


def render(root: pathlib.Path, prefix: str = "", **parts: bool) -> str:
    options = static_container_registry.Options(str(root), prefix, **parts)
    return static_container_registry.render(static_container_registry.discover(root), options)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    top = tmp_path_factory.mktemp("root") / "with $ {{ strange }} \"'; characters"
    roots.write_everything(top)
    return top


@pytest.fixture(scope="module")
def server(root: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Server]:
    plain = tmp_path_factory.mktemp("plain") / "link to it \"'; {"
    plain.symlink_to(root)
    options = static_container_registry.Options(str(plain), PREFIX)
    text = static_container_registry.render(static_container_registry.discover(root), options)
    with nginx.serve(text) as running:
        yield running
        assert "[crit]" not in running.log()
        assert "[alert]" not in running.log()
        assert "[warn]" not in running.log()


def ask(server: nginx.Server, path: str, method: str = "GET", **headers: str) -> replay.Answer:
    return replay.Registry(server.url).ask(method, path, headers)


def test_every_answer_of_the_specification(server: nginx.Server, root: pathlib.Path) -> None:
    found = static_container_registry.discover(root)
    results = list(replay.checks(replay.Registry(server.url), found, root, f"{PREFIX}/"))
    assert [check for check in results if check.problem] == []
    assert {check.section for check in results} == {
        replay.SUPPORT,
        replay.MANIFESTS,
        replay.BLOBS,
        replay.EXISTENCE,
        replay.TAGS,
        replay.REFERRERS,
        replay.ERRORS,
        replay.CATALOG,
    }


def test_the_replay_finds_what_is_wrong(server: nginx.Server, root: pathlib.Path) -> None:
    """The judge is judged: a registry that serves something else is told so."""
    found = discovery.discover(root)
    results = list(replay.checks(replay.Registry(server.url), found, root, "other/"))
    wrong = {check.section for check in results if check.problem}
    assert wrong >= {replay.MANIFESTS, replay.BLOBS, replay.TAGS, replay.REFERRERS, replay.CATALOG}


def _of(root: pathlib.Path, name: str) -> listing.Repository:
    return next(each for each in discovery.discover(root).repositories if each.name == name)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nginx/1.0/manifest.json",
        "/v2/{P}/nginx/version",
        "/v2/{P}/nginx/1.0/version",
        "/v2/{P}/nginx/manifests/",
        "/v2/{P}/nginx/manifests/1x0",
        "/v2/{P}/nginx/manifests/1.0/",
        "/v2/{P}/nginx/manifests/1.0%0a",
        "/v2/{P}/nginx/manifests/1.0%00",
        "/v2/{P}/nginx/manifests/manifest.json",
        "/v2/{P}/nginx/manifests/..%2f1.0",
        "/v2/{P}/nginx/blobs/sha256:{B}garbage",
        "/v2/{P}/nginx/blobs/sha256:{B}%0a",
        "/v2/{P}/nginx/blobs/sha256:..%2f1.0%2fversion",
        "/v2/{P}/nginx/blobs/sha256:zzz:{B}",
        "/v2/{P}/nginx/blobs/SHA256:{B}",
        "/v2/{P}/nginx/blobs/version",
        "/v2/{P}/etcd/blobs/sha256:{B}",
        "/v2/{P}/../nginx/blobs/sha256:{B}",
        "/v2/zzz/v2/{P}/nginx/blobs/sha256:{B}",
        "/v2/media-1x0/nginx/blobs/sha256:{B}",
        "/v2/nginx/manifests/1.0",
        "/v2/{P}/nginx/referrers/",
        "/v2/{P}/nginx/tags/",
        "/v2/{P}/nginx/",
        "/v2/{P}",
        "/.static-registry:{P}/:GET/tags",
        "/.static-registry:{P}/:GET/manifest/{B}/nginx/1.0/version.om",
        "/.static-registry:{P}/:GET/blob/{B}/nginx/1.0",
    ],
)
def test_nothing_else_can_be_reached(server: nginx.Server, root: pathlib.Path, path: str) -> None:
    blob = (
        next(each for each in _of(root, "nginx").manifests if each.path.startswith("nginx/1.0/manifest")).blobs[0].hex
    )
    place = path.replace("{P}", PREFIX).replace("{B}", blob)
    assert ask(server, f"/v2/{PREFIX}/nginx/blobs/sha256:{blob}").status == 200
    answer = ask(server, place)
    assert answer.status in (400, 403, 404)
    if place.startswith("/v2/") and "%00" not in place:
        assert b'{"errors":[{"code":"' in answer.body


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("/v2/_catalog?n=2", "/v2/_catalo%67?n=2"),
        ("/v2/_catalog?last={P}/bare&n=1", "/v2/_catalo%67?last={P}%2fbare&n=1"),
        ("/v2/{P}/nginx/tags/list?n=1", "/v2/{P}/%6eginx/tags/list?n=1"),
        ("/v2/{P}/nginx/tags/list?last=1.2&n=3", "/v2/{P}/ngin%78/tags/lis%74?last=1.2&n=3"),
        ("/v2/{P}/nginx/manifests/1.0", "/v2/{P}/nginx/manifests/%31.0"),
        ("/v2/{P}/nginx/manifests/nope", "/v2/{P}/nginx/manifests/%6eope"),
        ("/v2/{P}/a/b/c/manifests/v1", "/v2/{P}/a%2fb%2fc/manifests/v1"),
        ("/v2/{P}/nginx/blobs/sha256:{B}", "/v2/{P}/nginx/blobs/sha256%3A{B}"),
        ("/v2/{P}/nginx/referrers/sha256:{B}", "/v2/{P}/nginx/referrers/sha256%3a{B}"),
        ("/v2/{P}/nginx/manifests/1.0", "/v2/{P}//nginx/./manifests/x/../1.0"),
        ("/v2/{P}/nginx/manifests/1.0", "/v2/{P}/nginx/manifests/1.0?ns=docker.io"),
    ],
)
def test_a_path_written_in_another_way_is_the_same(
    server: nginx.Server, root: pathlib.Path, path: str, encoded: str
) -> None:
    blob = _of(root, "nginx").manifests[0].blobs[0].hex
    one, two = (ask(server, each.replace("{P}", PREFIX).replace("{B}", blob)) for each in (path, encoded))
    assert (one.status, one.body) == (two.status, two.body)
    assert one.headers.get("link") == two.headers.get("link")


def test_a_large_upload_is_refused_like_a_small_one(server: nginx.Server) -> None:
    for path in (f"/v2/{PREFIX}/nginx/blobs/uploads/", f"/v2/{PREFIX}/no/blobs/uploads/", "/v2/"):
        answer = ask(server, path, "PUT", **{"Content-Length": str(10 << 20), "Expect": "100-continue"})
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("method", ["PROPFIND", "LOCK", "MADE-UP", "TRACE", "CONNECT"])
def test_no_method_is_forgotten(server: nginx.Server, method: str) -> None:
    answer = ask(server, f"/v2/{PREFIX}/nginx/manifests/1.0", method)
    assert answer.status == 405
    if method not in ("TRACE", "CONNECT"):  # nginx itself refuses these, before it looks at any location
        assert answer.headers["allow"] == "GET, HEAD"


def test_a_file_that_vanished_is_an_unknown_manifest(tmp_path: pathlib.Path) -> None:
    image = images.random_image()
    images.write_directory(tmp_path / "a" / "1", image)
    with nginx.serve(render(tmp_path)) as server:
        assert ask(server, "/v2/a/manifests/1").status == 200
        (tmp_path / "a" / "1" / "manifest.json").unlink()
        answer = ask(server, "/v2/a/manifests/1")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
        assert b"MANIFEST_UNKNOWN" in answer.body


def test_several_media_in_one_server(tmp_path: pathlib.Path) -> None:
    texts = []
    for prefix in ("media-1.0", "media-1.1", ""):
        images.write_directory(tmp_path / prefix / "app" / "v1", images.random_image((ord(prefix[-1:] or "x"),)))
        texts.append(render(tmp_path / prefix if prefix else tmp_path / "media-1.0", prefix, has_constants=False))
    constants = static_container_registry.render(
        static_container_registry.Listing(), static_container_registry.Options("/", has_images=False)
    )
    with nginx.serve(*texts, constants) as server:
        names = replay.Registry(server.url).get("/v2/_catalog").json()["repositories"]
        assert names == ["media-1.0/app", "media-1.1/app", "app"]
        digests = {ask(server, f"/v2/{name}/manifests/v1").headers["docker-content-digest"] for name in names[:2]}
        assert len(digests) == 2
        following = replay.Registry(server.url).get("/v2/_catalog?last=media-1.1/app").json()["repositories"]
        assert following == ["app"]
        assert "[warn]" not in server.log()


def test_a_server_without_images_answers(tmp_path: pathlib.Path) -> None:
    with nginx.serve(render(tmp_path)) as server:
        results = list(replay.checks(replay.Registry(server.url), listing.Listing(), tmp_path))
        assert [check for check in results if check.problem] == []


def test_placeholders_are_rendered_later(root: pathlib.Path) -> None:
    found = static_container_registry.discover(root)
    template = static_container_registry.render(
        found, static_container_registry.Options("{{ registry_root }}", "{{ repository }}")
    )
    assert "{{ repository }}" in template
    rendered = jinja2.Template(template, keep_trailing_newline=True).render(repository=PREFIX, registry_root="$images")
    direct = static_container_registry.render(found, static_container_registry.Options("$images", PREFIX))
    assert rendered == direct


def test_what_is_put_in_later_is_literal_text(root: pathlib.Path) -> None:
    """A Solution's id may have a plus, which must not become a quantifier."""
    template = static_container_registry.render(
        static_container_registry.discover(root), static_container_registry.Options("$images", "{{ repository }}")
    )
    text = template.replace("{{ repository }}", "sol-1.0+b(2)")
    with nginx.serve('set $images "/nowhere";', text) as server:
        assert ask(server, "/v2/sol-1.0+b(2)/nginx/tags/list").json()["name"] == "sol-1.0+b(2)/nginx"
        assert ask(server, "/v2/sol-1x0+b(2)/nginx/tags/list").status == 404
        assert ask(server, "/v2/sol-1.00b2/nginx/tags/list").status == 404


def test_output_is_sorted_and_the_same_again(root: pathlib.Path) -> None:
    one, two = render_fixed(root), render_fixed(root)
    assert one == two
    places = [line for line in one.splitlines() if line.startswith('location ^~ "/v2/')]
    assert places == sorted(places)


def render_fixed(root: pathlib.Path) -> str:
    return static_container_registry.render(
        static_container_registry.discover(root), static_container_registry.Options("/srv")
    )


def _many(count: int, *, is_one_repository: bool) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        image = images.index([], media_type=images.OCI_INDEX)
        content = image.manifest.replace(b'{"', b'{"n": %d, "' % number, 1)
        files[f"repo/t{number}/manifest.json" if is_one_repository else f"repo{number}/t/manifest.json"] = content
    return files


@pytest.mark.parametrize("is_one_repository", [True, False])
def test_thousands_of_images(is_one_repository: bool) -> None:
    files = _many(3000, is_one_repository=is_one_repository)
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    text = static_container_registry.render(found, static_container_registry.Options("/srv"))
    assert text.count("\nlocation ") <= 3100
    with nginx.serve(text) as server:
        registry = replay.Registry(server.url)
        paths = [path for path in files if path.startswith("repo/")]
        if is_one_repository:
            assert len(paths) == 3000
            tags = registry.get("/v2/repo/tags/list").json()["tags"]
            assert tags == sorted(f"t{number}" for number in range(3000))
        else:
            names = registry.get("/v2/_catalog").json()["repositories"]
            assert names == sorted(f"repo{number}" for number in range(3000))


def test_blobs_of_many_tags_are_found_without_trying(tmp_path: pathlib.Path) -> None:
    """Every tag has blobs of its own, and one that all have: each must come from a folder that has it."""
    for number in range(150):
        images.write_directory(tmp_path / "a" / f"t{number}", images.random_image((1000, number), size=40))
    text = render(tmp_path)
    assert "try_files" not in text
    for block in text.split("\nlocation ")[1:]:
        assert block.count("rewrite ") < 80
    found = discovery.discover(tmp_path)
    with nginx.serve(text) as server:
        registry = replay.Registry(server.url)
        for manifest in found.repositories[0].manifests:
            for blob in manifest.blobs:
                answer = registry.get(f"/v2/a/blobs/sha256:{blob.hex}")
                assert images.hex_of(answer.body) == blob.hex
                assert registry.get(f"/v2/a/manifests/sha256:{manifest.hex}").status == 200


def test_artifact_types_of_any_kind(tmp_path: pathlib.Path) -> None:
    image = images.random_image()
    types = ["x" * 4000, "\u20ac" * 300, "a/b;c=d", "{{ x }}", "$x", "\"'\\", "a/" + "b" * 127, "text/x.y+z-_1"]
    attached = [images.artifact(image, artifact_type, {"$k{{": artifact_type}) for artifact_type in types]
    images.write_directory(tmp_path / "a" / "1", image, *attached)
    with nginx.serve(render(tmp_path)) as server:
        registry = replay.Registry(server.url)
        rows = registry.get(f"/v2/a/referrers/{image.digest}").json()["manifests"]
        assert {row["artifactType"] for row in rows} == set(types)
        assert all(row["annotations"] == {"$k{{": row["artifactType"]} for row in rows)
        for artifact_type in types[-2:]:
            answer = registry.get(f"/v2/a/referrers/{image.digest}?artifactType={artifact_type}")
            assert [row["artifactType"] for row in answer.json()["manifests"]] == [artifact_type]


_TAG = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=4)


def test_pages_after_any_tag(tmp_path: pathlib.Path) -> None:
    """nginx's answer to `last` and `n` equals Python's sorting, for tags in the list and others."""
    tags = [
        "0",
        "00",
        "1",
        "1.0",
        "1.0-rc",
        "1.0.1",
        "1.10",
        "1.9",
        "A",
        "a",
        "a-b",
        "a.b",
        "a_b",
        "aA",
        "aa",
        "z",
        "_",
    ]
    for number, tag in enumerate(tags):
        images.write_directory(tmp_path / "a" / tag, images.random_image((number,), size=10))
    ordered = sorted(tags)
    with nginx.serve(render(tmp_path)) as server:
        registry = replay.Registry(server.url)

        @settings(max_examples=300, deadline=None)
        @given(_TAG, st.none() | st.integers(0, 200))
        def judge(last: str, size: int | None) -> None:
            query = f"last={last}" + ("" if size is None else f"&n={size}")
            expected = [tag for tag in ordered if tag > last]
            answer = registry.get(f"/v2/a/tags/list?{query}")
            got = answer.json()["tags"]
            page = len(expected) if size is None else size if size < 10 else min(size // 10 * 10, 100)
            assert got == expected[:page]
            # A page may be shorter than asked for, but then a Link must follow; n=0 has neither.
            assert ("link" in answer.headers) == (0 < page < len(expected))

        judge()


@pytest.mark.parametrize("last", ["999", "999x", "500", "500x", "z"])
def test_pages_of_a_list_that_is_long(last: str) -> None:
    """PCRE counts its steps and gives up, with a 500: what it has to look through must not grow with names' length."""
    tags = sorted(f"{'x' * 110}{number}" for number in range(1000))
    image = images.index([])
    files = {f"a/{tag}/manifest.json": image.manifest for tag in tags}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    text = static_container_registry.render(found, static_container_registry.Options("/srv"))
    with nginx.serve(text) as server:
        answer = ask(server, f"/v2/a/tags/list?last={'x' * 110}{last}")
        assert answer.status == 200
        assert answer.json()["tags"] == [tag for tag in tags if tag > "x" * 110 + last]


_NAME = st.from_regex(
    r"[a-z0-9]{1,3}([._-][a-z0-9]{1,2})?(/(manifests|blobs|tags|referrers|[a-z]{1,2})){0,2}", fullmatch=True
)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        _NAME, st.lists(_TAG.filter(lambda tag: tag[0] not in ".-"), min_size=1, max_size=3, unique=True), max_size=6
    )
)
def test_any_names_make_a_configuration_that_nginx_takes_and_serves(places: dict[str, list[str]]) -> None:
    image = images.random_image(())
    files = {
        f"{name}/{tag}/{file}": content
        for name, tags in places.items()
        for tag in tags
        for file, content in images.files_of(image).items()
    }
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    text = static_container_registry.render(found, static_container_registry.Options("/srv"))
    with nginx.serve(text) as server:
        registry = replay.Registry(server.url)
        for repository in found.repositories:
            answer = registry.get(f"/v2/{repository.name}/tags/list")
            assert answer.json() == {"name": repository.name, "tags": list(repository.tags)}
            for tag in repository.tags:
                # The file is not there, so a right route ends in this error, and nginx says which file it looked for.
                assert b"MANIFEST_UNKNOWN" in registry.get(f"/v2/{repository.name}/manifests/{tag}").body
                path = repository.manifest(repository.tags[tag]).path
                assert f'"/srv/{path}" failed' in server.log()
