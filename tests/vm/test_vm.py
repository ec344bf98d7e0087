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

from buildchain import command, disk, iso, product, store, tree, version
from buildchain.tasks import context, vagrant
from tests.support import guest, node, node_medium

pytestmark = [
    pytest.mark.tools(guest.PROGRAM, "dpkg-deb", "mke2fs", "mmdebstrap", "ssh", "ssh-keygen"),
    pytest.mark.network,
]

SECOND = version.Version("2", "6", "0", "-dev")
SOLUTION = "example-solution-1.0.0-dev"
REGISTRY = "metalk8s-registry-from-config.invalid"
CONFIGURATION = f"""\
apiVersion: metalk8s.scality.com/v1alpha2
kind: BootstrapConfiguration
networks:
  controlPlane: {guest.SUBNET}
  workloadPlane: {guest.SUBNET}
ca:
  minion: bootstrap
archives:
  - /dev/sr0
"""


@dataclasses.dataclass(frozen=True)
class Media:
    """ISO files, and the version of the first."""

    release: version.Version
    first: pathlib.Path
    second: pathlib.Path
    solution: pathlib.Path

    @property
    def place(self) -> str:
        """Where the first is mounted."""
        return f"/srv/scality/metalk8s-{self.release}"


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
def media(folder: pathlib.Path) -> Media:
    """The built ISO; the same as a later version; a Solution."""
    here = context.load()
    built = tree.load(here.fragment("medium").read_bytes())
    held = node_medium.borrow_tree(built, here.store, folder / "store")
    second = _write(here, built, held, SECOND, folder / "second.iso")
    return Media(here.version, here.iso_path, second, _solution(here, folder))


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
def host(media: Media, folder: pathlib.Path) -> Iterator[guest.Guest]:
    """A minimal Debian with the first medium in its drive and no MetalK8s."""
    made = _disk()
    with guest.boot(made / "disk.img", made / "key", folder, media.first, [media.second, media.solution]) as booted:
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


def test_there_is_no_way_out(host: guest.Guest) -> None:
    assert "default" not in host.run("ip", "route")
    assert "Network is unreachable" in host.attempt("bash", "-c", ": </dev/tcp/203.0.113.1/80").stdout


def test_bootstrap_makes_it_a_node(host: guest.Guest, media: Media) -> None:
    for device, file in (("vdb", "second"), ("vdc", "solution")):
        host.run("cp", f"/dev/{device}", f"/root/{file}.iso")
    host.write("/root/key.asc", (context.load().staged_root / product.KEY).read_text())
    host.write("/etc/metalk8s/bootstrap.yaml", CONFIGURATION)
    host.run("mkdir", "-p", media.place)
    host.run("mount", "-o", "ro", "/dev/sr0", media.place)
    done = host.attempt(f"{media.place}/bootstrap.sh", "--key", "/root/key.asc")
    assert done.returncode == 0, done.stdout
    sys.stdout.write(done.stdout)
    assert done.stdout.endswith(f"This host is the bootstrap node of MetalK8s {media.release}.\n")


def test_the_registry_serves_the_medium(host: guest.Guest, media: Media) -> None:
    _pull_all(host, f"metalk8s-{media.release}")


def test_a_second_iso_is_served_beside_it(host: guest.Guest, media: Media) -> None:
    done = host.attempt(f"{media.place}/iso-manager.sh", "--archive", "/root/second.iso")
    assert done.returncode == 0, done.stdout
    _pull_all(host, f"metalk8s-{SECOND}")


def test_a_solution_is_served_beside_both(host: guest.Guest, media: Media) -> None:
    done = host.attempt(f"{media.place}/solutions.sh", "import", "--archive", "/root/solution.iso")
    assert done.returncode == 0, done.stdout
    _pull_all(host, SOLUTION)


def test_after_a_reboot_all_media_are_mounted_and_served(host: guest.Guest, media: Media) -> None:
    host.reboot()
    mounts = dict(line.split()[1::-1] for line in host.run("cat", "/proc/mounts").splitlines() if " iso9660 " in line)
    places = {"metalk8s": (media.place, f"/srv/scality/metalk8s-{SECOND}"), "solution": (f"/srv/scality/{SOLUTION}",)}
    assert set(mounts) == {*places["metalk8s"], *places["solution"]}
    assert mounts[media.place] == "/dev/sr0"
    host.run("timeout", "300", "bash", "-c", "until : </dev/tcp/10.200.1.15/8080; do sleep 1; done")
    for name in (f"metalk8s-{media.release}", f"metalk8s-{SECOND}", SOLUTION):
        _pull_all(host, name)


def _pull_all(host: guest.Guest, name: str) -> None:
    """Pull every image of a medium through the registry, into containerd, with nothing of an earlier pull there."""
    images = host.run("sh", "-c", f"cd /srv/scality/{name}/images && ls -d */*/").split()
    assert images
    host.attempt("sh", "-c", "ctr -n pulled images ls -q | xargs -r ctr -n pulled images rm --sync")
    for image in images:
        repository, tag, _ = image.split("/")
        reference = f"{REGISTRY}/{name}/{repository}:{tag}"
        host.run("ctr", "-n", "pulled", "images", "pull", "--hosts-dir=/etc/containerd/certs.d", reference)
