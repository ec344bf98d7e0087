"""How fast DEBs are indexed, against apt-ftparchive on the same files."""

import lzma
import os
import pathlib
import random
import subprocess
import tempfile
from collections.abc import Iterator

from buildchain import deb, lock, store
from tests.bench import table
from tests.support import packages

COUNT = 5000
TURNS = 3
_GOAL = 1.5
_PAYLOAD = random.Random(0).randbytes(64 << 10)
"""Half of the default medium's packages are larger: what both pay for a package, and what each pays for its bytes."""


def rows(_large: bool) -> Iterator[table.Row]:
    """Seconds to read the control files and to write the index of packages that the disk cache holds.

    apt-ftparchive has to hash each package; we have its digest from the lock, and the store has compared it.
    """
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        source = store.Store(here / "store")
        locked = fill(source, COUNT)
        pool = here / "root/pool"
        pool.mkdir(parents=True)
        for package in locked:
            os.link(source.path(package.content.digest), pool / pathlib.Path(package.path).name)
        ways = {
            "deb.index_text": lambda: deb.index_text(locked, source),
            "apt-ftparchive packages": lambda: _ftparchive(pool.parent),
        }
        seconds = table.measure(ways, TURNS)
    for name, taken in seconds.items():
        ratio = taken / seconds["apt-ftparchive packages"]
        goal = _GOAL if name == "deb.index_text" else None
        yield table.Row(f"{COUNT} packages: {name}", taken, "s", ratio, "apt-ftparchive", goal)


def fill(source: store.Store, count: int) -> list[lock.Package]:
    """Put packages into a store."""
    data = lzma.compress(packages.make_tar({"./usr/share/payload": _PAYLOAD}))
    with table.not_synced():
        return [_package(source, number, data) for number in range(count)]


def _package(source: store.Store, number: int, data: bytes) -> lock.Package:
    name = f"package-{number:05}"
    depends = ", ".join(f"package-{number // step:05} (>= 1.0)" for step in range(2, 12))
    control = (
        f"Package: {name}\nVersion: 1.0\nArchitecture: amd64\nMaintainer: T <t@example.test>\nDepends: {depends}\n"
        f"Description: package {number}\n A longer text.\n .\n Its end.\n"
    )
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(packages.make_tar({"./control": control.encode()})),
        "data.tar.xz": data,
    }
    return packages.add(source, packages.make_ar(members), name)


def _ftparchive(root: pathlib.Path) -> None:
    """With the one digest that we write."""
    options = [f"APT::FTPArchive::{kind}=false" for kind in ("MD5", "SHA1", "SHA512")]
    argv = ["apt-ftparchive", *(f"-o{option}" for option in options), "packages", "pool"]
    subprocess.run(argv, cwd=root, check=True, stdout=subprocess.DEVNULL)
