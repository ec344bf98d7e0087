"""Whole builds in fresh clones: each as another user, in another place, with other habits."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
ORDINARY_USER = 65534


@dataclasses.dataclass(frozen=True)
class Checkout:
    """A clone, and how its owner works in it."""

    root: pathlib.Path
    environment: Mapping[str, str]
    umask: int = 0o022
    user: int | None = None

    def run(self, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the owner, with a bare environment; the exit code is the test's to judge."""
        return subprocess.run(
            argv,
            cwd=self.root,
            env={**self.environment, **variables},
            umask=self.umask,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def doit(self, *arguments: str, **variables: str) -> str:
        """Run ./doit.sh, which must succeed; returns what it printed."""
        done = self.run("./doit.sh", *arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def iso(self) -> pathlib.Path:
        return self.root / "_build/metalk8s.iso"

    def iso_digest(self) -> str:
        with self.iso.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def clone(
    directory: pathlib.Path, *options: str, user: int | None = None, umask: int = 0o022, **variables: str
) -> Checkout:
    """Clone what is committed, for a user with a home and a store of their own."""
    home = directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    root = directory / "checkout"
    subprocess.run(["git", "clone", "--quiet", *options, f"file://{ROOT}", root], check=True)
    if user is not None:
        for path in [directory, home, root, *root.rglob("*")]:
            os.chown(path, user, user, follow_symlinks=False)
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "DEBIAN_")) or "proxy" in name.lower()
    }
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "STORE": str(directory / "store"),
        **kept,
        **variables,
    }
    return Checkout(root, environment, umask, user)


@pytest.fixture(scope="session")
def first() -> Iterator[Checkout]:
    """A build by an ordinary user."""
    # Not below pytest's folder, which only root may enter.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="first-"))
    directory.chmod(0o755)
    user = ORDINARY_USER if os.getuid() == 0 else None
    checkout = clone(directory, user=user, TZ="Asia/Kolkata", LC_ALL="C.UTF-8")
    checkout.doit()
    yield checkout
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Another build of the same commit: shallow clone, other place, umask, time zone, locale, workers, hash seed."""
    directory = tmp_path_factory.mktemp("second") / "a much longer path, with spaces"
    checkout = clone(directory, "--depth=1", umask=0o077, TZ="America/St_Johns", LC_ALL="C", PYTHONHASHSEED="7")
    checkout.doit("-n", "4")
    yield checkout
    shutil.rmtree(directory, ignore_errors=True)
