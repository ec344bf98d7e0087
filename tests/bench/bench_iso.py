"""How fast an image is written: against `cat`, one SHA-256 stream and the classic tools, over the same bytes.

    python -m tests.bench.bench_iso [--large]

Everything in one run, in turns; the figures are the best of the turns, since noise only ever adds. Every way ends with
its bytes on the disk. `--large` adds 100,000 small files and 20 GB of zeros (and needs 25 GB of disk).
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from buildchain import digest, iso, store, tree

TURNS = 4
GOAL = 1.15
KB_PER_FILE = 5.0
PEAK_MIB = 128.0
BIG_FILES = 10
BIG_SIZE = 100_000_000

Row = tuple[str, float, float]
"""What, its figure, and the figure divided by the goal's yardstick."""


def main(arguments: list[str]) -> int:
    """Print a table; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="add 100,000 small files and 20 GB")
    missed = False
    for name, figure, ratio in rows(parser.parse_args(arguments).large):
        print(f"  {name:48} {figure:9.2f}  {ratio:5.2f} x", flush=True)
        missed |= name.startswith("goal") and ratio > 1
    return int(missed)


def rows(large: bool) -> list[Row]:
    """Seconds, MiB or KB of each way; rows that begin with "goal" hold when their ratio is at most 1."""
    with tempfile.TemporaryDirectory(dir=pathlib.Path.cwd()) as folder:
        here = pathlib.Path(folder)
        found = [*_big_files(here), *_small_files(here, 10_000 if not large else 100_000)]
        return [*found, *_huge_file(here)] if large else found


def _big_files(here: pathlib.Path) -> Iterator[Row]:
    source = store.Store(here / "store")
    staged = here / "staged"
    staged.mkdir()
    contents = tree.build(_random_file(source, number) for number in range(BIG_FILES))
    paths = [source.path(file.content.digest) for file in contents.files()]
    for file in contents.files():
        source.link(file, staged / file.path)
    out = here / "out"
    ways: dict[str, Callable[[], None]] = {
        "sha256 stream": lambda: _hash(paths),
        "cat": lambda: _cat(paths, out),
        "ours, with digest": lambda: _write(contents, source, out),
        "genisoimage, without digest": lambda: _run("genisoimage", "-quiet", "-R", "-J", "-o", out, staged),
        "xorriso, without digest": lambda: _run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-o", out, staged),
    }
    seconds = _best(ways, out)
    floor = max(seconds["cat"], seconds["sha256 stream"])
    for name, taken in seconds.items():
        yield f"1 GB in {BIG_FILES} files: {name}, s", taken, taken / floor
    yield (
        f"goal: ours at most {GOAL} x the slower of cat and sha256",
        seconds["ours, with digest"],
        (seconds["ours, with digest"] / floor / GOAL),
    )


def _small_files(here: pathlib.Path, count: int) -> Iterator[Row]:
    source = store.Store(here / "small")
    figures = []
    for part in (count // 10, count):
        contents = tree.build(
            tree.File(f"{number // 100}/file-{number:06}.txt", source.add_bytes(b"%d\n" % number * 60))
            for number in range(part)
        )
        figures.append(_write_apart(contents, source, here / "out"))
    (few_s, few_mib), (many_s, many_mib) = figures
    yield f"{count // 10} small files, s", few_s, 1.0
    yield f"{count} small files, s", many_s, many_s / few_s
    kilobytes = (many_mib - few_mib) * 1024 * 1.024 / (count - count // 10)
    yield f"goal: at most {KB_PER_FILE} KB of memory a file", kilobytes, kilobytes / KB_PER_FILE


def _huge_file(here: pathlib.Path) -> Iterator[Row]:
    source = store.Store(here / "huge")
    size = 20_000_000_000
    path = here / "zeros"
    with path.open("wb") as stream:
        stream.truncate(size)
    with path.open("rb") as stream:
        content = digest.Descriptor(digest.Digest.of_file(stream), size)
    source.path(content.digest).parent.mkdir(parents=True)
    source.adopt(path, content)
    seconds, mebibytes = _write_apart(tree.build([tree.File("zeros", content)]), source, here / "out")
    yield "20 GB of zeros, s", seconds, 1.0
    yield f"goal: at most {PEAK_MIB} MiB of memory", mebibytes, mebibytes / PEAK_MIB


def _random_file(source: store.Store, number: int) -> tree.File:
    return tree.File(f"blob-{number}", source.add_bytes(os.urandom(BIG_SIZE)))


def _best(ways: dict[str, Callable[[], None]], out: pathlib.Path) -> dict[str, float]:
    seconds = {name: float("inf") for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            out.unlink(missing_ok=True)
            os.sync()
            started = time.monotonic()
            way()
            seconds[name] = min(seconds[name], time.monotonic() - started)
    out.unlink(missing_ok=True)
    return seconds


def _hash(paths: list[pathlib.Path]) -> None:
    hasher = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 18):
                hasher.update(block)


def _cat(paths: list[pathlib.Path], out: pathlib.Path) -> None:
    with out.open("wb") as stream:
        subprocess.run(["cat", *paths], stdout=stream, check=True)
        os.fsync(stream.fileno())


def _run(*argv: str | pathlib.Path) -> None:
    subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
    with pathlib.Path(argv[-2]).open("rb") as stream:
        os.fsync(stream.fileno())


def _write(contents: tree.Tree, source: store.Store, out: pathlib.Path) -> None:
    iso.write(contents, source, volume_id="BENCH", epoch=0, target=out)


def _write_apart(contents: tree.Tree, source: store.Store, out: pathlib.Path) -> tuple[float, float]:
    """Seconds, and the peak memory in MiB of the process that wrote: in a fork, which has no other children."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            started = time.monotonic()
            _write(contents, source, out)
            taken = time.monotonic() - started
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            os.write(writer, f"{taken} {peak}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        seconds, mebibytes = map(float, answer.read().split())
    os.waitpid(child, 0)
    out.unlink()
    return seconds, mebibytes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
