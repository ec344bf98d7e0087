"""Staging touches only what differs, trusts nothing it did not verify, and says what it could not do."""

import os
import pathlib
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator

import pytest

from buildchain import errors, stage, store, tree

ORDINARY_USER = 65534


@pytest.fixture
def packages(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


@pytest.fixture
def contents(packages: store.Store) -> tree.Tree:
    text, other = packages.add_bytes(b"text\n"), packages.add_bytes(b"other\n")
    return tree.build([
        tree.File("a", text), tree.File("d/same", text), tree.File("d/e/other", other), tree.Link("d/link", "../a"),
        tree.File("run", text, is_program=True),
    ])  # fmt: skip


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "build" / "root"


@pytest.fixture
def elsewhere(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder on another file system: pytest's own folders stand in either of these."""
    folders = map(pathlib.Path, ("/dev/shm", "/var/tmp"))  # noqa: S108 - a private folder is made in it
    other = next(each for each in folders if each.stat().st_dev != tmp_path.stat().st_dev)
    directory = tempfile.mkdtemp(dir=other)
    yield pathlib.Path(directory, "root")
    shutil.rmtree(directory)


@pytest.fixture
def ordinary_user() -> Iterator[pathlib.Path]:
    """A folder of a user whom permissions bind, whoever runs the tests."""
    directory = pathlib.Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    before = os.geteuid()
    if before == 0:
        os.chown(directory, ORDINARY_USER, ORDINARY_USER)
        os.seteuid(ORDINARY_USER)
    yield directory
    os.seteuid(before)
    shutil.rmtree(directory)


def _inodes(target: pathlib.Path) -> dict[str, int]:
    return {str(path.relative_to(target)): path.lstat().st_ino for path in [target, *target.rglob("*")]}


def _modes(target: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(target)): stat.filemode(path.lstat().st_mode) for path in [target, *target.rglob("*")]}


MODES = {
    ".": "drwxr-xr-x", "a": "-r--r--r--", "d": "drwxr-xr-x", "d/same": "-r--r--r--", "d/e": "drwxr-xr-x",
    "d/e/other": "-r--r--r--", "d/link": "lrwxrwxrwx", "run": "-r-xr-xr-x",
}  # fmt: skip


def test_files_are_links_to_the_store(contents: tree.Tree, packages: store.Store, target: pathlib.Path) -> None:
    assert stage.stage(contents, packages, target) == stage.Staged(5, 21, 0)
    assert _modes(target) == MODES
    held = packages.path(next(contents.files()).content.digest)
    assert held.samefile(target / "a")
    assert (target / "a").samefile(target / "d/same")
    assert not (target / "run").samefile(target / "a")
    assert (target / "run").read_bytes() == (target / "d/link").read_bytes() == b"text\n"
    assert (target / "d/link").readlink() == pathlib.Path("../a")
    assert stage.is_staged(contents, packages, target)


def test_a_second_time_nothing_is_touched(contents: tree.Tree, packages: store.Store, target: pathlib.Path) -> None:
    stage.stage(contents, packages, target)
    before, times = _inodes(target), {path: path.lstat().st_mtime_ns for path in target.rglob("*")}
    assert stage.stage(contents, packages, target).copied == 0
    assert _inodes(target) == before
    assert {path: path.lstat().st_mtime_ns for path in target.rglob("*")} == times


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o027])
def test_the_umask_has_no_say(contents: tree.Tree, packages: store.Store, target: pathlib.Path, umask: int) -> None:
    target.parent.mkdir()
    os.umask(umask)
    stage.stage(contents, packages, target)
    os.umask(0o022)
    assert _modes(target) == MODES


def test_elsewhere_files_are_copied_and_counted(
    contents: tree.Tree, packages: store.Store, elsewhere: pathlib.Path
) -> None:
    assert stage.stage(contents, packages, elsewhere).copied == 4
    assert _modes(elsewhere) == MODES
    assert stage.is_staged(contents, packages, elsewhere)
    before = _inodes(elsewhere)
    assert stage.stage(contents, packages, elsewhere).copied == 0
    assert _inodes(elsewhere) == before


def test_a_copy_is_believed_by_its_bytes(contents: tree.Tree, packages: store.Store, elsewhere: pathlib.Path) -> None:
    stage.stage(contents, packages, elsewhere)
    (elsewhere / "a").chmod(0o644)
    (elsewhere / "a").write_bytes(b"TEXT\n")
    (elsewhere / "a").chmod(0o444)
    assert not stage.is_staged(contents, packages, elsewhere)
    assert stage.stage(contents, packages, elsewhere).copied == 1
    assert (elsewhere / "a").read_bytes() == b"text\n"


def test_strays_go_and_the_folder_keeps_its_identity(
    contents: tree.Tree, packages: store.Store, target: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/kept").touch()
    (target / "old/deep").mkdir(parents=True)
    (target / "old/deep/file").touch()
    (target / "stray").touch()
    (target / "out").symlink_to(tmp_path / "outside")
    os.mkfifo(target / "pipe")
    (target / "a").mkdir()  # shall be a file
    (target / "a/below").touch()
    (target / "d").touch()  # shall be a folder
    (target / "run").symlink_to("stray")  # shall be a file
    inode = target.stat().st_ino
    stage.stage(contents, packages, target)
    assert target.stat().st_ino == inode
    assert _modes(target) == MODES
    assert (tmp_path / "outside/kept").exists()


def test_a_folder_behind_a_link_is_not_written_to(
    contents: tree.Tree, packages: store.Store, target: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "outside").mkdir()
    target.mkdir(parents=True)
    (target / "d").symlink_to(tmp_path / "outside")
    stage.stage(contents, packages, target)
    assert list((tmp_path / "outside").iterdir()) == []
    assert _modes(target) == MODES


def _rewrite(path: pathlib.Path, content: bytes, mode: int = 0o444) -> None:
    path.unlink()
    path.write_bytes(content)
    path.chmod(mode)


def _relink(path: pathlib.Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _flatten(path: pathlib.Path) -> None:
    shutil.rmtree(path)
    path.touch()


CHANGES: dict[str, Callable[[pathlib.Path], object]] = {
    "a file is gone": lambda root: (root / "a").unlink(),
    "a file is new": lambda root: (root / "d/new").touch(),
    "a folder is new": lambda root: (root / "d/new").mkdir(),
    "other bytes": lambda root: _rewrite(root / "a", b"TEXT\n"),
    "another size": lambda root: _rewrite(root / "a", b"texts\n"),
    "another mode": lambda root: _rewrite(root / "a", b"text\n", 0o644),
    "a folder's mode": lambda root: (root / "d/e").chmod(0o700),
    "the root's mode": lambda root: root.chmod(0o700),
    "another target": lambda root: _relink(root / "d/link", "../b"),
    "a link for a file": lambda root: _relink(root / "a", "d/same"),
    "a file for a link": lambda root: _rewrite(root / "d/link", b"../a"),
    "a file for a folder": lambda root: _flatten(root / "d/e"),
    "all is gone": shutil.rmtree,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_kind_of_change_is_noticed_and_mended(
    contents: tree.Tree, packages: store.Store, target: pathlib.Path, change: Callable[[pathlib.Path], object]
) -> None:
    stage.stage(contents, packages, target)
    change(target)
    assert not stage.is_staged(contents, packages, target)
    stage.stage(contents, packages, target)
    assert stage.is_staged(contents, packages, target)
    assert _modes(target) == MODES


def test_equal_bytes_of_another_inode_are_good_enough(
    contents: tree.Tree, packages: store.Store, target: pathlib.Path
) -> None:
    stage.stage(contents, packages, target)
    _rewrite(target / "a", b"text\n")
    assert stage.is_staged(contents, packages, target)


def test_a_pruned_store_is_noticed(contents: tree.Tree, packages: store.Store, target: pathlib.Path) -> None:
    stage.stage(contents, packages, target)
    shutil.rmtree(packages.root)
    assert not stage.is_staged(contents, packages, target)
    with pytest.raises(errors.BuildchainError, match=r"2 entries are damaged or missing\n(.|\n)*Run \./doit\.sh again"):
        stage.stage(contents, packages, target)


def _damage(packages: store.Store, file: tree.File) -> pathlib.Path:
    path = packages.path(file.content.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().upper())
    path.chmod(0o444)
    return path


def test_a_damaged_entry_is_found_and_named(contents: tree.Tree, packages: store.Store, target: pathlib.Path) -> None:
    stage.stage(contents, packages, target)
    path = _damage(packages, next(contents.files()))
    with pytest.raises(errors.IntegrityError) as caught:
        stage.stage(contents, packages, target)
    assert caught.value.subject == str(path)
    assert not path.exists()


def test_all_damaged_entries_are_named(contents: tree.Tree, packages: store.Store, target: pathlib.Path) -> None:
    damaged = {str(_damage(packages, file)) for file in contents.files() if not file.is_program}
    with pytest.raises(errors.BuildchainError) as caught:
        stage.stage(contents, packages, target)
    assert len(damaged) == 2
    assert all(f"  {path}\n" in f"{caught.value.why}\n" for path in damaged)
    assert not target.exists()


def test_a_file_in_the_way(contents: tree.Tree, packages: store.Store, target: pathlib.Path) -> None:
    target.parent.mkdir()
    target.touch()
    with pytest.raises(errors.BuildchainError, match=f"{target}: File exists\nFree space below BUILD_ROOT"):
        stage.stage(contents, packages, target)
    assert not stage.is_staged(contents, packages, target)


def test_a_full_disk_leaves_nothing_that_is_believed(
    contents: tree.Tree, packages: store.Store, elsewhere: pathlib.Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3, limits[1]))
    try:
        with pytest.raises(errors.BuildchainError, match=r"File too large\n"):
            stage.stage(contents, packages, elsewhere)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not stage.is_staged(contents, packages, elsewhere)
    stage.stage(contents, packages, elsewhere)
    assert _modes(elsewhere) == MODES
    assert (elsewhere / "d/e/other").read_bytes() == b"other\n"


def test_a_folder_that_may_not_be_written(ordinary_user: pathlib.Path) -> None:
    packages = store.Store(ordinary_user / "store")
    contents = tree.build([tree.File("a", packages.add_bytes(b"a"))])
    (ordinary_user / "root").mkdir()
    (ordinary_user / "root").chmod(0o555)
    (ordinary_user).chmod(0o555)
    with pytest.raises(errors.BuildchainError, match="Permission denied\nFree space below BUILD_ROOT, or make it"):
        stage.stage(contents, packages, ordinary_user / "root" / "below")
    ordinary_user.chmod(0o755)


def test_an_empty_tree(packages: store.Store, target: pathlib.Path) -> None:
    assert stage.stage(tree.Tree(), packages, target) == stage.Staged(0, 0, 0)
    assert stage.is_staged(tree.Tree(), packages, target)
    assert list(target.iterdir()) == []
