"""A Debian host that systemd runs, in a container of a private dockerd: the box, and a network that leads nowhere."""

import contextlib
import dataclasses
import ipaddress
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator, Mapping

from buildchain import box
from scr_testing import docker
from tests.support import node

_BOOT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Site:
    """A daemon, the box it knows, and a network of its own."""

    client: docker.Client
    image: str
    network: str
    subnet: ipaddress.IPv4Network

    @contextlib.contextmanager
    def machine(self, hostname: str, mounts: Mapping[str, pathlib.Path]) -> Iterator["Machine"]:
        """Boot a machine, and remove it at the end with all that it wrote.

        Arguments:
            mounts: folders of this host by the place where they stand in the machine; it only reads them.
        """
        name = f"{hostname}-{self.network}"
        argv = ["run", "--detach", f"--name={name}", f"--hostname={hostname}", f"--network={self.network}"]
        argv += [*box.RUN_OPTIONS, "--dns=127.0.0.1"]
        argv += [f"--volume={source}:{target}:ro" for target, source in mounts.items()]
        self.client(*argv, self.image)
        made = Machine(self.client, name, hostname)
        try:
            made.wait()
            yield made
        finally:
            self.client("rm", "--force", "--volumes", name)


@dataclasses.dataclass(frozen=True)
class Machine:
    """A running host."""

    client: docker.Client
    name: str
    hostname: str

    def run(self, *argv: str) -> str:
        """Run a program on it, which must succeed; returns its standard output."""
        return self.client("exec", self.name, *argv)

    def attempt(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program on it; the exit code is the test's to judge, both outputs are one."""
        return subprocess.run(
            # Joined inside: the daemon carries two outputs in any order.
            [*self.client.argv, "exec", self.name, "sh", "-c", 'exec "$@" 2>&1', "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )

    def write(self, path: str, text: str) -> None:
        """Write a file on it, and the folders above."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', "sh", path, text)

    def cut_power(self) -> None:
        """Stop it without a word, and boot it again."""
        self.client("kill", self.name)
        self.client("start", self.name)
        self.wait()

    reboot = cut_power
    """Of a container there is no other way."""

    def switch_off(self) -> None:
        """Stop it for good."""
        self.client("kill", self.name)

    def wait(self) -> None:
        """Wait until systemd has started all that it starts; then take away the way out."""
        for _ in range(_BOOT_SECONDS * 10):
            state = self.attempt("systemctl", "is-system-running").stdout.strip()
            if state in ("running", "degraded"):
                assert state == "running", self.run("systemctl", "--failed", "--no-pager")
                self.run("ip", "route", "delete", "default")
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.hostname}: systemd says {state} after {_BOOT_SECONDS} s")

    @property
    def ip(self) -> str:
        """Its address on the network."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.client("inspect", f"--format={template}", self.name).strip()


@contextlib.contextmanager
def site(medium: pathlib.Path) -> Iterator[Site]:
    """Start a daemon that knows the box of a medium; root is needed."""
    # A number of our own, so that tests that run side by side have networks of their own.
    subnet = ipaddress.IPv4Network(f"10.200.{os.getpid() % 256}.0/28")
    root = _box(medium)
    with docker.dockerd() as client:
        name = box.image_name("tests")
        box.load(root, name, host=client.host)
        network = f"site{os.getpid()}"
        client("network", "create", "--internal", f"--subnet={subnet}", network)
        try:
            yield Site(client, name, network, subnet)
        finally:
            client("network", "rm", network)


def _box(medium: pathlib.Path) -> pathlib.Path:
    """The box of a medium, made once and kept in the user's cache: it takes as long as all the rest."""
    indexes = [path.read_bytes() for path in sorted(medium.glob("packages/debian/*/Packages"))]
    made_of = b"".join([pathlib.Path(box.__file__).read_bytes(), *indexes])
    return node.kept("box", made_of, lambda folder: _build(medium, folder)) / "box.tar"


def _build(medium: pathlib.Path, folder: pathlib.Path) -> None:
    box.build(medium, folder / "box.tar")
