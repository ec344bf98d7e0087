"""A small HTTP proxy on loopback: GET for http, CONNECT for https; it alone knows where its hosts are.

with proxies.Proxy({"registry.invalid:443": "localhost:5000"}, "me:secret") as proxy:
    ... proxy.url ... proxy.log ...
"""

import base64
import contextlib
import http.client
import http.server
import select
import socket
import threading
import typing
import urllib.parse
from collections.abc import Mapping

_BLOCK = 64 * 1024


class Proxy:
    """The proxy; `log` has method and target of every question that was let through.

    Arguments:
        hosts: where each `HOST:PORT` is really.
        user:  `NAME:PASSWORD`, or empty if everybody may ask.
    """

    def __init__(self, hosts: Mapping[str, str], user: str = "") -> None:
        self.hosts = hosts
        self.secret = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
        self.log: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.address = f"localhost:{self._server.server_port}"
        self.url = f"http://{user}@{self.address}" if user else f"http://{self.address}"

    def __enter__(self) -> typing.Self:
        threading.Thread(target=self._server.serve_forever, args=[0.01], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""

    def do_CONNECT(self) -> None:
        if self._is_refused(self.path):
            return
        host, _, port = self.server.proxy.hosts[self.path].partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            _join(self.connection, there)
        self.close_connection = True

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        if self._is_refused(f"{parts.hostname}:{parts.port or 80}"):
            return
        asked = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        there = http.client.HTTPConnection(self.server.proxy.hosts[f"{parts.hostname}:{parts.port or 80}"])
        with contextlib.closing(there):
            there.request(
                "GET", urllib.parse.urlunsplit(("", "", *parts[2:])), headers={**asked, "Connection": "close"}
            )
            answer = there.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.read())
        self.close_connection = True

    def _is_refused(self, host: str) -> bool:
        proxy = self.server.proxy
        if proxy.secret and self.headers.get("Proxy-Authorization") != proxy.secret:
            self.send_error(407)
        elif host not in proxy.hosts:
            self.send_error(502)
        else:
            proxy.log.append(f"{self.command} {self.path}")
            return False
        return True


def _join(here: socket.socket, there: socket.socket) -> None:
    """Carry bytes both ways until one of them hangs up."""
    while True:
        for source in select.select([here, there], [], [])[0]:
            block = source.recv(_BLOCK)
            if not block:
                return
            (there if source is here else here).sendall(block)
