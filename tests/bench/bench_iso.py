"""How an image is written: against `cat`, one SHA-256 stream and the classic tools, over the same bytes.

Every way ends with its bytes on the disk. The large run has 100,000 small files and 20 GB of zeros, which are holes in
the store and in the image: it needs no more disk than the small one.
"""

import contextlib
import hashlib
import os
import pathlib
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

from buildchain import digest, iso, store, tree
from tests.bench import table

TURNS = 5
BIG_FILES = 10
BIG_SIZE = 100_000_000


def rows(large: bool) -> Iterator[table.Row]:
    """Seconds, MiB and KB."""
    with tempfile.TemporaryDirectory(dir=pathlib.Path.cwd(), prefix=".bench-") as folder:
        here = pathlib.Path(folder)
        yield from _big_files(here)
        yield from _small_files(here, 100_000 if large else 10_000)
        if large:
            yield from _huge_file(here)


def _big_files(here: pathlib.Path) -> Iterator[table.Row]:
    source = store.Store(here / "store")
    staged = here / "staged"
    staged.mkdir()
    contents = tree.build(_random_file(source, number) for number in range(BIG_FILES))
    paths = [source.path(file.content.digest) for file in contents.files()]
    for file in contents.files():
        source.link(file, staged / file.path)
    out = here / "out"
    ways: dict[str, Callable[[], object]] = {
        "SHA-256 stream": lambda: _hash(paths),
        "cat": lambda: _cat(paths, out),
        "ours, with digest": lambda: _write(contents, source, out),
        "genisoimage, without digest": lambda: _run("genisoimage", "-quiet", "-R", "-J", "-o", out, staged),
        "xorriso, without digest": lambda: _run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-o", out, staged),
    }
    seconds = table.measure(ways, TURNS, lambda: _clean(out))
    out.unlink()
    _, mebibytes = _write_apart(contents, source, out)
    yield table.Row("1 GB: peak memory", mebibytes, "MiB", goal=128)
    limit = max(seconds["cat"], seconds["SHA-256 stream"])
    for name, taken in seconds.items():
        goal = 1.15 if name.startswith("ours") else None
        yield table.Row(
            f"1 GB in {BIG_FILES} files: {name}", taken, "s", taken / limit, "slower of cat and SHA-256", goal
        )


def _small_files(here: pathlib.Path, count: int) -> Iterator[table.Row]:
    source = store.Store(here / "small")
    figures = []
    for part in (count // 10, count):
        with table.not_synced():
            contents = tree.build(
                tree.File(f"{number // 100}/file-{number:06}.txt", source.add_bytes(b"%d\n" % number * 60))
                for number in range(part)
            )
        figures.append(_write_apart(contents, source, here / "out"))
    (few_s, few_mib), (many_s, many_mib) = figures
    yield table.Row(f"{count // 10} small files", few_s, "s")
    yield table.Row(f"{count} small files", many_s, "s", many_s / few_s, f"{count // 10} files")
    yield table.Row(f"{count} small files: peak memory", many_mib, "MiB")
    kilobytes = (many_mib - few_mib) * 1024 * 1.024 / (count - count // 10)
    yield table.Row("memory for each file", kilobytes, "KB", goal=5)


def _huge_file(here: pathlib.Path) -> Iterator[table.Row]:
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
    yield table.Row("20 GB of zeros", seconds, "s")
    yield table.Row("20 GB of zeros: peak memory", mebibytes, "MiB", goal=128)


def _random_file(source: store.Store, number: int) -> tree.File:
    return tree.File(f"blob-{number}", source.add_bytes(os.urandom(BIG_SIZE)))


def _clean(out: pathlib.Path) -> None:
    out.unlink(missing_ok=True)
    os.sync()


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
