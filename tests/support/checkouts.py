"""Clones of this repository that ship the small distribution, and runs of their tasks."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

from buildchain import lock
from tests.support import small

ROOT = pathlib.Path(__file__).parent.parent.parent


@dataclasses.dataclass
class Checkout:
    """A clone of what is committed, with the small distribution's intent, run as ./doit.sh does at its end."""

    root: pathlib.Path
    mirror: str

    def doit(self, *arguments: str, code: int = 0, **variables: str) -> str:
        """Run tasks; returns what was printed."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root.parent),
            "STORE": str(self.root.parent / "store"),
            "DEBIAN_MIRROR": self.mirror,
            "NO_PROXY": "*",
            "PYTHONPATH": str(self.root / "static-container-registry"),
            **variables,
        }
        argv = [sys.executable, "-m", "buildchain.tasks", *arguments]
        done = subprocess.run(
            argv, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(exist_ok=True, parents=True)
        (self.root / path).write_text(text)

    def commit(self) -> None:
        """Commit whatever changed."""
        git = ["git", "-C", str(self.root), "-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message=small: ship little"], check=True)

    @property
    def staged(self) -> pathlib.Path:
        return self.root / "_build/root"


def clone(top: pathlib.Path, upstream: small.Upstream) -> Checkout:
    """Clone what is committed, with the small distribution in place of ours; nothing is locked."""
    checkout = Checkout(top / "checkout", upstream.mirror.url)
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", checkout.root], check=True)
    for folder in (each for name in ("salt", "pillar") for each in (checkout.root / name).iterdir() if each.is_dir()):
        shutil.rmtree(folder)
    # The formulas want images that this distribution does not ship.
    checkout.write("salt/FILES", "pillar/top.sls.in\nsalt/top.sls.in\n")
    checkout.write("packages/keys/test.asc", upstream.home.public(upstream.key).decode())
    checkout.write("images/tool/image.yaml", small.RECIPE)
    checkout.write("distribution.yaml", small.INTENT)
    (checkout.root / lock.FILE_NAME).unlink()
    checkout.commit()
    return checkout
