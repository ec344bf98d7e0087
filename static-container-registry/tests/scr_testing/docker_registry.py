"""A private docker-registry for the length of a test or a benchmark."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping

from scr_testing import daemons


@dataclasses.dataclass(frozen=True)
class Server:
    """A running docker-registry."""

    address: str
    pid: int


@contextlib.contextmanager
def docker_registry(directory: pathlib.Path, **sections: Mapping[str, object]) -> Iterator[Server]:
    """Start it with an empty store in a folder; `sections` are further ones of its configuration."""
    port = daemons.free_port()
    address = f"127.0.0.1:{port}"
    storage = {"filesystem": {"rootdirectory": str(directory / "registry")}, "cache": {"blobdescriptor": "inmemory"}}
    configuration = {"version": "0.1", "storage": storage, "http": {"addr": address}, **sections}
    path = directory / "registry.yml"
    # JSON is YAML.
    path.write_text(json.dumps(configuration))
    argv = ["docker-registry", "serve", str(path)]
    with daemons.running(argv, directory / "registry.log", daemons.listens(port)) as process:
        yield Server(address, process.pid)
