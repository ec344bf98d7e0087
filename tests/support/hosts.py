"""A host that becomes a node, whatever it runs on, and the media that its operator has."""

import dataclasses
import subprocess
import typing

Done = subprocess.CompletedProcess[str]
"""A program that ran: both its outputs are one."""


class Host(typing.Protocol):
    """Of a container or of a computer."""

    def run(self, *argv: str) -> str:
        """Run a program on it, which must succeed; returns what it says."""

    def attempt(self, *argv: str) -> Done:
        """Run a program on it; the exit code is the test's to judge."""

    def write(self, path: str, text: str) -> None:
        """Write a file on it, and the folders above."""

    def reboot(self) -> None:
        """Have it start anew, and wait until it has."""

    @property
    def ip(self) -> str:
        """Its address on the control plane."""


@dataclasses.dataclass(frozen=True)
class Medium:
    """A medium, as the host sees it."""

    name: str
    """With its version: what its images are served below."""
    archive: str
    """What the operator names: an ISO, a drive or a folder."""
    place: str
    """Where its files are read."""

    @property
    def release(self) -> str:
        return self.name.removeprefix("metalk8s-")


@dataclasses.dataclass(frozen=True)
class Media:
    """What the operator has."""

    first: Medium
    second: Medium
    """A later version."""
    solution: Medium
    key: str
    """The publisher's."""

    def called(self, name: str) -> Medium:
        """The one that the features call by a name."""
        media = {"the medium": self.first, "the first version": self.first, "the second version": self.second}
        return {**media, "the Solution": self.solution}[name]


@dataclasses.dataclass(frozen=True)
class Spoilt:
    """Folders of media that must be refused."""

    medium: str
    """With a file that somebody changed."""
    solution: str
    """The same."""
    broken: str
    """A Solution whose registry nginx cannot serve."""
