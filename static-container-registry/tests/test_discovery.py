import errno
import json
import os
import pathlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import static_container_registry
from scr_testing import images, roots
from static_container_registry import discovery, listing


def skipped(found: listing.Listing) -> dict[str, str]:
    return {remark.path: remark.reason for remark in found.skipped}


def test_everything_is_found(tmp_path: pathlib.Path) -> None:
    roots.write_everything(tmp_path)
    found = static_container_registry.discover(tmp_path)
    assert found.skipped == ()
    by_name = {repository.name: repository for repository in found.repositories}
    assert list(by_name) == sorted(by_name)
    assert {"a", "a/b/c", "a/manifests", "layout", "single", "nginx"} < set(by_name)
    assert list(by_name["layout"].tags) == ["alias", "v1", "v2"]
    assert list(by_name["single"].tags) == ["v9"]
    nginx = by_name["nginx"]
    assert nginx.tags["1.0"] == nginx.tags["latest"]
    assert [len(each) for each in nginx.referrers().values()] == [2]
    types = {manifest.media_type for repository in found.repositories for manifest in repository.manifests}
    assert types == {images.OCI_MANIFEST, images.OCI_INDEX, images.DOCKER_MANIFEST, images.DOCKER_LIST}


def test_an_empty_root(tmp_path: pathlib.Path) -> None:
    assert static_container_registry.discover(tmp_path) == listing.Listing()


def test_a_root_that_is_not_there(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        static_container_registry.discover(tmp_path / "none")


def _document(**changes: object) -> bytes:
    document = json.loads(images.random_image(()).manifest)
    document.update(changes)
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        (_document(schemaVersion=1), "schemaVersion is 1, not 2"),
        (_document(schemaVersion=None), "schemaVersion is None, not 2"),
        (_document(config=None), "has neither the fields"),
        (_document(manifests=[]), "or those of both"),
        (_document(mediaType="text/html"), "media type 'text/html' does not fit"),
        (_document(mediaType=["x"]), "does not fit a manifest"),
        (_document(mediaType=images.OCI_INDEX), "does not fit a manifest"),
        (_document(layers=[{"digest": "sha512:00", "size": 1}]), "layers: no sha256 digest"),
        (_document(layers=[{"digest": "sha256:" + "0" * 63 + "\n", "size": 1}]), "layers: no sha256 digest"),
        (_document(layers=[{"digest": "sha256:" + "0" * 64}]), "has no size"),
        (_document(layers=[{"digest": "sha256:" + "0" * 64, "size": -1}]), "has no size"),
        (_document(layers=[{"digest": "sha256:" + "0" * 64, "size": 1}]), "is not here"),
        (_document(layers="x"), "layers is not a list"),
        (b'{"schemaVersion":2,"manifests":["x"]}', "manifests: no sha256 digest"),
        (b" " * (discovery.MAX_MANIFEST_SIZE + 1), "a manifest of more than"),
    ],
)
def test_a_manifest_that_cannot_be_served(content: bytes, reason: str) -> None:
    config = images.random_image(()).blobs[0]
    files = {"a/1/manifest.json": content, f"a/1/{images.hex_of(config)}": config}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert found.repositories == ()
    assert reason in skipped(found)["a/1"]


def test_hostile_folder_names_are_refused_with_their_path(tmp_path: pathlib.Path) -> None:
    hostile = ['a"; return 200 x; "', "a\nb", "a{{x}}", "$x", "A", "..a", "\u00e9", "a b", "a+b", "\\E"]
    for name in hostile:
        images.write_directory(tmp_path / name / "1", images.random_image())
        images.write_directory(tmp_path / "good" / name.replace("A", "-A"), images.random_image())
    bad_bytes = os.fsencode(tmp_path) + b"/\xff"
    pathlib.Path(os.fsdecode(bad_bytes)).mkdir()
    (pathlib.Path(os.fsdecode(bad_bytes)) / "x").touch()
    found = static_container_registry.discover(tmp_path)
    assert found.repositories == ()
    reasons = skipped(found)
    for name in hostile:
        assert "is no repository name" in reasons[f"{name}/1"]
        assert "is no tag" in reasons[f"good/{name.replace('A', '-A')}"]
    assert reasons[os.fsdecode(b"\xff/x")] == "no image has a use for it"


_COMPONENT = st.text(min_size=1, max_size=8).filter(lambda text: "/" not in text and text not in (".", ".."))
_PLAIN = st.from_regex(r"[a-z0-9]([._-]?[a-z0-9]){0,3}", fullmatch=True)
# OCI distribution specification 1.1, "Pulling manifests", as it is written there.
_NAME_OF_THE_SPECIFICATION = re.compile(
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII
)
_TAG_OF_THE_SPECIFICATION = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


@settings(max_examples=300, deadline=None)
@given(st.lists(_COMPONENT | _PLAIN, min_size=1, max_size=3), _COMPONENT | _PLAIN)
def test_any_folder_is_served_or_refused_with_its_path(components: list[str], tag: str) -> None:
    name = "/".join(components)
    files = {f"{name}/{tag}/manifest.json": images.index([]).manifest}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    text = static_container_registry.render(found, static_container_registry.Options("/srv"))
    if _NAME_OF_THE_SPECIFICATION.fullmatch(name) and _TAG_OF_THE_SPECIFICATION.fullmatch(tag):
        assert [(each.name, list(each.tags)) for each in found.repositories] == [(name, [tag])]
        assert f'location ^~ "/v2/{name}/"' in text
    else:
        assert set(skipped(found)) == {f"{name}/{tag}"}
        nothing = static_container_registry.render(listing.Listing(), static_container_registry.Options("/srv"))
        assert text == nothing


def test_every_stray_file_is_reported(tmp_path: pathlib.Path) -> None:
    images.write_directory(tmp_path / "a" / "1", images.random_image())
    images.write_layout(tmp_path / "lay", {"1": images.random_image()})
    strays = ["README", "a/notes.tar", f"a/1/{'0' * 64}", "a/1/signature-1", f"lay/blobs/sha256/{'0' * 64}"]
    for path in strays:
        (tmp_path / path).touch()
    images.write_directory(tmp_path / "tag-without-name", images.random_image())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a" / "2").mkdir()
    reasons = skipped(static_container_registry.discover(tmp_path))
    assert set(reasons) == {*strays, "tag-without-name", "pipe", "a/2"}
    assert reasons["a/2"] == "an empty folder"  # what is left of a copy that failed
    assert reasons["tag-without-name"] == "no repository name above the tag"
    assert reasons["pipe"] == "neither a file nor a folder"


def test_links_inside_are_followed_and_links_outside_are_not(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "root"
    images.write_directory(root / "a" / "1", images.random_image())
    images.write_directory(tmp_path / "outside" / "1", images.random_image())
    (root / "a" / "latest").symlink_to("1")
    (root / "b").symlink_to("../outside")
    (root / "a" / "loop").symlink_to("..")
    (root / "dangling").symlink_to("nowhere")
    found = static_container_registry.discover(root)
    assert [(each.name, list(each.tags)) for each in found.repositories] == [("a", ["1", "latest"])]
    reasons = skipped(found)
    assert set(reasons) == {"a/loop", "b", "dangling"}
    assert "stands in" in reasons["a/loop"]
    assert "out of the root" in reasons["b"]


@pytest.mark.parametrize("broken", ["bad/1/manifest.json", "bad/index.json"])
def test_a_file_that_cannot_be_read_costs_its_own_images_alone(broken: str) -> None:
    image = images.files_of(images.random_image())
    files = {f"good/1/{name}": each for name, each in image.items()}
    files |= {"bad/oci-layout": b"{}", broken: b""}

    def read_file(path: str) -> bytes:
        if path == broken:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return files[path]

    found = discovery.read({path: len(each) for path, each in files.items()}, read_file)
    assert [each.name for each in found.repositories] == ["good"]
    assert skipped(found)[broken.rpartition("/")[0]] == "Permission denied"


def test_a_sparse_index_is_served_and_noted() -> None:
    here, gone = images.random_image(), images.random_image((9,), platform="arm64")
    whole = images.index([here, gone])
    files = {f"a/1/{name}": each for name, each in images.files_of(whole).items()}
    for content in (gone.manifest, *gone.blobs):
        files = {path: each for path, each in files.items() if each != content}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert found.skipped == ()
    assert found.notes == (listing.Remark("a/1/manifest.json", f"its child {gone.digest} is not here"),)
    assert [each.hex for each in found.repositories[0].manifests] == sorted([here.hex, whole.hex])


def test_an_index_of_which_no_child_is_here_is_not_served() -> None:
    files = {"a/1/manifest.json": images.index([images.random_image()]).manifest}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert found.repositories == ()
    assert skipped(found)["a/1"] == "none of the manifests that it names can be served"


def test_a_child_with_other_bytes_than_its_name_is_not_served() -> None:
    one, two = images.random_image(), images.random_image((7,))
    files = {f"a/1/{name}": each for name, each in images.files_of(images.index([one, two])).items()}
    files[f"a/1/{one.hex}.manifest.json"] = one.manifest + b" "
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert "its bytes are those of sha256:" in skipped(found)[f"a/1/{one.hex}.manifest.json"]
    assert one.hex not in {each.hex for each in found.repositories[0].manifests}


def test_folders_of_links_to_each_other_end(tmp_path: pathlib.Path) -> None:
    for number in range(30):
        (tmp_path / str(number)).mkdir()
        for name in "ab":
            (tmp_path / str(number) / name).symlink_to(f"../{number + 1}")
    (tmp_path / "30").mkdir()
    found = static_container_registry.discover(tmp_path)
    assert len(found.skipped) == 4 * 29 + 3  # the last one is empty, and has three names


def test_deep_folders_are_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "/".join("d" * 500)).mkdir(parents=True)
    reasons = skipped(static_container_registry.discover(tmp_path))
    assert list(reasons.values()) == [f"a folder more than {discovery.MAX_LEVELS} levels deep"]


def _nested(depth: int, width: int) -> dict[str, bytes]:
    image = images.random_image()
    files = images.files_of(image)
    for _ in range(depth):
        files[f"{image.hex}.manifest.json"] = image.manifest
        rows = [{**image.descriptor(), "annotations": {"n": str(number)}} for number in range(width)]
        document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": rows}
        image = images.Image(json.dumps(document).encode(), images.OCI_INDEX)
    files["manifest.json"] = image.manifest
    return {f"a/1/{name}": content for name, content in files.items()}


def test_an_index_that_names_one_child_many_times_is_read_once() -> None:
    files = _nested(discovery.MAX_NESTING, 1000)
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert found.skipped == ()
    assert len(found.repositories[0].manifests) == discovery.MAX_NESTING + 1


def test_indexes_of_indexes_without_end_are_refused() -> None:
    files = _nested(2000, 1)
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert "none of the manifests that it names can be served" in skipped(found)["a/1"]


def test_foreign_layers_need_not_be_here() -> None:
    foreign = {"digest": "sha256:" + "0" * 64, "size": 5, "urls": ["https://example.com/layer"]}
    image = images.random_image((), layers=[foreign])
    files = {f"a/1/{name}": each for name, each in images.files_of(image).items()}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert found.skipped == ()


@pytest.mark.parametrize("layers", [[], None])
def test_artefacts_without_layers_are_served(layers: list[object] | None) -> None:
    image = images.random_image((), media_type=images.OCI_MANIFEST, layers=layers)
    files = {f"a/1/{name}": each for name, each in images.files_of(image).items()}
    found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
    assert [each.hex for each in found.repositories[0].manifests] == [image.hex]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("team/app:1.0", {"team/app": ["1.0"]}),
        ("registry.example.com:5000/team/app:1.0", {"team/app": ["1.0"]}),
        ("localhost/app:1.0", {"app": ["1.0"]}),
        ("1.0", {}),
        ("Team:1", {}),
        ("a/../b:1", {}),
    ],
)
def test_a_layout_at_the_root_names_repositories(
    tmp_path: pathlib.Path, reference: str, expected: dict[str, list[str]]
) -> None:
    images.write_layout(tmp_path, {reference: images.random_image()})
    found = static_container_registry.discover(tmp_path)
    assert {each.name: list(each.tags) for each in found.repositories} == expected
    assert bool(found.skipped) == (not expected)


def test_one_tag_from_two_places_is_reported(tmp_path: pathlib.Path) -> None:
    images.write_layout(tmp_path / "a", {"1": images.random_image()})
    images.write_directory(tmp_path / "a" / "1", images.random_image((5,)))
    found = static_container_registry.discover(tmp_path)
    assert skipped(found)["a/1"] == "the tag 1 is there already, from an image layout"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("sha256:" + "a" * 64),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "schemaVersion",
                    "mediaType",
                    "config",
                    "layers",
                    "manifests",
                    "digest",
                    "size",
                    "subject",
                    "annotations",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["config", "layers", "manifests", "subject", "mediaType"]), _JSON),
    st.binary(max_size=9),
)
def test_no_document_breaks_the_reader(document: dict[str, object], junk: bytes) -> None:
    contents = [json.dumps({"schemaVersion": 2, **document}).encode(), junk]
    for content in contents:
        files = {"a/1/manifest.json": content, "l/oci-layout": b"", "l/index.json": content}
        found = discovery.read({path: len(each) for path, each in files.items()}, files.__getitem__)
        assert found.skipped or found.repositories or document.get("manifests") == []
