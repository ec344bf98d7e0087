"""Images that share layers, from one docker-registry: our puller against `skopeo copy`, one by one and four at once.

For each: wall time, CPU of the client, peak memory of its largest process, bytes that came; then our distance from the
floor of a throttled link.
"""

import dataclasses
import functools
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from buildchain import fetch, lock, registry_client, store
from scr_testing import docker_registry
from tests.bench import table
from tests.support import images, registries

IMAGES = 9
SHARED = 3
"""Layers of each image that are in others as well: as many images have the same base."""
LAYER_BYTES = 8 << 20
NAMES = [f"app{number}" for number in range(IMAGES)]
TURNS = 3
LINK_BYTES_PER_S = 40e6
LINK_LATENCY_S = 0.02

# Resolves and pulls; what is measured is a whole process, as for skopeo.
_OURS = """
import concurrent.futures, dataclasses, json, pathlib, sys
from buildchain import fetch, lock, registry_client, store
address, names, folder = json.load(sys.stdin)
sites = registry_client.Sites({address: registry_client.Site(is_plain=True)})
held = store.Store(pathlib.Path(folder))
options = fetch.Options(jobs=4)
access = registry_client.access(sites, [f"{address}/x"], [], options)
options = dataclasses.replace(options, access=access)
client = registry_client.Client(sites, options)
wanted = [lock.ImageRequest(name, f"{address}/{name}", "1", ("linux/amd64",)) for name in names]
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    locked = list(pool.map(lambda each: registry_client.resolve(each, "", client, held), wanted))
requests = [request for each in locked for request in registry_client.requests(each, sites)]
print(fetch.pull(requests, held, options, fetch.NullProgress()))
"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a way took."""

    seconds: float
    cpu: float
    peak_mb: float
    bytes: int


def rows(_large: bool) -> Iterator[table.Row]:
    """Costs of each way, and their ratio to ours."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        top = pathlib.Path(name)
        with docker_registry.docker_registry(top) as server:
            address = server.address
            _stock(address, top)
            ways: dict[str, Callable[[pathlib.Path], object]] = {
                "ours": functools.partial(_ours, address),
                "skopeo, one by one": functools.partial(_skopeo, address, 1),
                "skopeo, four at once": functools.partial(_skopeo, address, 4),
            }
            costs = {name: _median([_cost(way, top / "target") for _ in range(TURNS)]) for name, way in ways.items()}
    ours = costs["ours"]
    for title, cost in costs.items():
        yield table.Row(f"{IMAGES} images, {title}: wall", cost.seconds, "s", cost.seconds / ours.seconds, "ours")
        yield table.Row(f"{IMAGES} images, {title}: CPU", cost.cpu, "s", cost.cpu / ours.cpu, "ours")
        yield table.Row(f"{IMAGES} images, {title}: bytes", cost.bytes / 1e6, "MB", cost.bytes / ours.bytes, "ours")
        yield table.Row(f"{IMAGES} images, {title}: peak memory", cost.peak_mb, "MB")
    pulled = _throttled()
    ratio = pulled.seconds * LINK_BYTES_PER_S / pulled.received_bytes
    link = f"{LINK_BYTES_PER_S / 1e6:.0f} MB/s, {LINK_LATENCY_S * 1000:.0f} ms"
    yield table.Row(f"over a link of {link}", pulled.seconds, "s", ratio, "the link's time", 1.15)


def _images() -> Iterator[tuple[str, images.Image]]:
    for number, name in enumerate(NAMES):
        base = [number // 3 * 10 + each for each in range(SHARED)]
        yield name, images.random_image([*base, 100 + number], size=LAYER_BYTES)


def _stock(address: str, top: pathlib.Path) -> None:
    for name, image in _images():
        registries.Real(address, top, top).push(name, "1", image)


def _cost(way: Callable[[pathlib.Path], object], target: pathlib.Path) -> Cost:
    """Run a way in a child of its own, so that the kernel counts what it and its children take."""
    target.mkdir()
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        way(target)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.write(writer, json.dumps(used.ru_maxrss).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        peak = json.loads(stream.read())
    os.waitpid(child, 0)
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    shutil.rmtree(target)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, cpu, peak / 1000, size)


def _median(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]


def _ours(address: str, target: pathlib.Path) -> None:
    subprocess.run(
        [sys.executable, "-c", _OURS],
        input=json.dumps([address, NAMES, str(target)]),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _skopeo(address: str, at_once: int, target: pathlib.Path) -> None:
    """The recipe that MetalK8s 2.5.1 has: a `dir:` folder for each image."""
    copy = "skopeo copy --insecure-policy --src-tls-verify=false docker://{0}/{{}}:1 dir:{1}/{{}}"
    command = copy.format(address, target)
    argv = ["xargs", "-P", str(at_once), "-I{}", *command.split()]
    subprocess.run(argv, input="\n".join(NAMES), text=True, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["sync", "--file-system", target], check=True)  # as ours is at its end


def _throttled() -> fetch.Pulled:
    """Pull over the fake's slow link, which all connections share; the fake is a process of its own."""
    ours_end, server_end = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=[server_end])
    server.start()
    address = ours_end.recv()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            return _pull(address, store.Store(pathlib.Path(name)))
    finally:
        ours_end.send("enough")
        server.join()


def _serve(pipe: "multiprocessing.connection.Connection") -> None:
    with registries.Registry(bytes_per_s=LINK_BYTES_PER_S, latency_s=LINK_LATENCY_S) as server:
        for app, image in _images():
            server.push(app, "1", image)
        pipe.send(server.host)
        pipe.recv()


def _pull(address: str, held: store.Store) -> fetch.Pulled:
    sites = registry_client.Sites({address: registry_client.Site(is_plain=True)})
    access = registry_client.access(sites, [f"{address}/x"], [], fetch.Options())
    options = fetch.Options(access=access)
    client = registry_client.Client(sites, options)
    wanted = [lock.ImageRequest(app, f"{address}/{app}", "1", ("linux/amd64",)) for app in NAMES]
    locked = [registry_client.resolve(each, "", client, held) for each in wanted]
    requests = [request for image in locked for request in registry_client.requests(image, sites)]
    return fetch.pull(requests, held, options, fetch.NullProgress())
