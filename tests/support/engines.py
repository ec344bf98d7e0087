"""Container engines for the length of a test: a private dockerd, a private podman; nothing of the host's is touched."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

from scr_testing import docker

# crun refuses the mixed cgroups of some CI machines; a service without systemd has no other cgroup manager.
_CONFIGURATION = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
default_ulimits = []
"""


@dataclasses.dataclass(frozen=True)
class Engine:
    """A running engine: its DOCKER_HOST, and its process."""

    host: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.host}

    def holds(self) -> list[str]:
        """Ids of all images and containers, layers in between included."""
        return [line for what in (["images", "-aq"], ["ps", "-aq"]) for line in self._ask(*what).split()]

    def _ask(self, *arguments: str) -> str:
        argv = ["docker", "--host", self.host, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def dockerd() -> Iterator[Engine]:
    """Start dockerd; root is needed."""
    with docker.dockerd() as client:
        yield Engine(client.host)


@contextlib.contextmanager
def podman() -> Iterator[Engine]:
    """Start podman's service; root is needed."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="podman-"))  # podman wants short paths
    (directory / "containers.conf").write_text(_CONFIGURATION)
    policy = {"default": [{"type": "insecureAcceptAnything"}]}
    (directory / "home" / ".config" / "containers").mkdir(parents=True)
    (directory / "home" / ".config" / "containers" / "policy.json").write_text(json.dumps(policy))
    storage = ["--root", f"{directory}/root", "--runroot", f"{directory}/run", "--storage-driver", "vfs"]
    host = f"unix://{directory}/podman.sock"
    argv = ["podman", *storage, "system", "service", "--time", "0", host]
    environment = {
        **os.environ,
        "CONTAINERS_CONF": f"{directory}/containers.conf",
        "HOME": f"{directory}/home",
        "TMPDIR": str(directory),
    }
    with (
        (directory / "log").open("wb") as log,
        subprocess.Popen(argv, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            _wait(directory, process)
            yield Engine(host, process)
        finally:
            process.terminate()
            process.wait(20)
            shutil.rmtree(directory)


def _wait(directory: pathlib.Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise AssertionError(f"podman ended: {(directory / 'log').read_text()}")
        if (directory / "podman.sock").is_socket():
            return
        time.sleep(0.1)
    raise AssertionError("podman does not answer")
