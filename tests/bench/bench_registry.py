"""nginx with our configurations against docker-registry, with the same images.

For each server and load: requests or bytes a second, and seconds of CPU that the server took.
"""

import functools
import os
import pathlib
import re
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures

import static_container_registry
from scr_testing import docker_registry, images, nginx, programs
from tests.bench import table

REPOSITORIES = 100
LAYER_SIZE = 64 << 20
PULLS = 16
SECONDS = 5


def rows(_large: bool) -> Iterator[table.Row]:
    """Requests and gigabytes a second, and CPU time."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        top = pathlib.Path(name)
        root = top / "images"
        for number in range(REPOSITORIES):
            images.write_directory(root / f"app{number}" / "v1", images.random_image((number,)))
        big = images.random_image((1000,), size=LAYER_SIZE)
        images.write_directory(root / "big" / "v1", big)
        found = static_container_registry.discover(root)
        static_container_registry.write_tree(found, root, top / "tree")
        classic = static_container_registry.render(found, static_container_registry.Options(str(root)))
        constant = static_container_registry.render_constant(str(top / "tree"))
        with (
            nginx.serve(classic, workers=2) as one,
            nginx.serve(constant, workers=2) as two,
            docker_registry.docker_registry(top, log={"level": "error", "accesslog": {"disabled": True}}) as three,
        ):
            push(root, three.address)
            for title, url, server in (
                ("nginx, classic", one.url, one.pid),
                ("nginx, constant", two.url, two.pid),
                ("docker-registry", f"http://{three.address}", three.pid),
            ):
                yield from measure(title, url, server, f"blobs/sha256:{images.hex_of(big.blobs[1])}")


def measure(title: str, url: str, pid: int, blob: str) -> Iterator[table.Row]:
    """Load one server with manifests of the first and the last repository, and with parallel pulls of one layer."""
    for place in ("app0", f"app{REPOSITORIES - 1}"):
        rate, cpu = with_cpu(pid, functools.partial(requests_per_second, f"{url}/v2/{place}/manifests/v1"))
        yield table.Row(f"{title}: manifest of {place}", rate, "1/s")
        yield table.Row(f"{title}: CPU for 1000 of them", 1e6 * cpu / (rate * SECONDS), "ms")
    seconds, cpu = with_cpu(pid, lambda: pull(f"{url}/v2/big/{blob}"))
    gigabytes = PULLS * LAYER_SIZE / 1e9
    yield table.Row(f"{title}: {PULLS} pulls, 4 at once", gigabytes / seconds, "GB/s")
    yield table.Row(f"{title}: CPU for a gigabyte", 1000 * cpu / gigabytes, "ms")


def requests_per_second(url: str) -> float:
    """What wrk says."""
    # Without it docker-registry converts to a type of old.
    accept = f"Accept: {images.DOCKER_MANIFEST}"
    text = programs.run("wrk", "-t1", "-c16", f"-d{SECONDS}s", "-H", accept, url)
    if "Non-2xx" in text:
        raise SystemExit(f"{url}: {text}")
    match = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    return float(match[1]) if match else 0.0


def pull(url: str) -> float:
    """Seconds to read a layer several times."""
    started = time.monotonic()
    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(read, [url] * PULLS))
    return time.monotonic() - started


def read(url: str) -> None:
    """Read a URL and forget it."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a server of ours
        while answer.read(1 << 20):
            pass


def with_cpu(pid: int, load: Callable[[], float]) -> tuple[float, float]:
    """The result of a load and the CPU seconds of a process and its children meanwhile."""
    before = cpu_seconds(pid)
    result = load()
    return result, cpu_seconds(pid) - before


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children: proc(5), fields 14 and 15 of stat."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ticks = 0
    for each in (pid, *map(int, children)):
        fields = pathlib.Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def push(root: pathlib.Path, address: str) -> None:
    """Put the images that are measured into docker-registry, byte for byte."""
    for name in ("app0", f"app{REPOSITORIES - 1}", "big"):
        copy = ["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--preserve-digests"]
        programs.run(*copy, f"dir:{root}/{name}/v1", f"docker://{address}/{name}:v1")
