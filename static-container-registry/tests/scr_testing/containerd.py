"""A private containerd for the length of a test: own root, state and socket, nothing of the host's is touched."""

import contextlib
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence

from scr_testing import programs

_CONFIGURATION = """\
version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{directory}/containerd.sock"
"""


class Client:
    """`ctr` bound to that daemon."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory

    def __call__(self, *arguments: str) -> str:
        return programs.run("ctr", "--address", str(self.directory / "containerd.sock"), *arguments)


@contextlib.contextmanager
def containerd(extra: Sequence[str] = ()) -> Iterator[Client]:
    """Start it, and stop it at the end; root is needed."""
    with tempfile.TemporaryDirectory(prefix="containerd-") as name:
        directory = pathlib.Path(name)
        (directory / "config.toml").write_text(_CONFIGURATION.format(directory=directory) + "".join(extra))
        with (directory / "log").open("wb") as log:
            argv = ["containerd", "--config", str(directory / "config.toml")]
            with subprocess.Popen(argv, stdout=log, stderr=log) as process:
                try:
                    client = Client(directory)
                    _wait(client, process, directory)
                    yield client
                finally:
                    process.terminate()
                    process.wait(20)


def _wait(client: Client, process: subprocess.Popen[bytes], directory: pathlib.Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise AssertionError(f"containerd ended: {(directory / 'log').read_text()}")
        with contextlib.suppress(AssertionError):
            client("version")
            return
        time.sleep(0.1)
    raise AssertionError("containerd does not answer")
