"""Steps of upgrade.feature."""

import pytest_bdd as bdd

from tests.support import hosts

_SERVICES = ["metalk8s-etcd", "metalk8s-repositories", "metalk8s-salt-master", "metalk8s-salt-api"]


@bdd.given("the upgraded node")
def the_upgraded_node(node: hosts.Host, media: hosts.Media) -> None:
    """Upgraded, unless a scenario before has."""
    if f"/{media.second.name}/etcd" not in _etcd(node):
        done = _move(node, media.second, "upgrade.sh", media.second.release)
        assert done.returncode == 0, done.stdout


@bdd.when(bdd.parsers.parse('"{script} --destination-version {version}" is run from {name}'), target_fixture="done")
def run(node: hosts.Host, media: hosts.Media, script: str, version: str, name: str) -> hosts.Done:
    return _move(node, media.called(name), script, version)


@bdd.when("the upgrade is tried with --dry-run", target_fixture="done")
def try_upgrade(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return _move(node, media.second, "upgrade.sh", media.second.release, "--dry-run")


@bdd.when("the node is upgraded to the second version", target_fixture="done")
def upgrade(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return _move(node, media.second, "upgrade.sh", media.second.release)


@bdd.when("the node is downgraded to the first version", target_fixture="done")
def downgrade(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    """By the scripts of the version that is left."""
    return _move(node, media.second, "downgrade.sh", media.first.release)


@bdd.then("it says from which version to which")
def says_versions(done: hosts.Done, media: hosts.Media) -> None:
    assert f"  from {media.first.release} to {media.second.release}\n" in done.stdout


@bdd.then(bdd.parsers.parse("it says that the node is at {name}"))
def says_version(done: hosts.Done, media: hosts.Media, name: str) -> None:
    assert done.stdout.endswith(f"This node is at MetalK8s {media.called(name).release}.\n")


@bdd.then(bdd.parsers.parse("the services of the node are those of {name}"))
def services_are_of(node: hosts.Host, media: hosts.Media, name: str) -> None:
    assert f"/{media.called(name).name}/etcd" in _etcd(node)
    assert node.attempt("systemctl", "is-active", *_SERVICES).stdout.split() == ["active"] * len(_SERVICES)


def _move(node: hosts.Host, medium: hosts.Medium, script: str, version: str, *options: str) -> hosts.Done:
    return node.attempt(f"{medium.place}/{script}", "--destination-version", version, *options)


def _etcd(node: hosts.Host) -> str:
    return node.run("cat", "/etc/systemd/system/metalk8s-etcd.service")
