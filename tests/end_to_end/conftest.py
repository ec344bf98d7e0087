"""Whole builds in fresh clones: each as another user, in another place, with other habits."""

import atexit
import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping

import pytest

from tests.support import openpgp
from tests.support import small as small_distribution

ROOT = pathlib.Path(__file__).parent.parent.parent
ORDINARY_USER = 65534


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two groups that are tested side by side: what shares a build of the default distribution, and the rest."""
    for item in items:
        group = "default" if "first" in getattr(item, "fixturenames", ()) else "rest"
        item.add_marker(pytest.mark.xdist_group(group))


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
    _give([directory, home, root, *root.rglob("*")], user)
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


def lend_environment(checkout: Checkout) -> None:
    """Give a clone the Python environment that ./doit.sh would make: the packages are those that run the tests.

    For clones that are not about the first run: to install the packages takes as long as to build the small medium.
    """
    environment = checkout.root / ".venv"
    python = checkout.environment.get("PYTHON_SYS", "python3")
    assert checkout.run(python, "-m", "venv", "--without-pip", ".venv").returncode == 0
    (packages,) = environment.glob("lib/python3*/site-packages")
    root = checkout.root
    (packages / "buildchain.pth").write_text(f"{_packages()}\n{root}\n{root}/static-container-registry\n")
    program = environment / "bin/buildchain"
    program.write_text(f"#!{environment}/bin/python\nimport sys\nfrom buildchain import cli\nsys.exit(cli.main())\n")
    program.chmod(0o755)
    shutil.copy(root / "requirements/build.txt", environment / "build.txt")
    _give(environment.rglob("*"), checkout.user)


@functools.cache
def _packages() -> pathlib.Path:
    """What is installed here, where every user may read it, and without the paths to this checkout."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="packages-"))
    atexit.register(shutil.rmtree, directory)
    directory.chmod(0o755)
    installed = sysconfig.get_path("purelib")
    # Without the large ones that only tests, lint and documentation need.
    left = shutil.ignore_patterns("*.pth", "__pycache__", "*mypy*", "babel", "hypothesis*", "pip", "sphinx*")
    shutil.copytree(installed, directory / "site", ignore=left)
    subprocess.run(["chmod", "--recursive", "a+rX", directory], check=True)
    return directory / "site"


def _give(paths: Iterable[pathlib.Path], user: int | None) -> None:
    if user is not None:
        for path in paths:
            os.chown(path, user, user, follow_symlinks=False)


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


@dataclasses.dataclass(frozen=True)
class Small:
    """A clone with an intent of its own, built once, and the upstream it pulls from."""

    checkout: Checkout
    upstream: small_distribution.Upstream
    digest: str
    """Of the ISO."""


@pytest.fixture(scope="session")
def small() -> Iterator[Small]:
    """The small distribution, locked, committed and built by an ordinary user."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="small-"))
    directory.chmod(0o755)
    user = ORDINARY_USER if os.getuid() == 0 else None
    with openpgp.home() as home, small_distribution.Upstream(directory / "archive", home) as upstream:
        (directory / "temporary").mkdir()
        temporary = str(directory / "temporary")
        checkout = clone(directory, user=user, DEBIAN_MIRROR=upstream.mirror.url, NO_PROXY="*", TMPDIR=temporary)
        lend_environment(checkout)
        texts = {
            "distribution.yaml": small_distribution.INTENT,
            "packages/keys/test.asc": home.public(upstream.key).decode(),
            "images/tool/image.yaml": small_distribution.RECIPE,
            # The formulas want images that this distribution does not ship.
            "salt/FILES": "pillar/top.sls.in\nsalt/top.sls.in\n",
        }
        for folder in ("salt", "pillar"):
            for below in [each for each in (checkout.root / folder).iterdir() if each.is_dir()]:
                shutil.rmtree(below)
        for path, text in texts.items():
            (checkout.root / path).parent.mkdir(exist_ok=True)
            (checkout.root / path).write_text(text)
        _give([directory / "temporary", checkout.root / "images/tool", *(checkout.root / path for path in texts)], user)
        (checkout.root / "distribution.lock.json").unlink()
        checkout.doit("lock")
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        for argv in (["add", "--all"], ["commit", "--quiet", "--message=small: ship little"]):
            done = checkout.run("git", *author, *argv)
            assert done.returncode == 0, done.stdout
        checkout.doit()
        yield Small(checkout, upstream, checkout.iso_digest())
    shutil.rmtree(directory, ignore_errors=True)
