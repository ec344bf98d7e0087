"""Four readers that share no code with the writer agree with the tree: xorriso, isoinfo, bsdtar and 7z."""

import dataclasses
import hashlib
import pathlib
import re
import stat
import subprocess
import sys

import pytest

from buildchain import command, digest, iso, store, tree
from tests.support import media

pytestmark = pytest.mark.tools("xorriso", "isoinfo", "bsdtar", "7z")

EPOCH = 1_700_000_000
ROOT = pathlib.Path(__file__).parents[2]
FOUR_GIB = 1 << 32


@dataclasses.dataclass(frozen=True, slots=True)
class Medium:
    """An image, what it was made of, and a folder to unpack into."""

    image: pathlib.Path
    contents: tree.Tree
    folder: pathlib.Path


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Medium:
    folder = tmp_path_factory.mktemp("iso")
    source = store.Store(folder / "store")
    contents = tree.build(media.hard_cases(source))
    image = folder / "medium.iso"
    iso.write(contents, source, volume_id="METALK8S 2.10.0-development", epoch=EPOCH, target=image)
    return Medium(image, contents, folder)


def unpacked(folder: pathlib.Path) -> media.Seen:
    return {str(path.relative_to(folder)): look(path) for path in folder.rglob("*")}


def look(path: pathlib.Path) -> tuple[int, str]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return mode, str(path.readlink())
    return mode, digest.Digest.of_bytes(path.read_bytes()).hex if stat.S_ISREG(mode) else ""


def test_bsdtar_unpacks_the_tree_with_its_hard_links(medium: Medium) -> None:
    folder = medium.folder / "bsdtar"
    folder.mkdir()
    command.run(["bsdtar", "-xpf", medium.image, "-C", folder])
    assert unpacked(folder) == media.expected(medium.contents)
    assert (folder / "images/a/blob").samefile(folder / "images/b/blob")
    assert {path.lstat().st_mtime for path in folder.rglob("*")} == {EPOCH}


def test_xorriso_unpacks_the_tree(medium: Medium) -> None:
    folder = medium.folder / "xorriso"
    command.run(["xorriso", "-osirrox", "on", "-indev", medium.image, "-extract", "/", folder])
    assert unpacked(folder) == media.expected(medium.contents)


def test_7z_unpacks_the_files_with_their_joliet_names(medium: Medium) -> None:
    folder = medium.folder / "7z"
    command.run(["7z", "x", f"-o{folder}", medium.image])
    assert {path: what for path, (mode, what) in unpacked(folder).items() if stat.S_ISREG(mode)} == {
        file.path: file.content.digest.hex for file in medium.contents.files()
    }


_ROW = re.compile(
    rb"^(?P<mode>\S{10})\s+(?P<links>\d+)\s+0\s+0\s+(?P<size>\d+) .* \[\s*(?P<extent>\d+) 0[02]\]\s\s(?P<name>.+?) ?$"
)


def isoinfo_rows(image: pathlib.Path) -> dict[str, dict[str, str]]:
    rows, folder = {}, ""
    for line in command.run(["isoinfo", "-R", "-l", "-i", image]).splitlines():
        if line.startswith(b"Directory listing of /"):
            folder = line.decode().removeprefix("Directory listing of /").strip()
        elif (match := _ROW.match(line)) and match["name"] not in (b".", b".."):
            row = {key: value.decode() for key, value in match.groupdict().items()}
            rows[folder + row["name"].partition(" -> ")[0]] = row
    return rows


def test_isoinfo_lists_names_modes_sizes_and_shared_extents(medium: Medium) -> None:
    rows = isoinfo_rows(medium.image)
    assert {path: row["mode"] for path, row in rows.items()} == {
        path: stat.filemode(mode) for path, (mode, _) in media.expected(medium.contents).items()
    }
    files = list(medium.contents.files())
    assert {file.path: int(rows[file.path]["size"]) for file in files} == {
        file.path: file.content.size for file in files
    }
    assert rows["images/a/blob"]["extent"] == rows["images/b/blob"]["extent"]
    assert rows["images/a/blob"]["links"] == "2"
    assert len({rows[file.path]["extent"] for file in files}) == len(files) - 1


def test_the_description_is_readable_without_extensions(medium: Medium) -> None:
    assert command.run(["isoinfo", "-i", medium.image, "-x", "/PRODUCT.TXT;1"]) == b"NAME=MetalK8s\n"


def test_the_volume_id_is_whole(medium: Medium) -> None:
    assert b"Volume id: METALK8S 2.10.0-development\n" in command.run(["isoinfo", "-d", "-i", medium.image])


def test_xorriso_finds_nothing_damaged(medium: Medium) -> None:
    command.run(["xorriso", "-abort_on", "WARNING", "-indev", medium.image, "-check_media", "--"])


_WRITE_AND_MEASURE = """
import pathlib, resource, sys
from buildchain import iso, store, tree
contents = tree.load(sys.stdin.buffer.read())
written = iso.write(contents, store.Store(pathlib.Path(sys.argv[1])), volume_id="BIG", epoch=0,
                    target=pathlib.Path(sys.argv[2]))
print(written.size, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture
def big(tmp_path: pathlib.Path) -> Medium:
    return Medium(tmp_path / "big.iso", tree.Tree(), tmp_path)


def test_a_file_over_4_gib_stands_twice_in_one_extent_and_in_little_memory(big: Medium) -> None:
    source = store.Store(big.folder / "store")
    file = media.add_sparse(source, "one/big", FOUR_GIB + 5000)
    contents = tree.build([file, tree.File("two/again", file.content), media.add(source, "zz", b"after it")])
    argv: list[command.Argument] = [sys.executable, "-c", _WRITE_AND_MEASURE, source.root, big.image]
    size, peak = command.run(argv, stdin=tree.dump(contents), directory=ROOT).split()
    try:
        assert FOUR_GIB < int(size) < FOUR_GIB + 2_000_000
        assert int(peak) <= 128 * 1024
        assert digest_of(["7z", "x", "-so", str(big.image), "two/again"]) == file.content
        listed = command.run(["xorriso", "-indev", big.image, "-lsl", "/one", "/two", "--"])
        assert listed.count(b" %d " % file.content.size) == 2
        assert command.run(["isoinfo", "-i", big.image, "-x", "/ZZ.;1"]) == b"after it"
    finally:
        big.image.unlink()


def digest_of(argv: list[str]) -> digest.Descriptor:
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        hasher = hashlib.sha256()
        size = 0
        while block := process.stdout.read(1 << 20):
            hasher.update(block)
            size += len(block)
    return digest.Descriptor(digest.Digest(hasher.hexdigest()), size)
