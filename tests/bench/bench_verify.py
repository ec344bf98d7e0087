"""How fast the judge is, next to the programs that only hash: `python -m tests.bench.bench_verify [MiB]`.

All run on the same medium in the same rounds, so that the ratios hold on a busy machine. The limit is what the cores
can hash: `openssl dgst` over the same bytes, one process for each core.
"""

import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from buildchain import verify
from tests.support import keys, medium

ROUNDS = 5


def main(mebibytes: int) -> None:
    with keys.generate() as key, tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
        here = pathlib.Path(directory)
        entries = medium.seal(medium.unsealed(key) | _bulk(mebibytes), key)
        root = medium.stage(entries, here / "root")
        iso = medium.write_iso(entries, here / "x.iso")
        trust = verify.Trust((), key.fingerprint)
        unique = {(root / path).stat().st_ino: str(root / path) for path in entries if (root / path).is_file()}
        files = list(unique.values())
        times = _measure(
            {
                "openssl dgst, every core (the limit)": lambda: _openssl(files),
                "judge, folder": lambda: _judge(root, trust),
                "sha256sum -c, folder": lambda: _run(["sha256sum", "-c", "--quiet", "SHA256SUM"], root),
                "verify.sh, folder": lambda: _run(["sh", "verify.sh", "-q", "--fingerprint", key.fingerprint], root),
                "openssl dgst, image": lambda: _openssl([str(iso)]),
                "judge, image alone": lambda: _judge(iso, trust),
            }
        )
        medium.write_sums(iso, key)
        # Every byte of a file is hashed twice then: as the file's and as the image's.
        times |= _measure(
            {
                "openssl dgst, image and files, every core": lambda: _openssl([str(iso), *files]),
                "judge, image with SHA256SUM beside": lambda: _judge(iso, trust),
            }
        )
    _print(times, mebibytes)


def _bulk(mebibytes: int) -> medium.Entries:
    """Half of the bytes in large files, half in files as large as packages."""
    sizes = [mebibytes << 17] * 4 + [512 << 10] * mebibytes
    rng = random.Random(0)
    return {f"bulk/{number:05}": medium.File(rng.randbytes(size)) for number, size in enumerate(sizes)}


def _measure(ways: dict[str, Callable[[], None]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


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


def _print(times: dict[str, float], mebibytes: int) -> None:
    limit = times["openssl dgst, every core (the limit)"]
    twice = times["openssl dgst, image and files, every core"]
    print(f"{mebibytes} MiB, {len(os.sched_getaffinity(0))} cores, median of {ROUNDS} rounds")
    for name, seconds in times.items():
        base = twice if name.startswith(("openssl dgst, image and", "judge, image with")) else limit
        print(f"{name:45} {seconds:6.2f} s  {base / seconds:5.2f} of the limit")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
