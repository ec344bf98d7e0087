"""A read-only registry of our own on the loopback: what a Dockerfile stands on comes from the store, by digest.

It serves exactly the contents it is given, for as long as it is open. It does not check what it sends: whoever pulls
by digest does, and must.
"""

import contextlib
import dataclasses
import http.server
import re
import shutil
import threading
import typing
from collections.abc import Iterator, Mapping

from buildchain import digest, errors, store

_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs)/(?P<digest>sha256:[0-9a-f]{64})")


@dataclasses.dataclass(frozen=True, slots=True)
class Shipped:
    """One image: the media type of its manifest, and everything it consists of."""

    media_type: str
    manifest: digest.Descriptor
    blobs: tuple[digest.Descriptor, ...]


class Registry:
    """A running registry: its `host:port`, and what it was asked for (`GET /v2/… 200`)."""

    def __init__(self, address: str, log: list[str]) -> None:
        self.address = address
        self.log = log

    def reference(self, name: str, manifest: digest.Descriptor) -> str:
        """By what name an engine pulls an image of this registry."""
        return f"{self.address}/{name}@{manifest.digest}"


@contextlib.contextmanager
def serve(images: Mapping[str, Shipped], source: store.Store) -> Iterator[Registry]:
    """Serve images by name, on a free port of 127.0.0.1."""
    log: list[str] = []
    server = _Server(_contents(images), source, log)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Registry(f"127.0.0.1:{server.server_port}", log)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_Contents = dict[tuple[str, str, str], tuple[str, digest.Descriptor]]


def _contents(images: Mapping[str, Shipped]) -> _Contents:
    found: _Contents = {}
    for name, image in images.items():
        found[name, "manifests", str(image.manifest.digest)] = (image.media_type, image.manifest)
        for blob in image.blobs:
            found[name, "blobs", str(blob.digest)] = ("application/octet-stream", blob)
    return found


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, contents: _Contents, source: store.Store, log: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contents = contents
        self.source = source
        self.log = log

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news: it says itself what it did not like."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(has_body=False)

    def do_GET(self) -> None:
        """Answer."""
        self._answer(has_body=True)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep the line for whoever wants to know."""
        self.server.log.append(f"{self.command} {self.path} {code}")

    def log_message(self, format: str, *arguments: typing.Any) -> None:
        """Write nothing to the terminal."""

    def _answer(self, *, has_body: bool) -> None:
        if self.path == "/v2/":
            self._head(200, "application/json", 2)
            if has_body:
                self.wfile.write(b"{}")
            return
        found = self._found()
        if found is None:
            self._head(404, "application/json", 0)
            return
        media_type, content = found
        try:
            stream = self.server.source.open(content.digest)
        except errors.BuildchainError:
            self._head(500, "application/json", 0)
            return
        with stream:
            self._head(200, media_type, content.size, str(content.digest))
            if has_body:
                shutil.copyfileobj(stream, self.wfile, digest.BLOCK_SIZE)

    def _found(self) -> tuple[str, digest.Descriptor] | None:
        match = _PATH.fullmatch(self.path)
        return self.server.contents.get((match["name"], match["kind"], match["digest"])) if match else None

    def _head(self, status: int, media_type: str, size: int, content: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(size))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if content:
            self.send_header("Docker-Content-Digest", content)
        self.end_headers()
