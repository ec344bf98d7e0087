"""The image writer, read back with pycdlib: the other readers judge in tests/integration/test_iso.py."""

import contextlib
import fcntl
import importlib
import inspect
import os
import pathlib
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from hypothesis import strategies
from pycdlib import pycdlib

from buildchain import command, digest, errors, iso, store, tree
from buildchain.iso import image, layout, names
from buildchain.verify import image as judge
from tests.support import media

EPOCH = 1_700_000_000  # 2023-11-14 22:13:20 UTC
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "medium.iso"


def write_here(
    contents: tree.Tree, source: store.Store, target: pathlib.Path, volume_id: str = "METALK8S 1.0", epoch: int = EPOCH
) -> digest.Descriptor:
    """In this process: what a test of the medium itself needs."""
    return image.write(
        contents, source, volume_id=volume_id, epoch=epoch, target=target, progress=lambda done, total: None
    )


def write_there(contents: tree.Tree, source: store.Store, target: pathlib.Path) -> digest.Descriptor:
    """As a build does."""
    return iso.write(contents, source, volume_id="METALK8S 1.0", epoch=EPOCH, target=target)


def names_beside(target: pathlib.Path) -> list[str]:
    return [path.name for path in target.parent.iterdir()]


def test_what_is_written_is_read_back(here: store.Store, target: pathlib.Path) -> None:
    contents = media.typical(here)
    written = write_there(contents, here, target)
    found = media.read(target)
    assert written == digest.Descriptor.of_bytes(target.read_bytes())
    assert_equal(contents, here, found)
    assert {path: found[path].links for path in ("a/same", "b/same", "b/program", "empty", "bin/run")} == {
        "a/same": 2,
        "b/same": 2,
        "b/program": 1,
        "empty": 1,
        "bin/run": 1,
    }
    assert found["a/same"].extent == found["b/same"].extent != found["b/program"].extent
    assert {(path, found[path].links) for path in ("", "1", "1/2/3/4/5/6/7")} == {
        ("", 2 + 6),
        ("1", 3),
        ("1/2/3/4/5/6/7", 2),
    }
    assert found["product.txt"].iso_name == "PRODUCT.TXT;1"
    assert {each.date for each in found.values()} == {(123, 11, 14, 22, 13, 20, 0)}


def assert_equal(contents: tree.Tree, source: store.Store, found: dict[str, media.Found]) -> None:
    directories = dict.fromkeys(["", *contents.directories()], (stat.S_IFDIR | 0o755, b""))
    expected: dict[str, tuple[int, bytes | str]] = {**directories}
    for entry in contents:
        if isinstance(entry, tree.File):
            expected[entry.path] = (stat.S_IFREG | entry.mode, source.read(entry.content.digest))
        else:
            expected[entry.path] = (stat.S_IFLNK | 0o777, entry.target)
    assert {path: (each.mode, each.content) for path, each in found.items()} == expected


def test_joliet_has_the_same_files(here: store.Store, target: pathlib.Path) -> None:
    contents = media.typical(here)
    write_here(contents, here, target)
    assert media.read_joliet(target) == {each.path: here.read(each.content.digest) for each in contents.files()}


_NAMES = strategies.text(
    strategies.characters(exclude_characters="/*:;?\\", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60
).filter(lambda name: not name.endswith("."))
_PATHS = strategies.lists(_NAMES, min_size=1, max_size=4).map("/".join)
_TARGETS = strategies.lists(_NAMES, min_size=1, max_size=6).map("/".join)
_FILES = strategies.tuples(strategies.binary(max_size=20) | strategies.just(b"z" * 3000), strategies.booleans())


@strategies.composite
def _trees(draw: strategies.DrawFn) -> list[tuple[str, tuple[bytes, bool] | str]]:
    drawn = draw(strategies.dictionaries(_PATHS, _FILES | _TARGETS, max_size=12))
    folders = {str(parent) for path in drawn for parent in pathlib.PurePosixPath(path).parents}
    return [(path, what) for path, what in drawn.items() if path not in folders]


@hypothesis.given(rows=_trees())
@hypothesis.settings(
    max_examples=25, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_any_tree_is_read_back(tmp_path: pathlib.Path, rows: list[tuple[str, tuple[bytes, bool] | str]]) -> None:
    source = store.Store(tmp_path / "store")
    contents = tree.build(
        tree.Link(path, what) if isinstance(what, str) else media.add(source, path, what[0], is_program=what[1])
        for path, what in rows
    )
    target = tmp_path / "any.iso"
    written = write_here(contents, source, target)
    assert_equal(contents, source, media.read(target))
    assert written == digest.Descriptor.of_bytes(target.read_bytes())


def big_parents(into: store.Store, kind: str) -> tree.Tree:
    """A directory of more than one sector, with directories in it."""
    one = into.add_bytes(b"x")
    if kind == "directories":
        return tree.build(tree.File(f"top/{number:03}/file", one) for number in range(100))
    files = [tree.File(f"top/{number:03}", one) for number in range(500)]
    return tree.build([*files, tree.File("top/a/file", one), tree.File("top/z/b/file", one)])


@pytest.mark.parametrize("kind", ["directories", "files"])
def test_records_of_the_parent_have_its_length(here: store.Store, target: pathlib.Path, kind: str) -> None:
    write_here(big_parents(here, kind), here, target)
    opened = pycdlib.PyCdlib()
    opened.open(str(target))
    try:
        pairs = list(media.parents(opened.pvd.root_directory_record()))
        assert opened.joliet_vd
        pairs += media.parents(opened.joliet_vd.root_directory_record())
    finally:
        opened.close()
    assert len([1 for parent, _ in pairs if parent[1] > layout.BLOCK_SIZE]) > 2
    assert [parent for parent, _ in pairs] == [said for _, said in pairs]
    with contextlib.closing(judge.Image(target)) as judged:
        judge.scan(judged)
    assert judged.faults == []


def test_an_empty_tree_is_a_medium(here: store.Store, target: pathlib.Path) -> None:
    written = write_there(tree.Tree(), here, target)
    assert set(media.read(target)) == {""}
    assert target.stat().st_size == written.size


def test_names_colliding_after_30_characters_stay_apart(here: store.Store, target: pathlib.Path) -> None:
    files = [media.add(here, f"{'x' * 31}{number}.tar.gz", str(number).encode()) for number in range(12)]
    folders = [media.add(here, f"{'y' * 32}{number}/same", str(number).encode()) for number in range(12)]
    write_here(tree.build([*files, *folders]), here, target)
    found = media.read(target)
    assert {found[each.path].content for each in files} == {str(number).encode() for number in range(12)}
    assert {found[each.path].content for each in folders} == {str(number).encode() for number in range(12)}
    mangled = [each.iso_name for path, each in found.items() if "/" not in path and path]
    assert len(set(mangled)) == len(mangled) == 24
    assert max(len(name.removesuffix(";1")) for name in mangled) == 31


@pytest.mark.parametrize(
    ("name", "mangled"),
    [
        ("product.txt", "PRODUCT.TXT;1"),
        ("no-extension", "NO_EXTENSION.;1"),
        (".hidden", "_HIDDEN.;1"),
        ("..", "_.;1"),
        ("straße.é", "STRASSE._;1"),
        ("etcd_3.5.9+dfsg-1_amd64.deb", "ETCD_3_5_9_DFSG_1_AMD64.DEB;1"),
        ("a." + "e" * 40, "A.EEEEEEEE;1"),
        ("n" * 40 + ".txt", "N" * 27 + ".TXT;1"),
    ],
)
def test_names_for_old_readers(name: str, mangled: str) -> None:
    assert names.Directory().name_of_file(name) == mangled


def test_a_natural_name_cannot_steal_a_numbered_one() -> None:
    given = names.Directory()
    asked = ["A" * 23 + "_000001", "A" * 30, "A" * 30 + "B", "A" * 23 + "_000002"]
    assert len({given.name_of_file(name) for name in asked}) == len(asked)
    assert given.name_of_directory("A" * 30) not in {"A" * 30}


def test_20000_names_with_one_prefix_are_numbered_without_search() -> None:
    given = names.Directory()
    made = [given.name_of_file(f"{'p' * 40}{number}.bin") for number in range(20_000)]
    assert made[-1] == "P" * 20 + "_019999.BIN;1"  # one number a name: nothing was tried twice
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("volume_id", ["X", "METALK8S 2.10.0-1", "METALK8S 129.10.0-development-12"])
def test_volume_ids_up_to_32_characters(here: store.Store, target: pathlib.Path, volume_id: str) -> None:
    write_here(tree.Tree(), here, target, volume_id)
    content = target.read_bytes()
    assert content[0x8001:0x8006] == content[0x8801:0x8806] == b"CD001"
    assert content[0x8028:0x8048] == volume_id.encode().ljust(32)
    assert content[0x8828:0x8848].decode("utf-16-be").strip() == volume_id[:16].strip()


@pytest.mark.parametrize(
    ("volume_id", "why"),
    [
        ("X" * 33, "has 33 characters, 32 are the most"),
        ("Métal", "has characters other than printable ASCII"),
        ("A\nB", "has characters other than printable ASCII"),
        ("  ", "is empty"),
        ("é" * 33, "has characters other than printable ASCII and has 33 characters, 32 are the most"),
    ],
)
def test_other_volume_ids_are_refused(here: store.Store, target: pathlib.Path, volume_id: str, why: str) -> None:
    with pytest.raises(errors.BuildchainError) as caught:
        iso.write(tree.Tree(), here, volume_id=volume_id, epoch=EPOCH, target=target)
    assert caught.value.why == why
    assert caught.value.hint == "It is made of PROJECT_NAME and VERSION: shorten or change one of the two."
    assert not target.exists()


@pytest.mark.parametrize(("epoch", "date"), [(0, b"19700101000000"), (iso.LAST_SECOND, b"21551231235959")])
def test_every_date_of_the_volume_is_the_epoch(
    here: store.Store, target: pathlib.Path, epoch: int, date: bytes
) -> None:
    write_here(tree.Tree(), here, target, epoch=epoch)
    head = target.read_bytes()[0x8000:0x9000]
    for descriptor in (head[:2048], head[2048:]):  # ECMA-119 section 8.4: creation, modification and effective dates
        assert [descriptor[at : at + 17] for at in (813, 830, 864)] == [date + b"00\0"] * 3


@pytest.mark.parametrize("epoch", [-1, iso.LAST_SECOND + 1])
def test_a_date_that_no_medium_can_carry_is_refused(here: store.Store, target: pathlib.Path, epoch: int) -> None:
    with pytest.raises(errors.BuildchainError, match="SOURCE_DATE_EPOCH"):
        iso.write(tree.Tree(), here, volume_id="X", epoch=epoch, target=target)


_ELSEWHERE = """
import os, pathlib, sys
os.umask(int(sys.argv[2], 8))
sys.path.insert(0, sys.argv[1])
from buildchain import store, tree
from buildchain.iso import image
from tests.support import media
folder = pathlib.Path(sys.argv[3])
folder.mkdir()
source = store.Store(folder / "store")
entries = list(media.typical(source))
contents = tree.build(reversed(entries) if sys.argv[4] == "reversed" else entries)
written = image.write(
    contents, source, volume_id="METALK8S", epoch=1_700_000_000, target=folder / "medium.iso", progress=lambda *_: None
)
print(written.digest)
"""


def test_the_image_depends_on_nothing_around_it(tmp_path: pathlib.Path) -> None:
    def digest_of(umask: str, folder: str, order: str, **environment: str) -> bytes:
        argv: list[command.Argument] = [sys.executable, "-c", _ELSEWHERE, ROOT, umask, tmp_path / folder, order]
        return command.run(argv, environment=environment)

    usual = digest_of("022", "a", "as is", TZ="UTC", PYTHONHASHSEED="0")
    other = digest_of("077", "another folder", "reversed", TZ="Pacific/Auckland", PYTHONHASHSEED="7", LC_ALL="C")
    assert usual == other


def test_what_is_sparse_stays_sparse(here: store.Store, target: pathlib.Path) -> None:
    for tail in (b"", b"end"):
        path = target.with_name("zeros")
        with path.open("wb") as stream:
            stream.truncate(30_000_001)
            stream.seek(0, os.SEEK_END)
            stream.write(tail)
        content = here.add_file(path)
        written = write_here(tree.build([tree.File("zeros", content)]), here, target)
        assert target.stat().st_blocks * 512 < 2_000_000
        assert written == digest.Descriptor.of_bytes(target.read_bytes())
        assert media.read(target)["zeros"].content == path.read_bytes()


def test_equal_content_is_stored_once(here: store.Store, target: pathlib.Path) -> None:
    once = tree.build([media.add(here, "a", b"z" * 1_000_000)])
    twice = tree.build([*once, media.add(here, "b", b"z" * 1_000_000), media.add(here, "c", b"z" * 1_000_000)])
    assert write_here(once, here, target).size == write_here(twice, here, target).size


def damaged(path: pathlib.Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [0, 99_999, 100_001])
def test_a_source_of_another_size_leaves_the_old_image(here: store.Store, target: pathlib.Path, size: int) -> None:
    target.write_bytes(b"the old image")
    file = media.add(here, "blob", b"x" * 100_000)
    damaged(here.path(file.content.digest), b"x" * size)
    with pytest.raises(errors.IntegrityError) as caught:
        write_there(tree.build([file]), here, target)
    assert caught.value.subject == str(here.path(file.content.digest))
    assert (caught.value.expected, caught.value.actual) == ("100000 bytes", f"{size} bytes")
    assert target.read_bytes() == b"the old image"
    assert names_beside(target) == [target.name]


def test_a_missing_source_is_named(here: store.Store, target: pathlib.Path) -> None:
    file = media.add(here, "blob", b"x")
    here.remove(file.content.digest)
    with pytest.raises(errors.BuildchainError, match=file.content.digest.hex):
        write_there(tree.build([file]), here, target)
    assert not names_beside(target)


def test_a_missing_folder_is_named(here: store.Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BuildchainError, match=r"missing/medium\.iso: No such file"):
        write_there(tree.Tree(), here, tmp_path / "missing" / "medium.iso")


def test_progress_rises_to_the_whole(here: store.Store, target: pathlib.Path) -> None:
    seen: list[tuple[int, int]] = []
    contents = tree.build([media.add(here, "blob", os.urandom(3_000_000))])
    written = iso.write(
        contents,
        here,
        volume_id="X",
        epoch=EPOCH,
        target=target,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(set(seen))
    assert seen[-1] == (written.size, written.size)
    assert len(seen) > 5


def test_an_exception_of_the_caller_leaves_the_old_image(here: store.Store, target: pathlib.Path) -> None:
    target.write_bytes(b"the old image")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    contents = tree.build([media.add(here, "blob", b"x" * 40_000_000)])
    with pytest.raises(KeyboardInterrupt):
        iso.write(contents, here, volume_id="X", epoch=EPOCH, target=target, progress=interrupt)
    assert target.read_bytes() == b"the old image"
    assert names_beside(target) == [target.name]


def test_a_bug_in_the_writing_process_shows_its_traceback(
    here: store.Store, target: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "dump", lambda contents: b"not JSON")
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*JSONDecodeError"):
        write_there(tree.Tree(), here, target)


@pytest.fixture
def stuck(here: store.Store, target: pathlib.Path) -> Iterator[subprocess.Popen[bytes]]:
    """A build that hangs in the middle of its image: one of its sources is a pipe that nobody writes to."""
    file = media.add(here, "blob", b"x" * 100)
    damaged_path = here.path(file.content.digest)
    damaged_path.unlink()
    os.mkfifo(damaged_path)
    target.write_bytes(b"the old image")
    script = (
        "import pathlib, sys\n"
        "from buildchain import iso, store, tree\n"
        "contents = tree.load(sys.stdin.buffer.read())\n"
        "iso.write(contents, store.Store(pathlib.Path(sys.argv[1])), volume_id='X', epoch=0,\n"
        "          target=pathlib.Path(sys.argv[2]))\n"
    )
    argv = [sys.executable, "-c", script, str(here.root), str(target)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        process.stdin.write(tree.dump(tree.build([file])))
        process.stdin.close()
        try:
            wait_until(lambda: is_held(image.part_path(target)))
            yield process
        finally:
            process.kill()
    wait_until(lambda: not image.part_path(target).exists())


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_held(path: pathlib.Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_killed_build_takes_its_writer_along(stuck: subprocess.Popen[bytes], target: pathlib.Path) -> None:
    stuck.send_signal(signal.SIGKILL)
    stuck.wait()
    wait_until(lambda: names_beside(target) == [target.name])
    assert target.read_bytes() == b"the old image"


def test_two_builds_never_share_an_unfinished_image(
    stuck: subprocess.Popen[bytes], here: store.Store, target: pathlib.Path
) -> None:
    with pytest.raises(errors.BuildchainError, match="is being written by another build"):
        write_there(tree.Tree(), here, target)
    assert stuck.poll() is None
    assert target.read_bytes() == b"the old image"


def test_what_a_killed_writer_left_is_dropped(here: store.Store, target: pathlib.Path) -> None:
    image.part_path(target).write_bytes(os.urandom(3_000_000))
    contents = media.typical(here)
    written = write_there(contents, here, target)
    assert written == digest.Descriptor.of_bytes(target.read_bytes())
    assert names_beside(target) == [target.name]


def test_what_is_replaced_in_pycdlib_is_still_there() -> None:
    for name in layout.CLOCKED:
        assert vars(importlib.import_module(name))["time"] is time
    source = inspect.getsource(pycdlib)
    assert source.count("def _joliet_name_and_parent_from_path(self, joliet_path)") == 1
    assert source.count("self._joliet_name_and_parent_from_path(") == 3
    assert callable(pycdlib.PyCdlib._find_joliet_record)


def test_the_clock_of_pycdlib_goes_on_afterwards(here: store.Store, target: pathlib.Path) -> None:
    write_here(tree.Tree(), here, target)
    for name in layout.CLOCKED:
        assert vars(importlib.import_module(name))["time"] is time


def test_the_import_costs_no_pycdlib() -> None:
    script = "import sys, buildchain.iso; print([name for name in sys.modules if 'pycdlib' in name])"
    assert command.run([sys.executable, "-c", script], directory=ROOT) == b"[]\n"
