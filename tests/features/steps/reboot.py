"""Steps of reboot.feature."""

import pytest
import pytest_bdd as bdd

from tests.support import bootstrap_node, hosts


@pytest.fixture(scope="module")
def rebooted(node: hosts.Host) -> None:
    """Once for all scenarios."""
    node.reboot()


@bdd.when("the node is rebooted")
def reboot(rebooted: None) -> None:
    pass


@bdd.then("every medium that is an ISO is mounted again")
def media_are_mounted(node: hosts.Host, media: hosts.Media) -> None:
    lines = node.run("cat", "/proc/mounts").splitlines()
    devices = dict(line.split()[1::-1] for line in lines if " iso9660 " in line)
    archives = {each.place: each.archive for each in (media.first, media.second, media.solution)}
    assert set(devices) == {place for place, archive in archives.items() if archive != place}
    for place, device in devices.items():
        assert device == archives[place] or device.startswith("/dev/loop")


@bdd.then("every service answers again")
def services_answer(node: hosts.Host) -> None:
    for port in (bootstrap_node.REPOSITORIES, bootstrap_node.ETCD, bootstrap_node.SALT, bootstrap_node.API):
        node.run("timeout", "300", "bash", "-c", f"until : </dev/tcp/{node.ip}/{port}; do sleep 0.2; done")
