import pathlib
import re

import pytest

from buildchain import errors, registry, store, tree
from tests.support import images


@pytest.fixture
def source(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


def add(source: store.Store, place: str, image: images.Image) -> tree.Tree:
    return tree.build(
        tree.File(f"images/{place}/{name}", source.add_bytes(content))
        for name, content in images.files_of(image).items()
    )


def texts(found: tree.Tree, source: store.Store) -> dict[str, str]:
    return {file.path: source.read(file.content.digest).decode() for file in found.files()}


def test_two_files_where_the_formula_looks_for_them(source: store.Store) -> None:
    image = images.random_image()
    found = registry.index(add(source, "nginx/1.0", image), source, version="2.11.0-dev")
    files = texts(found, source)
    assert list(files) == [registry.COMMON_PATH, registry.IMAGES_PATH]
    common, own = files[registry.COMMON_PATH], files[registry.IMAGES_PATH]
    assert "location = /v2/ {" in common
    assert "nginx" not in common
    assert 'location ^~ "/v2/metalk8s-2.11.0-dev/nginx/"' in own
    assert 'alias "$metalk8s_2_11_0_dev_images/' in own
    assert "location = /v2/ {" not in own
    assert image.hex in own


def test_no_image_is_no_error(source: store.Store) -> None:
    files = texts(registry.index(tree.Tree(), source, version="1"), source)
    assert "location" not in files[registry.IMAGES_PATH]


def test_same_images_same_bytes(source: store.Store) -> None:
    one, two = add(source, "a/1", images.random_image()), add(source, "b/1", images.random_image((3,)))
    forth = registry.index(tree.merge(one, two), source, version="1")
    back = registry.index(tree.merge(two, one), source, version="1")
    assert forth == back


def test_everything_that_would_be_skipped_is_one_error(source: store.Store) -> None:
    good = add(source, "good/1", images.random_image())
    bad_name = add(source, "Bad/1", images.random_image())
    broken = tree.build([tree.File("images/broken/1/manifest.json", source.add_bytes(b"{"))])
    link = tree.build([tree.Link("images/alias", "good")])
    with pytest.raises(errors.TreeError) as caught:
        registry.index(tree.merge(good, bad_name, broken, link), source, version="1")
    text = str(caught.value)
    assert "images/Bad/1: 'Bad' is no repository name" in text
    assert "images/broken/1: not JSON" in text
    assert "images/alias: a link" in text
    assert "images/good" not in text


def test_a_solution_gets_one_template_without_its_name(source: store.Store) -> None:
    image = images.random_image()
    found = registry.template(add(source, "nginx/1.0", image), source)
    ((path, text),) = texts(found, source).items()
    assert path == "registry-config.inc.j2"
    assert 'location ^~ "/v2/{{ repository }}/nginx/"' in text
    assert 'alias "{{ registry_root }}/' in text
    assert "location = /v2/ {" not in text
    assert set(re.findall(r"{{[^}]*}}", text)) == {"{{ repository }}", "{{ registry_root }}"}
    assert not re.search(r"{%|{#", text)


def test_a_solution_whose_images_would_be_skipped_is_refused(source: store.Store) -> None:
    with pytest.raises(errors.TreeError) as caught:
        registry.template(add(source, "Bad/1", images.random_image()), source)
    assert "images/Bad/1: 'Bad' is no repository name" in str(caught.value)
    assert "take them out of the Solution" in str(caught.value)


def test_a_blob_of_another_size_is_an_error(source: store.Store) -> None:
    image = images.random_image()
    files = dict(images.files_of(image))
    victim = images.hex_of(image.blobs[1])
    files[victim] += b"x"
    damaged = tree.build(tree.File(f"images/a/1/{name}", source.add_bytes(text)) for name, text in files.items())
    with pytest.raises(errors.TreeError, match=f"its blob sha256:{victim} has"):
        registry.index(damaged, source, version="1")


@pytest.mark.parametrize("version", ["1.0+build", "1..0", "-", "A", '1"; }'])
def test_a_version_that_no_image_reference_can_carry(source: store.Store, version: str) -> None:
    with pytest.raises(errors.TreeError, match="cannot begin a repository name"):
        registry.index(tree.Tree(), source, version=version)


def test_every_other_character_of_the_variable_is_an_underscore() -> None:
    assert registry.server_root("metalk8s-2.5.1") == "$metalk8s_2_5_1_images"
