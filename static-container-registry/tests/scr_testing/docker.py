"""A private dockerd for the length of a test: own data, own socket, own bridge; nothing of the host's is touched."""

import contextlib
import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Iterator

from scr_testing import programs


class Client:
    """`docker` bound to that daemon."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def __call__(self, *arguments: str) -> str:
        host = f"unix://{self._directory}/docker.sock"
        return programs.run("docker", "--host", host, *arguments, DOCKER_CONFIG=str(self._directory))


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
            with (
                (directory / "log").open("wb") as log,
                subprocess.Popen(_argv(name, bridge), stdout=log, stderr=log) as process,
            ):
                try:
                    client = Client(directory)
                    _wait(client, process, directory)
                    yield client
                finally:
                    process.terminate()
                    process.wait(30)
    finally:
        programs.run("ip", "link", "delete", bridge)


def _argv(directory: str, bridge: str) -> list[str]:
    return [
        "dockerd",
        f"--data-root={directory}/data",
        f"--exec-root={directory}/exec",
        f"--pidfile={directory}/pid",
        f"--host=unix://{directory}/docker.sock",
        f"--bridge={bridge}",
        "--storage-driver=vfs",
        "--iptables=false",
        "--ip-forward=false",
        "--ip-masq=false",
    ]


def _wait(client: Client, process: subprocess.Popen[bytes], directory: pathlib.Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise AssertionError(f"dockerd ended: {(directory / 'log').read_text()}")
        with contextlib.suppress(AssertionError):
            client("version")
            return
        time.sleep(0.1)
    raise AssertionError("dockerd does not answer")
