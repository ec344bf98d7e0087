"""How fast the downloader is: against curl and wget on loopback, and against a throttled link's own speed."""

import functools
import multiprocessing
import multiprocessing.connection
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from buildchain import fetch, store
from tests.bench import table
from tests.support import mirror

TURNS = 3
FILES = 100
SIZE = 500_000
LINK_BYTES_PER_S = 20e6
LINK_LATENCY_S = 0.02

Requests = list[fetch.Request]


def rows(_large: bool) -> Iterator[table.Row]:
    """Seconds for the same files."""
    ways: dict[str, Callable[[Requests, pathlib.Path], None]] = {
        "fetch.pull": ours,
        "curl, one by one": curl_each,
        "curl, one process": curl_all,
        "the same, and checked": curl_checked,
        "wget, one process": wget_all,
    }
    seconds = measure(ways)
    for name, taken in seconds.items():
        yield table.Row(
            f"{FILES} files of {SIZE} bytes: {name}", taken, "s", taken / seconds["fetch.pull"], "fetch.pull"
        )
    taken = measure({"fetch.pull": ours}, LINK_BYTES_PER_S, LINK_LATENCY_S)["fetch.pull"]
    link = f"{LINK_BYTES_PER_S / 1e6:.0f} MB/s, {LINK_LATENCY_S * 1000:.0f} ms"
    ratio = taken * LINK_BYTES_PER_S / FILES / SIZE
    yield table.Row(f"over a link of {link}", taken, "s", ratio, "the link's time", 1.15)


def measure(
    ways: dict[str, Callable[[Requests, pathlib.Path], None]], bytes_per_s: float = 0, latency_s: float = 0
) -> dict[str, float]:
    """Median seconds of each way; the server is a process of its own."""
    ours_end, server_end = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=[server_end, bytes_per_s, latency_s])
    server.start()
    requests: Requests = ours_end.recv()
    seconds = table.measure({name: functools.partial(_in_folder, way, requests) for name, way in ways.items()}, TURNS)
    ours_end.send("enough")
    server.join()
    return seconds


def _in_folder(way: Callable[[Requests, pathlib.Path], None], requests: Requests) -> None:
    with tempfile.TemporaryDirectory() as folder:
        way(requests, pathlib.Path(folder))


def serve(pipe: "multiprocessing.connection.Connection", bytes_per_s: float, latency_s: float) -> None:
    """Serve files until told that it is enough."""
    with mirror.Mirror(bytes_per_s=bytes_per_s, latency_s=latency_s) as server:
        pipe.send([server.add(f"{number}", number.to_bytes(4, "big") * (SIZE // 4)) for number in range(FILES)])
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
