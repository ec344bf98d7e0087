"""The intent: the committed one loads; references that lead nowhere are named with their line."""

import pathlib

import pytest

from buildchain import errors, manifest

CHECKOUT = pathlib.Path(__file__).parents[2]

GOOD = """\
archives:
  debian: {origin: Debian, suite: bookworm, components: [main], keys: [keys/a.asc, keys/b.asc]}
  debian-security: {origin: Debian, suite: bookworm-security, components: [main, contrib], keys: [keys/a.asc]}
repositories:
  small: {archives: [debian], packages: [zsh, bash], architecture: arm64}
  debian-12: {archives: [debian, debian-security], packages: [bash], bootstraps: true}
images:
  archives: [debian]
  ship:
    nginx: {tag: 1.22.1, follows: nginx-light}
    etcd: {tag: v3}
"""


def _load(directory: pathlib.Path, text: str) -> manifest.Manifest:
    (directory / "keys").mkdir(exist_ok=True)
    (directory / "keys/a.asc").touch()
    (directory / "keys/b.asc").touch()
    path = directory / manifest.FILE_NAME
    path.write_text(text)
    return manifest.load(path)


def test_values(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, GOOD)
    keys = (tmp_path / "keys/a.asc", tmp_path / "keys/b.asc")
    assert loaded.archives["debian"] == manifest.Archive("debian", "Debian", "bookworm", ("main",), keys)
    assert loaded.archives["debian-security"].components == ("main", "contrib")
    assert loaded.repositories == (
        manifest.Repository("debian-12", ("debian", "debian-security"), "amd64", True, ("bash",)),
        manifest.Repository("small", ("debian",), "arm64", False, ("bash", "zsh")),
    )
    assert loaded.image_archives == ("debian",)
    assert loaded.images == (manifest.ImageSpec("etcd", "v3", ""), manifest.ImageSpec("nginx", "1.22.1", "nginx-light"))


def test_another_suite_is_only_data(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, GOOD.replace("bookworm", "trixie").replace("debian-12", "debian-13"))
    assert loaded.archives["debian-security"].suite == "trixie-security"


def test_dangling_references_are_all_named_with_their_lines(tmp_path: pathlib.Path) -> None:
    text = GOOD.replace("[debian]", "[debian, debain]").replace("keys/b.asc", "keys/c.asc")
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, text)
    assert caught.value.problems == (
        ("line 2, archives.debian.keys.1", "no file keys/c.asc"),
        ("line 5, repositories.small.archives.1", "no archive 'debain'; known: debian, debian-security"),
        ("line 8, images.archives.1", "no archive 'debain'; known: debian, debian-security"),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("architecture: arm64", "architecture: riscv64", "'riscv64' is not one of ['amd64', 'arm64']"),
        ("bootstraps: true", "bootstraps: 1", "1 is not of type 'boolean'"),
        ("tag: v3", "tag: 3.4", "3.4 is not text; put it in quotes"),
        ("tag: v3", "tag: a/b", "is not a tag"),
        ("tag: v3", f"tag: {'a' * 129}", "is not a tag"),
        ("[bash]", "[bash, 'nginx=1.0']", "'nginx=1.0' is not a Debian package name"),
        ("[bash]", "[bash, '?essential']", "is not a Debian package name"),
        ("[bash]", "['--help']", "is not a Debian package name"),
        ("suite: bookworm,", "suite: 'bookworm main',", "is not a suite or code name"),
        ("keys/b.asc", "/etc/b.asc", "is not a relative path of an .asc file"),
        ("keys/b.asc", "../keys/b.asc", "is not a relative path of an .asc file"),
        ("keys/b.asc", "keys/../../b.asc", "is not a relative path of an .asc file"),
        ("origin: Debian, suite: bookworm,", 'origin: "a\\nb", suite: bookworm,', "is not a line of text"),
    ],
)
def test_wrong_values(tmp_path: pathlib.Path, old: str, new: str, message: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    ((_, what),) = caught.value.problems
    assert message in what


def test_the_committed_intent_loads() -> None:
    loaded = manifest.load(CHECKOUT / manifest.FILE_NAME)
    assert {"debian", "debian-security"} <= loaded.archives.keys()
    assert loaded.repositories
    assert loaded.images
