"""The pull itself: threads that take the largest missing file, and the attempts that one file goes through."""

import collections
import dataclasses
import threading
import time

from buildchain import errors, store
from buildchain.fetch import _attempts, _certificates, _hosts, _part, _plan, _progress, _transport

_BUSY_WAIT_S = 0.05
"""Another process writes the same file: how long to look away."""

_JOIN_S = 1
"""How long a pull that ends early waits for its threads; one that waits for a server's answer ends with the process."""

_RATE_S = 1
"""Over how long a rate is measured: shorter, and a full buffer somewhere would count as a fast link."""

_HINT_GONE = "Run ./doit.sh lock: what the mirrors no longer have is replaced by what they have."

_Failure = errors.TransportError | errors.IntegrityError


class _StopError(Exception):
    """The pull ends early: Ctrl-C, a full disk or a bug elsewhere."""


@dataclasses.dataclass(slots=True)
class Rate:
    """The most bytes a second that came over at least a second."""

    peak: float = 0
    _bytes: int = 0
    _since: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, count: int) -> None:
        """Bytes came."""
        self._bytes += count
        elapsed_s = time.monotonic() - self._since
        if elapsed_s >= _RATE_S:
            self.peak = max(self.peak, self._bytes / elapsed_s)
            self._bytes, self._since = 0, time.monotonic()


@dataclasses.dataclass(slots=True)
class Received:
    """What came of a run."""

    count: int = 0
    received_bytes: int = 0
    held_bytes: int = 0
    """Bytes of files that another process brought in the meantime."""
    attempts: int = 0
    rate: Rate = dataclasses.field(default_factory=Rate)


def run(work: _plan.Plan, source: store.Store, options: _plan.Options, progress: _progress.Progress) -> Received:
    """Pull every missing file of a plan.

    Raises:
        BuildchainError: see `fetch.pull`.
    """
    pull = _Pull(work, source, options, progress)
    progress.on_start(work.missing, work.remaining_bytes)
    try:
        pull.run()
    finally:
        progress.close()
    return pull.received


class _Pull:
    """One run: the list of work, the threads, the counts."""

    def __init__(
        self, work: _plan.Plan, source: store.Store, options: _plan.Options, progress: _progress.Progress
    ) -> None:
        self.received = Received()
        self._work = work
        self._queue = collections.deque(work.missing)
        self._source = source
        self._options = options
        self._progress = progress
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._clients: list[_transport.Client] = []
        self._failures: list[tuple[_plan.Request, errors.BuildchainError]] = []
        self._fatal: BaseException | None = None
        self._hosts = _hosts.Hosts(options.jobs, self._stop)
        self._silent_hosts: set[str] = set()
        self._put_off_names: set[str] = set()

    def run(self) -> None:
        count = min(self._options.jobs, len(self._queue))
        trusted = _certificates.find_ca_bundle(self._options.ca_bundle)
        self._clients = [_transport.Client(self._options, trusted) for _ in range(count)]
        threads = [threading.Thread(target=self._serve, args=[client], daemon=True) for client in self._clients]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive() and not self._stop.is_set():
                    thread.join(_JOIN_S)
        finally:
            self._halt()
            deadline = time.monotonic() + _JOIN_S
            for thread in threads:
                thread.join(max(deadline - time.monotonic(), 0))
        self._conclude()

    def _halt(self, fatal: BaseException | None = None) -> None:
        self._fatal = self._fatal or fatal
        self._stop.set()
        for client in self._clients:
            client.abort()

    def _conclude(self) -> None:
        if isinstance(self._fatal, errors.StoreError):
            left = _plan.size_text(max(self._work.remaining_bytes - self.received.received_bytes, 0))
            why = f"{self._fatal.why}; {left} are still to be pulled into {self._source.root}"
            raise errors.StoreError(self._fatal.what, why, self._fatal.hint) from self._fatal
        if self._fatal:
            raise self._fatal
        if self._failures:
            raise _joined(self._failures, len(self._work.missing))

    def _serve(self, client: _transport.Client) -> None:
        with client:
            while (request := self._next()) is not None:
                try:
                    self._pull(request, client)
                except _StopError:
                    return
                except errors.StoreError as error:
                    self._halt(error)
                except errors.BuildchainError as error:
                    self._failures.append((request, error))
                except BaseException as error:  # a bug: seen by the caller, not lost with the thread
                    self._halt(error)

    def _next(self) -> _plan.Request | None:
        """The largest missing file of a host that has a turn to give, or else just the largest."""
        with self._lock:
            if not self._queue or self._stop.is_set():
                return None
            hosts: dict[str, bool] = {}
            for position, request in enumerate(self._queue):
                host = _transport.host_of(request.urls[0]) if request.urls else ""
                if host not in hosts:
                    hosts[host] = self._hosts.is_free(host)
                if hosts[host]:
                    del self._queue[position]
                    return request
            return self._queue.popleft()

    def _pull(self, request: _plan.Request, client: _transport.Client) -> None:
        with self._source.partial(request.content.digest) as stream:
            if stream is None:
                self._put_off(request)
            elif self._source.has(request.content):
                stream.truncate(0)
                self._count(request, is_held=True)
            else:
                part = _part.Part(request, stream, self._on_bytes)
                self._from_any(part, client)
                self._source.adopt(self._source.partial_path(request.content.digest), request.content)
                self._count(request, is_held=False)

    def _put_off(self, request: _plan.Request) -> None:
        """Do the others first: another process writes this file."""
        if request.name not in self._put_off_names:
            self._put_off_names.add(request.name)
            self._on_retry(request.name, "another process pulls it; waiting")
        with self._lock:
            self._queue.append(request)
        self._pause(_BUSY_WAIT_S)

    def _from_any(self, part: _part.Part, client: _transport.Client) -> None:
        """Fill a part from the first URL that has its bytes."""
        part.load()
        failures: list[_Failure] = []
        if part.is_good():
            return
        for url in dict.fromkeys(map(self._options.rewrites.apply, part.request.urls)):
            try:
                self._from_one(url, part, client)
                return
            except (errors.TransportError, errors.IntegrityError) as error:
                failures.append(error)
        raise _verdict(part.request, failures)

    def _from_one(self, url: str, part: _part.Part, client: _transport.Client) -> None:
        """Fill a part from one URL, in as many attempts as it takes."""
        host = _transport.host_of(url)
        tries = _attempts.Tries(url, self._options, 1 if host in self._silent_hosts else None)
        while True:
            try:
                self._attempt(url, part, client)
                return
            except _attempts.AttemptError as fault:
                self._check_stop()
                try:
                    wait_s = tries.wait_after(fault, part.size)
                except errors.TransportError:
                    if not fault.has_connected:  # 200 more files need not find it out one by one
                        self._silent_hosts.add(host)
                    raise
                self._on_retry(part.request.name, f"{_transport.shown(url)}: {fault.why}")
                self._pause(wait_s)

    def _attempt(self, url: str, part: _part.Part, client: _transport.Client) -> None:
        host = _transport.host_of(url)
        with self._hosts.turn(host):
            self._check_stop()
            with self._lock:
                self.received.attempts += 1
            started = time.monotonic()
            try:
                with client.open(url, part.size) as response:
                    self._silent_hosts.discard(host)
                    part.begin(url, response)
                    for block in client.blocks(response, part.request.content.size - part.size):
                        part.append(url, block)
                        self._check_stop()
                part.finish(url)
            except _attempts.AttemptError as fault:
                if fault.is_overload:
                    self._hosts.slow_down(host, started, min(fault.wait_s, self._options.longest_wait_s))
                raise
        self._hosts.ease(host)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _StopError

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _StopError

    def _count(self, request: _plan.Request, *, is_held: bool) -> None:
        with self._lock:
            if is_held:
                self.received.held_bytes += request.content.size
            else:
                self.received.count += 1
            self._progress.on_done(request)

    def _on_bytes(self, count: int) -> None:
        with self._lock:
            self.received.received_bytes += max(count, 0)
            self.received.rate.add(max(count, 0))
            self._progress.on_bytes(count)

    def _on_retry(self, name: str, why: str) -> None:
        with self._lock:
            self._progress.on_retry(name, why)


def _verdict(request: _plan.Request, failures: list[_Failure]) -> errors.BuildchainError:
    """One error for a file that no URL gave: wrong bytes weigh more than a fault, a fault more than a missing file."""
    if not failures:
        return errors.BuildchainError(request.name, "has no URL", _HINT_GONE)
    if all(_is_gone(failure) for failure in failures):
        gone = ", ".join(f"{failure.what} ({failure.why})" for failure in failures)
        return errors.BuildchainError(request.name, f"is gone: {gone}", _HINT_GONE)
    worst, *others = sorted(failures, key=lambda each: (not isinstance(each, errors.IntegrityError), _is_gone(each)))
    worst.hint += "".join(f"\nAlso tried: {other.what}: {other.why}" for other in others)
    return worst


def _is_gone(failure: _Failure) -> bool:
    return isinstance(failure, errors.TransportError) and failure.status in (404, 410)


def _joined(failures: list[tuple[_plan.Request, errors.BuildchainError]], total: int) -> errors.BuildchainError:
    """All failures as one error; a single one speaks for itself."""
    if len(failures) == 1:
        return failures[0][1]
    failures.sort(key=lambda failure: failure[0].name)
    lines = [
        f"  {request.name}: {error.why if error.what == request.name else f'{error.what}: {error.why}'}"
        for request, error in failures
    ]
    hints = dict.fromkeys(line for _, error in failures for line in error.hint.splitlines())
    return errors.BuildchainError(
        "pull", "\n".join([f"{len(failures)} of {total} files failed", *lines]), "\n".join(hints)
    )
