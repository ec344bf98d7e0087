"""What grows with the number of images: time to read and write, size of the text, start, reload and memory of nginx.

PYTHONPATH=.:tests python tests/bench_generator.py [IMAGES]
"""

import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator

import static_container_registry
from scr_testing import images, nginx
from static_container_registry import discovery

COUNT = 10_000
PATTERNS = ("repo{}/v1", "repo/v{}")


def main(count: int) -> None:
    """Print a table for many repositories and one for many tags."""
    for pattern in PATTERNS:
        print(f"{count} images as {pattern}")
        for what, figure in measure(count, pattern).items():
            print(f"  {what:32} {figure:8.2f}")


def measure(count: int, pattern: str) -> dict[str, float]:
    """Figures by what they are, with the unit at the end."""
    files = dict(made(count, pattern))
    sizes = {path: len(content) for path, content in files.items()}
    started = time.monotonic()
    found = discovery.read(sizes, files.__getitem__)
    text = static_container_registry.render(found, static_container_registry.Options("/srv"))
    figures = {"read and written, s": time.monotonic() - started, "configuration, MB": len(text) / 1e6}
    started = time.monotonic()
    with nginx.serve(text) as server:
        figures["nginx starts, s"] = time.monotonic() - started
        figures["nginx, MB resident"] = resident(server.pid)
        figures["nginx reloads, s"] = reloaded(server)
    return figures


def made(count: int, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Images of a configuration, a layer that all share, and one of their own."""
    for number in range(count):
        blobs = (json.dumps({"number": number}).encode(), b"base", b"layer %d" % number)
        rows = [images.descriptor(blob, "application/octet-stream") for blob in blobs]
        document = {"schemaVersion": 2, "mediaType": images.DOCKER_MANIFEST, "config": rows[0], "layers": rows[1:]}
        image = images.Image(json.dumps(document).encode(), images.DOCKER_MANIFEST, blobs)
        for name, content in images.files_of(image).items():
            yield f"{pattern.format(number)}/{name}", content


def resident(pid: int) -> int:
    """Resident memory of a process in megabytes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) // 1000


def reloaded(server: nginx.Server) -> float:
    """Seconds until the old worker has ended."""
    started = time.monotonic()
    os.kill(server.pid, signal.SIGHUP)
    while "signal 17" not in server.log():
        time.sleep(0.02)
    return time.monotonic() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
