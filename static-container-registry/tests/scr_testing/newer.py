"""Programs from another suite of Debian than this machine's, unpacked into a folder and not installed.

The mirror is one of this machine's own apt sources; apt verifies what it gets with Debian's own keys.
"""

import dataclasses
import pathlib
import shlex

from scr_testing import programs

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_CONFIGURATION = """\
#clear APT;
Dir "{directory}";
Dir::State::status "{directory}/status";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
// Who pulls in a test need not be of today, and mirrors of Debian's unstable fall behind.
Acquire::Check-Valid-Until "false";
"""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A folder with unpacked packages; `versions` are those of the packages that were asked for."""

    root: pathlib.Path
    versions: dict[str, str]

    def program(self, name: str) -> str:
        """Path of a script that runs a program with the C library and the libraries it was built for."""
        (loader,) = self.root.glob("usr/lib/*/ld-linux-*.so.*")
        (found,) = (self.root / folder / name for folder in ("usr/bin", "usr/sbin") if self._has(folder, name))
        script = self.root / f"run-{name}"
        argv = shlex.join([str(loader), "--library-path", str(loader.parent), str(found)])
        script.write_text(f'#!/bin/sh\nexec {argv} "$@"\n')
        script.chmod(0o755)
        return str(script)

    def _has(self, folder: str, name: str) -> bool:
        return (self.root / folder / name).is_file()


def unpack(suite: str, packages: list[str], directory: pathlib.Path) -> Suite:
    """Get packages and what they depend on from the first of this machine's mirrors that has the suite.

    Raises:
        AssertionError: none has it, or a package is not there; with apt's words.
    """
    architecture = programs.run("dpkg", "--print-architecture").strip()
    for folder in ("etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (directory / folder).mkdir(parents=True)
    (directory / "status").touch()
    # What this machine's administrator says about proxies holds here as well.
    proxies = programs.run("apt-config", "dump", "Acquire::http", "Acquire::https")
    (directory / "apt.conf").write_text(_CONFIGURATION.format(directory=directory, architecture=architecture) + proxies)
    _update(suite, directory)
    _apt(directory, "apt-get", "install", "--yes", "--download-only", *packages)
    root = directory / "root"
    versions = {}
    for path in sorted((directory / "var/cache/apt/archives").glob("*.deb")):
        programs.run("dpkg-deb", "--extract", str(path), str(root))
        name, version = programs.run("dpkg-deb", "--show", str(path)).split()
        versions[name] = version
    return Suite(root, {name: versions[name] for name in packages})


def _update(suite: str, directory: pathlib.Path) -> None:
    """Read the suite's index from the first mirror that has it."""
    mirrors = programs.run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").split()
    problems = []
    for mirror in dict.fromkeys(mirrors):
        text = f"Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
        (directory / "etc/apt/sources.list.d/newer.sources").write_text(text)
        try:
            _apt(directory, "apt-get", "update", "--quiet")
            return
        except AssertionError as error:
            problems.append(str(error))
    raise AssertionError(f"no apt source of this machine has Debian's {suite}: {problems}")


def _apt(directory: pathlib.Path, *argv: str) -> str:
    return programs.run(*argv, APT_CONFIG=str(directory / "apt.conf"), DEBIAN_FRONTEND="noninteractive")
