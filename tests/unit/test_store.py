"""The store: what is in it is right, whoever writes at the same time and whatever happened to it since."""

import errno
import os
import pathlib
import stat
import subprocess
import sys

import pytest

from buildchain import digest, errors, store, tree
from buildchain.store import _disk

CONTENT = b"content of an entry"
DESCRIPTOR = digest.Descriptor.of_bytes(CONTENT)
RIGHT = f"sha256:{DESCRIPTOR.digest.hex} of {DESCRIPTOR.size} bytes"


@pytest.fixture
def shelf(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


@pytest.fixture
def entry(shelf: store.Store) -> pathlib.Path:
    return shelf.path(shelf.add_bytes(CONTENT).digest)


def damage(path: pathlib.Path, content: bytes = b"CONTENT of an entry") -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(content)
    path.chmod(mode)


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_add_and_read(shelf: store.Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert not shelf.has(DESCRIPTOR)
    assert shelf.add_file(tmp_path / "file") == shelf.add_bytes(CONTENT) == DESCRIPTOR
    assert shelf.has(DESCRIPTOR)
    assert shelf.read(DESCRIPTOR.digest) == CONTENT
    with shelf.open(DESCRIPTOR.digest) as stream:
        assert stream.read() == CONTENT
    shelf.verify(DESCRIPTOR)
    assert list(shelf.root.glob("partial/*")) == []


def test_adding_again_keeps_the_inode(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    inode = entry.stat().st_ino
    (tmp_path / "file").write_bytes(CONTENT)
    shelf.add_bytes(CONTENT)
    shelf.add_file(tmp_path / "file")
    assert entry.stat().st_ino == inode


@pytest.mark.parametrize("umask", ["0", "0o077", "0o027"])
def test_modes_do_not_depend_on_the_umask(umask: str, shelf: store.Store) -> None:
    program = f"""
import os, pathlib, sys
from buildchain import digest, store, tree
os.umask({umask})
shelf = store.Store(pathlib.Path(sys.argv[1]))
content = shelf.add_bytes(b"x")
shelf.link(tree.File("x", content, is_program=True), shelf.root / "x")
with shelf.partial(digest.Digest.of_bytes(b"part")) as stream:
    stream.write(b"p")
"""
    subprocess.run([sys.executable, "-c", program, shelf.root], check=True)
    directories = [shelf.root, *(path for path in shelf.root.rglob("*") if path.is_dir())]
    assert {mode(path) for path in directories} == {0o755}
    assert {path.name[64:]: mode(path) for path in shelf.root.rglob("?" * 64 + "*")} == {
        "": 0o444,
        ".x": 0o555,
        ".part": 0o600,
    }
    assert mode(shelf.root / "x") == 0o555


def test_a_folder_in_place_of_a_file_is_named(tmp_path: pathlib.Path) -> None:
    shelf = store.Store(tmp_path / "store")
    path = shelf.path(shelf.add_bytes(b"text").digest)
    path.unlink()
    path.mkdir()
    with pytest.raises(errors.StoreError, match=rf"^{path}: is a folder\nA file belongs there: remove this folder"):
        shelf.add_bytes(b"text")
    path.rmdir()
    assert shelf.has(shelf.add_bytes(b"text"))


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: pathlib.Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    store.Store(tmp_path / "private").add_bytes(CONTENT)
    assert mode(tmp_path / "private") == 0o700


def test_what_is_missing(shelf: store.Store, tmp_path: pathlib.Path) -> None:
    file = tree.File("x", DESCRIPTOR)
    program = tree.File("x", DESCRIPTOR, is_program=True)
    for act in (
        lambda: shelf.open(DESCRIPTOR.digest),
        lambda: shelf.read(DESCRIPTOR.digest),
        lambda: shelf.verify(DESCRIPTOR),
        lambda: shelf.link(file, tmp_path / "x"),
        lambda: shelf.link(program, tmp_path / "x"),
    ):
        with pytest.raises(errors.BuildchainError) as caught:
            act()
        assert str(caught.value) == (
            f"{shelf.path(DESCRIPTOR.digest)}: No such file or directory\n"
            "Run ./doit.sh again: what is missing or unreadable is pulled or built again."
        )
    assert not (tmp_path / "x").exists()
    shelf.remove(DESCRIPTOR.digest)


def test_add_file_that_is_missing(shelf: store.Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BuildchainError, match="none: No such file or directory"):
        shelf.add_file(tmp_path / "none")


@pytest.mark.parametrize("rotten", [b"CONTENT of an entry", b"content", b""])
def test_verify_removes_a_damaged_entry(rotten: bytes, shelf: store.Store, entry: pathlib.Path) -> None:
    damage(entry, rotten)
    actual = digest.Descriptor.of_bytes(rotten)
    with pytest.raises(errors.IntegrityError) as caught:
        shelf.verify(DESCRIPTOR)
    assert str(caught.value) == (
        f"{entry}: from the store: expected {RIGHT}, got {actual.digest} of {actual.size} bytes\n"
        "The damaged entry is removed; run ./doit.sh again to get it anew."
    )
    assert not entry.exists()
    assert shelf.add_bytes(CONTENT) == DESCRIPTOR
    shelf.verify(DESCRIPTOR)


def test_verify_looks_at_the_program_too(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shelf.link(tree.File("x", DESCRIPTOR, is_program=True), tmp_path / "x")
    shelf.verify(DESCRIPTOR)
    damage(shelf.path(DESCRIPTOR.digest, is_program=True))
    with pytest.raises(errors.IntegrityError):
        shelf.verify(DESCRIPTOR)
    assert list(entry.parent.iterdir()) == []


def test_read_judges_what_it_returns(shelf: store.Store, entry: pathlib.Path) -> None:
    damage(entry)
    with pytest.raises(errors.IntegrityError, match="from the store"):
        shelf.read(DESCRIPTOR.digest)
    assert not shelf.has(DESCRIPTOR)


def test_an_entry_of_another_size_is_not_held_and_is_replaced(shelf: store.Store, entry: pathlib.Path) -> None:
    damage(entry, b"short")
    assert not shelf.has(DESCRIPTOR)
    shelf.add_bytes(CONTENT)
    assert entry.read_bytes() == CONTENT


def test_an_entry_that_is_a_symbolic_link_is_not_held(
    shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    entry.unlink()
    entry.symlink_to(tmp_path / "elsewhere")
    assert not shelf.has(DESCRIPTOR)
    assert shelf.link(tree.File("x", DESCRIPTOR), tmp_path / "x")
    assert (tmp_path / "x").is_file()
    assert not (tmp_path / "x").is_symlink()
    shelf.add_bytes(CONTENT)
    assert not entry.is_symlink()


def test_link_shares_the_inode(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert not shelf.link(tree.File("x", DESCRIPTOR), tmp_path / "x")
    assert (tmp_path / "x").samefile(entry)
    assert mode(tmp_path / "x") == 0o444


def test_programs_have_an_inode_of_their_own(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    program = tree.File("x", DESCRIPTOR, is_program=True)
    assert not shelf.link(program, tmp_path / "x")
    assert not shelf.link(program, tmp_path / "y")
    assert (tmp_path / "x").samefile(tmp_path / "y")
    assert not (tmp_path / "x").samefile(entry)
    assert (mode(tmp_path / "x"), mode(entry)) == (0o555, 0o444)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_torn_program_is_made_anew(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shelf.path(DESCRIPTOR.digest, is_program=True).write_bytes(b"torn")
    shelf.link(tree.File("x", DESCRIPTOR, is_program=True), tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_link_mends_a_mode(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    entry.chmod(0o666)
    shelf.link(tree.File("x", DESCRIPTOR), tmp_path / "x")
    assert mode(tmp_path / "x") == 0o444


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
@pytest.mark.parametrize("is_program", [False, True])
def test_link_copies_where_it_must(
    code: int,
    is_program: bool,
    shelf: store.Store,
    entry: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(source: pathlib.Path, target: pathlib.Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    file = tree.File("x", DESCRIPTOR, is_program=is_program)
    assert shelf.link(file, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert mode(tmp_path / "x") == file.mode
    assert not (tmp_path / "x").samefile(entry)
    with pytest.raises(errors.BuildchainError, match="x: File exists"):  # never into what may be another's inode
        shelf.link(file, tmp_path / "x")
    assert (tmp_path / "x").exists()


def test_link_to_where_nothing_can_stand(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file = tree.File("x", DESCRIPTOR)
    with pytest.raises(errors.BuildchainError, match="none/x: No such file or directory"):
        shelf.link(file, tmp_path / "none" / "x")
    (tmp_path / "x").touch()
    with pytest.raises(errors.BuildchainError, match="x: File exists"):
        shelf.link(file, tmp_path / "x")


def test_a_full_disk_while_copying_leaves_nothing(
    shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EXDEV, "")

    def fill(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(_disk, "clone", fill)
    with pytest.raises(errors.BuildchainError) as caught:
        shelf.link(tree.File("x", DESCRIPTOR), tmp_path / "x")
    assert str(caught.value).startswith(f"{tmp_path}/x: No space left on device\nFree some space")
    assert not (tmp_path / "x").exists()


def test_a_writer_without_commit_leaves_nothing(shelf: store.Store) -> None:
    with shelf.writer() as writer:
        writer.stream.write(CONTENT)
    with pytest.raises(ZeroDivisionError), shelf.writer() as writer:
        raise ZeroDivisionError
    assert [path for path in shelf.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_an_error_about_the_store(code: int, shelf: store.Store) -> None:
    with pytest.raises(errors.StoreError) as caught, shelf.writer():
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == (
        f"{shelf.root}: the disk is full ({os.strerror(code)})\n"
        "Free some space, or set STORE in .env to a folder on a larger disk, and run the same command again."
    )
    assert list(shelf.root.glob("partial/*")) == []


def test_an_error_about_another_file_is_not_about_the_store(shelf: store.Store) -> None:
    with pytest.raises(PermissionError), shelf.writer():
        raise PermissionError(errno.EACCES, "Permission denied", "/another/file")


def test_a_store_that_is_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(errors.StoreError, match=r"store: is not a folder\nSet STORE in \.env"):
        store.Store(tmp_path / "store").add_bytes(CONTENT)


def test_partial_is_locked_kept_and_tidied(shelf: store.Store) -> None:
    path = shelf.partial_path(DESCRIPTOR.digest)
    with shelf.partial(DESCRIPTOR.digest) as stream:
        assert stream is not None
        with shelf.partial(DESCRIPTOR.digest) as second:
            assert second is None
        stream.write(b"cont")
    assert path.read_bytes() == b"cont"
    assert mode(path) == 0o600
    with shelf.partial(DESCRIPTOR.digest) as stream:
        assert stream is not None
        assert stream.read() == b"cont"
        stream.truncate(0)
    assert not path.exists()


def test_partial_does_not_follow_links(shelf: store.Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "victim").write_bytes(b"victim")
    path = shelf.partial_path(DESCRIPTOR.digest)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "victim")
    with shelf.partial(DESCRIPTOR.digest) as stream:
        assert stream is not None
        stream.write(b"x")
    assert (tmp_path / "victim").read_bytes() == b"victim"
    assert not path.is_symlink()


def test_partial_that_became_an_entry_is_opened_anew(shelf: store.Store) -> None:
    with shelf.partial(DESCRIPTOR.digest) as stream:
        assert stream is not None
        stream.write(CONTENT)
        shelf.adopt(shelf.partial_path(DESCRIPTOR.digest), DESCRIPTOR)
    with shelf.partial(DESCRIPTOR.digest) as stream:
        assert stream is not None
        assert stream.read() == b""
    assert shelf.read(DESCRIPTOR.digest) == CONTENT


def test_prune(shelf: store.Store, entry: pathlib.Path, tmp_path: pathlib.Path) -> None:
    other = shelf.add_bytes(b"other")
    shelf.link(tree.File("x", other, is_program=True), tmp_path / "x")
    shelf.partial_path(other.digest).write_bytes(b"oth")
    (shelf.root / "partial" / "new-left-by-a-killed-run").write_bytes(b"12")
    with shelf.writer() as writer, shelf.partial(digest.Digest.of_bytes(b"busy")) as busy:
        assert busy is not None
        busy.write(b"b")
        assert shelf.prune([DESCRIPTOR.digest], is_dry=True) == 5 + 3 + 2  # the program's other link keeps its bytes
        assert shelf.has(other)
        assert shelf.prune([DESCRIPTOR.digest]) == 5 + 3 + 2
        assert not shelf.has(other)
        writer.stream.write(b"new")
        new = digest.Descriptor.of_bytes(b"new")
        writer.commit(new)
    assert shelf.has(DESCRIPTOR)
    assert shelf.has(new)
    assert [path.name for path in shelf.root.glob("partial/*")] == [f"{digest.Digest.of_bytes(b'busy').hex}.part"]
    assert (tmp_path / "x").read_bytes() == b"other"


def test_two_processes_add_the_same_bytes(shelf: store.Store) -> None:
    program = """
import pathlib, sys
from buildchain import store
shelf = store.Store(pathlib.Path(sys.argv[1]))
for number in range(100):
    shelf.add_bytes(bytes([number]) * 1000)
"""
    children = [subprocess.Popen([sys.executable, "-c", program, shelf.root]) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    for number in range(100):
        shelf.verify(digest.Descriptor.of_bytes(bytes([number]) * 1000))
    assert list(shelf.root.glob("partial/*")) == []


def test_notes(shelf: store.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shelf.read_note("x.json") == b""
    shelf.write_note("x.json", b"1")
    shelf.write_note("x.json", b"2")
    assert shelf.read_note("x.json") == b"2"
    assert shelf.prune([]) == 0
    assert shelf.read_note("x.json", is_own=True) == b"2"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert (shelf.read_note("x.json", is_own=True), shelf.read_note("x.json")) == (b"", b"2")
    assert list(shelf.root.glob("partial/*")) == []


def test_a_store_that_cannot_be_written_keeps_no_notes(tmp_path: pathlib.Path) -> None:
    (tmp_path / "store").touch()
    shelf = store.Store(tmp_path / "store")
    shelf.write_note("x.json", b"1")
    assert shelf.read_note("x.json") == b""
