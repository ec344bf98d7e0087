"""Steps of services.feature."""

from collections.abc import Iterator

import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts

_UNITS = [
    "containerd",
    "metalk8s-repositories",
    "metalk8s-etcd",
    "metalk8s-salt-master",
    "metalk8s-salt-api",
    "metalk8s-firewall",
    "salt-minion",
    "metalk8s-certificates.timer",
]
_PACKAGE = "socat"
_PING = {"client": "local", "tgt": "*", "fun": "test.ping"}
_OUT = ["ip", "netns", "exec", "out"]


@bdd.then("every service runs")
def every_service_runs(node: hosts.Host) -> None:
    assert node.attempt("systemctl", "is-active", *_UNITS).stdout.split() == ["active"] * len(_UNITS)


@bdd.then("every service starts with the host")
def every_service_starts(node: hosts.Host) -> None:
    assert node.attempt("systemctl", "is-enabled", *_UNITS).stdout.split() == ["enabled"] * len(_UNITS)


@bdd.then("the node listens on its control-plane address and nowhere else")
def listens_on_the_control_plane(node: hosts.Host) -> None:
    lines = node.run("ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp").splitlines()
    addresses = {line.split()[4].rpartition(":")[0] for line in lines}
    own = {address for address in addresses if not address.startswith("127.")}
    assert own == {node.ip}


@bdd.when("a package is installed with apt-get", target_fixture="installed")
def install_a_package(node: hosts.Host) -> str:
    return node.run("apt-get", "install", "--yes", "--no-install-recommends", _PACKAGE)


@bdd.then("it came from the medium")
def came_from_the_medium(node: hosts.Host, media: hosts.Media) -> None:
    policy = node.run("apt-cache", "policy", _PACKAGE)
    assert f"990 file:{media.first.place}/packages/debian/metalk8s-debian-12 ./ Packages" in policy


@bdd.then("no upstream repository was asked")
def no_upstream(node: hosts.Host, installed: str) -> None:
    """It stands among the host's sources: apt tells whom it asks, now and when it installed the node."""
    assert bootstrap_node.UPSTREAM in node.run("cat", "/etc/apt/sources.list")
    log = node.run("cat", bootstrap_node.LOG)
    assert "metalk8s-debian-12 ./ InRelease" in log
    assert bootstrap_node.UPSTREAM not in log + installed


@bdd.then("a client that trusts the node's authority is served packages and images")
def served_to_those_who_trust(node: hosts.Host, media: hosts.Media) -> None:
    for url in (f"{bootstrap_node.packages_url(node, media.first.release)}/InRelease", _registry(node)):
        done = bootstrap_node.get(node, url)
        assert done.returncode == 0, done.stdout


@bdd.then("a client that trusts another authority refuses the server")
def refused_by_others(node: hosts.Host) -> None:
    for authority in ("", bootstrap_node.ETCD_CA):
        assert "CERTIFICATE_VERIFY_FAILED" in bootstrap_node.get(node, _registry(node), authority).stdout


@bdd.then("nothing else of the medium is served")
def nothing_else_is_served(node: hosts.Host) -> None:
    url = f"https://{node.ip}:{bootstrap_node.REPOSITORIES}/salt/top.sls"
    assert bootstrap_node.get(node, url).returncode != 0


def _registry(node: hosts.Host) -> str:
    return f"https://{node.ip}:{bootstrap_node.REPOSITORIES}/v2/"


@bdd.given("a host beside the control plane, which reaches the node when there is no firewall")
def a_host_beside(node: hosts.Host) -> Iterator[None]:
    """A network of its own, from which the node's address can be reached."""
    script = f"""set -e
        ip netns add out
        ip link add near type veth peer name far netns out
        ip address add 192.0.2.1/24 dev near && ip link set near up
        {" ".join(_OUT)} ip address add 192.0.2.2/24 dev far && {" ".join(_OUT)} ip link set far up
        {" ".join(_OUT)} ip route add {node.ip} via 192.0.2.1"""
    node.run("bash", "-c", script)
    node.run("nft", "delete", "table", "inet", "metalk8s")
    assert _connect(node).returncode == 0
    node.run("systemctl", "restart", "metalk8s-firewall")
    yield
    node.run("ip", "netns", "delete", "out")


@bdd.when("that host connects to the node", target_fixture="connected")
def connect(node: hosts.Host) -> hosts.Done:
    return _connect(node)


@bdd.then("nobody answers")
def nobody_answers(connected: hosts.Done) -> None:
    assert connected.returncode == 124


def _connect(node: hosts.Host) -> hosts.Done:
    return node.attempt(*_OUT, "timeout", "3", "bash", "-c", f": </dev/tcp/{node.ip}/{bootstrap_node.REPOSITORIES}")


@bdd.then("a client with a certificate of etcd hears that it is healthy")
def etcd_is_healthy(node: hosts.Host) -> None:
    assert "is healthy" in bootstrap_node.etcdctl(node, "endpoint", "health").stdout


@bdd.then("a client without one hears nothing")
def etcd_refuses(node: hosts.Host) -> None:
    assert bootstrap_node.etcdctl(node, "endpoint", "health", certificate=None).returncode != 0


@bdd.then("with the password the API has Salt reach the node")
def api_serves(node: hosts.Host) -> None:
    password = node.run("cat", "/etc/metalk8s/salt/password").strip()
    login = bootstrap_node.api(node, "/login", {"eauth": "file", "username": "admin", "password": password})
    token = login["return"][0]["token"]
    assert bootstrap_node.api(node, "/", _PING, token) == {"return": [{"bootstrap": True}]}
    assert bootstrap_node.api(node, "/", {"client": "runner", "fun": "manage.up"}, token) == {"return": [["bootstrap"]]}
    # Who is let in is said on the node alone.
    assert bootstrap_node.api(node, "/", {"client": "wheel", "fun": "key.list_all"}, token) == 400


@bdd.then("without the password nobody is served")
def api_refuses(node: hosts.Host) -> None:
    assert bootstrap_node.api(node, "/", _PING) == 401
    for login in (
        {"eauth": "file", "username": "admin", "password": "wrong"},
        {"eauth": "pam", "username": "root", "password": "root"},
    ):
        assert bootstrap_node.api(node, "/login", login) == 401
