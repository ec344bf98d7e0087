"""A machine that installs from a repository: real apt, in a folder of its own, with one source."""

import dataclasses
import pathlib

from buildchain import private_apt


@dataclasses.dataclass(frozen=True)
class Client:
    """Knows one source, a flat repository in a folder, signed by one key."""

    root: pathlib.Path
    repository: pathlib.Path
    key: bytes
    architecture: str = "amd64"

    def prepare(self) -> None:
        apt = private_apt.prepare(self.root, self.architecture)
        (self.root / "key.asc").write_bytes(self.key)
        apt.write_sources([f"Types: deb\nURIs: copy:{self.repository}\nSuites: ./\nSigned-By: {self.root}/key.asc\n"])

    def run(self, *argv: str) -> str:
        return private_apt.Folder(self.root).run(*argv, directory=self.root)

    def installs(self, *names: str) -> list[str]:
        """What apt would install, by name; the sources are read before."""
        self.run("apt-get", "update", "-q")
        said = self.run("apt-get", "install", "-s", *names).splitlines()
        return sorted(line.split()[1] for line in said if line.startswith("Inst "))

    def downloads(self, name: str) -> bytes:
        """The package that apt gets; the sources are read before."""
        self.run("apt-get", "update", "-q")
        self.run("apt-get", "download", name)
        (path,) = self.root.glob(f"{name}_*.deb")
        return path.read_bytes()
