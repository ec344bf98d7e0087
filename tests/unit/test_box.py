"""The box, without making one."""

import pathlib

import pytest

from buildchain import box, errors


def test_a_medium_without_packages_makes_no_box(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BuildchainError, match=r"holds no repository[\s\S]*populate_iso"):
        box.build(tmp_path, tmp_path / "box.tar")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("version", "name"),
    [("2.5.1-dev", "metalk8s/box:2.5.1-dev"), ("2.5.1~rc1+a", "metalk8s/box:2.5.1_rc1_a")],
)
def test_the_image_has_a_name_that_docker_takes(version: str, name: str) -> None:
    assert box.image_name(version) == name
