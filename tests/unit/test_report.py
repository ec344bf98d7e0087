"""report.html says what report.json says, in one page that asks for nothing."""

import html
import json
import pathlib
import re
import typing

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest, fetch, store, tree
from buildchain.tasks.report import page, space, treemap
from tests.support import images
from tests.unit import test_documentation

_REPOSITORY = "packages/debian/metalk8s-debian-12"


@pytest.fixture
def held(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


def _image(held: store.Store, name: str, *layers: bytes) -> list[tree.File]:
    blobs = [held.add_bytes(layer) for layer in layers]
    rows = [{"digest": str(blob.digest), "size": blob.size} for blob in blobs]
    manifest = held.add_bytes(json.dumps({"layers": rows, "of": name}).encode())
    config = held.add_bytes(f"configuration of {name}".encode())
    folder = f"images/{name}/1.0"
    files = [tree.File(f"{folder}/{blob.digest.hex}", blob) for blob in [*blobs, config]]
    return [*files, tree.File(f"{folder}/manifest.json", manifest)]


@pytest.fixture
def medium(held: store.Store) -> tree.Tree:
    package, index = held.add_bytes(b"p" * 5000), held.add_bytes(b"i" * 300)
    return tree.build(
        [
            *_image(held, "one", b"b" * 1000, b"1" * 200),
            *_image(held, "two", b"b" * 1000, b"2" * 400),
            tree.File(f"{_REPOSITORY}/pool/hello_1.0_amd64.deb", package),
            tree.File(f"{_REPOSITORY}/Packages", index),
            tree.File(f"{_REPOSITORY}/by-hash/SHA256/{index.digest.hex}", index),
            tree.File("product.txt", held.add_bytes(b"x" * 50)),
            tree.File("empty", held.add_bytes(b"")),
        ]
    )


@pytest.fixture
def report(medium: tree.Tree, held: store.Store) -> dict[str, typing.Any]:
    images = space.images(medium, held, {"one": ["base", "one"], "two": ["base", "two"]})
    groups = space.groups(medium, images)
    sizes = [file.content.size for file in medium.files()]
    unique = sum(group["bytes"] for group in groups)
    return {
        "product": {"name": "A <b> & c", "version": "1.0", "git": "0" * 40},
        "built": {"host": "h", "python": "3.11", "finished": "2020-01-01T00:00:00+00:00"},
        "artifacts": [
            {
                "name": "iso",
                "kind": "medium",
                "size": 1,
                "digest": "sha256:" + "a" * 64,
                "seconds": 2,
                "is_cached": False,
            }
        ],
        "totals": {
            "files": len(sizes),
            "bytes": sum(sizes),
            "unique_bytes": unique,
            "saved_bytes": sum(sizes) - unique,
            "pulled_bytes": 123456,
            "pull_seconds": 1.5,
            "seconds": 75.0,
        },
        "floor": {
            "seconds": 2.5,
            "pull_seconds": 1.5,
            "sha256_seconds": 1.0,
            "sha256_bytes_per_second": 10**9,
            "times_floor": 30.0,
            "slowest_task": "images:one",
            "slowest_seconds": 61.0,
        },
        "tasks": [
            {"name": "_pull", "started": 0, "seconds": 0, "result": "up-to-date"},
            {"name": "images:one", "started": 0.0, "seconds": 61.0, "result": "success"},
            {"name": "_iso_build", "started": 61.0, "seconds": 14.0, "result": "success"},
        ],
        "space": groups,
        "images": images,
        "packages": [
            {
                "name": "hello",
                "version": "1.0",
                "architecture": "amd64",
                "source": "hello",
                "size": 5000,
                "licences": ["GPL-2+", "MIT"],
                "shipped_by": ["repository debian-12"],
            }
        ],
    }


def test_every_distinct_content_counts_once(medium: tree.Tree, report: dict[str, typing.Any]) -> None:
    unique = {file.content: file.content.size for file in medium.files()}
    assert sum(group["bytes"] for group in report["space"]) == sum(unique.values())
    assert sum(len(group["parts"]) for group in report["space"]) == len(unique)
    by_name = {group["name"]: group for group in report["space"]}
    assert by_name[_REPOSITORY]["bytes"] == 5300
    assert [part["name"] for part in by_name[_REPOSITORY]["parts"]] == ["hello", "Packages"]
    assert by_name[space.SHARED]["parts"] == [{"name": "layer base", "bytes": 1000, "copies": 2}]
    assert by_name["images/two"]["parts"][0] == {"name": "layer two", "bytes": 400, "copies": 1}
    assert by_name[space.REST]["bytes"] == 50
    assert [group["bytes"] for group in report["space"]] == sorted((g["bytes"] for g in report["space"]), reverse=True)


def test_layers_know_in_how_many_images_they_are(report: dict[str, typing.Any]) -> None:
    one = report["images"][0]
    assert (one["name"], one["tag"], one["size"]) == ("one", "1.0", 1200)
    assert [(layer["name"], layer["images"]) for layer in one["layers"]] == [("base", 2), ("one", 1)]


def test_the_page_stands_alone(report: dict[str, typing.Any]) -> None:
    text = page.render(report)
    parsed = test_documentation.Page(text)
    assert parsed.open == []
    assert parsed.resources == []
    assert parsed.links == []
    for word in ("http:", "https:", "<script", "@import", "url(", "<iframe"):
        assert word not in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_says_what_the_report_says(report: dict[str, typing.Any]) -> None:
    text = page.render(report)
    for key in ("bytes", "unique_bytes", "saved_bytes", "pulled_bytes"):
        assert f"<dd>{fetch.size_text(report['totals'][key])}</dd>" in text
    assert f"<dd>{report['totals']['files']}</dd>" in text
    assert "<dd>1 min 15 s</dd>" in text
    assert "<strong>30.0 times</strong>" in text
    assert "<code>images:one</code> with 1 min 1 s" in text
    for group in report["space"]:
        assert f"<title>{group['name']}: {group['bytes']} bytes</title>" in text
    assert "<title>layer base: 1000 bytes, in 2 places</title>" in text
    assert "GPL-2+, MIT" in text
    assert "base 1.0 kB <span" in text
    assert "1 task was up to date" in text
    assert html.escape(report["product"]["name"]) in text
    assert "<b>" not in text


def test_areas_are_sizes(report: dict[str, typing.Any]) -> None:
    text = page.render(report)
    frames = re.findall(r'<rect class="frame \w+" x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="([\d.]+)"', text)
    areas = [float(width) * float(height) for width, height in frames]
    sizes = [group["bytes"] for group in report["space"]]
    assert len(areas) == len(sizes)
    for area, size in zip(areas, sizes, strict=True):
        assert area / sum(areas) == pytest.approx(size / sum(sizes), abs=0.002)


@hypothesis.given(
    strategies.lists(strategies.integers(0, 10**12), max_size=60),
    strategies.floats(1, 2000),
    strategies.floats(1, 2000),
)
def test_squares_fill_the_box(sizes: list[int], width: float, height: float) -> None:
    sizes.sort(reverse=True)
    boxes = treemap.squarify(sizes, treemap.Box(0, 0, width, height))
    assert len(boxes) == len(sizes)
    slack = 1e-6 * (width + height + 1)
    for box in boxes:
        assert box.x >= -slack
        assert box.y >= -slack
        assert box.x + box.width <= width + slack
        assert box.y + box.height <= height + slack
    if sum(sizes):
        assert sum(box.width * box.height for box in boxes) == pytest.approx(width * height, rel=1e-6, abs=1e-6)


def test_squares_are_rather_square() -> None:
    boxes = treemap.squarify([6, 6, 4, 3, 2, 2, 1], treemap.Box(0, 0, 6, 4))  # the paper's example
    assert boxes[0] == treemap.Box(0, 0, 3, 2)
    assert max(max(box.width / box.height, box.height / box.width) for box in boxes) < 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 ms"), (0.285, "285 ms"), (1, "1.0 s"), (59.94, "59.9 s"), (125.5, "2 min 5 s")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert page.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["image a"], "image a"),
        (["image a", "image b", "repository r"], "repository r, 2 images"),
        (["repository r"], "repository r"),
    ],
)
def test_who_ships_a_package_is_short(names: list[str], text: str) -> None:
    assert page.shippers_text(names) == text


def test_many_licences_are_counted(report: dict[str, typing.Any]) -> None:
    report["packages"][0]["licences"] = [f"L{number}" for number in range(9)]
    text = page.render(report)
    assert "L4, L5 <span" in text
    assert "and 3 more" in text


def test_a_report_of_nothing_is_a_page(report: dict[str, typing.Any]) -> None:
    empty: dict[str, list[object]] = {"tasks": [], "space": [], "images": [], "packages": [], "artifacts": []}
    assert test_documentation.Page(page.render({**report, **empty})).open == []


def test_equal_content_in_one_folder_is_not_shared(held: store.Store) -> None:
    content = held.add_bytes(b"same")
    medium = tree.build([tree.File("images/a/1/x", content), tree.File("images/a/2/x", content)])
    (group,) = space.groups(medium, [])
    assert (group["name"], group["bytes"]) == ("images/a", digest.Descriptor(content.digest, 4).size)


def test_a_pulled_index_has_the_layers_of_its_images(held: store.Store) -> None:
    index = images.index([images.random_image((1, 2)), images.random_image((1, 3), platform="arm64")])
    medium = tree.build(
        tree.File(f"images/app/1/{name}", held.add_bytes(content)) for name, content in images.files_of(index).items()
    )
    (found,) = space.images(medium, held, {})
    sizes = [len(blob) for child in index.children for blob in child.blobs[1:]]
    assert found["size"] == sum(sizes)
    assert len(found["layers"]) == 4
    assert all(len(layer["name"]) == 12 for layer in found["layers"])
    (group,) = space.groups(medium, [found])
    assert sum("layer " in part["name"] for part in group["parts"]) == 3
