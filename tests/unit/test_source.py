"""Which source this is: the same answer in every clone of a commit, and in a tarball made of it."""

import io
import json
import os
import pathlib
import tarfile

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import command, errors, source

EPOCH = 1_700_000_000


def _git(directory: pathlib.Path, *arguments: str) -> str:
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
                {"NAME": "A", "EMAIL": "a@example.test", "DATE": f"@{EPOCH} +0530"}.items()}  # fmt: skip
    nothing = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return command.run(["git", "-C", directory, *arguments], environment={**identity, **nothing}).decode().strip()


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """A clone's worth of files: a text, a program, a folder, links, and a name in UTF-8."""
    root = tmp_path / "checkout"
    (root / "folder").mkdir(parents=True)
    (root / "README").write_text("read me\n")
    (root / "folder/ünïcode name").write_text("x\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("README")
    (root / "dangling").symlink_to("nowhere")
    (root / ".gitignore").write_text("ignored\n")
    _git(root, "init", "--quiet")
    _git(root, "add", ".")
    _git(root, "commit", "--quiet", "--message=first")
    return root


def _clone(checkout: pathlib.Path, name: str, *options: str) -> pathlib.Path:
    target = checkout.parent / name
    _git(checkout.parent, "clone", "--quiet", *options, f"file://{checkout}", str(target))
    return target


def _identify(root: pathlib.Path) -> source.Source:
    return source.identify(root, "git")


def test_commit_time_and_files(checkout: pathlib.Path) -> None:
    found = _identify(checkout)
    assert found.commit == _git(checkout, "rev-parse", "HEAD")
    assert (found.name, found.epoch) == (found.commit, EPOCH)
    assert found.files == (".gitignore", "README", "dangling", "folder/ünïcode name", "link", "run.sh")


def test_a_git_that_is_not_there_is_named(checkout: pathlib.Path) -> None:
    with pytest.raises(errors.ToolError) as caught:
        source.identify(checkout, "git-2")
    assert str(caught.value) == "git-2: not found on this machine\nInstall git, or name it in GIT_BIN."


def test_clones_do_not_differ(checkout: pathlib.Path) -> None:
    expected = _identify(checkout)
    (checkout / "README").write_text("second\n")
    _git(checkout, "commit", "--quiet", "--all", "--message=second")
    _git(checkout, "tag", "v9.9.9", "HEAD")
    shallow = _identify(_clone(checkout, "shallow", "--depth=1"))
    assert shallow == _identify(_clone(checkout, "full")) == _identify(_clone(checkout, "untagged", "--no-tags"))
    assert shallow.commit != expected.commit
    assert "9.9.9" not in shallow.name


def test_a_worktree_is_a_checkout(checkout: pathlib.Path) -> None:
    _git(checkout, "worktree", "add", "--quiet", "--detach", str(checkout.parent / "worktree"))
    assert _identify(checkout.parent / "worktree") == _identify(checkout)


def _change(root: pathlib.Path) -> None:
    (root / "README").write_text("other\n")


def _remove(root: pathlib.Path) -> None:
    (root / "README").unlink()


def _forbid(root: pathlib.Path) -> None:
    (root / "run.sh").chmod(0o644)


def _point_elsewhere(root: pathlib.Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("run.sh")


def _stage_a_new_file(root: pathlib.Path) -> None:
    (root / "new").touch()
    _git(root, "add", "new")


@pytest.mark.parametrize("change", [_change, _remove, _forbid, _point_elsewhere, _stage_a_new_file])
def test_a_changed_checkout_is_dirty(checkout: pathlib.Path, change: object) -> None:
    assert callable(change)
    clean = _identify(checkout)
    change(checkout)
    found = _identify(checkout)
    assert found.is_dirty
    assert found.name == f"{clean.commit}-dirty"


def test_files_that_git_does_not_track_do_not_count(checkout: pathlib.Path) -> None:
    clean = _identify(checkout)
    (checkout / "ignored").touch()
    (checkout / "untracked").touch()
    os.utime(checkout / "README", (1, 1))
    assert _identify(checkout) == clean


def test_asking_writes_nothing(checkout: pathlib.Path) -> None:
    os.utime(checkout / "README", (1, 1))
    before = (checkout / ".git/index").read_bytes()
    hook = checkout / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-was-here\n")
    hook.chmod(0o755)
    _identify(checkout)
    assert (checkout / ".git/index").read_bytes() == before
    assert not (checkout / "hook-was-here").exists()


def test_the_builders_own_git_configuration_has_no_say(
    checkout: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _identify(checkout)
    (tmp_path / ".gitconfig").write_text(
        "[log]\nshowSignature = true\n[core]\nfileMode = false\nautocrlf = true\n[color]\nui = always\n"
        "[status]\nbranch = true\nshowStash = true\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert _identify(checkout) == expected
    assert _identify(_clone(checkout, "other")) == expected


def test_a_checkout_of_another_user(checkout: pathlib.Path) -> None:
    git = checkout.parent / "git"
    git.write_text('#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec git "$@"\n')
    git.chmod(0o755)
    with pytest.raises(errors.ToolError, match="dubious ownership"):
        command.run([git, "-C", checkout, "log"])
    (checkout.parent / "alias").symlink_to(checkout)
    for root in (checkout, checkout.parent / "alias"):
        assert source.identify(root, str(git)) == _identify(checkout)


def test_a_repository_without_a_commit(tmp_path: pathlib.Path) -> None:
    _git(tmp_path, "init", "--quiet")
    with pytest.raises(errors.ToolError, match="does not have any commits yet"):
        _identify(tmp_path)


def test_no_git(checkout: pathlib.Path) -> None:
    with pytest.raises(errors.ToolError, match="no-git: not found on this machine"):
        source.identify(checkout, "no-git")


def test_neither_clone_nor_tarball(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BuildchainError, match=r"neither \.git nor a readable SOURCE\.json is here\nBuild from"):
        _identify(tmp_path)


def test_a_folder_below_a_clone_is_no_clone(checkout: pathlib.Path) -> None:
    with pytest.raises(errors.BuildchainError, match="neither"):
        _identify(checkout / "folder")


def _unpack(checkout: pathlib.Path, name: str = "unpacked") -> pathlib.Path:
    target = checkout.parent / name
    with tarfile.open(fileobj=io.BytesIO(source.tarball(checkout, _identify(checkout), "metalk8s-2.5"))) as archive:
        archive.extractall(target, filter="data")
    return target / "metalk8s-2.5"


def test_a_tarball_is_the_same_source(checkout: pathlib.Path) -> None:
    unpacked = _unpack(checkout)
    assert not (unpacked / ".git").exists()
    assert _identify(unpacked) == _identify(checkout)
    for path in _identify(checkout).files:
        ours, theirs = unpacked / path, checkout / path
        assert ours.is_symlink() == theirs.is_symlink()
        assert ours.lstat().st_mode == theirs.lstat().st_mode
    assert (unpacked / "dangling").readlink() == pathlib.Path("nowhere")


@pytest.mark.parametrize("change", [_change, _remove, _point_elsewhere])
def test_a_tarball_that_was_changed_is_dirty(checkout: pathlib.Path, change: object) -> None:
    assert callable(change)
    unpacked = _unpack(checkout)
    change(unpacked)
    assert _identify(unpacked).name == f"{_identify(checkout).commit}-dirty"


def test_tarballs_depend_on_the_commit_alone(checkout: pathlib.Path) -> None:
    expected = source.tarball(checkout, _identify(checkout), "x")
    other = _clone(checkout, "other")
    for path in other.rglob("*"):
        if path.is_file() and not path.is_symlink() and ".git" not in path.parts:
            path.chmod(0o700 if path.name == "run.sh" else 0o600)
            os.utime(path, (1, 1))
    assert source.tarball(other, _identify(other), "x") == expected


def test_files_that_share_an_inode_are_packed_as_files(checkout: pathlib.Path) -> None:
    (checkout / "copy").write_text("read me\n")
    _git(checkout, "add", "copy")
    _git(checkout, "commit", "--quiet", "--message=copy")
    expected = source.tarball(checkout, _identify(checkout), "x")
    (checkout / "copy").unlink()
    (checkout / "copy").hardlink_to(checkout / "README")
    assert source.tarball(checkout, _identify(checkout), "x") == expected


_RECORD: dict[str, object] = {"commit": "a" * 40, "epoch": EPOCH, "files": {}}
_CHANGES: list[dict[str, object]] = [
    {"commit": "abc"}, {"commit": "a" * 40 + "\n"}, {"commit": 7}, {"epoch": "x"}, {"epoch": None},
    {"epoch": float("inf")}, {"files": []}, {"files": "x"},
]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b"7"] + [json.dumps(_RECORD | change).encode() for change in _CHANGES],
)
def test_a_damaged_record_is_a_sentence(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / source.RECORD).write_bytes(content)
    with pytest.raises(errors.BuildchainError, match="nor a readable"):
        _identify(tmp_path)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(strategies.dictionaries(strategies.text(max_size=5), strategies.text(max_size=5), min_size=1))
def test_a_record_of_files_that_are_not_there_is_dirty(tmp_path: pathlib.Path, files: dict[str, str]) -> None:
    content = dict.fromkeys(files, "0" * 64)
    (tmp_path / source.RECORD).write_text(json.dumps(_RECORD | {"files": content}))
    assert _identify(tmp_path) == source.Source("a" * 40, EPOCH, True, tuple(sorted(files)))
