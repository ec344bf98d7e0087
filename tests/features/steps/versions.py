"""Steps of versions.feature, and the second version for other features."""

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts


@pytest.fixture
def configuration(node: hosts.Host) -> str:
    """That of before the scenario."""
    return node.run("cat", bootstrap_node.CONFIGURATION)


@bdd.given("the second version beside the first")
def the_second_version(node: hosts.Host, media: hosts.Media) -> None:
    """Added, unless a scenario before has."""
    if _archive(media.second) not in node.run("cat", bootstrap_node.CONFIGURATION):
        done = _add(node, media, media.second.archive)
        assert done.returncode == 0, done.stdout


@bdd.when("iso-manager.sh adds a medium with a changed file", target_fixture="done")
def add_spoilt(node: hosts.Host, media: hosts.Media, spoilt: hosts.Spoilt, configuration: str) -> hosts.Done:
    return _add(node, media, spoilt.medium)


@bdd.when("iso-manager.sh tries with --dry-run to add the second version", target_fixture="done")
def try_to_add(node: hosts.Host, media: hosts.Media, configuration: str) -> hosts.Done:
    return _add(node, media, media.second.archive, "--dry-run")


@bdd.when("iso-manager.sh adds the second version", target_fixture="done")
def add(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return _add(node, media, media.second.archive)


@bdd.when("iso-manager.sh is run", target_fixture="done")
def run(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return node.attempt(f"{media.first.place}/iso-manager.sh")


@bdd.when(bdd.parsers.parse("iso-manager.sh removes {name}"), target_fixture="done")
def remove(node: hosts.Host, media: hosts.Media, name: str, configuration: str) -> hosts.Done:
    return node.attempt(f"{media.first.place}/iso-manager.sh", "--remove", media.called(name).archive)


@bdd.then("the configuration is as before")
def configuration_is_as_before(node: hosts.Host, configuration: str) -> None:
    assert node.run("cat", bootstrap_node.CONFIGURATION) == configuration


@bdd.then("the configuration names both, and still has the operator's own lines")
def configuration_names_both(node: hosts.Host, media: hosts.Media) -> None:
    configuration = node.run("cat", bootstrap_node.CONFIGURATION)
    assert _archive(media.first) + _archive(media.second) in configuration
    assert f"{bootstrap_node.COMMENT}\n" in configuration


@bdd.then("the configuration names the first version alone")
def configuration_names_the_first(node: hosts.Host, media: hosts.Media, configuration: str) -> None:
    without = configuration.replace(_archive(media.second), "")
    assert without != configuration
    assert node.run("cat", bootstrap_node.CONFIGURATION) == without


@bdd.then("nothing was changed")
def nothing_was_changed(done: hosts.Done) -> None:
    assert "changed: 0\n" in done.stdout


@bdd.then("the packages of both versions are served")
def packages_are_served(node: hosts.Host, media: hosts.Media) -> None:
    for medium in (media.first, media.second):
        done = _get_packages(node, medium)
        assert done.returncode == 0, done.stdout


@bdd.then("the packages of the second version are not served")
def packages_are_not_served(node: hosts.Host, media: hosts.Media) -> None:
    assert _get_packages(node, media.second).returncode != 0


@bdd.then("Salt offers the node the roles of each version")
def salt_has_roles(node: hosts.Host, media: hosts.Media) -> None:
    bootstrap_node.wait_for_minion(node)
    for environment in (media.first.name, media.second.name):
        argv = ("state.show_top", f"saltenv={environment}", f"pillarenv={environment}")
        roles = {environment: ["metalk8s.roles.node", "metalk8s.roles.bootstrap"]}
        assert bootstrap_node.salt(node, "bootstrap", *argv) == {"bootstrap": roles}


@bdd.then("the states of a version are read from its own medium")
def salt_reads_the_media(node: hosts.Host, media: hosts.Media) -> None:
    minion = node.run("cat", "/etc/salt/minion.d/99-metalk8s.conf")
    roots = [f"  {medium.name}:\n    - {medium.place}/salt\n" for medium in (media.first, media.second)]
    assert "".join(roots) in minion


def _archive(medium: hosts.Medium) -> str:
    return f"  - {medium.archive}\n"


def _add(node: hosts.Host, media: hosts.Media, archive: str, *options: str) -> hosts.Done:
    return node.attempt(f"{media.first.place}/iso-manager.sh", "--archive", archive, *options)


def _get_packages(node: hosts.Host, medium: hosts.Medium) -> hosts.Done:
    return bootstrap_node.get(node, f"{bootstrap_node.packages_url(node, medium.release)}/InRelease")
