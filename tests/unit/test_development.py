"""The development tree: a medium of links."""

import pathlib

import pytest

from buildchain import development

STAGED = (
    "SHA256SUM",
    "SHA256SUM.asc",
    "CONTENTS.mtree",
    "product.txt",
    "bootstrap.sh",
    "common.sh",
    "packages/debian/Packages",
    "pillar/top.sls",
    "salt/_modules/a.py",
    "salt/metalk8s/versions.json",
    "salt/metalk8s/repo/init.sls",
    "salt/top.sls",
)
CHECKOUT = (
    "pillar/top.sls.in",
    "scripts/bootstrap.sh.in",
    "scripts/common.sh",
    "salt/_modules/a.py",
    "salt/metalk8s/map.jinja",
    "salt/metalk8s/repo/init.sls",
    "salt/top.sls.in",
)


@pytest.fixture
def folders(tmp_path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    for folder, paths in (("checkout", CHECKOUT), ("staged", STAGED)):
        for path in paths:
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_text(folder)
    return tmp_path / "checkout", tmp_path / "staged"


def test_what_is_edited_comes_from_the_checkout(folders: tuple[pathlib.Path, pathlib.Path]) -> None:
    found = dict(development.links(*folders))
    assert found["salt/_modules"] == ".checkout/salt/_modules"
    assert found["salt/metalk8s/repo"] == ".checkout/salt/metalk8s/repo"
    assert found["salt/metalk8s/map.jinja"] == ".checkout/salt/metalk8s/map.jinja"
    assert found["common.sh"] == ".checkout/scripts/common.sh"


def test_what_is_rendered_or_pulled_comes_from_the_build(folders: tuple[pathlib.Path, pathlib.Path]) -> None:
    found = dict(development.links(*folders))
    for path in ("packages", "product.txt", "bootstrap.sh", "salt/top.sls", "pillar/top.sls"):
        assert found[path] == f".staged/{path}"
    assert found["salt/metalk8s/versions.json"] == ".staged/salt/metalk8s/versions.json"


def test_it_is_made_anew_and_keeps_its_folders_of_mounts(
    folders: tuple[pathlib.Path, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    target = tmp_path / "development"
    development.build(*folders, target)
    kept = (target / ".staged").stat().st_ino
    (folders[1] / "product.txt").unlink()
    development.build(*folders, target)
    assert (target / ".staged").stat().st_ino == kept
    assert not (target / "product.txt").is_symlink()
    assert (target / development.MARKER).is_file()
    assert not {"SHA256SUM", "SHA256SUM.asc", "CONTENTS.mtree"} & {path.name for path in target.iterdir()}
    assert (target / "salt/metalk8s/repo").readlink() == pathlib.Path("../../.checkout/salt/metalk8s/repo")
