"""A private containerd for the length of a test: own root, state and socket, nothing of the host's is touched."""

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from scr_testing import daemons, programs

WITHOUT_CRI = """\
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
"""

_OWN = """\
root = "{directory}/root"
state = "{directory}/state"
{configuration}
[grpc]
  address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
"""


class Client:
    """`ctr` bound to that daemon."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.socket = directory / "containerd.sock"

    def __call__(self, *arguments: str) -> str:
        return programs.run("ctr", "--address", str(self.socket), *arguments)


@contextlib.contextmanager
def containerd(configuration: str = WITHOUT_CRI) -> Iterator[Client]:
    """Start it, and stop it at the end; root is needed.

    Arguments:
        configuration: TOML; where it keeps and hears things is added.
    """
    with tempfile.TemporaryDirectory(prefix="containerd-") as name:
        directory = pathlib.Path(name)
        (directory / "config.toml").write_text(_OWN.format(directory=directory, configuration=configuration))
        argv = ["containerd", "--config", str(directory / "config.toml")]
        client = Client(directory)
        with daemons.running(argv, directory / "log", lambda: client("version")):
            yield client
