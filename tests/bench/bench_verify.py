"""How fast the judge is, next to the programs that only hash, on the same medium. The limit is what the cores
can hash: `openssl dgst` over the same bytes, one process for each core.
"""

import os
import pathlib
import random
import subprocess
import tempfile
from collections.abc import Iterator

from buildchain import verify
from tests.bench import table
from tests.support import keys, medium

ROUNDS = 5
MEBIBYTES = 1024
LIMIT = "openssl dgst, every core"
LIMIT_TWICE = "openssl dgst, image and files, every core"


def rows(large: bool) -> Iterator[table.Row]:
    """Seconds, and the share of the rate that the cores can hash at."""
    with keys.generate() as key, tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
        here = pathlib.Path(directory)
        entries = medium.seal(medium.unsealed(key) | _bulk(MEBIBYTES * (4 if large else 1)), key)
        root = medium.stage(entries, here / "root")
        iso = medium.write_iso(entries, here / "x.iso")
        trust = verify.Trust((), key.fingerprint)
        unique = {(root / path).stat().st_ino: str(root / path) for path in entries if (root / path).is_file()}
        files = list(unique.values())
        times = table.measure(
            {
                LIMIT: lambda: _openssl(files),
                "judge, folder": lambda: _judge(root, trust),
                "sha256sum -c, folder": lambda: _run(["sha256sum", "-c", "--quiet", "SHA256SUM"], root),
                "verify.sh, folder": lambda: _run(["sh", "verify.sh", "-q", "--fingerprint", key.fingerprint], root),
                "openssl dgst, image": lambda: _openssl([str(iso)]),
                "judge, image alone": lambda: _judge(iso, trust),
            },
            ROUNDS,
        )
        medium.write_sums(iso, key)
        # Every byte of a file is hashed twice then: as the file's and as the image's.
        twice = table.measure(
            {
                LIMIT_TWICE: lambda: _openssl([str(iso), *files]),
                "judge, image with SHA256SUM beside": lambda: _judge(iso, trust),
            },
            ROUNDS,
        )
    yield from _shares(times, LIMIT)
    yield from _shares(twice, LIMIT_TWICE)


def _shares(times: dict[str, float], limit: str) -> Iterator[table.Row]:
    for name, seconds in times.items():
        goal = 0.9 if name.startswith("judge") else None
        yield table.Row(name, seconds, "s", times[limit] / seconds, "the cores' rate", goal, is_floor=True)


def _bulk(mebibytes: int) -> medium.Entries:
    """Half of the bytes in large files, half in files as large as packages."""
    sizes = [mebibytes << 17] * 4 + [512 << 10] * mebibytes
    rng = random.Random(0)
    return {f"bulk/{number:05}": medium.File(rng.randbytes(size)) for number, size in enumerate(sizes)}


def _judge(path: pathlib.Path, trust: verify.Trust) -> None:
    report = verify.judge(path, trust)
    assert report.exit_code == 0, str(report)


def _run(argv: list[str], directory: pathlib.Path) -> None:
    subprocess.run(argv, cwd=directory, check=True)


def _openssl(files: list[str]) -> None:
    """Share the files out by size, the largest first, as the best schedule would."""
    shares: list[list[str]] = [[] for _ in os.sched_getaffinity(0)]
    loads = [0] * len(shares)
    for file in sorted(files, key=lambda file: -pathlib.Path(file).stat().st_size):
        least = loads.index(min(loads))
        shares[least].append(file)
        loads[least] += pathlib.Path(file).stat().st_size
    argv = ["openssl", "dgst", "-sha256"]
    running = [subprocess.Popen([*argv, *share], stdout=subprocess.DEVNULL) for share in shares if share]
    assert [each.wait() for each in running] == [0] * len(running)
