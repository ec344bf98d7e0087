"""What is run, and what comes of it, as values."""

import dataclasses
import json
import posixpath
import types
import typing
from collections.abc import Mapping

from buildchain import digest, tree

FORMAT = 1
"""Raised when a room changes so that the same step may yield other bytes."""

DIRECTORY = "/build"
PLATFORM = "linux/amd64"
MAX_SECONDS = 3600

ENVIRONMENT: Mapping[str, str] = types.MappingProxyType(
    {
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
        "LOGNAME": "root",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SOURCE_DATE_EPOCH": "0",
        "TZ": "UTC",
        "USER": "root",
    }
)
"""Every step has these variables; its own win."""


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One step of a build.

    Arguments:
        name:        for logs and messages; two steps that differ in it alone are the same step.
        argv:        program and arguments; the program is searched in the root.
        root:        layers of the root file system, the lowest first: uncompressed tars that end with two zero blocks.
        inputs:      files and links that stand below `directory` when the program starts.
        outputs:     files, or folders with all files in them, relative to `directory`; each must be there at the end.
        environment: variables beside ENVIRONMENT.
        platform:    system and processor the root is for, as OCI writes them.
        directory:   absolute path of the working directory; the layers hold nothing there.
        seconds:     the step is ended after this time.

    Raises:
        ValueError: a path is not plain, or a variable cannot be one.
    """

    name: str
    argv: tuple[str, ...]
    root: tuple[digest.Descriptor, ...]
    inputs: tree.Tree
    outputs: tuple[str, ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    platform: str = PLATFORM
    directory: str = DIRECTORY
    seconds: int = MAX_SECONDS

    def __post_init__(self) -> None:
        if not self.argv or not self.root or not self.outputs:
            raise ValueError(f"{self.name}: a step needs a program, a root and outputs")
        if not self.directory.startswith("/") or posixpath.normpath(self.directory) != self.directory:
            raise ValueError(f"not a plain absolute path: {self.directory!r}")
        for path in self.outputs:
            if path != posixpath.normpath(path) or path.startswith(("/", "../")) or path in (".", ".."):
                raise ValueError(f"not a plain relative path: {path!r}")
        for name in self.environment:
            if not name.isidentifier():
                raise ValueError(f"not a variable: {name!r}")

    @property
    def variables(self) -> dict[str, str]:
        """All variables of the step, sorted by name."""
        return dict(sorted({**ENVIRONMENT, **self.environment}.items()))

    @property
    def epoch(self) -> int:
        """SOURCE_DATE_EPOCH: the time of all inputs."""
        return int(self.variables["SOURCE_DATE_EPOCH"])

    @property
    def digest(self) -> digest.Digest:
        """The digest of all that the step may see."""
        value = {
            "format": FORMAT,
            "argv": self.argv,
            "root": [str(layer.digest) for layer in self.root],
            "inputs": str(digest.Digest.of_bytes(tree.dump(self.inputs))),
            "outputs": self.outputs,
            "environment": self.variables,
            "platform": self.platform,
            "directory": self.directory,
            "seconds": self.seconds,
        }
        return digest.Digest.of_bytes(json.dumps(value, sort_keys=True).encode())


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a step left, by path relative to its directory, and what it printed; all of it in the store."""

    outputs: Mapping[str, digest.Descriptor]
    log: digest.Descriptor


class Executor(typing.Protocol):
    """Whoever can run a step."""

    def run(self, action: Action) -> Result:
        """The result of a step, kept or fresh.

        Raises:
            ToolError:       the step failed or took too long, with its last lines and the place of its log.
            BuildchainError: an output is missing or no plain file, or the room could not be made.
        """
