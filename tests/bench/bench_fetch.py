"""How fast the downloader is: against curl and wget on loopback, and against a throttled link's own speed.

    python -m tests.bench.bench_fetch [FILES] [BYTES_PER_FILE]

Everything in one run, in turns; the figures are medians. A throttled pull that takes more than 1.15 times as long as
the link needs for the bytes fails the bench.
"""

import multiprocessing
import multiprocessing.connection
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from buildchain import fetch, store
from tests.support import mirror

TURNS = 3
LINK_BYTES_PER_S = 20e6
LINK_LATENCY_S = 0.02
GOAL = 1.15

Requests = list[fetch.Request]


def main(arguments: list[str]) -> int:
    """Print a table; 1 when the goal is missed."""
    count, size = (int(value) for value in (arguments + ["100", "500000"][len(arguments) :]))
    total = count * size
    print(f"{count} files of {size} bytes, medians of {TURNS} runs, on loopback")
    ways: dict[str, Callable[[Requests, pathlib.Path], None]] = {
        "fetch.pull": ours,
        "curl, one by one": curl_each,
        "curl, one process": curl_all,
        "the same, and checked": curl_checked,
        "wget, one process": wget_all,
    }
    seconds = measure(ways, count, size)
    for name, taken in seconds.items():
        print(f"  {name:22} {taken:6.2f} s  {taken / seconds['fetch.pull']:5.2f} x")
    taken = measure({"fetch.pull": ours}, count, size, LINK_BYTES_PER_S, LINK_LATENCY_S)["fetch.pull"]
    floor = total / LINK_BYTES_PER_S
    print(f"link of {LINK_BYTES_PER_S / 1e6:.0f} MB/s, {LINK_LATENCY_S * 1000:.0f} ms: {taken:.2f} s")
    print(f"  floor {floor:.2f} s, ratio {taken / floor:.3f} (goal {GOAL})")
    return int(taken / floor > GOAL)


def measure(
    ways: dict[str, Callable[[Requests, pathlib.Path], None]],
    count: int,
    size: int,
    bytes_per_s: float = 0,
    latency_s: float = 0,
) -> dict[str, float]:
    """Median seconds of each way; the server is a process of its own."""
    ours_end, server_end = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=[server_end, count, size, bytes_per_s, latency_s])
    server.start()
    requests: Requests = ours_end.recv()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(TURNS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                started = time.monotonic()
                way(requests, pathlib.Path(folder))
                seconds[name].append(time.monotonic() - started)
    ours_end.send("enough")
    server.join()
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def serve(
    pipe: "multiprocessing.connection.Connection", count: int, size: int, bytes_per_s: float, latency_s: float
) -> None:
    """Serve files until told that it is enough."""
    with mirror.Mirror(bytes_per_s=bytes_per_s, latency_s=latency_s) as server:
        pipe.send([server.add(f"{number}", number.to_bytes(4, "big") * (size // 4)) for number in range(count)])
        pipe.recv()


def ours(requests: Requests, folder: pathlib.Path) -> None:
    """The downloader: digests checked, on the disk."""
    fetch.pull(requests, store.Store(folder), fetch.Options(), fetch.NullProgress())


def curl_each(requests: Requests, folder: pathlib.Path) -> None:
    """A process for each file."""
    for request in requests:
        subprocess.run(["curl", "-sS", "-o", folder / request.name, *request.urls], check=True)


def curl_all(requests: Requests, folder: pathlib.Path) -> None:
    """One process, one connection."""
    urls = [request.urls[0] for request in requests]
    subprocess.run(["curl", "-sS", "--remote-name-all", *urls], check=True, cwd=folder)


def curl_checked(requests: Requests, folder: pathlib.Path) -> None:
    """One process, one connection; then what a pull does too: digests, and everything on the disk."""
    curl_all(requests, folder)
    sums = "".join(f"{request.content.digest.hex}  {request.name}\n" for request in requests)
    subprocess.run(["sha256sum", "--check", "--quiet"], input=sums.encode(), check=True, cwd=folder)
    subprocess.run(["sync", *(request.name for request in requests)], check=True, cwd=folder)


def wget_all(requests: Requests, folder: pathlib.Path) -> None:
    """One process, one connection."""
    subprocess.run(["wget", "-q", *(request.urls[0] for request in requests)], check=True, cwd=folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
