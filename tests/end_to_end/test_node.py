"""A node that installs itself from a medium, with no way out: what an operator of the bootstrap node relies on."""

import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import typing
import uuid
from collections.abc import Iterator

import pytest

from buildchain import tree, version
from tests.end_to_end import conftest
from tests.support import keys, machine, node_medium

pytestmark = [
    pytest.mark.tools("bsdtar", "containerd", "docker", "dockerd", "dpkg-deb", "gpg", "ip", "mmdebstrap", "runc"),
    pytest.mark.root,
    pytest.mark.network,
]

FIRST = version.Version("2", "5", "1", "-dev")
SECOND = version.Version("2", "6", "0", "-dev")
MEDIUM = f"/srv/scality/metalk8s-{FIRST}"
NEXT = f"/srv/scality/metalk8s-{SECOND}"
TAMPERED = "/srv/tampered"
SOLUTION = "/srv/solution"
TAMPERED_SOLUTION = "/srv/tampered-solution"
BROKEN_SOLUTION = "/srv/broken-solution"
KEY = "/srv/keys/public.asc"
LOG = "/var/log/metalk8s/bootstrap.log"
REGISTRY = "metalk8s-registry-from-config.invalid"
CONFIGURATION = """\
apiVersion: metalk8s.scality.com/v1alpha2
kind: BootstrapConfiguration
# What an operator writes beside it stays.
networks:
  controlPlane: {subnet}
  workloadPlane: {subnet}
ca:
  minion: bootstrap
archives:
  - {medium}
proxies: {{}}
"""
CA = "/etc/metalk8s/pki/repositories/ca.crt"
SALT_CA = "/etc/metalk8s/pki/salt/ca.crt"
USERS = {
    "metalk8s-repositories": "33",
    "metalk8s-etcd": "900",
    "metalk8s-salt-master": "903",
    "metalk8s-salt-api": "903",
}
IN_MASTER = ("ctr", "--namespace=metalk8s", "tasks", "exec")
SEEN = "echo /etc/metalk8s/pki/* /var/lib/metalk8s/*"
CALL = """\
import json, ssl, sys, urllib.error, urllib.request
url, authority, body, token = sys.argv[1:]
headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Auth-Token": token}
request = urllib.request.Request(url, body.encode(), headers)
try:
    print(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=authority)).read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
"""
PYTHON = "python3.11"
"""What Salt runs on: no other comes with it."""
SHOWN = "import ssl, sys; print(ssl.get_server_certificate((sys.argv[1], 4507)))"
UNREACHABLE = "deb http://deb.example.invalid/debian bookworm main\n"
"""What an installed Debian has in its sources.list, from here."""


@pytest.fixture(scope="module")
def media(first: conftest.Checkout) -> Iterator[dict[str, pathlib.Path]]:
    """Two versions of the medium, and one that somebody changed; by the place where the node finds them."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="media-"))
    directory.chmod(0o755)
    built = tree.load((first.root / "_build/tree/medium.json").read_bytes())
    held = node_medium.borrow(pathlib.Path(first.environment["STORE"]), directory / "store")
    found = {place: directory / place.replace("/", "-") for place in (MEDIUM, NEXT, TAMPERED)}
    for release, place in ((FIRST, MEDIUM), (SECOND, NEXT)):
        node_medium.write(node_medium.compose(built, held, release), held, found[place])
    subprocess.run(["cp", "--archive", "--link", found[MEDIUM], found[TAMPERED]], check=True)
    changed = found[TAMPERED] / "salt/metalk8s/defaults.yaml"
    content = changed.read_bytes().replace(b"/srv/scality", b"/srv/elsewhere")
    changed.unlink()
    changed.write_bytes(content)
    changed.chmod(0o444)
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
    places = (SOLUTION, TAMPERED_SOLUTION, BROKEN_SOLUTION)
    found = {place: directory / place.replace("/", "-") for place in places}
    for folder in found.values():
        folder.mkdir()
        subprocess.run(["bsdtar", "-xpf", image, "-C", folder], check=True)
        folder.chmod(0o755)
    _replace(found[TAMPERED_SOLUTION] / "operator/deploy/role.yaml", b"get", b"put")
    _replace(found[BROKEN_SOLUTION] / "manifest.yaml", b"version: 1.0.0-dev", b"version: 2.0.0-dev")
    # Of a value nginx alone says that it is none.
    _replace(found[BROKEN_SOLUTION] / "registry-config.inc.j2", b"etag off;", b"etag perhaps;")
    return found


def _replace(path: pathlib.Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.unlink()
    path.write_bytes(content.replace(old, new))
    path.chmod(0o444)


@pytest.fixture(scope="module")
def site(media: dict[str, pathlib.Path]) -> Iterator[machine.Site]:
    """A network that leads nowhere."""
    with machine.site(media[MEDIUM]) as made:
        yield made


@pytest.fixture(scope="module")
def host(site: machine.Site, media: dict[str, pathlib.Path]) -> Iterator[machine.Machine]:
    """A minimal Debian that has the media and no MetalK8s."""
    with site.machine("bootstrap", {**media, "/srv/keys": keys.DEVELOPMENT}) as made:
        made.write("/etc/apt/sources.list", UNREACHABLE)
        made.write("/etc/metalk8s/bootstrap.yaml", CONFIGURATION.format(subnet=site.subnet, medium=MEDIUM))
        yield made


@dataclasses.dataclass(frozen=True)
class Runs:
    """The bootstrap node, and what bootstrap.sh said there each time."""

    host: machine.Machine
    refused: str
    resumed: str
    repeated: str


@pytest.fixture(scope="module")
def node(host: machine.Machine) -> Runs:
    """Refused with a tampered medium; without power in the middle; run to its end; run again."""
    before = host.run("dpkg-query", "--list")
    refused = host.attempt(f"{TAMPERED}/bootstrap.sh", "--key", KEY)
    assert refused.returncode == 1, refused.stdout
    assert host.run("dpkg-query", "--list") == before
    _cut_the_power_in_the_middle(host)
    resumed = host.attempt(f"{MEDIUM}/bootstrap.sh")
    assert resumed.returncode == 0, resumed.stdout
    repeated = host.attempt(f"{MEDIUM}/bootstrap.sh")
    assert repeated.returncode == 0, repeated.stdout
    return Runs(host, refused.stdout, resumed.stdout, repeated.stdout)


def _cut_the_power_in_the_middle(host: machine.Machine) -> None:
    """While the highstate runs: all of the machine at once and without a word."""
    host.run("systemd-run", "--unit=first", f"{MEDIUM}/bootstrap.sh", "--key", KEY)
    while host.attempt("test", "-e", "/etc/apt/sources.list.d/metalk8s.sources").returncode != 0:
        assert host.attempt("systemctl", "is-active", "first").returncode == 0, host.run("journalctl", "--unit=first")
        time.sleep(0.2)
    host.cut_power()
    assert "exit code" not in host.run("cat", LOG).partition("step: Apply the highstate")[2]


def test_there_is_no_way_out(host: machine.Machine) -> None:
    assert "default" not in host.run("ip", "route")
    assert "Network is unreachable" in host.attempt("bash", "-c", ": </dev/tcp/203.0.113.1/80").stdout


def test_a_tampered_medium_is_refused_by_the_name_of_the_file(node: Runs) -> None:
    assert "> Verify the medium ... failed" in node.refused
    assert "salt/metalk8s/defaults.yaml: its content is not that of SHA256SUM" in node.refused
    assert "Install Salt" not in node.refused
    assert f"run {TAMPERED}/bootstrap.sh again" in node.refused


def test_a_run_after_a_power_cut_ends_well(node: Runs) -> None:
    steps = re.findall(r"^> (.*) \.\.\. done \[\d+ s\]$", node.resumed, re.MULTILINE)
    assert steps == [
        "Check the host",
        "Verify the medium",
        "Install Salt",
        "Check the configuration",
        "Apply the highstate",
        "Ask the minion through its master",
        "Save the data of etcd",
        "Write the backup",
    ]
    assert node.resumed.endswith(f"This host is the bootstrap node of MetalK8s {FIRST}.\n")


def test_a_second_run_changes_nothing(node: Runs) -> None:
    found = re.search(r"^  (\d+) states hold, changed: (\d+)$", node.repeated, re.MULTILINE)
    assert found, node.repeated
    assert int(found[1]) > 40
    assert int(found[2]) == 0


def test_every_service_runs(node: Runs) -> None:
    services = ("containerd", "metalk8s-repositories", "metalk8s-etcd", "metalk8s-salt-master", "metalk8s-salt-api")
    for unit in (*services, "metalk8s-firewall", "salt-minion", "metalk8s-certificates.timer"):
        assert node.host.run("systemctl", "is-enabled", unit).strip() == "enabled"
        assert node.host.run("systemctl", "is-active", unit).strip() == "active"


def test_nothing_listens_beyond_the_control_plane(node: Runs) -> None:
    lines = node.host.run("ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp").splitlines()
    addresses = {line.split()[4].rpartition(":")[0] for line in lines}
    own = {address for address in addresses if not address.startswith("127.")}
    assert own == {node.host.ip}


def test_containerd_pulls_every_image_of_the_medium(node: Runs, media: dict[str, pathlib.Path]) -> None:
    _pull_all(node.host, media[MEDIUM], FIRST)


def _pull_all(host: machine.Machine, medium: pathlib.Path, release: version.Version) -> None:
    images = sorted(path.parent.relative_to(medium / "images") for path in medium.glob("images/*/*/manifest.json"))
    assert len(images) >= 7
    for image in images:
        name = f"{REGISTRY}/metalk8s-{release}/{image.parent}:{image.name}"
        pull = ["ctr", "--namespace=pulled", "images", "pull", "--hosts-dir=/etc/containerd/certs.d", name]
        assert "done" in host.run(*pull)


def test_apt_installs_from_the_medium(node: Runs) -> None:
    node.host.run("apt-get", "install", "--yes", "--no-install-recommends", "socat")
    policy = node.host.run("apt-cache", "policy", "socat")
    assert f"990 file:{MEDIUM}/packages/debian/metalk8s-debian-12 ./ Packages" in policy
    assert "deb.example.invalid" not in policy


def test_packages_and_images_are_served_to_those_who_trust_the_nodes_authority(node: Runs) -> None:
    address = f"https://{node.host.ip}:8080"
    for place in (f"metalk8s-{FIRST}/debian/metalk8s-debian-12/InRelease", "v2/"):
        assert _get(node.host, f"{address}/{place}", CA).returncode == 0
    for authority in ("", "/etc/metalk8s/pki/etcd/ca.crt"):
        assert "CERTIFICATE_VERIFY_FAILED" in _get(node.host, f"{address}/v2/", authority).stdout
    assert _get(node.host, f"{address}/salt/top.sls", CA).returncode != 0


def _get(host: machine.Machine, url: str, authority: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import ssl, sys, urllib.request; "
        "urllib.request.urlopen(sys.argv[1], context=ssl.create_default_context(cafile=sys.argv[2] or None)).read()"
    )
    return host.attempt(PYTHON, "-c", program, url, authority)


def test_apt_trusts_that_server_and_no_other(node: Runs) -> None:
    """As another node does it: the packages over HTTPS, with this host's own options for it."""
    url = f"https://{node.host.ip}:8080/metalk8s-{FIRST}/debian/metalk8s-debian-12"
    node.host.write("/root/other.list", f"deb [signed-by=/etc/apt/keyrings/metalk8s.asc] {url} ./\n")
    options = [f"-oDir::Etc::{name}" for name in ("SourceList=/root/other.list", "SourceParts=/dev/null")]
    options.append("-oDir::State::Lists=/run/lists")
    node.host.run("mkdir", "--parents", "/run/lists/partial")
    update = ["apt-get", *options, "update", "--error-on=any"]
    node.host.run(*update)
    done = node.host.attempt(*update, f"-oAcquire::https::{node.host.ip}::CAInfo=/etc/metalk8s/pki/etcd/ca.crt")
    assert done.returncode != 0
    assert "certificate" in done.stdout


def test_etcd_answers_its_own_clients_only(node: Runs) -> None:
    assert "is healthy" in _etcdctl(node.host, "endpoint", "health")
    assert node.host.attempt(*_etcd_client(node.host), "endpoint", "health").returncode != 0


def _etcdctl(host: machine.Machine, *argv: str) -> str:
    pki = "/etc/metalk8s/pki/etcd/peer/tls"
    done = host.attempt(*_etcd_client(host), f"--cert={pki}.crt", f"--key={pki}.key", *argv)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _etcd_client(host: machine.Machine) -> list[str]:
    client = ["ctr", "--namespace=metalk8s", "tasks", "exec", f"--exec-id={uuid.uuid4()}", "metalk8s-etcd", "etcdctl"]
    return [*client, f"--endpoints=https://{host.ip}:2379", "--cacert=/etc/metalk8s/pki/etcd/ca.crt"]


def test_the_firewall_keeps_out_who_is_not_on_the_control_plane(node: Runs) -> None:
    """A network beside the control plane, from which the node's address can be reached."""
    host, inside = node.host, "ip netns exec out"
    script = f"""set -e
        ip netns add out
        ip link add near type veth peer name far netns out
        ip address add 192.0.2.1/24 dev near && ip link set near up
        {inside} ip address add 192.0.2.2/24 dev far && {inside} ip link set far up
        {inside} ip route add {host.ip} via 192.0.2.1"""
    host.run("bash", "-c", script)
    connect = ["ip", "netns", "exec", "out", "timeout", "3", "bash", "-c", f": </dev/tcp/{host.ip}/8080"]
    assert host.attempt(*connect).returncode == 124
    host.run("nft", "delete", "table", "inet", "metalk8s")
    host.run(*connect)
    host.run("systemctl", "restart", "metalk8s-firewall")
    assert host.attempt(*connect).returncode == 124
    host.run("ip", "netns", "delete", "out")


def test_services_run_as_their_own_users(node: Runs) -> None:
    for unit, user in USERS.items():
        pid = node.host.run("ctr", "--namespace=metalk8s", "tasks", "list").split(unit)[1].split()[0]
        status = node.host.run("cat", f"/proc/{pid}/status")
        assert f"Uid:\t{user}\t" in status
        assert " / / ro," in node.host.run("cat", f"/proc/{pid}/mountinfo")


def test_every_generated_file_says_where_it_comes_from(node: Runs) -> None:
    paths = [
        "/etc/apt/sources.list.d/metalk8s.sources",
        "/etc/containerd/config.toml",
        "/etc/salt/master.d/99-metalk8s.conf",
        "/etc/salt/minion.d/99-metalk8s.conf",
    ]
    paths += [f"/etc/systemd/system/{unit}.service" for unit in (*USERS, "metalk8s-certificates")]
    for path in paths:
        assert node.host.run("head", "--lines=1", path) == f"# Generated by MetalK8s {FIRST}; edits are lost.\n"


def test_secrets_are_for_those_who_need_them(node: Runs) -> None:
    listed = node.host.run("find", "/etc/metalk8s/pki", "-name", "*.key", "-printf", "%m %u %G %P\n").splitlines()
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
    listed = node.host.run("find", "/etc/metalk8s/salt", "-type", "f", "-printf", "%m %u %G %P\n").splitlines()
    assert sorted(listed) == ["600 root 0 password", "640 root 903 users"]
    seen = node.host.run(*IN_MASTER, f"--exec-id={uuid.uuid4()}", "metalk8s-salt-master", "/bin/sh", "-c", SEEN)
    assert seen == "/etc/metalk8s/pki/* /var/lib/metalk8s/*\n"


def test_the_master_hears_its_minion(node: Runs) -> None:
    assert _salt(node.host, "*", "test.ping") == {"bootstrap": True}
    top = {f"metalk8s-{FIRST}": ["metalk8s.roles.node", "metalk8s.roles.bootstrap"]}
    assert _salt(node.host, "*", "state.show_top") == {"bootstrap": top}
    assert _salt(node.host, "*", "mine.get", "bootstrap", "control_plane_ip") == {
        "bootstrap": {"bootstrap": node.host.ip}
    }


def test_the_api_serves_who_knows_the_password(node: Runs) -> None:
    password = node.host.run("cat", "/etc/metalk8s/salt/password").strip()
    ping = {"client": "local", "tgt": "*", "fun": "test.ping"}
    assert _api(node.host, "/", ping) == 401
    assert _api(node.host, "/login", {"eauth": "file", "username": "admin", "password": "wrong"}) == 401
    assert _api(node.host, "/login", {"eauth": "pam", "username": "root", "password": "root"}) == 401
    login = _api(node.host, "/login", {"eauth": "file", "username": "admin", "password": password})
    token = login["return"][0]["token"]
    assert _api(node.host, "/", ping, token) == {"return": [{"bootstrap": True}]}
    assert _api(node.host, "/", {"client": "runner", "fun": "manage.up"}, token) == {"return": [["bootstrap"]]}
    # Who is let in is said on the node alone.
    assert _api(node.host, "/", {"client": "wheel", "fun": "key.list_all"}, token) == 400
    assert "CERTIFICATE_VERIFY_FAILED" in _get(node.host, f"https://{node.host.ip}:4507/", CA).stdout


def _salt(host: machine.Machine, *argv: str) -> typing.Any:
    """What Salt's master says, by its own client."""
    program = ["metalk8s-salt-master", "/usr/bin/salt", "--timeout=60", "--static", "--out=json", *argv]
    return json.loads(host.run(*IN_MASTER, f"--exec-id={uuid.uuid4()}", *program))


def _api(host: machine.Machine, path: str, body: object, token: str = "") -> typing.Any:
    """What the API answers, or its status if that is an error."""
    url = f"https://{host.ip}:4507{path}"
    return json.loads(host.run(PYTHON, "-c", CALL, url, SALT_CA, json.dumps(body), token))


def test_a_certificate_that_ends_soon_is_renewed_by_the_timers_service(node: Runs) -> None:
    path = "/etc/metalk8s/pki/salt/api/tls.crt"
    issue = ["salt-call", "--local", "--retcode-passthrough", "x509.create_certificate", f"path={path}", "days_valid=3"]
    issue += ["signing_private_key=/etc/metalk8s/pki/salt/ca.key", f"signing_cert={SALT_CA}", "CN=short"]
    before = node.host.run("cat", path)
    node.host.run(*issue, "private_key=/etc/metalk8s/pki/salt/api/tls.key", "overwrite=True")
    short = node.host.run("cat", path)
    others = "/etc/metalk8s/pki/etcd/server/tls.crt"
    untouched = node.host.run("cat", others)
    node.host.run("systemctl", "start", "metalk8s-certificates.service")
    renewed = node.host.run("cat", path)
    assert len({before, short, renewed}) == 3
    assert node.host.run("cat", others) == untouched
    asked = node.host.run("salt-call", "--local", "--out=txt", "x509.expires", path, "days=300")
    assert asked == "local: False\n"
    # Who shows it was started again.
    shown = node.host.run(PYTHON, "-c", SHOWN, node.host.ip)
    assert shown.split() == renewed.split()


def test_a_wrong_configuration_is_told_at_once(node: Runs) -> None:
    path = "/etc/metalk8s/bootstrap.yaml"
    good = node.host.run("cat", path)
    node.host.write(path, "apiVersion: v1\nkind: Node\nnetworks: {controlPlane: here}\narchive: []\n")
    done = node.host.attempt(f"{MEDIUM}/bootstrap.sh")
    node.host.write(path, good)
    assert done.returncode == 1
    assert "> Check the configuration ... failed" in done.stdout
    for problem in (
        "apiVersion: must be",
        "kind: must be",
        "ca.minion: must be",
        "networks.workloadPlane: must be",
        "networks.controlPlane: 'here' does not appear",
        "archive: unknown key",
        "archives: must be",
    ):
        assert f"    {path}: {problem}" in done.stdout


def test_everything_is_there_again_after_a_reboot(node: Runs, media: dict[str, pathlib.Path]) -> None:
    node.host.cut_power()
    for port in (8080, 2379, 4506, 4507):
        node.host.run("timeout", "60", "bash", "-c", f"until : </dev/tcp/{node.host.ip}/{port}; do sleep 0.2; done")
    _pull_all(node.host, media[MEDIUM], FIRST)
    _wait_for_minion(node.host, "bootstrap")


def _wait_for_minion(host: machine.Machine, name: str) -> None:
    for _ in range(30):
        if _salt(host, "--timeout=2", name, "test.ping") == {name: True}:
            return
        time.sleep(1)
    raise AssertionError(host.run("journalctl", "--no-pager", "--unit=metalk8s-salt-master"))


def test_misuse_is_told(node: Runs) -> None:
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
        assert node.host.run(f"{MEDIUM}/{script}", "--help").startswith(f"usage: {script} ")
        for arguments in (["--nonsense"], ["--log-file"]):
            done = node.host.attempt(f"{MEDIUM}/{script}", *arguments)
            assert (done.returncode, "--help" in done.stdout) == (2, True)


def test_another_version_is_served_beside_the_first_and_goes_again(node: Runs, media: dict[str, pathlib.Path]) -> None:
    host, manager = node.host, f"{MEDIUM}/iso-manager.sh"
    before = host.run("cat", "/etc/metalk8s/bootstrap.yaml")
    refused = host.attempt(manager, "--archive", TAMPERED)
    assert refused.returncode == 1
    assert "salt/metalk8s/defaults.yaml: its content is not" in refused.stdout
    assert host.run("cat", "/etc/metalk8s/bootstrap.yaml") == before

    added = host.attempt(manager, "--archive", NEXT)
    assert added.returncode == 0, added.stdout
    assert f"  - {MEDIUM}\n  - {NEXT}\n" in host.run("cat", "/etc/metalk8s/bootstrap.yaml")
    assert "# What an operator writes beside it stays.\n" in host.run("cat", "/etc/metalk8s/bootstrap.yaml")
    _pull_all(host, media[NEXT], SECOND)
    _pull_all(host, media[MEDIUM], FIRST)
    for release in (FIRST, SECOND):
        url = f"https://{host.ip}:8080/metalk8s-{release}/debian/metalk8s-debian-12/InRelease"
        assert _get(host, url, CA).returncode == 0
    minion = host.run("cat", "/etc/salt/minion.d/99-metalk8s.conf")
    assert f"  metalk8s-{FIRST}:\n    - {MEDIUM}/salt\n  metalk8s-{SECOND}:\n    - {NEXT}/salt\n" in minion
    _wait_for_minion(host, "bootstrap")
    for release in (FIRST, SECOND):
        environment = f"metalk8s-{release}"
        roles = ["metalk8s.roles.node", "metalk8s.roles.bootstrap"]
        top = _salt(host, "bootstrap", "state.show_top", f"saltenv={environment}", f"pillarenv={environment}")
        assert top == {"bootstrap": {environment: roles}}
    again = host.attempt(manager)
    assert "changed: 0\n" in again.stdout, again.stdout

    removed = host.attempt(manager, "--remove", NEXT)
    assert removed.returncode == 0, removed.stdout
    assert host.run("cat", "/etc/metalk8s/bootstrap.yaml") == before
    url = f"https://{host.ip}:8080/metalk8s-{SECOND}/debian/metalk8s-debian-12/InRelease"
    assert _get(host, url, CA).returncode != 0
    own = host.attempt(manager, "--remove", MEDIUM)
    assert own.returncode == 1
    assert host.run("cat", "/etc/metalk8s/bootstrap.yaml") == before


def test_a_solution_is_imported_and_its_operator_can_be_pulled_until_it_is_unimported(node: Runs) -> None:
    host, script = node.host, f"{MEDIUM}/solutions.sh"
    refused = host.attempt(script, "import", "--archive", TAMPERED_SOLUTION)
    assert refused.returncode == 1, refused.stdout
    assert "operator/deploy/role.yaml: its content is not that of SHA256SUM" in refused.stdout
    assert host.attempt("test", "-e", "/etc/metalk8s/solutions.yaml").returncode != 0

    imported = host.attempt(script, "import", "--archive", SOLUTION)
    assert imported.returncode == 0, imported.stdout
    assert "  Solutions: example-solution-1.0.0-dev\n" in imported.stdout
    assert f"archives:\n  - {SOLUTION}\n" in host.run("cat", "/etc/metalk8s/solutions.yaml")
    images = sorted(host.run("sh", "-c", f"cd {SOLUTION}/images && ls -d */*").split())
    assert [image for image in images if "operator/" in image]
    pull = ["ctr", "--namespace=pulled", "images", "pull", "--hosts-dir=/etc/containerd/certs.d"]
    names = [f"{REGISTRY}/example-solution-1.0.0-dev/{image.replace('/', ':')}" for image in images]
    for name in names:
        assert "done" in host.run(*pull, name)

    for command, *options in (
        ("activate", "--name", "example-solution"),
        ("deactivate", "--name", "example-solution"),
        ("create-env", "--name", "prod", "--namespace", "prod-1", "--description", "for all"),
        ("delete-env", "--name", "prod"),
        ("add-solution", "--name", "prod", "--solution", "example-solution", "--version", "1.0.0-dev"),
        ("delete-solution", "--name", "prod", "--solution", "example-solution"),
    ):
        told = host.attempt(script, command, *options)
        line = f"{command} needs a cluster, and there is none: /etc/kubernetes/admin.conf is not there."
        assert (told.returncode, told.stdout) == (1, f"solutions.sh: {line}\n")

    recorded = host.run("cat", "/etc/metalk8s/solutions.yaml")
    broken = host.attempt(script, "import", "--archive", BROKEN_SOLUTION, "--insecure")
    assert broken.returncode == 1
    assert "The images of before are served again, and /etc/metalk8s/solutions.yaml is as it was." in broken.stdout
    assert host.run("cat", "/etc/metalk8s/solutions.yaml") == recorded
    assert "done" in host.run(*pull, names[0])

    removed = host.attempt(script, "unimport", "--archive", SOLUTION)
    assert removed.returncode == 0, removed.stdout
    assert "  Solutions: none\n" in removed.stdout
    assert host.attempt(*pull, names[0]).returncode != 0
    assert "archives: []\n" in host.run("cat", "/etc/metalk8s/solutions.yaml")


def test_another_host_joins_and_installs_from_the_bootstrap_node(node: Runs, site: machine.Site) -> None:
    host, nodes = node.host, f"{MEDIUM}/nodes.sh"
    written = host.attempt(nodes, "invite", "--name", "node1", "--output", "/root/join.sh")
    assert written.returncode == 0, written.stdout
    with site.machine("other", {}) as other:
        other.write("/etc/apt/sources.list", UNREACHABLE)
        other.write("/root/join.sh", host.run("cat", "/root/join.sh"))
        joined = other.attempt("bash", "/root/join.sh")
        assert joined.returncode == 0, joined.stdout
        (fingerprint,) = re.findall(r"^  ([0-9a-f]{64})$", joined.stdout, re.MULTILINE)
        assert _salt(host, "*", "test.ping") == {"bootstrap": True}
        assert "  waiting: node1\n" in host.run(nodes, "list")

        accept = [nodes, "accept", "--name", "node1", "--fingerprint"]
        refused = host.attempt(*accept, fingerprint[::-1])
        assert (refused.returncode, fingerprint in refused.stdout) == (1, True)
        accepted = host.attempt(*accept, fingerprint)
        assert accepted.returncode == 0, accepted.stdout
        assert _salt(host, "node1", "state.show_top") == {"node1": {f"metalk8s-{FIRST}": ["metalk8s.roles.node"]}}
        again = _salt(host, "node1", "state.apply", "metalk8s.repo.configured")["node1"]
        assert [row["comment"] for row in again.values() if row["result"] is not True or row["changes"]] == []

        other.run("apt-get", "install", "--yes", "--no-install-recommends", "socat")
        policy = other.run("apt-cache", "policy", "socat")
        assert f"990 https://{host.ip}:8080/metalk8s-{FIRST}/debian/metalk8s-debian-12 ./ Packages" in policy
        name = f"{REGISTRY}/metalk8s-{FIRST}/pause:3.6"
        pull = ["ctr", "--namespace=pulled", "images", "pull", "--hosts-dir=/etc/containerd/certs.d", name]
        assert "done" in other.run(*pull)
        assert "No such" in other.attempt("ls", "/etc/metalk8s/bootstrap.yaml").stdout
        assert host.attempt(nodes, "remove", "--name", "node1").returncode == 0
    assert _salt(host, "*", "test.ping") == {"bootstrap": True}


def test_a_backup_can_be_restored(node: Runs) -> None:
    """On the same host, after it lost what makes it this node."""
    host = node.host
    _etcdctl(host, "put", "kept", "by the backup")
    done = host.attempt(f"{MEDIUM}/backup.sh", "--backup-file", "/root/backup.tar.gz")
    assert done.returncode == 0, done.stdout
    assert host.run("stat", "--format=%a", "/root/backup.tar.gz") == "600\n"
    restore = [f"{MEDIUM}/restore.sh", "--backup-file", "/root/backup.tar.gz"]
    refused = host.attempt(*restore)
    assert refused.returncode == 1
    assert "/etc/metalk8s/bootstrap.yaml: is there already" in refused.stdout
    host.run("systemctl", "stop", "metalk8s-etcd", "metalk8s-salt-api", "metalk8s-salt-master", "salt-minion")
    host.run("mkdir", "/root/before")
    for number, place in enumerate(
        ("/etc/metalk8s", "/var/lib/metalk8s/salt-master", "/etc/salt/pki", "/var/lib/etcd")
    ):
        host.run("mv", place, f"/root/before/{number}")
    done = host.attempt(*restore, "--key", KEY)
    assert done.returncode == 0, done.stdout
    host.run("diff", "--recursive", "/root/before/0", "/etc/metalk8s")
    assert "900\n" in host.run("stat", "--format=%g", "/etc/metalk8s/pki/etcd/peer/tls.key")
    done = host.attempt(f"{MEDIUM}/bootstrap.sh", "--key", KEY)
    assert done.returncode == 0, done.stdout
    host.run("diff", "--recursive", "/root/before/1/pki", "/var/lib/metalk8s/salt-master/pki")
    assert "by the backup" in _etcdctl(host, "get", "kept")
    again = host.attempt(f"{MEDIUM}/bootstrap.sh")
    assert "changed: 0\n" in again.stdout, again.stdout


def test_an_upgrade_goes_one_step_and_back(node: Runs) -> None:
    host, destination = node.host, "--destination-version"
    added = host.attempt(f"{MEDIUM}/iso-manager.sh", "--archive", NEXT)
    assert added.returncode == 0, added.stdout
    wrong = host.attempt(f"{NEXT}/upgrade.sh", destination, "2.8.0")
    assert (wrong.returncode, "upgrades to 2.6.0-dev only" in wrong.stdout) == (1, True)
    wrong = host.attempt(f"{MEDIUM}/downgrade.sh", destination, "2.3.0")
    assert (wrong.returncode, "skips a minor version" in wrong.stdout) == (1, True)
    tried = host.attempt(f"{NEXT}/upgrade.sh", destination, str(SECOND), "--dry-run")
    assert tried.returncode == 0, tried.stdout
    assert f"  from {FIRST} to {SECOND}\n" in tried.stdout
    assert "would change: Configure the unit of etcd" in tried.stdout
    assert f"/metalk8s-{FIRST}/etcd" in host.run("cat", "/etc/systemd/system/metalk8s-etcd.service")
    for medium, script, release in ((NEXT, "upgrade.sh", SECOND), (NEXT, "downgrade.sh", FIRST)):
        done = host.attempt(f"{medium}/{script}", destination, str(release))
        assert done.returncode == 0, done.stdout
        assert done.stdout.endswith(f"This node is at MetalK8s {release}.\n")
        assert f"/metalk8s-{release}/etcd" in host.run("cat", "/etc/systemd/system/metalk8s-etcd.service")
        assert host.run("systemctl", "is-active", "metalk8s-etcd", "metalk8s-repositories") == "active\nactive\n"
