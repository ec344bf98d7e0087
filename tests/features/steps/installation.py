"""Steps of installation.feature."""

import re
import sys
import time
from collections.abc import Iterator

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts, machine

_ETCD = "/etc/systemd/system/metalk8s-etcd.service"
_PASSWORD = "/etc/metalk8s/salt/password"
_STEPS = [
    "Check the host",
    "Verify the medium",
    "Install Salt",
    "Check the configuration",
    "Apply the highstate",
    "Ask the minion through its master",
    "Save the data of etcd",
    "Write the backup",
    "Remove old backups",
]


@pytest.fixture
def packages(host: hosts.Host) -> str:
    """What is installed before the scenario."""
    return host.run("dpkg-query", "--list")


@bdd.given("a host with the medium and no way out")
def a_host(host: hosts.Host, media: hosts.Media) -> None:
    host.run("test", "-x", f"{media.first.place}/bootstrap.sh")
    assert "default" not in host.run("ip", "route")
    assert "Network is unreachable" in host.attempt("bash", "-c", ": </dev/tcp/203.0.113.1/80").stdout


@bdd.given("the power failed while bootstrap.sh installed the host")
def the_power_failed(host: machine.Machine, media: hosts.Media) -> None:
    """While the highstate runs: all of the machine at once and without a word."""
    host.run("systemd-run", "--unit=first", f"{media.first.place}/bootstrap.sh", "--key", media.key)
    while host.attempt("test", "-e", "/etc/apt/sources.list.d/metalk8s.sources").returncode != 0:
        assert host.attempt("systemctl", "is-active", "first").returncode == 0, host.run("journalctl", "--unit=first")
        time.sleep(0.2)
    host.cut_power()
    assert "exit code" not in host.run("cat", bootstrap_node.LOG).partition("step: Apply the highstate")[2]


@bdd.given("somebody wrote into the configuration of etcd", target_fixture="configured")
def wrote_into(node: hosts.Host) -> str:
    before = node.run("cat", _ETCD)
    node.write(_ETCD, f"{before}# an edit\n")
    return before


@bdd.given("somebody removed the password of Salt's API", target_fixture="password")
def removed_password(node: hosts.Host) -> str:
    before = node.run("cat", _PASSWORD)
    node.run("rm", _PASSWORD)
    return before


@bdd.given("this configuration:")
def this_configuration(host: hosts.Host, docstring: str) -> Iterator[None]:
    good = host.run("cat", bootstrap_node.CONFIGURATION)
    host.write(bootstrap_node.CONFIGURATION, f"{docstring}\n")
    yield
    host.write(bootstrap_node.CONFIGURATION, good)


@bdd.when("bootstrap.sh is run from a medium with a changed file", target_fixture="done")
def run_from_spoilt(host: hosts.Host, media: hosts.Media, spoilt: hosts.Spoilt, packages: str) -> hosts.Done:
    return host.attempt(f"{spoilt.medium}/bootstrap.sh", "--key", media.key)


@bdd.when("bootstrap.sh is run", target_fixture="done")
def run(host: hosts.Host, media: hosts.Media) -> hosts.Done:
    done = host.attempt(f"{media.first.place}/bootstrap.sh", "--key", media.key)
    sys.stdout.write(done.stdout)
    return done


@bdd.when("bootstrap.sh is run again", target_fixture="done")
def run_again(host: hosts.Host, media: hosts.Media) -> hosts.Done:
    return host.attempt(f"{media.first.place}/bootstrap.sh")


@bdd.then("it says how to go on")
def says_how_to_go_on(done: hosts.Done, spoilt: hosts.Spoilt) -> None:
    assert f"run {spoilt.medium}/bootstrap.sh again" in done.stdout


@bdd.then("nothing was installed")
def nothing_was_installed(host: hosts.Host, done: hosts.Done, packages: str) -> None:
    assert "Install Salt" not in done.stdout
    assert host.run("dpkg-query", "--list") == packages


@bdd.then("every step is done")
def every_step_is_done(done: hosts.Done) -> None:
    assert re.findall(r"^> (.*) \.\.\. done \[\d+ s\]$", done.stdout, re.MULTILINE) == _STEPS


@bdd.then("the host is the bootstrap node")
def is_the_node(done: hosts.Done, media: hosts.Media) -> None:
    assert done.stdout.endswith(f"This host is the bootstrap node of MetalK8s {media.first.release}.\n")


@bdd.then("the configuration of etcd is that of before")
def is_put_right(node: hosts.Host, configured: str) -> None:
    assert node.run("cat", _ETCD) == configured


@bdd.then("the password of Salt's API is another one")
def password_is_another(node: hosts.Host, password: str) -> None:
    assert len(node.run("cat", _PASSWORD)) == len(password)
    assert node.run("cat", _PASSWORD) != password


@bdd.then("it names all of these in the configuration:")
def names_problems(done: hosts.Done, datatable: list[list[str]]) -> None:
    for (problem,) in datatable[1:]:
        assert f"    {bootstrap_node.CONFIGURATION}: {problem}" in done.stdout
