"""A web server on loopback that serves files, keeps a log of what was asked, and lies when told to.

    with mirror.Mirror() as server:
        request = server.add("a.deb", b"...", mirror.cut(100), mirror.status(503))

The first request for `a.deb` is cut after 100 bytes, the second gets a 503, every later one the truth.
"""

import collections
import contextlib
import dataclasses
import email.utils
import hashlib
import http.server
import re
import ssl
import threading
import time
import types
import typing
from collections.abc import Callable, Iterator

import pytest

from buildchain import digest, fetch

BLOCK = 16 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Synthetic:
    """A large body made while it is sent: never in memory."""

    size: int

    def __len__(self) -> int:
        return self.size

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`."""
        pattern = bytes(range(256)) * (2 * 64)
        for at in range(start, end, 256 * 64):
            yield pattern[at % 256 :][: min(256 * 64, end - at)]

    def descriptor(self) -> digest.Descriptor:
        """Digest and size."""
        hasher = hashlib.sha256()
        for block in self.blocks(0, self.size):
            hasher.update(block)
        return digest.Descriptor(digest.Digest(hasher.hexdigest()), self.size)


@dataclasses.dataclass(slots=True)
class Asked:
    """One line of the log."""

    path: str
    offset: int
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class Answer:
    """One request under way, for a lie to answer."""

    def __init__(self, handler: "_Handler", mirror: "Mirror", content: bytes | Synthetic, asked: Asked) -> None:
        self.mirror = mirror
        self.content = content
        self.asked = asked
        self._handler = handler

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send status and headers."""
        self.asked.status = status
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def empty(self, status: int, headers: dict[str, str]) -> None:
        """Send an answer without a body."""
        self.head(status, {"Content-Length": "0", **headers})

    def honest_head(self) -> None:
        """The head of what was asked for."""
        size = len(self.content)
        headers = {"Content-Length": str(size - self.asked.offset)}
        if self.asked.path in self.mirror.types:
            headers["Content-Type"] = self.mirror.types[self.asked.path]
        if self.asked.offset:
            headers["Content-Range"] = f"bytes {self.asked.offset}-{size - 1}/{size}"
        self.head(206 if self.asked.offset else 200, headers)

    def body(self, start: int, end: int, change: Callable[[bytes], bytes] = bytes) -> None:
        """Send bytes of the content."""
        blocks = (
            self.content.blocks(start, end)
            if isinstance(self.content, Synthetic)
            else (self.content[at : min(at + BLOCK, end)] for at in range(start, end, BLOCK))
        )
        for block in blocks:
            self.send(change(block))

    def send(self, block: bytes) -> None:
        """Send bytes, as fast as the link allows."""
        self.mirror.wait_for_link(len(block))
        self.asked.sent += len(block)  # before: whoever has the last byte may ask how many were sent
        self._handler.wfile.write(block)

    def hang_up(self) -> None:
        """Close the connection after this answer."""
        self._handler.close_connection = True


Lie = Callable[[Answer], None]

_SETTINGS = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
)


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask as on a host with a plain network: no proxy, no certificates but those of the system."""
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Mirror:
    """The server; `log` lists the requests in the order of their arrival."""

    def __init__(self, context: ssl.SSLContext | None = None, bytes_per_s: float = 0, latency_s: float = 0) -> None:
        self.log: list[Asked] = []
        self.types: dict[str, str] = {}
        """Media types by path, for the files that have one."""
        self._files: dict[str, bytes | Synthetic] = {}
        self._lies: dict[str, collections.deque[Lie]] = {}
        self._bytes_per_s = bytes_per_s
        self._latency_s = latency_s
        self._link_is_free_at = 0.0
        self._link = threading.Lock()
        self.is_closed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.mirror = self
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://localhost:{self._server.server_port}"

    def __enter__(self) -> typing.Self:
        # It notices its end within a millisecond: hundreds of tests wait for that.
        threading.Thread(target=self._server.serve_forever, args=[0.001], daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: types.TracebackType | None
    ) -> None:
        self.is_closed.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, content: bytes | Synthetic, *lies: Lie) -> fetch.Request:
        """Serve a file, each of the first requests with a lie; returns how to ask for it."""
        self._files[f"/{name}"] = content
        self._lies[f"/{name}"] = collections.deque(lies)
        known = content.descriptor() if isinstance(content, Synthetic) else digest.Descriptor.of_bytes(content)
        return fetch.Request(name, known, (f"{self.url}/{name}",))

    def lie(self, path: str, *lies: Lie) -> None:
        """Answer the next requests for a path with lies."""
        self._lies[path] = collections.deque(lies)
        self._files.setdefault(path, b"")

    def asked(self, name: str) -> list[Asked]:
        """The log of one file."""
        return [asked for asked in self.log if asked.path == f"/{name}"]

    def sent(self, name: str) -> int:
        """Bytes sent of one file."""
        return sum(asked.sent for asked in self.asked(name))

    def answer(self, handler: "_Handler") -> None:
        """Answer one request."""
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        asked = Asked(handler.path, int(found[1]) if found else 0, dict(handler.headers.items()))
        self.log.append(asked)
        time.sleep(self._latency_s)
        answer = Answer(handler, self, self._files.get(handler.path, b""), asked)
        lies = self._lies.get(handler.path)
        if handler.path not in self._files:
            answer.empty(404, {})
        elif lies:
            lies.popleft()(answer)
        elif asked.offset and asked.offset >= len(answer.content):
            answer.empty(416, {"Content-Range": f"bytes */{len(answer.content)}"})
        else:
            answer.honest_head()
            answer.body(asked.offset, len(answer.content))

    def wait_for_link(self, count: int) -> None:
        """Take so many bytes of the link that all connections share."""
        if not self._bytes_per_s:
            return
        with self._link:
            self._link_is_free_at = max(self._link_is_free_at, time.monotonic()) + count / self._bytes_per_s
            wait_s = self._link_is_free_at - time.monotonic()
        if wait_s > 0.005:
            time.sleep(wait_s)


def cut(after: int) -> Lie:
    """The connection ends in mid-body."""

    def lie(answer: Answer) -> None:
        answer.honest_head()
        answer.body(answer.asked.offset, min(answer.asked.offset + after, len(answer.content)))
        answer.hang_up()

    return lie


def wrong_bytes(answer: Answer) -> None:
    """The right length, other bytes."""
    answer.honest_head()
    answer.body(answer.asked.offset, len(answer.content), lambda block: bytes(byte ^ 1 for byte in block))


def other_length(length: int) -> Lie:
    """A whole body of another length, which the head tells."""

    def lie(answer: Answer) -> None:
        answer.head(200, {"Content-Length": str(length)})
        answer.body(0, min(length, len(answer.content)))
        for at in range(len(answer.content), length, BLOCK):
            answer.send(b"x" * min(BLOCK, length - at))

    return lie


def endless(answer: Answer) -> None:
    """A body without a length and without an end."""
    answer.head(200, {"Connection": "close"})
    answer.hang_up()
    while not answer.mirror.is_closed.is_set():
        answer.send(b"x" * BLOCK)


def unsaid_end(after: int) -> Lie:
    """A body without a length that ends too early: the connection closes in good order."""

    def lie(answer: Answer) -> None:
        answer.head(200, {"Connection": "close"})
        answer.body(0, after)
        answer.hang_up()

    return lie


def chunked(answer: Answer) -> None:
    """The truth, in chunks: a body whose length no head tells."""
    answer.head(200, {"Transfer-Encoding": "chunked"})
    assert isinstance(answer.content, bytes)
    for at in range(0, len(answer.content), 1000):
        block = answer.content[at : at + 1000]
        answer.send(b"%x\r\n%s\r\n" % (len(block), block))
    answer.send(b"0\r\n\r\n")


def stall(after: int) -> Lie:
    """Some bytes, then silence on an open connection."""

    def lie(answer: Answer) -> None:
        answer.honest_head()
        answer.body(answer.asked.offset, answer.asked.offset + after)
        answer.mirror.is_closed.wait(60)
        answer.hang_up()

    return lie


def silence(answer: Answer) -> None:
    """Not even a head."""
    answer.mirror.is_closed.wait(60)
    answer.hang_up()


def drip(interval_s: float) -> Lie:
    """A byte now and then: never silent for long, never done."""

    def lie(answer: Answer) -> None:
        answer.honest_head()
        for at in range(answer.asked.offset, len(answer.content)):
            answer.body(at, at + 1)
            if answer.mirror.is_closed.wait(interval_s):
                return

    return lie


def wrong_range(shift: int = 0, total: int | None = None) -> Lie:
    """A 206 with another part, or of another file, than was asked for."""

    def lie(answer: Answer) -> None:
        start, size = max(answer.asked.offset + shift, 0), len(answer.content)
        content_range = f"bytes {start}-{size - 1}/{total or size}"
        answer.head(206, {"Content-Range": content_range, "Content-Length": str(size - start)})
        answer.body(start, size)

    return lie


def ignored_range(answer: Answer) -> None:
    """The whole file, whatever part was asked for."""
    answer.head(200, {"Content-Length": str(len(answer.content))})
    answer.body(0, len(answer.content))


def status(code: int, retry_after: str | None = None) -> Lie:
    """A status and no body."""

    def lie(answer: Answer) -> None:
        answer.empty(code, {"Retry-After": retry_after} if retry_after else {})

    return lie


def retry_at(seconds_from_now: float) -> Lie:
    """A 503 whose Retry-After is a date."""

    def lie(answer: Answer) -> None:
        date = email.utils.formatdate(time.time() + seconds_from_now, usegmt=True)
        answer.empty(503, {"Retry-After": date})

    return lie


def redirect(location: str, code: int = 302) -> Lie:
    """Another address."""

    def lie(answer: Answer) -> None:
        answer.empty(code, {"Location": location})

    return lie


def endless_redirect(answer: Answer) -> None:
    """Another address, and a body without an end."""
    answer.head(302, {"Location": "/file", "Connection": "close"})
    answer.hang_up()
    while not answer.mirror.is_closed.is_set():
        answer.send(b"x" * BLOCK)


def raw(content: bytes) -> Lie:
    """Any bytes in the place of an answer."""

    def lie(answer: Answer) -> None:
        answer.hang_up()
        answer.send(content)

    return lie


class _Server(http.server.ThreadingHTTPServer):
    mirror: Mirror
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        with contextlib.suppress(ConnectionError):
            self.server.mirror.answer(self)
            return
        self.close_connection = True

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """The log is a list."""
