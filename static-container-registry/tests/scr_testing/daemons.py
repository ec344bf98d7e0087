"""Run a daemon for the length of a test, and stop it at the end."""

import contextlib
import os
import pathlib
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

_FIRST_PORT, _PART, _PARTS = 10_000, 2_800, 8
SECONDS = 30
"""How long a daemon may take to answer, on a busy machine, and to end."""


@contextlib.contextmanager
def running(argv: Sequence[str], log: pathlib.Path, answers: Callable[[], object]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a daemon and wait until it answers.

    Arguments:
        log:     gets what it writes; an AssertionError quotes it when the daemon ends, or never answers.
        answers: asks it something; raises OSError or AssertionError as long as it does not answer.
    """
    with log.open("wb") as stream, subprocess.Popen(argv, stdout=stream, stderr=stream) as process:
        try:
            _wait(process, log, answers)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _wait(process: subprocess.Popen[bytes], log: pathlib.Path, answers: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError, AssertionError):
            answers()
            return
        time.sleep(0.05)
    what = "does not answer" if process.poll() is None else f"ended with {process.returncode}"
    raise AssertionError(f"{process.args!r} {what}: {log.read_text(errors='replace')}")


def listens(port: int) -> Callable[[], None]:
    """Whether something listens on a port of the loopback."""
    return lambda: socket.create_connection(("127.0.0.1", port), 1).close()


def free_port() -> int:
    """A port of the loopback that nothing listens on at the moment.

    Between asking and listening nobody else gets it: the kernel gives no port of this range to a connection
    (ip_local_port_range), no other worker of pytest-xdist has the same part of it, and it is chosen by chance.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PARTS
    first = _FIRST_PORT + worker * _PART
    while True:
        port = first + secrets.randbelow(_PART)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
