"""Steps of nodes.feature."""

import re
from collections.abc import Iterator

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts, machine

_NAME = "node1"
_SCRIPT = "/root/join.sh"


@pytest.fixture(scope="module")
def other(site: machine.Site) -> Iterator[machine.Machine]:
    """A minimal Debian without a medium."""
    with site.machine("other", {}) as made:
        bootstrap_node.point_upstream(made)
        yield made


@pytest.fixture(scope="module")
def invitation(node: hosts.Host, media: hosts.Media) -> str:
    """What the other host is to run."""
    written = _nodes(node, media, "invite", "--name", _NAME, "--output", _SCRIPT)
    assert written.returncode == 0, written.stdout
    return node.run("cat", _SCRIPT)


@pytest.fixture(scope="module")
def asked(other: machine.Machine, invitation: str) -> hosts.Done:
    """What it says on the other host."""
    other.write(_SCRIPT, invitation)
    return other.attempt("bash", _SCRIPT)


@pytest.fixture(scope="module")
def fingerprint(asked: hosts.Done) -> str:
    (found,) = re.findall(r"^  ([0-9a-f]{64})$", asked.stdout, re.MULTILINE)
    return str(found)


@pytest.fixture(scope="module")
def accepted(node: hosts.Host, media: hosts.Media, fingerprint: str) -> hosts.Done:
    """What the operator is told who accepts it."""
    return _nodes(node, media, "accept", "--name", _NAME, "--fingerprint", fingerprint)


@bdd.given("an invitation, written by nodes.sh on the bootstrap node")
def an_invitation(invitation: str) -> None:
    pass


@bdd.given("a host that asked to join")
def a_host_that_asked(fingerprint: str) -> None:
    pass


@bdd.given("a host that joined")
def a_host_that_joined(accepted: hosts.Done) -> None:
    assert accepted.returncode == 0, accepted.stdout


@bdd.when("it is run on a minimal Debian", target_fixture="done")
def run_the_invitation(asked: hosts.Done) -> hosts.Done:
    return asked


@bdd.when("nodes.sh accepts it by a wrong fingerprint", target_fixture="done")
def accept_wrongly(node: hosts.Host, media: hosts.Media, fingerprint: str) -> hosts.Done:
    return _nodes(node, media, "accept", "--name", _NAME, "--fingerprint", fingerprint[::-1])


@bdd.when("nodes.sh accepts it by its fingerprint", target_fixture="done")
def accept(accepted: hosts.Done) -> hosts.Done:
    return accepted


@bdd.when("nodes.sh removes it", target_fixture="done")
def remove(node: hosts.Host, media: hosts.Media, other: machine.Machine) -> hosts.Done:
    """As it is no more: else it would ask again."""
    other.switch_off()
    return _nodes(node, media, "remove", "--name", _NAME)


@bdd.then("it shows the fingerprint of the host")
def shows_fingerprint(fingerprint: str) -> None:
    assert fingerprint != fingerprint[::-1]


@bdd.then("the host waits until the operator accepts it")
def waits(node: hosts.Host, media: hosts.Media) -> None:
    assert bootstrap_node.salt(node, "*", "test.ping") == {"bootstrap": True}
    assert f"  waiting: {_NAME}\n" in _nodes(node, media, "list").stdout


@bdd.then("it tells the right one")
def tells_fingerprint(done: hosts.Done, fingerprint: str) -> None:
    assert fingerprint in done.stdout


@bdd.then("Salt makes it a node, and no bootstrap node")
def is_a_node(node: hosts.Host, media: hosts.Media, other: machine.Machine) -> None:
    top = {media.first.name: ["metalk8s.roles.node"]}
    assert bootstrap_node.salt(node, _NAME, "state.show_top") == {_NAME: top}
    assert "No such" in other.attempt("ls", bootstrap_node.CONFIGURATION).stdout


@bdd.then("its repositories are those of the bootstrap node")
def has_repositories(node: hosts.Host) -> None:
    states = bootstrap_node.salt(node, _NAME, "state.apply", "metalk8s.repo.configured")[_NAME]
    assert [state["comment"] for state in states.values() if state["result"] is not True or state["changes"]] == []


@bdd.then("it can install a package of the bootstrap node's")
def can_install(node: hosts.Host, media: hosts.Media, other: machine.Machine) -> None:
    other.run("apt-get", "install", "--yes", "--no-install-recommends", "socat")
    url = bootstrap_node.packages_url(node, media.first.release)
    assert f"990 {url} ./ Packages" in other.run("apt-cache", "policy", "socat")


@bdd.then("it can pull an image of the bootstrap node's")
def can_pull(media: hosts.Media, other: machine.Machine) -> None:
    done = bootstrap_node.pull(other, f"{bootstrap_node.REGISTRY}/{media.first.name}/pause:3.6")
    assert done.returncode == 0, done.stdout


def _nodes(node: hosts.Host, media: hosts.Media, *argv: str) -> hosts.Done:
    return node.attempt(f"{media.first.place}/nodes.sh", *argv)
