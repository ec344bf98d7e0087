"""A real nginx for the length of a test: a private folder, a free port of the loopback, stopped at the end."""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

from scr_testing import daemons

_MAIN = """\
{user}
daemon off;
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/error.log notice;
events {{ worker_connections 1024; }}
http {{
    access_log {access_log};
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    {http}
    server {{
        listen 127.0.0.1:{port}{tls};
        include {directory}/server.d/*.inc;
    }}
}}
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """A running nginx and where to find what it has to say."""

    directory: pathlib.Path
    port: int
    pid: int
    scheme: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    def log(self) -> str:
        return (self.directory / "error.log").read_text(errors="replace")


@contextlib.contextmanager
def serve(
    *includes: str,
    http: str = "",
    tls: tuple[pathlib.Path, pathlib.Path] | None = None,
    workers: int = 1,
    has_access_log: bool = False,
    program: str = "nginx",
) -> Iterator[Server]:
    """Start nginx with these texts inside its server block, in this order.

    Arguments:
        http: text for the http block.
        tls:  certificate and key; then the server speaks HTTPS only.
    """
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        directory = pathlib.Path(name)
        port = daemons.free_port()
        text = _MAIN.format(
            user="user root;" if os.geteuid() == 0 else "",
            directory=directory,
            http=http,
            access_log=directory / "access.log" if has_access_log else "off",
            workers=workers,
            port=port,
            tls=f" ssl; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}" if tls else "",
        )
        _write(directory, text, includes)
        argv = _argv(program, directory)
        with daemons.running(argv, directory / "output", daemons.listens(port)) as process:
            yield Server(directory, port, process.pid, "https" if tls else "http")


def check(*includes: str, http: str = "", program: str = "nginx") -> None:
    """Have nginx judge a configuration without starting; an AssertionError with its words when it refuses."""
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        directory = pathlib.Path(name)
        text = _MAIN.format(user="", directory=directory, http=http, access_log="off", workers=1, port=1, tls="")
        _write(directory, text, includes)
        done = subprocess.run([*_argv(program, directory), "-t"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def _argv(program: str, directory: pathlib.Path) -> list[str]:
    return [program, "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "nginx.conf")]


def _write(directory: pathlib.Path, text: str, includes: Sequence[str]) -> None:
    (directory / "nginx.conf").write_text(text)
    (directory / "server.d").mkdir()
    for number, include in enumerate(includes):
        (directory / "server.d" / f"{number:02}.inc").write_text(include)
