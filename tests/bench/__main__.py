"""All figures of one machine in one run: `./doit.sh bench`, or `python -m tests.bench [--large] [NAME...]`.

Ratios hold on a busy machine, seconds do not: the load is told. The goals are those of the project; a missed one is
marked, and makes the exit code 1.
"""

import argparse
import importlib
import os
import pathlib
import platform
import sys
import time

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_GENERATOR = _ROOT / "static-container-registry"
_NAMES = ("iso", "verify", "deb", "rpm", "fetch", "images", "generator", "registry", "build")


def main() -> int:
    """Print the table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="add what takes minutes: 100,000 files, 20 GB in one")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(_NAMES)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(_NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    sys.path[:0] = [str(_ROOT), str(_GENERATOR), str(_GENERATOR / "tests")]
    missed = 0
    print(f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python {platform.python_version()}")
    for name in arguments.names or _NAMES:
        started = time.monotonic()
        print(f"{name} (load {os.getloadavg()[0]:.1f})", flush=True)
        for row in importlib.import_module(f"tests.bench.bench_{name}").rows(arguments.large):
            missed += row.is_missed
            print(row, flush=True)
        print(f"  {time.monotonic() - started:.0f} s")
    print(f"{missed} goals missed" if missed else "every goal met")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
