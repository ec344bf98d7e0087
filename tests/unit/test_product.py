"""What the medium says of itself, to the byte."""

import pathlib
import re
import subprocess

import pytest

from buildchain import command, digest, errors, product, signing, source, stage, store, tree, version
from tests.support import openpgp

DEVELOPMENT = pathlib.Path(__file__).parents[2] / "packages/keys/development/secret.asc"
EPOCH = 1_700_000_000
RELEASE = version.Version("2", "5", "1", "")
DEV = version.Version("2", "5", "1", "-dev")
ORIGIN = source.Source("a" * 40, 5, False, ())


def test_product_txt() -> None:
    assert product.describe("MetalK8s", DEV, ORIGIN, EPOCH).decode() == (
        "NAME=MetalK8s\n"
        "VERSION=2.5.1-dev\n"
        "SHORT_VERSION=2.5\n"
        f"GIT={'a' * 40}\n"
        "DEVELOPMENT_RELEASE=1\n"
        "BUILD_TIMESTAMP=2023-11-14T22:13:20Z\n"
        "BUILD_HOST=reproducible\n"
    )


@pytest.mark.parametrize(("suffix", "flag"), [("", "0"), ("-dev", "1"), ("-dev.1", "0"), ("-rc1", "0")])
def test_only_the_suffix_dev_is_a_development_release(suffix: str, flag: str) -> None:
    text = product.describe("X", version.Version("2", "5", "1", suffix), ORIGIN, 0).decode()
    assert f"\nDEVELOPMENT_RELEASE={flag}\n" in text
    assert "\nBUILD_TIMESTAMP=1970-01-01T00:00:00Z\n" in text


def test_a_dirty_source_says_so() -> None:
    dirty = source.Source("a" * 40, 5, True, ())
    assert f"\nGIT={'a' * 40}-dirty\n".encode() in product.describe("X", DEV, dirty, 0)


def test_volume_ids() -> None:
    assert product.volume_id("MetalK8s", DEV) == "MetalK8s 2.5.1-dev"
    assert len(product.volume_id("M" * 26, RELEASE)) == 32
    for name in ("M" * 27, "Métal"):
        with pytest.raises(errors.BuildchainError, match="is not at most 32 ASCII characters\nShorten PROJECT_NAME"):
            product.volume_id(name, RELEASE)


def test_the_development_key_signs_no_release() -> None:
    public = signing.Signer(signing.DEVELOPMENT_FINGERPRINT, 0, (), signing.DEVELOPMENT_FINGERPRINT)
    own = signing.Signer("B" * 40, 0, (), "B" * 40)
    with pytest.raises(errors.BuildchainError, match=r"release 2\.5\.1: (.|\n)*Set SIGNING_KEY in \.env"):
        product.check_key(RELEASE, public)
    product.check_key(DEV, public)
    product.check_key(RELEASE, own)


def _contents(packages: store.Store) -> tree.Tree:
    text, script = packages.add_bytes(b"text\n"), packages.add_bytes(b"#!/bin/sh\n")
    names = ["a b", "a=b#c", "é", "sub/%2b+~", "sub/deep/same"]
    entries: list[tree.Entry] = [tree.File(name, text) for name in names]
    return tree.build([*entries, tree.File("verify.sh", script, is_program=True), tree.Link("sub/link", "../a b")])


def _seal(directory: pathlib.Path, epoch: int = EPOCH) -> tuple[tree.Tree, store.Store]:
    packages = store.Store(directory)
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
        return product.seal(_contents(packages), packages, signer, epoch), packages


def _read(sealed: tree.Tree, packages: store.Store, path: str) -> bytes:
    (content,) = [file.content for file in sealed.files() if file.path == path]
    return packages.read(content.digest)


def test_scripts_are_told_their_version(tmp_path: pathlib.Path) -> None:
    packages = store.Store(tmp_path)
    folder = pathlib.Path(__file__).parents[2] / "scripts"
    shipped = {entry.path: entry for entry in product.scripts(folder, packages, RELEASE).files()}
    assert shipped.keys() == {name.removesuffix(".in") for name in product.SCRIPTS}
    assert [path for path, entry in shipped.items() if not entry.is_program] == ["common.sh", "join.sh"]
    text = packages.read(shipped["bootstrap.sh"].content.digest).decode()
    assert f"readonly VERSION={RELEASE}\n" in text
    assert "@@" not in text


def test_every_file_but_two_has_its_digest(tmp_path: pathlib.Path) -> None:
    sealed, packages = _seal(tmp_path)
    lines = _read(sealed, packages, "SHA256SUM").decode().splitlines()
    listed = {path: content for content, path in (line.split("  ", 1) for line in lines)}
    assert listed == {
        file.path: file.content.digest.hex for file in sealed.files() if not file.path.startswith("SHA256SUM")
    }
    assert [line.split("  ", 1)[1] for line in lines] == sorted(listed, key=str.encode)
    assert {"CONTENTS.mtree", "signing-key.asc", "é"} <= listed.keys()


def test_sha256sum_reads_the_digests(tmp_path: pathlib.Path) -> None:
    sealed, packages = _seal(tmp_path / "store")
    stage.stage(sealed, packages, tmp_path / "root")
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUM"]
    command.run(check, directory=tmp_path / "root")
    (tmp_path / "root/é").unlink()
    (tmp_path / "root/é").write_bytes(b"other")
    done = subprocess.run(check, cwd=tmp_path / "root", env={"LC_ALL": "C.UTF-8"}, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, "é: FAILED\n".encode())


def test_the_digests_are_signed(tmp_path: pathlib.Path) -> None:
    sealed, packages = _seal(tmp_path)
    for name in ("SHA256SUM", "SHA256SUM.asc"):
        (tmp_path / name).write_bytes(_read(sealed, packages, name))
    with openpgp.home() as judge:
        judge.run("--import", stdin=_read(sealed, packages, "signing-key.asc"))
        judge.run("--verify", str(tmp_path / "SHA256SUM.asc"), str(tmp_path / "SHA256SUM"))


def _mtree(text: str) -> dict[str, dict[str, str]]:
    """A reader of mtree(5) of its own: keywords by path."""
    first, *lines = text.splitlines()
    assert first == "#mtree"
    found = {}
    for line in lines:
        name, *words = line.split(" ")
        assert re.fullmatch(r"(?:[!-~])+", line.replace(" ", ""))
        found[_unescaped(name)] = {key: _unescaped(value) for key, value in (word.split("=", 1) for word in words)}
    assert len(found) == len(lines)
    return found


def _unescaped(text: str) -> str:
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), text.encode()).decode()


def test_contents_lists_every_path_with_kind_mode_size_and_target(tmp_path: pathlib.Path) -> None:
    sealed, packages = _seal(tmp_path)
    listed = _mtree(_read(sealed, packages, "CONTENTS.mtree").decode())
    expected = {f"./{path}": {"type": "dir", "mode": "0755"} for path in sealed.directories()}
    expected["."] = {"type": "dir", "mode": "0755"}
    for entry in sealed:
        if isinstance(entry, tree.Link):
            expected[f"./{entry.path}"] = {"type": "link", "link": entry.target}
        else:
            size = {"size": str(entry.content.size)}
            expected[f"./{entry.path}"] = {"type": "file", "mode": f"{entry.mode:04o}", **size}
    for path in ("CONTENTS.mtree", "SHA256SUM", "SHA256SUM.asc"):
        del expected[f"./{path}"]["size"]
    assert listed == expected
    assert listed["./verify.sh"]["mode"] == "0555"


def test_the_seal_depends_on_contents_key_and_date_alone(tmp_path: pathlib.Path) -> None:
    first, again, later = (_seal(tmp_path / name, epoch)[0] for name, epoch in (("1", 7), ("2", 7), ("3", 2**31)))
    assert first == again
    changed = {file.path for file in first.files()} - {file.path for file in set(first.files()) & set(later.files())}
    assert changed == {"SHA256SUM.asc"}


@pytest.mark.parametrize("path", ["SHA256SUM", "SHA256SUM.asc", "CONTENTS.mtree", "signing-key.asc"])
def test_nobody_else_may_bring_these_files(tmp_path: pathlib.Path, path: str) -> None:
    packages = store.Store(tmp_path)
    contents = tree.build([tree.File(path, packages.add_bytes(b"forged"))])
    with (
        signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer,
        pytest.raises(errors.TreeError, match=f"'{path}' has two contents"),
    ):
        product.seal(contents, packages, signer, EPOCH)


def test_names_are_listed_without_loss(tmp_path: pathlib.Path) -> None:
    packages = store.Store(tmp_path)
    names = ["\u2028", "=", "#", "  ", "日本", "\u0085"]
    contents = tree.build([tree.File(name, digest.Descriptor.of_bytes(b"")) for name in names])
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
        sealed = product.seal(contents, packages, signer, EPOCH)
    assert {f"./{name}" for name in names} <= _mtree(_read(sealed, packages, "CONTENTS.mtree").decode()).keys()
