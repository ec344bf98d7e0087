"""The whole build of this checkout in a copy of it: cold, with an empty store, and with nothing to do.

The copy shares the Python environment: making that is the package index's speed, not ours.
"""

import functools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

from tests.bench import table

TURNS = 20

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns("_build", ".venv", ".doit.db*", ".bench-*", ".*_cache", "__pycache__", ".hypothesis")


def rows(_large: bool) -> Iterator[table.Row]:
    """Seconds of the whole, of each task that takes a while, and of a run with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "checkout"
        shutil.copytree(_ROOT, copy, symlinks=True, ignore=_LEFT_OUT)
        (copy / ".venv").symlink_to(_ROOT / ".venv")
        store = pathlib.Path(folder) / "store"
        started = time.monotonic()
        peak = _build(copy, store)
        yield table.Row("cold build", time.monotonic() - started, "s", goal=120)
        tasks = json.loads((copy / "build.log").read_text())["tasks"]
        for task in sorted(tasks, key=lambda task: -(task["elapsed"] or 0)):
            if (task["elapsed"] or 0) >= 0.1:
                yield table.Row(f"cold build: {task['name']}", task["elapsed"], "s")
        yield table.Row("cold build: peak memory of the largest process", peak, "MiB")
        once = functools.partial(_build, copy, store)
        seconds = [table.measure({"": once}, 1)[""] for _ in range(TURNS)]
        yield table.Row(f"nothing to do, median of {TURNS}", statistics.median(seconds), "s", goal=0.6)
        yield table.Row("nothing to do, fastest", min(seconds), "s")


def _build(checkout: pathlib.Path, store: pathlib.Path) -> float:
    """Run ./doit.sh; the peak memory in MiB of its largest process."""
    environment = {**os.environ, "STORE": str(store), "BUILD_ROOT": "_build"}
    with subprocess.Popen(["./doit.sh"], cwd=checkout, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"./doit.sh failed with exit code {process.returncode}")
    return usage.ru_maxrss / 1024
