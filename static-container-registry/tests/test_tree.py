"""The constant output: the same questions, and new images without new text."""

import json
import pathlib
import re

import pytest

import static_container_registry
from scr_testing import images, nginx, roots
from static_container_registry import replay

pytestmark = pytest.mark.tools("nginx")

# What files cannot do: count to `n`, page through the catalog, and tell what follows a tag that is not there.
_LIMITS = re.compile(r"[?&]n=|/v2/_catalog\?last=|tags/list\?last=(-|zzzz)$")


def _write(root: pathlib.Path, destination: pathlib.Path, prefix: str = "") -> static_container_registry.Listing:
    found = static_container_registry.discover(root)
    static_container_registry.write_tree(found, root, destination, prefix)
    return found


def test_every_answer_but_pages(tmp_path: pathlib.Path) -> None:
    root, destination = tmp_path / "root", tmp_path / "strange \"'; tree"
    roots.write_everything(root)
    found = _write(root, destination, "media-1.0")
    with nginx.serve(static_container_registry.render_constant(str(destination))) as server:
        results = list(replay.checks(replay.Registry(server.url), found, root, "media-1.0/"))
        wrong = [check for check in results if check.problem]
        assert [check for check in wrong if not _LIMITS.search(check.question)] == []
        assert [check for check in results if "tags/list?last=1" in check.question and not check.problem]
        assert "[crit]" not in server.log()


def test_new_images_need_no_new_text(tmp_path: pathlib.Path) -> None:
    one, two, destination = tmp_path / "one", tmp_path / "two", tmp_path / "tree"
    first, second = images.random_image(), images.random_image((5,))
    images.write_directory(one / "app" / "v1", first)
    images.write_directory(two / "app" / "v1", second)
    _write(one, destination, "one")
    with nginx.serve(static_container_registry.render_constant(str(destination))) as server:
        registry = replay.Registry(server.url)
        assert registry.get("/v2/two/app/manifests/v1").status == 404
        _write(two, destination, "two")
        assert registry.get("/v2/two/app/manifests/v1").body == second.manifest
        assert registry.get("/v2/one/app/manifests/v1").body == first.manifest
        assert registry.get("/v2/_catalog").json() == {"repositories": ["one/app", "two/app"]}


def test_writing_again_replaces_what_had_the_same_prefix(tmp_path: pathlib.Path) -> None:
    root, destination = tmp_path / "root", tmp_path / "tree"
    images.write_directory(root / "a" / "v1", images.random_image())
    images.write_directory(root / "a" / "b" / "v1", images.random_image((3,)))
    _write(root, destination)
    (root / "a" / "v1").rename(root / "a" / "v2")
    (root / "a" / "b").rename(root / "c")
    found = _write(root, destination)
    with nginx.serve(static_container_registry.render_constant(str(destination))) as server:
        registry = replay.Registry(server.url)
        assert registry.get("/v2/_catalog").json() == {"repositories": [each.name for each in found.repositories]}
        assert registry.get("/v2/a/manifests/v1").status == 404
        assert registry.get("/v2/a/manifests/v2").status == 200
        assert registry.get("/v2/a/b/manifests/v1").status == 404
        assert registry.get("/v2/c/manifests/v1").status == 200


def test_media_of_other_prefixes_stay(tmp_path: pathlib.Path) -> None:
    root, destination = tmp_path / "root", tmp_path / "tree"
    images.write_directory(root / "app" / "v1", images.random_image())
    for prefix in ("m", "m-1", "m/x", "", "m"):
        _write(root, destination, prefix)
    names = json.loads((destination / "_catalog.json").read_text())["repositories"]
    assert names == ["app", "m-1/app", "m/app", "m/x/app"]
    (root / "app").rename(root / "new")
    _write(root, destination)
    names = json.loads((destination / "_catalog.json").read_text())["repositories"]
    assert names == ["m-1/app", "m/app", "m/x/app", "new"]


@pytest.mark.parametrize("place", [".", "tree", "link/tree"])
def test_a_tree_among_the_images_is_refused(tmp_path: pathlib.Path, place: str) -> None:
    images.write_directory(tmp_path / "app" / "v1", images.random_image())
    (tmp_path / "link").symlink_to(".")
    with pytest.raises(ValueError, match="stands inside of"):
        _write(tmp_path, tmp_path / place)
    assert {path.name for path in tmp_path.iterdir()} == {"app", "link"}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/app/manifests/..%2f..%2f_catalog.json",
        "/v2/app/manifests/../_tags.json",
        "/v2/app/_tags.json",
        "/v2/app/_manifests/v1/m.dm",
        "/v2/app/blobs/sha256:{B}%0a",
        "/v2/other/blobs/sha256:{B}",
        "/v2/app/tags/list?last=../../../_catalog",
        "/v2/app/tags/list?last=nope",
    ],
)
def test_nothing_else_can_be_reached(tmp_path: pathlib.Path, path: str) -> None:
    image = images.random_image()
    images.write_directory(tmp_path / "root" / "app" / "v1", image)
    images.write_directory(tmp_path / "root" / "other" / "v1", images.random_image((7,)))
    _write(tmp_path / "root", tmp_path / "tree")
    with nginx.serve(static_container_registry.render_constant(str(tmp_path / "tree"))) as server:
        registry = replay.Registry(server.url)
        blob = images.hex_of(image.blobs[1])
        assert registry.get(f"/v2/app/blobs/sha256:{blob}").status == 200
        answer = registry.get(path.replace("{B}", blob))
        if "last=.." in path:
            assert answer.json() == {"name": "app", "tags": ["v1"]}
        else:
            assert answer.status in (400, 404)
            assert answer.json()["errors"]


def test_the_text_does_not_depend_on_images(tmp_path: pathlib.Path) -> None:
    text = static_container_registry.render_constant(str(tmp_path))
    images.write_directory(tmp_path / "root" / "app" / "v1", images.random_image())
    _write(tmp_path / "root", tmp_path)
    assert static_container_registry.render_constant(str(tmp_path)) == text
    assert len(text) < 20_000
