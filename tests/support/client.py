"""A machine that installs from a repository: real apt, in a folder of its own, with one source."""

import dataclasses
import pathlib

from buildchain import command

_CONFIGURATION = """\
#clear APT;
Dir "{root}";
Dir::State::status "{root}/status";
Dir::Etc::Trusted "/nonexistent";
Dir::Etc::TrustedParts "/nonexistent";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
"""


@dataclasses.dataclass(frozen=True)
class Client:
    """Knows one source, a flat repository in a folder, signed by one key."""

    root: pathlib.Path
    repository: pathlib.Path
    key: bytes
    architecture: str = "amd64"

    def prepare(self) -> None:
        for folder in ("etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("etc/apt/apt.conf.d", "etc/apt/preferences.d"):
            (self.root / folder).mkdir()
        (self.root / "status").touch()
        (self.root / "key.asc").write_bytes(self.key)
        (self.root / "apt.conf").write_text(_CONFIGURATION.format(root=self.root, architecture=self.architecture))
        source = f"Types: deb\nURIs: copy:{self.repository}\nSuites: ./\nSigned-By: {self.root}/key.asc\n"
        (self.root / "etc/apt/sources.list.d/medium.sources").write_text(source)

    def run(self, *argv: str) -> str:
        environment = {"APT_CONFIG": str(self.root / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        return command.run(argv, environment=environment, directory=self.root).decode()

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
