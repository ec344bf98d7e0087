"""What a host holds before anything of the medium is installed: the packages of a minimal operating system.

Such a list is a file in packages/bases/. It says of each package the version, and what it provides beside its name.
"""

import dataclasses
import hashlib
import pathlib

from buildchain import document


@dataclasses.dataclass(frozen=True, slots=True)
class Package:
    """One installed package; `provides` are names, files and versioned names, as the package manager spells them."""

    name: str
    version: str
    architecture: str
    provides: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """A base: its family is `debian` or `redhat`, and `digest` is that of its file, in hex.

    `distribution` is that of its repositories of RPMs, such as `el9`; empty if it may stand for any.
    """

    name: str
    family: str
    architecture: str
    packages: tuple[Package, ...]
    digest: str
    distribution: str = ""

    @property
    def word(self) -> str:
        """What stands for it in a lock."""
        return f"base {self.name} {self.digest[:12]}"


def load(path: pathlib.Path) -> Base:
    """Load a list.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    value = document.load(path, "base.schema.json").value
    architecture = value["architecture"]
    packages = [
        Package(name, row["version"], row.get("architecture", architecture), tuple(row.get("provides", ())))
        for name, row in sorted(value["packages"].items())
    ]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Base(path.stem, value["family"], architecture, tuple(packages), digest, value.get("distribution", ""))
