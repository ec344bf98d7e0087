"""The box, without making one."""

import os
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


@pytest.mark.parametrize(("host", "asked"), [("", "unix:///theirs"), ("unix:///ours", "unix:///ours")])
def test_the_users_own_daemon_gets_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, host: str, asked: str
) -> None:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$DOCKER_HOST" >{tmp_path}/said\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", "unix:///theirs")
    box.load(tmp_path / "box.tar", "metalk8s/box:1", host=host)
    assert (tmp_path / "said").read_text() == f"{asked}\n"
