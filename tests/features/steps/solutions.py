"""Steps of solutions.feature, and the Solution for other features."""

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts

_RECORD = "/etc/metalk8s/solutions.yaml"


@pytest.fixture
def recorded(node: hosts.Host) -> str:
    """The Solutions of before the scenario."""
    return node.attempt("cat", _RECORD).stdout


@bdd.given("the imported Solution")
def the_solution(node: hosts.Host, media: hosts.Media) -> None:
    """Imported, unless a scenario before has."""
    if f"  - {media.solution.archive}\n" not in node.attempt("cat", _RECORD).stdout:
        done = _solutions(node, media, "import", "--archive", media.solution.archive)
        assert done.returncode == 0, done.stdout


@bdd.when("solutions.sh imports the Solution", target_fixture="done")
def import_it(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return _solutions(node, media, "import", "--archive", media.solution.archive)


@bdd.when("solutions.sh imports a Solution with a changed file", target_fixture="done")
def import_spoilt(node: hosts.Host, media: hosts.Media, spoilt: hosts.Spoilt) -> hosts.Done:
    return _solutions(node, media, "import", "--archive", spoilt.solution)


@bdd.when("solutions.sh imports a Solution that nginx cannot serve", target_fixture="done")
def import_broken(node: hosts.Host, media: hosts.Media, spoilt: hosts.Spoilt, recorded: str) -> hosts.Done:
    return _solutions(node, media, "import", "--archive", spoilt.broken, "--insecure")


@bdd.when("solutions.sh unimports the Solution", target_fixture="done")
def unimport(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return _solutions(node, media, "unimport", "--archive", media.solution.archive)


@bdd.when(bdd.parsers.parse('"solutions.sh {command}" is run'), target_fixture="done")
def run(node: hosts.Host, media: hosts.Media, command: str) -> hosts.Done:
    return _solutions(node, media, *command.split())


@bdd.then("it names the changed file of the Solution")
def names_changed_file(done: hosts.Done) -> None:
    assert "operator/deploy/role.yaml: its content is not that of SHA256SUM" in done.stdout


@bdd.then("it says that the Solution is served")
def says_served(done: hosts.Done, media: hosts.Media) -> None:
    assert f"  Solutions: {media.solution.name}\n" in done.stdout


@bdd.then("it says that the images of before are served again")
def says_served_again(done: hosts.Done) -> None:
    assert f"The images of before are served again, and {_RECORD} is as it was." in done.stdout


@bdd.then("the Solution is recorded")
def is_recorded(node: hosts.Host, media: hosts.Media) -> None:
    assert f"archives:\n  - {media.solution.archive}\n" in node.run("cat", _RECORD)


@bdd.then("no Solution is recorded")
def is_not_recorded(node: hosts.Host) -> None:
    assert "  - " not in node.attempt("cat", _RECORD).stdout


@bdd.then("what is recorded is as before")
def is_recorded_as_before(node: hosts.Host, recorded: str) -> None:
    assert node.run("cat", _RECORD) == recorded


@bdd.then("the image of its operator is on it")
def has_its_operator(node: hosts.Host, media: hosts.Media) -> None:
    assert [image for image in bootstrap_node.images(node, media.solution) if "operator:" in image]


@bdd.then("no image of it can be pulled")
def cannot_be_pulled(node: hosts.Host, media: hosts.Media) -> None:
    for image in bootstrap_node.images(node, media.solution):
        assert bootstrap_node.pull(node, image).returncode != 0


def _solutions(node: hosts.Host, media: hosts.Media, *argv: str) -> hosts.Done:
    return node.attempt(f"{media.first.place}/solutions.sh", *argv)
