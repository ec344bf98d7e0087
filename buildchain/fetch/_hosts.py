"""How many questions a host is asked at once: fewer when it says, or shows, that it is too much."""

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

_LOOK_S = 0.1
"""How often a thread that waits for its turn looks whether the pull has ended."""


@dataclasses.dataclass(slots=True)
class _Host:
    limit: int
    active: int = 0
    eased: int = 0
    """Files that came well since the limit changed."""
    cut_at: float = 0
    resume_at: float = 0


class Hosts:
    """Turns for hosts. A limit is halved by an overload and grows by one for as many good files as it is high.

    Arguments:
        jobs: the limit to begin with, and the highest.
        stop: set when the pull ends early; nobody waits any longer then.
    """

    def __init__(self, jobs: int, stop: threading.Event) -> None:
        self._jobs = jobs
        self._stop = stop
        self._turn = threading.Condition()
        self._hosts: dict[str, _Host] = collections.defaultdict(lambda: _Host(jobs))

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait for a turn with a host, and hold it."""
        with self._turn:
            host = self._hosts[name]
            while not self._stop.is_set() and not _is_free(host):
                self._turn.wait(_LOOK_S)
            host.active += 1
        try:
            yield
        finally:
            with self._turn:
                host.active -= 1
                self._turn.notify_all()

    def is_free(self, name: str) -> bool:
        """Whether a question would be asked now."""
        with self._turn:
            return _is_free(self._hosts[name])

    def limit(self, name: str) -> int:
        """How many questions at once a host is asked."""
        with self._turn:
            return self._hosts[name].limit

    def slow_down(self, name: str, since: float, wait_s: float) -> None:
        """A question asked at `since` was too much: all wait as long as the host wishes, and fewer ask.

        What was asked before the last cut says nothing about the limit after it.
        """
        now = time.monotonic()
        with self._turn:
            host = self._hosts[name]
            host.resume_at = max(host.resume_at, now + wait_s)
            if since >= host.cut_at:
                host.limit, host.eased, host.cut_at = max(host.limit // 2, 1), 0, now

    def ease(self, name: str) -> None:
        """A file came well."""
        with self._turn:
            host = self._hosts[name]
            host.eased += 1
            if host.limit < self._jobs and host.eased >= host.limit:
                host.limit, host.eased = host.limit + 1, 0
                self._turn.notify_all()


def _is_free(host: _Host) -> bool:
    return host.active < host.limit and time.monotonic() >= host.resume_at
