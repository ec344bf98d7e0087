"""A Linux kernel reads the medium, through Rock Ridge and through Joliet, and sees the tree.

The other readers (xorriso, bsdtar, 7z, isoinfo) judge the same tree in test_iso.py.
"""

import dataclasses
import pathlib
import stat

import pytest

from buildchain import iso, store, tree
from tests.support import media, vm

pytestmark = [pytest.mark.tools(vm.PROGRAM, "busybox", "apt-get", "dpkg-deb"), pytest.mark.network]

EPOCH = 1_700_000_000

# No name of the medium has a newline, so that each path ends its line. Without check=strict, Linux takes two Joliet
# names for one that differ in case only.
_SCRIPT = """
list() {
    mount -t iso9660 -o "ro,iocharset=utf8$1" /dev/vda /medium || exit
    cd /medium
    find . -mindepth 1 -exec stat -c 'S %f %h %u %g %s %Y %n' {} +
    find . -type f -exec sha256sum {} + | sed 's/^/D /'
    find . -type l -exec sh -c 'for path; do echo "L $path"; readlink "$path"; done' sh {} +
    cd /
    umount /medium
}
list
echo Joliet
list ,norock,check=strict
"""


@dataclasses.dataclass
class Path:
    """What the kernel tells of one path; `says` is a digest or the target of a link."""

    mode: int
    links: int
    owner: tuple[int, int]
    size: int
    time: int
    says: str = ""


Listing = dict[str, Path]


def parse(text: str) -> Listing:
    found: Listing = {}
    lines = iter(text.splitlines())
    for line in lines:
        kind, rest = line.split(" ", 1)
        if kind == "S":
            mode, links, user, group, size, time, path = rest.split(" ", 6)
            found[path[2:]] = Path(int(mode, 16), int(links), (int(user), int(group)), int(size), int(time))
        elif kind == "D":
            found[rest[68:]].says = rest[:64]
        else:
            assert kind == "L", line
            found[rest[2:]].says = next(lines)
    return found


@pytest.fixture(scope="module")
def contents(medium: tuple[tree.Tree, pathlib.Path]) -> tree.Tree:
    return medium[0]


@pytest.fixture(scope="module")
def medium(tmp_path_factory: pytest.TempPathFactory) -> tuple[tree.Tree, pathlib.Path]:
    folder = tmp_path_factory.mktemp("medium")
    source = store.Store(folder / "store")
    contents = tree.build(media.hard_cases(source))
    image = folder / "medium.iso"
    iso.write(contents, source, volume_id="METALK8S 2.10.0-development", epoch=EPOCH, target=image)
    return contents, image


@pytest.fixture(scope="module")
def listings(
    medium: tuple[tree.Tree, pathlib.Path], pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Listing, Listing]:
    kernel = vm.kernel(pytestconfig.cache.mkdir("kernel"))
    text = vm.run(kernel, _SCRIPT, medium[1], tmp_path_factory.mktemp("vm")).decode()
    rock_ridge, middle, joliet = text.partition("Joliet\n")
    assert middle, text
    return parse(rock_ridge), parse(joliet)


def test_linux_sees_the_tree_through_rock_ridge(contents: tree.Tree, listings: tuple[Listing, Listing]) -> None:
    seen = listings[0]
    assert {path: (each.mode, each.says) for path, each in seen.items()} == media.expected(contents)
    assert {each.time for each in seen.values()} == {EPOCH}
    assert {each.owner for each in seen.values()} == {(0, 0)}
    assert {path: seen[path].size for path in seen if stat.S_ISREG(seen[path].mode)} == {
        file.path: file.content.size for file in contents.files()
    }


def test_linux_counts_the_names_of_equal_files(listings: tuple[Listing, Listing]) -> None:
    links = {path: each.links for path, each in listings[0].items() if path.startswith("images/") and each.says}
    assert links["images/a/blob"] == links["images/b/blob"] == 2
    assert links["images/b/program"] == 1


def test_linux_sees_the_files_through_joliet(contents: tree.Tree, listings: tuple[Listing, Listing]) -> None:
    seen = listings[1]
    assert {path: (each.size, each.says) for path, each in seen.items() if stat.S_ISREG(each.mode)} == {
        file.path: (file.content.size, file.content.digest.hex) for file in contents.files()
    }
    assert {path for path, each in seen.items() if stat.S_ISDIR(each.mode)} == set(contents.directories())
