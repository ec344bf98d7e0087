"""A node that installs itself from a medium, in a container: the features, and what only its developers ask.

The scenarios leave the node as the next ones want it: the order is that of an operator.
"""

import pathlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator

import pytest
import pytest_bdd as bdd

from buildchain import tree, version
from tests import features
from tests.end_to_end import conftest
from tests.support import bootstrap_node, hosts, keys, machine, node_medium

pytestmark = [
    pytest.mark.tools("bsdtar", "containerd", "docker", "dockerd", "dpkg-deb", "gpg", "ip", "mmdebstrap", "runc"),
    pytest.mark.root,
    pytest.mark.network,
    # A scenario does not say what its steps need.
    pytest.mark.usefixtures("host"),
]
pytest_plugins = features.STEPS

FIRST = version.Version("2", "5", "1", "-dev")
SECOND = version.Version("2", "6", "0", "-dev")
MEDIUM = f"/srv/scality/metalk8s-{FIRST}"
NEXT = f"/srv/scality/metalk8s-{SECOND}"
SOLUTION = "/srv/solution"
SPOILT = hosts.Spoilt(medium="/srv/tampered", solution="/srv/tampered-solution", broken="/srv/broken-solution")
USERS = {
    "metalk8s-repositories": "33",
    "metalk8s-etcd": "900",
    "metalk8s-salt-master": "903",
    "metalk8s-salt-api": "903",
}
SEEN = "echo /etc/metalk8s/pki/* /var/lib/metalk8s/*"


@pytest.fixture(scope="module")
def folders(first: conftest.Checkout) -> Iterator[dict[str, pathlib.Path]]:
    """Two versions of the medium, and one that somebody changed; by the place where the node finds them."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="media-"))
    directory.chmod(0o755)
    built = tree.load((first.root / "_build/tree/medium.json").read_bytes())
    held = node_medium.borrow(pathlib.Path(first.environment["STORE"]), directory / "store")
    found = {place: directory / place.replace("/", "-") for place in (MEDIUM, NEXT, SPOILT.medium)}
    for release, place in ((FIRST, MEDIUM), (SECOND, NEXT)):
        node_medium.write(node_medium.compose(built, held, release), held, found[place])
    subprocess.run(["cp", "--archive", "--link", found[MEDIUM], found[SPOILT.medium]], check=True)
    _replace(found[SPOILT.medium] / "salt/metalk8s/defaults.yaml", b"/srv/scality", b"/srv/elsewhere")
    found |= _solutions(first, directory)
    yield found
    shutil.rmtree(directory, ignore_errors=True)


def _solutions(first: conftest.Checkout, directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """The example Solution as its author builds it upon the medium, unpacked, and what somebody made of it."""
    argv = [".venv/bin/buildchain", "solution", "build", "examples/solution/1.0.0", "--base", str(first.iso)]
    done = first.run(*argv)
    assert done.returncode == 0, done.stdout
    assert "bytes are left to" in done.stdout
    (image,) = (first.root / "examples/solution/1.0.0/_build").glob("*.iso")
    places = (SOLUTION, SPOILT.solution, SPOILT.broken)
    found = {place: directory / place.replace("/", "-") for place in places}
    for folder in found.values():
        folder.mkdir()
        subprocess.run(["bsdtar", "-xpf", image, "-C", folder], check=True)
        folder.chmod(0o755)
    _replace(found[SPOILT.solution] / "operator/deploy/role.yaml", b"get", b"put")
    _replace(found[SPOILT.broken] / "manifest.yaml", b"version: 1.0.0-dev", b"version: 2.0.0-dev")
    # Of a value nginx alone says that it is none.
    _replace(found[SPOILT.broken] / "registry-config.inc.j2", b"etag off;", b"etag perhaps;")
    return found


def _replace(path: pathlib.Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.unlink()
    path.write_bytes(content.replace(old, new))
    path.chmod(0o444)


@pytest.fixture(scope="module")
def media() -> hosts.Media:
    """Folders: a container cannot mount an ISO."""
    return hosts.Media(
        first=hosts.Medium(f"metalk8s-{FIRST}", MEDIUM, MEDIUM),
        second=hosts.Medium(f"metalk8s-{SECOND}", NEXT, NEXT),
        solution=hosts.Medium("example-solution-1.0.0-dev", SOLUTION, SOLUTION),
        key="/srv/keys/public.asc",
    )


@pytest.fixture(scope="module")
def spoilt() -> hosts.Spoilt:
    return SPOILT


@pytest.fixture(scope="module")
def site(folders: dict[str, pathlib.Path]) -> Iterator[machine.Site]:
    """A network that leads nowhere."""
    with machine.site(folders[MEDIUM]) as made:
        yield made


@pytest.fixture(scope="module")
def host(site: machine.Site, folders: dict[str, pathlib.Path]) -> Iterator[machine.Machine]:
    """A minimal Debian that has the media and no MetalK8s."""
    with site.machine("bootstrap", {**folders, "/srv/keys": keys.DEVELOPMENT}) as made:
        bootstrap_node.point_upstream(made)
        bootstrap_node.configure(made, site.subnet, MEDIUM)
        yield made


bdd.scenarios("installation.feature")
bdd.scenarios("services.feature")
bdd.scenarios("certificates.feature")


def test_apt_trusts_that_server_and_no_other(node: hosts.Host) -> None:
    """As another node does it: the packages over HTTPS, with this host's own options for it."""
    url = bootstrap_node.packages_url(node, str(FIRST))
    node.write("/root/other.list", f"deb [signed-by=/etc/apt/keyrings/metalk8s.asc] {url} ./\n")
    options = [f"-oDir::Etc::{name}" for name in ("SourceList=/root/other.list", "SourceParts=/dev/null")]
    options.append("-oDir::State::Lists=/run/lists")
    node.run("mkdir", "--parents", "/run/lists/partial")
    update = ["apt-get", *options, "update", "--error-on=any"]
    node.run(*update)
    done = node.attempt(*update, f"-oAcquire::https::{node.ip}::CAInfo={bootstrap_node.ETCD_CA}")
    assert done.returncode != 0
    assert "certificate" in done.stdout


def test_services_run_as_their_own_users(node: hosts.Host) -> None:
    for unit, user in USERS.items():
        pid = node.run("ctr", "--namespace=metalk8s", "tasks", "list").split(unit)[1].split()[0]
        status = node.run("cat", f"/proc/{pid}/status")
        assert f"Uid:\t{user}\t" in status
        assert " / / ro," in node.run("cat", f"/proc/{pid}/mountinfo")


def test_every_generated_file_says_where_it_comes_from(node: hosts.Host) -> None:
    paths = [
        "/etc/apt/sources.list.d/metalk8s.sources",
        "/etc/containerd/config.toml",
        "/etc/salt/master.d/99-metalk8s.conf",
        "/etc/salt/minion.d/99-metalk8s.conf",
    ]
    paths += [f"/etc/systemd/system/{unit}.service" for unit in (*USERS, "metalk8s-certificates")]
    for path in paths:
        assert node.run("head", "--lines=1", path) == f"# Generated by MetalK8s {FIRST}; edits are lost.\n"


def test_secrets_are_for_those_who_need_them(node: hosts.Host) -> None:
    listed = node.run("find", "/etc/metalk8s/pki", "-name", "*.key", "-printf", "%m %u %G %P\n").splitlines()
    assert sorted(listed) == [
        "600 root 0 etcd/ca.key",
        "600 root 0 repositories/ca.key",
        "600 root 0 salt/ca.key",
        "640 root 0 etcd/client/tls.key",
        "640 root 33 repositories/server/tls.key",
        "640 root 900 etcd/peer/tls.key",
        "640 root 900 etcd/server/tls.key",
        "640 root 903 salt/api/tls.key",
    ]
    listed = node.run("find", "/etc/metalk8s/salt", "-type", "f", "-printf", "%m %u %G %P\n").splitlines()
    assert sorted(listed) == ["600 root 0 password", "640 root 903 users"]
    inside = ("metalk8s-salt-master", "/bin/sh", "-c", SEEN)
    seen = node.run(*bootstrap_node.IN_MASTER, f"--exec-id={uuid.uuid4()}", *inside)
    assert seen == "/etc/metalk8s/pki/* /var/lib/metalk8s/*\n"


def test_the_master_knows_what_its_minion_is(node: hosts.Host) -> None:
    top = {f"metalk8s-{FIRST}": ["metalk8s.roles.node", "metalk8s.roles.bootstrap"]}
    assert bootstrap_node.salt(node, "*", "state.show_top") == {"bootstrap": top}
    mine = bootstrap_node.salt(node, "*", "mine.get", "bootstrap", "control_plane_ip")
    assert mine == {"bootstrap": {"bootstrap": node.ip}}


def test_salts_api_shows_the_certificate_of_its_own_authority(node: hosts.Host) -> None:
    done = bootstrap_node.get(node, f"https://{node.ip}:{bootstrap_node.API}/", bootstrap_node.CA)
    assert "CERTIFICATE_VERIFY_FAILED" in done.stdout


def test_misuse_is_told(node: hosts.Host) -> None:
    scripts = (
        "backup.sh",
        "bootstrap.sh",
        "downgrade.sh",
        "iso-manager.sh",
        "nodes.sh",
        "restore.sh",
        "solutions.sh",
        "upgrade.sh",
    )
    for script in scripts:
        assert node.run(f"{MEDIUM}/{script}", "--help").startswith(f"usage: {script} ")
        for arguments in (["--nonsense"], ["--log-file"]):
            done = node.attempt(f"{MEDIUM}/{script}", *arguments)
            assert (done.returncode, "--help" in done.stdout) == (2, True)


bdd.scenarios("versions.feature")
bdd.scenarios("solutions.feature")
bdd.scenarios("nodes.feature")
bdd.scenarios("backup.feature")
bdd.scenarios("reboot.feature")
bdd.scenarios("upgrade.feature")
