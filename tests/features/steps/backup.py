"""Steps of backup.feature."""

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts

_FILE = "/root/backup.tar.gz"
_OWN = "/var/lib/metalk8s/metalk8s-backup_before-the-move.tar.gz"
_NAMED = "/var/lib/metalk8s/metalk8s-backup_*_*.tar.gz"
_BEFORE = "/root/before"
_SERVICES = ("metalk8s-etcd", "metalk8s-salt-api", "metalk8s-salt-master", "salt-minion")
_PLACES = ("/etc/metalk8s", "/var/lib/metalk8s/salt-master", "/etc/salt/pki", "/var/lib/etcd")
_KEPT = "by the backup"


@pytest.fixture(scope="module")
def backup(node: hosts.Host, media: hosts.Media) -> None:
    """One for all scenarios, of a node with something in etcd."""
    put = bootstrap_node.etcdctl(node, "put", "kept", _KEPT)
    assert put.returncode == 0, put.stdout
    done = node.attempt(f"{media.first.place}/backup.sh", "--backup-file", _FILE)
    assert done.returncode == 0, done.stdout


@bdd.given("a backup of it, made by backup.sh")
def a_backup(backup: None) -> None:
    pass


@bdd.given(
    bdd.parsers.parse("{count:d} older backups that backup.sh named, and one that the operator did"),
    target_fixture="older",
)
def older_backups(node: hosts.Host, count: int) -> list[str]:
    """All that are there then."""
    days = [f"/var/lib/metalk8s/metalk8s-backup_202001{day:02}_000000.tar.gz" for day in range(1, count + 1)]
    node.run("touch", *days, _OWN)
    return _named(node)


@bdd.given("the host lost its configuration, its keys and the data of etcd")
def the_host_lost(node: hosts.Host) -> None:
    node.run("systemctl", "stop", *_SERVICES)
    for place in _PLACES:
        node.run("sh", "-c", f"mkdir --parents $(dirname {_BEFORE}{place}) && mv {place} {_BEFORE}{place}")


@bdd.when("backup.sh is run", target_fixture="done")
def back_up(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return node.attempt(f"{media.first.place}/backup.sh")


@bdd.when("restore.sh is run", target_fixture="done")
def restore(node: hosts.Host, media: hosts.Media) -> hosts.Done:
    return node.attempt(f"{media.first.place}/restore.sh", "--backup-file", _FILE)


@bdd.when("restore.sh is run, and then bootstrap.sh", target_fixture="both")
def restore_and_install(node: hosts.Host, media: hosts.Media) -> list[hosts.Done]:
    restored = node.attempt(f"{media.first.place}/restore.sh", "--backup-file", _FILE, "--key", media.key)
    return [restored, node.attempt(f"{media.first.place}/bootstrap.sh", "--key", media.key)]


@bdd.then("only root can read the backup")
def only_root_reads(node: hosts.Host) -> None:
    assert node.run("stat", "--format=%a %u", _FILE) == "600 0\n"


@bdd.then(bdd.parsers.parse("the {count:d} newest backups that it named are there"))
def newest_are_there(node: hosts.Host, done: hosts.Done, older: list[str], count: int) -> None:
    found = _named(node)
    assert found[:-1] == older[1 - count :]
    assert f"  {found[-1]}\n" in done.stdout


@bdd.then("the one that the operator named is there")
def own_is_there(node: hosts.Host) -> None:
    node.run("test", "-e", _OWN)


@bdd.then("both end well")
def both_end_well(both: list[hosts.Done]) -> None:
    for done in both:
        assert done.returncode == 0, done.stdout


@bdd.then("the configuration and the keys are those of before")
def keys_are_as_before(node: hosts.Host) -> None:
    for place in ("/etc/metalk8s", "/var/lib/metalk8s/salt-master/pki"):
        node.run("diff", "--recursive", f"{_BEFORE}{place}", place)
    assert node.run("stat", "--format=%g", "/etc/metalk8s/pki/etcd/peer/tls.key") == "900\n"


@bdd.then("the data of etcd are those of the backup")
def data_are_as_before(node: hosts.Host) -> None:
    assert _KEPT in bootstrap_node.etcdctl(node, "get", "kept").stdout


@bdd.then("bootstrap.sh has nothing more to change")
def nothing_to_change(node: hosts.Host, media: hosts.Media) -> None:
    again = node.attempt(f"{media.first.place}/bootstrap.sh")
    assert "changed: 0\n" in again.stdout, again.stdout


def _named(node: hosts.Host) -> list[str]:
    """Those that backup.sh named, the newest last."""
    return node.run("sh", "-c", f"ls {_NAMED}").split()
