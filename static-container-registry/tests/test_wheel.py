"""What another project would install: a wheel, alone in an environment."""

import pathlib
import shutil
import sys
import zipfile

import pytest

import static_container_registry
from scr_testing import images, programs

PROJECT = pathlib.Path(static_container_registry.__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Built from a copy: the builder writes beside its source."""
    top = tmp_path_factory.mktemp("wheel")
    shutil.copytree(PROJECT, top / "source", ignore=shutil.ignore_patterns("__pycache__", ".*", "tests"))
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(top / "wheels"), str(top / "source"))
    (found,) = (top / "wheels").iterdir()
    return found


def pip(command: str, *arguments: str) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-index"]
    programs.run(sys.executable, "-m", "pip", command, *options, *arguments)


def test_the_program_runs_alone(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    programs.run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"))
    python = tmp_path / "venv/bin/python"
    site = programs.run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    assert list(pathlib.Path(site).iterdir()) == []
    programs.run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "-q", str(wheel))
    images.write_directory(tmp_path / "images/nginx/1.27", images.random_image())
    argv = [
        str(tmp_path / "venv/bin/static-container-registry"),
        "--name-prefix",
        "media-1.0",
        str(tmp_path / "images"),
    ]
    options = static_container_registry.Options(str(tmp_path / "images"), "media-1.0")
    found = static_container_registry.discover(tmp_path / "images")
    assert programs.run(*argv, PYTHONPATH="") == static_container_registry.render(found, options)


def test_the_wheel_holds_the_package_and_needs_nothing(wheel: pathlib.Path) -> None:
    assert wheel.name == f"static_container_registry-{static_container_registry.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    package = PROJECT / "static_container_registry"
    assert sorted(names) == sorted(f"{package.name}/{path.name}" for path in package.iterdir() if path.is_file())
    assert "Requires-Dist" not in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "# static-container-registry" in metadata
