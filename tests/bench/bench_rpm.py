"""How fast repositories are made: signing and indexing RPMs and DEBs, against the tools that are known for it."""

import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from buildchain import deb, lock, rpm, signing, store
from tests.bench import bench_deb, table
from tests.support import keys, rpms

COUNT = 1000
TURNS = 3
_EPOCH = 1_700_000_000
_KEY = keys.DEVELOPMENT / "secret.asc"


def rows(_large: bool) -> Iterator[table.Row]:
    """Seconds for packages that the disk cache holds."""
    with tempfile.TemporaryDirectory() as folder, signing.open_signer(signing.Source(str(_KEY))) as signer:
        here = pathlib.Path(folder)
        source = store.Store(here / "store")
        yield from _rpm_rows(here, source, signer)
        yield from _deb_rows(here, source, signer)


def _rpm_rows(here: pathlib.Path, source: store.Store, signer: signing.Signer) -> Iterator[table.Row]:
    unsigned = _unsigned(source)
    signed: list[lock.Package] = []
    pool = here / "rpms"
    ways: dict[str, Callable[[], object]] = {
        "rpm.sign_all": lambda: signed.extend(rpm.sign_all(unsigned, source, signer=signer, epoch=_EPOCH)),
        "rpmsign --addsign": lambda: _rpmsign(pool, signer),
    }
    seconds = table.measure(ways, 1, prepare=lambda: _fill(pool, source, unsigned))
    yield from _compared(f"{COUNT} RPMs signed", seconds, "rpmsign --addsign")
    ways = {
        "rpm.index": lambda: rpm.index(signed, source, name="x", epoch=_EPOCH, signer=signer),
        "createrepo_c": lambda: _createrepo(pool),
    }
    yield from _compared(f"{COUNT} RPMs indexed", table.measure(ways, TURNS), "createrepo_c")


def _deb_rows(here: pathlib.Path, source: store.Store, signer: signing.Signer) -> Iterator[table.Row]:
    locked = bench_deb.fill(source, COUNT)
    pool = here / "debs/pool"
    _fill(pool, source, locked)
    ways = {
        "deb.index": lambda: deb.index(locked, source, name="x", label="x", epoch=_EPOCH, signer=signer),
        "apt-ftparchive, gzip, gpg": lambda: _ftparchive(pool.parent, signer),
        "reprepro includedeb": lambda: _reprepro(here / "reprepro", pool),
    }
    yield from _compared(f"{COUNT} DEBs indexed, signed", table.measure(ways, TURNS), "apt-ftparchive, gzip, gpg")


def _compared(what: str, seconds: dict[str, float], beside: str) -> Iterator[table.Row]:
    for name, taken in seconds.items():
        yield table.Row(f"{what}: {name}", taken, "s", taken / seconds[beside], beside)


def _unsigned(source: store.Store) -> list[lock.Package]:
    return [rpm.package_of(source.add_bytes(content), source) for content in rpms.build_many(COUNT)]


def _fill(pool: pathlib.Path, source: store.Store, packages: list[lock.Package]) -> None:
    """Copies of the packages: rpmsign writes into them."""
    shutil.rmtree(pool, ignore_errors=True)
    pool.mkdir(parents=True)
    for package in packages:
        shutil.copyfile(source.path(package.content.digest), pool / pathlib.PurePath(package.path).name)


def _home(signer: signing.Signer) -> str:
    return next(option for option in signer._options if option.startswith("/"))


def _rpmsign(pool: pathlib.Path, signer: signing.Signer) -> None:
    macros = {"_gpg_path": _home(signer), "__gpg": shutil.which("gpg"), "_gpg_name": signer.fingerprint}
    options = [f"-D{name} {value}" for name, value in macros.items()]
    subprocess.run(
        ["rpmsign", "--addsign", *options, *sorted(map(str, pool.iterdir()))], check=True, capture_output=True
    )


def _createrepo(pool: pathlib.Path) -> None:
    shutil.rmtree(pool / "repodata", ignore_errors=True)
    argv = ["createrepo_c", "-q", "--no-database", f"--workers={os.cpu_count()}", "--compress-type=gz", str(pool)]
    subprocess.run(argv, check=True)


_FTPARCHIVE = """\
apt-ftparchive -o APT::FTPArchive::MD5=false -o APT::FTPArchive::SHA1=false -o APT::FTPArchive::SHA512=false \\
    packages pool > Packages
gzip --keep --force Packages
apt-ftparchive release . > Release
gpg --homedir "$1" --batch --quiet --yes --local-user "$2" --output InRelease --clear-sign Release
"""


def _ftparchive(root: pathlib.Path, signer: signing.Signer) -> None:
    """What deb.index makes, by the tools of the archives."""
    subprocess.run(["sh", "-euc", _FTPARCHIVE, "sh", _home(signer), signer.fingerprint], cwd=root, check=True)


def _reprepro(root: pathlib.Path, pool: pathlib.Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    (root / "conf").mkdir(parents=True)
    (root / "conf/distributions").write_text("Codename: x\nArchitectures: amd64\nComponents: main\n")
    options = ["--silent", "--basedir", str(root), "--priority", "optional", "--section", "misc"]
    subprocess.run(["reprepro", *options, "includedeb", "x", *map(str, sorted(pool.iterdir()))], check=True)
