"""A machine for a developer: `vagrant up` with the provider docker, and formulas that are edited while it runs."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from buildchain import box, settings, tree, version
from buildchain.tasks import vagrant
from tests.end_to_end import conftest
from tests.support import machine, node_medium

PLUGIN = "/usr/share/rubygems-integration/*/gems/vagrant-libvirt-*"
pytestmark = [
    pytest.mark.tools("docker", "dockerd", "dpkg-deb", "ip", "mmdebstrap", "ssh-keygen", "vagrant", PLUGIN),
    pytest.mark.root,
    pytest.mark.network,
]

RELEASE = version.Version("2", "5", "1", "-dev")
MEDIUM = f"/srv/scality/metalk8s-{RELEASE}"


@dataclasses.dataclass(frozen=True)
class Developer:
    """A checkout with a machine of its own."""

    checkout: pathlib.Path
    environment: dict[str, str]

    def vagrant(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("vagrant", *arguments)

    def on_node(self, *argv: str, machine: str = "bootstrap") -> str:
        """What a program says on a machine."""
        name = (self.checkout / f".vagrant/machines/{machine}/docker/id").read_text()
        return self._run("docker", "exec", name, *argv).stdout

    def _run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )


@pytest.fixture(scope="module")
def developer(first: conftest.Checkout) -> Iterator[Developer]:
    """What the task makes ready, of a build that has Salt; the machine is the test's to start."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vagrant-"))
    folder.chmod(0o755)
    checkout = folder / "checkout"
    for name in ("salt", "pillar", "scripts"):
        shutil.copytree(first.root / name, checkout / name)
    shutil.copy(first.root / "Vagrantfile", checkout)
    built = tree.load((first.root / "_build/tree/medium.json").read_bytes())
    held = node_medium.borrow(pathlib.Path(first.environment["STORE"]), folder / "store")
    staged = node_medium.write(node_medium.compose(built, held, RELEASE), held, folder / "root")
    number = os.getpid() % 256
    planes = (f"10.201.{number}.0/28", f"10.202.{number}.0/28")
    with machine.site(staged) as site:
        site.client("tag", site.image, box.image_name(str(RELEASE)))
        machines = vagrant.Machines(str(RELEASE), planes, libvirt_box="metalk8s/box")
        vagrant.prepare(checkout, staged, folder / "development", machines)
        environment = {
            **os.environ,
            "DOCKER_HOST": site.client.host,
            "VAGRANT_HOME": str(folder / "home"),
            "VAGRANT_DEFAULT_PROVIDER": "docker",
        }
        yield Developer(checkout, environment)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_developer_edits_what_a_node_runs(developer: Developer) -> None:
    done = developer.vagrant("up", "--provision", "--no-destroy-on-error", "--provider", "docker")
    assert done.returncode == 0, done.stdout
    assert "This is a development tree: nothing is verified." in done.stdout
    assert f"This host is the bootstrap node of MetalK8s {RELEASE}." in done.stdout
    try:
        _add_a_node(developer)
        _edit(developer)
    finally:
        done = developer.vagrant("destroy", "--force")
    assert done.returncode == 0, done.stdout
    assert not list((developer.checkout / ".vagrant/machines").glob("*/*/id"))


def _add_a_node(developer: Developer) -> None:
    done = developer.vagrant("up", "node1", "--provision", "--provider", "docker")
    assert done.returncode == 0, done.stdout
    again = developer.vagrant("provision", "node1")
    assert (again.returncode, "changed: 0" in again.stdout) == (0, True), again.stdout
    assert "in: bootstrap node1\n" in developer.on_node(f"{MEDIUM}/nodes.sh", "list")
    policy = developer.on_node("apt-cache", "policy", "containerd", machine="node1")
    assert f"/metalk8s-{RELEASE}/debian/" in policy
    assert "https://" in policy


@pytest.mark.parametrize("provider", settings.PROVIDERS)
def test_the_vagrantfile_is_valid_for_every_provider(
    developer: Developer, provider: str, tmp_path: pathlib.Path
) -> None:
    """By vagrant's own rules: libvirt answers through its test driver, and Debian has no VirtualBox."""
    stub = tmp_path / "VBoxManage"
    stub.write_text("#!/bin/sh\necho 7.0.20r163906\n")
    stub.chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LIBVIRT_DEFAULT_URI": "test:///default",
        "VAGRANT_DEFAULT_PROVIDER": provider,
    }
    changed = dataclasses.replace(developer, environment={**developer.environment, **variables})
    done = changed.vagrant("validate")
    assert (done.returncode, "validated successfully" in done.stdout) == (0, True), done.stdout


def _edit(developer: Developer) -> None:
    formulas = developer.checkout / "salt/metalk8s"
    (formulas / "firewall/added.sls").write_text("# added\n")
    # As most editors do it: another file under the same name.
    (formulas / "edited").write_text("# edited\n")
    (formulas / "edited").replace(formulas / "macro.sls")
    assert developer.on_node("cat", f"{MEDIUM}/salt/metalk8s/firewall/added.sls") == "# added\n"
    assert developer.on_node("cat", f"{MEDIUM}/salt/metalk8s/macro.sls") == "# edited\n"
    assert "Read-only" in developer.on_node("touch", f"{MEDIUM}/salt/metalk8s/firewall/added.sls")
    refused = developer.on_node(f"{MEDIUM}/bootstrap.sh")
    assert "is a development tree, which nobody signed." in refused
    key = developer.checkout / ".vagrant/preshared_key_for_k8s_nodes"
    assert developer.on_node("cat", "/etc/metalk8s/pki/preshared_key_for_k8s_nodes") == key.read_text()
    assert key.with_suffix(".pub").read_text() in developer.on_node("cat", "/root/.ssh/authorized_keys")
