"""Steps of several features: the node, and how a script of it ended."""

import re

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts


@pytest.fixture(scope="module")
def node(host: hosts.Host, media: hosts.Media) -> hosts.Host:
    """The bootstrap node; it is installed here when no scenario has done it."""
    if host.attempt("grep", "This host is the bootstrap node", bootstrap_node.LOG).returncode != 0:
        done = host.attempt(f"{media.first.place}/bootstrap.sh", "--key", media.key)
        assert done.returncode == 0, done.stdout
    return host


@bdd.given("the bootstrap node")
def the_node(node: hosts.Host) -> None:
    pass


@bdd.then("it ends well")
def ends_well(done: hosts.Done) -> None:
    assert done.returncode == 0, done.stdout


@bdd.then("it is refused")
def is_refused(done: hosts.Done) -> None:
    assert done.returncode == 1, done.stdout


@bdd.then(bdd.parsers.parse('it fails at "{step}"'))
def fails_at(done: hosts.Done, step: str) -> None:
    assert done.returncode == 1, done.stdout
    assert re.findall(r"^> (.*) \.\.\. failed", done.stdout, re.MULTILINE) == [step]


@bdd.then(bdd.parsers.parse('it says "{text}"'))
def says(done: hosts.Done, text: str) -> None:
    assert text in done.stdout


@bdd.then("it names the changed file of the medium")
def names_changed_file(done: hosts.Done) -> None:
    assert "salt/metalk8s/defaults.yaml: its content is not that of SHA256SUM" in done.stdout


@bdd.then("it says that everything holds and nothing was changed")
def changes_nothing(done: hosts.Done) -> None:
    found = re.search(r"^  (\d+) states hold, changed: (\d+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    assert int(found[1]) > 40
    assert int(found[2]) == 0, done.stdout


@bdd.then(bdd.parsers.parse("every image of {name} can be pulled"))
def images_can_be_pulled(node: hosts.Host, media: hosts.Media, name: str) -> None:
    bootstrap_node.forget_images(node)
    images = bootstrap_node.images(node, media.called(name))
    assert images
    for image in images:
        done = bootstrap_node.pull(node, image)
        assert done.returncode == 0, done.stdout


@bdd.then("Salt reaches the bootstrap node alone")
def salt_reaches_the_node(node: hosts.Host) -> None:
    bootstrap_node.wait_for_minion(node)
    assert bootstrap_node.salt(node, "*", "test.ping") == {"bootstrap": True}
