"""A node that installs itself from the ISO on a computer of its own: its kernel mounts the media, and it is rebooted.

Only `./doit.sh test:vm` runs this: the processor is emulated. It wants `_build`, as ./doit.sh leaves it, and Debian.
"""

import dataclasses
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

import pytest
import pytest_bdd as bdd

from buildchain import command, disk, iso, product, store, tree, version
from buildchain.tasks import context, vagrant
from tests import features
from tests.support import bootstrap_node, guest, hosts, node, node_medium

pytestmark = [
    pytest.mark.tools(guest.PROGRAM, "dpkg-deb", "mke2fs", "mmdebstrap", "ssh", "ssh-keygen"),
    pytest.mark.network,
    # A scenario does not say what its steps need.
    pytest.mark.usefixtures("host"),
]
pytest_plugins = features.STEPS

SECOND = version.Version("2", "6", "0", "-dev")
SOLUTION = "example-solution-1.0.0-dev"


@dataclasses.dataclass(frozen=True)
class Files:
    """ISO files."""

    first: pathlib.Path
    second: pathlib.Path
    solution: pathlib.Path


@pytest.fixture(scope="module")
def folder() -> Iterator[pathlib.Path]:
    """On the file system of `_build`, so that the store's files can be linked; the logs outlive the test."""
    root = context.load().build_root / "vm"
    root.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root) as name:
        yield pathlib.Path(name)
        for log in pathlib.Path(name).glob("*.log"):
            shutil.copy(log, root)


@pytest.fixture(scope="module")
def files(folder: pathlib.Path) -> Files:
    """The built ISO; the same as a later version; a Solution."""
    here = context.load()
    built = tree.load(here.fragment("medium").read_bytes())
    held = node_medium.borrow_tree(built, here.store, folder / "store")
    second = _write(here, built, held, SECOND, folder / "second.iso")
    return Files(here.iso_path, second, _solution(here, folder))


def _write(
    here: context.Context, built: tree.Tree, held: store.Store, release: version.Version, target: pathlib.Path
) -> pathlib.Path:
    contents = node_medium.compose(built, held, release, here.signing_source)
    volume_id = product.volume_id("MetalK8s", release)
    iso.write(contents, held, volume_id=volume_id, epoch=node_medium.EPOCH, target=target)
    return target


def _solution(here: context.Context, folder: pathlib.Path) -> pathlib.Path:
    """The example, built as its author does it; its keys are those of the checkout."""
    name = "examples/solution/1.0.0"
    project = shutil.copytree(here.settings.root / name, folder / name, ignore=shutil.ignore_patterns("_build"))
    (folder / "packages").symlink_to(here.settings.root / "packages")
    environment = {"STORE": str(here.settings.store), "PYTHONPATH": os.pathsep.join(sys.path)}
    program = "import sys; from buildchain import cli; sys.exit(cli.main())"
    command.call([sys.executable, "-c", program, "solution", "build", project], environment=environment)
    (image,) = (project / "_build").glob("*.iso")
    return image


@pytest.fixture(scope="module")
def media() -> hosts.Media:
    """The first in the drive, the others as files."""
    release = context.load().version
    return hosts.Media(
        first=_medium(f"metalk8s-{release}", "/dev/sr0"),
        second=_medium(f"metalk8s-{SECOND}", "/root/second.iso"),
        solution=_medium(SOLUTION, "/root/solution.iso"),
        key="/root/key.asc",
    )


def _medium(name: str, archive: str) -> hosts.Medium:
    return hosts.Medium(name, archive, f"/srv/scality/{name}")


@pytest.fixture(scope="module")
def host(files: Files, media: hosts.Media, folder: pathlib.Path) -> Iterator[guest.Guest]:
    """A minimal Debian with the first medium mounted from its drive and no MetalK8s."""
    made = _disk()
    with guest.boot(made / "disk.img", made / "key", folder, files.first, [files.second, files.solution]) as booted:
        for device, medium in (("vdb", media.second), ("vdc", media.solution)):
            booted.run("cp", f"/dev/{device}", medium.archive)
        booted.write(media.key, (context.load().staged_root / product.KEY).read_text())
        bootstrap_node.configure(booted, guest.SUBNET, media.first.archive)
        booted.run("mkdir", "-p", media.first.place)
        booted.run("mount", "-o", "ro", media.first.archive, media.first.place)
        yield booted


def _disk() -> pathlib.Path:
    """The disk, made once and kept in the user's cache."""
    staged = context.load().staged_root
    indexes = [path.read_bytes() for path in sorted(staged.glob("packages/debian/*/Packages"))]
    makers = [pathlib.Path(disk.__file__).with_name(f"{name}.py").read_bytes() for name in ("box", "disk")]
    return node.kept("disk", b"".join([*makers, *indexes]), _make_disk)


def _make_disk(target: pathlib.Path) -> None:
    target.mkdir()
    here = context.load()
    command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", target / "key"])
    key = (target / "key.pub").read_text().strip()
    disk.build(here.staged_root, vagrant.debian(here), key, target / "disk.img")


bdd.scenarios("installation.feature")
bdd.scenarios("services.feature")
bdd.scenarios("versions.feature")
bdd.scenarios("solutions.feature")
bdd.scenarios("reboot.feature")
