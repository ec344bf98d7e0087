"""A private apt: a folder of its own with a configuration of its own.

Neither the host's sources, nor its keys, nor its installed packages have a say (apt.conf(5)).
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

from buildchain import command

_CONFIGURATION = """\
#clear APT;
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Etc::Trusted "/nonexistent";
Dir::Etc::TrustedParts "/nonexistent";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
"""
_FOLDERS = (
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "var/lib/apt/lists/partial",
    "var/cache/apt/archives/partial",
    "var/lib/dpkg",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """A folder that apt takes for its whole world."""

    root: pathlib.Path

    def write_sources(self, stanzas: Iterable[str]) -> None:
        """Replace the sources, each a stanza of deb822 (sources.list(5))."""
        path = self.root / "etc/apt/sources.list.d/private.sources"
        path.write_text("\n".join(stanzas), encoding="utf-8")

    def run(self, *argv: command.Argument, hint: str = "", directory: pathlib.Path | None = None) -> str:
        """Run one of apt's programs in it.

        Raises:
            ToolError: it failed, or is not installed.
        """
        environment = {"APT_CONFIG": str(self.root / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        return command.run(argv, environment=environment, hint=hint, directory=directory).decode(errors="replace")

    def lists(self, pattern: str) -> list[pathlib.Path]:
        """Indexes that apt has read, by a pattern of their names."""
        return sorted((self.root / "var/lib/apt/lists").glob(pattern))


def prepare(
    directory: pathlib.Path, architecture: str, *, status: str = "", options: Mapping[str, str] | None = None
) -> Folder:
    """Make a folder, which may exist, without sources.

    Arguments:
        status:  what apt takes for installed, as dpkg writes it (deb-control(5)).
        options: more of apt.conf(5).
    """
    root = directory.resolve()
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").write_text(status, encoding="utf-8")
    lines = [f'{name} "{value}";\n' for name, value in (options or {}).items()]
    configuration = _CONFIGURATION.format(root=root, architecture=architecture)
    (root / "apt.conf").write_text(configuration + "".join(lines), encoding="utf-8")
    return Folder(root)
