"""A small distribution: a few made-up packages on a lying loopback mirror, one repository, one image.

It is built by the real ./doit.sh in seconds, and everything about it can be broken.
"""

import dataclasses
import functools
import pathlib
import random
import typing
from collections.abc import Iterable

from tests.support import archive, mirror, openpgp, packages

DATE = archive.DATE
SUITE = "bookworm"
HEAVY_BYTES = 48_000_000
"""Of the package that takes its time: long enough to be interrupted, and more than the small disks of tests hold."""

INTENT = """\
archives:
  debian:
    origin: Test
    suite: bookworm
    components: [main]
    keys: [packages/keys/test.asc]
repositories:
  small:
    archives: [debian]
    packages: [alpha, beta, heavy]
images:
  archives: [debian]
  ship:
    tool: {tag: "1.0"}
"""

RECIPE = """\
packages: [alpha]
entrypoint: [/usr/bin/alpha]
"""


@dataclasses.dataclass(frozen=True)
class Deb(archive.Deb):
    """A package with a payload of so many bytes that no compressor makes smaller."""

    payload: int = 0

    def content(self) -> bytes:
        """The .deb file."""
        return _content(self)


@functools.cache
def _content(deb: Deb) -> bytes:
    """A .deb file, its data uncompressed."""
    payload = random.Random(f"{deb.name} {deb.version}").randbytes(deb.payload)
    control = dict(line.split(": ", 1) for line in deb.control.splitlines())
    files = {f"usr/share/doc/{deb.name}/copyright": b"none\n", f"usr/share/{deb.name}/payload": payload}
    return packages.make_deb(control, files, compression="")


ALPHA = Deb("alpha", depends="libalpha", payload=4_000_000)
LIBALPHA = Deb("libalpha", source="alpha", payload=1000)
BETA = Deb("beta", payload=400_000)
HEAVY = Deb("heavy", payload=HEAVY_BYTES)
PACKAGES = (ALPHA, LIBALPHA, BETA, HEAVY)


class Upstream:
    """The archive and the mirror that serves it."""

    def __init__(self, root: pathlib.Path, home: openpgp.Home) -> None:
        self.home = home
        self.key = home.make("archive")
        self.mirror = mirror.Mirror()
        self._root = root
        self.publish(PACKAGES)

    def __enter__(self) -> typing.Self:
        self.mirror.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.mirror.__exit__(None, None, None)

    def publish(
        self,
        content: Iterable[archive.Deb],
        *,
        date: int = archive.DATE,
        valid_until: int | None = None,
        key: str = "",
        is_signed: bool = True,
    ) -> None:
        """Make the archive hold these packages and their indexes, and no lie."""
        with archive.Archive(self._root, self.home, self.key) as source:
            source.add(SUITE, *content)
            source.publish(SUITE, date=date, valid_until=valid_until, key=key, is_signed=is_signed)
        for path in self._root.rglob("*"):
            if path.is_file():
                self.mirror.add(path.relative_to(self._root).as_posix(), path.read_bytes())

    def be_honest(self) -> None:
        """Forget the lies that nobody has asked for."""
        for package in PACKAGES:
            self.lie(package)

    def forget(self, path: str) -> None:
        """Have a file no more."""
        self.mirror.add(path, b"", *[mirror.status(404)] * 100)

    def lie(self, package: archive.Deb, *lies: mirror.Lie) -> None:
        """Answer the next requests for a package with lies."""
        self.mirror.add(package.path, package.content(), *lies)
