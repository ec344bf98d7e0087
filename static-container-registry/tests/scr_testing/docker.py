"""A private dockerd for the length of a test: own data, own socket, own bridge; nothing of the host's is touched."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from scr_testing import daemons, programs


class Client:
    """`docker` bound to that daemon."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.host = f"unix://{directory}/docker.sock"
        self.argv = ("docker", "--config", str(directory), "--host", self.host)
        """The command line to which a command of `docker` is added."""

    def __call__(self, *arguments: str) -> str:
        return programs.run(*self.argv, *arguments)


@contextlib.contextmanager
def dockerd() -> Iterator[Client]:
    """Start it, and stop it at the end; root is needed.

    It gets a bridge of its own: one started with none deletes the bridge of the host's daemon.
    """
    bridge = f"scr{os.getpid()}"
    programs.run("ip", "link", "add", bridge, "type", "bridge")
    try:
        with tempfile.TemporaryDirectory(prefix="dockerd-") as name:
            directory = pathlib.Path(name)
            client = Client(directory)
            with daemons.running(_argv(name, bridge), directory / "log", lambda: client("version")):
                yield client
    finally:
        programs.run("ip", "link", "delete", bridge)


def _argv(directory: str, bridge: str) -> list[str]:
    # The storage driver is dockerd's choice: overlay2, or vfs, which copies whole images, where it cannot be.
    return [
        "dockerd",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--host=unix://{directory}/docker.sock",
        f"--bridge={bridge}",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ]
