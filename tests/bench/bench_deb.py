"""How fast DEBs are indexed, against apt-ftparchive on the same files."""

import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

from buildchain import deb, lock, store
from tests.bench import table
from tests.support import packages

COUNT = 5000
TURNS = 3
_GOAL = 1.5
_PAYLOAD = 8 << 10


def rows(_large: bool) -> Iterator[table.Row]:
    """Seconds to read the control files and to write the index of packages that the disk cache holds."""
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        source = store.Store(here / "store")
        locked = [_package(source, number) for number in range(COUNT)]
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


def _package(source: store.Store, number: int) -> lock.Package:
    name = f"package-{number:05}"
    depends = ", ".join(f"package-{number // step:05} (>= 1.0)" for step in range(2, 12))
    control = {
        "Package": name,
        "Maintainer": "T <t@example.test>",
        "Depends": depends,
        "Description": f"package {number}\n A longer text.\n .\n Its end.",
    }
    files = {f"./usr/share/{name}": number.to_bytes(4, "big") * (_PAYLOAD // 4)}
    return packages.add(source, packages.make_deb(control, files), name)


def _ftparchive(root: pathlib.Path) -> None:
    """With the one digest that we write."""
    options = [f"APT::FTPArchive::{kind}=false" for kind in ("MD5", "SHA1", "SHA512")]
    argv = ["apt-ftparchive", *(f"-o{option}" for option in options), "packages", "pool"]
    subprocess.run(argv, cwd=root, check=True, stdout=subprocess.DEVNULL)
