"""An upstream package archive on loopback, made of small real packages: what apt asks, as a mirror answers it.

with archive.Archive(directory, key) as upstream:
    upstream.add("main", archive.Deb("hello", depends="libc6 (>= 2)"))
    upstream.publish("bookworm", "main")
    ... upstream.url ...
"""

import collections
import dataclasses
import functools
import hashlib
import http.server
import io
import lzma
import pathlib
import tarfile
import threading
import time
import typing

from tests.support import openpgp

DATE = 1_700_000_000


@dataclasses.dataclass(frozen=True)
class Deb:
    """A package; `extra` are more lines of its control file."""

    name: str
    version: str = "1.0-1"
    architecture: str = "amd64"
    depends: str = ""
    provides: str = ""
    conflicts: str = ""
    source: str = ""
    extra: str = ""
    filename: str = ""
    """Below the archive; by default where Debian would have it."""

    @property
    def path(self) -> str:
        version = self.version.split(":", 1)[-1]
        return self.filename or f"pool/main/{self.name[0]}/{self.name}/{self.name}_{version}_{self.architecture}.deb"

    @property
    def control(self) -> str:
        fields = {
            "Package": self.name, "Version": self.version, "Architecture": self.architecture,
            "Maintainer": "Tester <t@example.test>", "Source": self.source, "Depends": self.depends,
            "Provides": self.provides, "Conflicts": self.conflicts, "Description": f"package {self.name} of a test",
        }  # fmt: skip
        return "".join(f"{key}: {value}\n" for key, value in fields.items() if value) + self.extra

    def content(self) -> bytes:
        """The .deb file (deb(5)), in pure Python."""
        data = _tar({f"./usr/share/doc/{self.name}/copyright": b"none\n"})
        members = {"debian-binary": b"2.0\n", "control.tar.xz": _tar({"./control": self.control.encode()}),
                   "data.tar.xz": data}  # fmt: skip
        return b"!<arch>\n" + b"".join(_member(name, content) for name, content in members.items())


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return lzma.compress(buffer.getvalue(), preset=0)


def _member(name: str, content: bytes) -> bytes:
    head = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
    return head + content + b"\n" * (len(content) % 2)


class Archive:
    """An archive of several suites, served while the `with` block lasts."""

    def __init__(self, root: pathlib.Path, home: openpgp.Home, key: str) -> None:
        self.root = root
        self.home = home
        self.key = key
        self.packages: dict[str, list[Deb]] = collections.defaultdict(list)
        handler = functools.partial(_Handler, directory=str(root))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> typing.Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, suite: str, *packages: Deb) -> None:
        self.packages[suite] += packages

    def publish(
        self,
        suite: str,
        *,
        date: int = DATE,
        valid_until: int | None = None,
        key: str = "",
        is_signed: bool = True,
        hash_name: str = "SHA256",
    ) -> None:
        """Write the packages and the indexes of a suite; `hash_name` is that of the packages' digests."""
        directory = self.root / "dists" / suite
        lines = []
        for architecture in ("amd64", "arm64", "all"):
            listing = self._listing(suite, architecture, hash_name)
            for name, content in {"Packages": listing, "Packages.xz": lzma.compress(listing)}.items():
                path = f"main/binary-{architecture}/{name}"
                value = hashlib.sha256(content).hexdigest()
                _write(directory / path, content)
                _write(directory / f"main/binary-{architecture}/by-hash/SHA256/{value}", content)
                lines.append(f" {value} {len(content)} {path}")
        head = ["Origin: Test", f"Suite: {suite}-suite", f"Codename: {suite}", f"Date: {_date(date)}"]
        head += [f"Valid-Until: {_date(valid_until)}"] if valid_until else []
        head += ["Acquire-By-Hash: yes", "Architectures: amd64 arm64", "Components: main", "SHA256:", *lines]
        release = ("\n".join(head) + "\n").encode()
        _write(directory / "InRelease", self.home.clearsign(release, key or self.key) if is_signed else release)

    def _listing(self, suite: str, architecture: str, hash_name: str) -> bytes:
        stanzas = [self._stanza(deb, hash_name) for deb in self.packages[suite] if _is_in(deb, architecture)]
        return "\n".join(stanzas).encode()

    def _stanza(self, deb: Deb, hash_name: str) -> str:
        content = deb.content()
        _write(self.root / deb.path, content)
        value = hashlib.new(hash_name, content).hexdigest()
        return f"{deb.control}Filename: {deb.path}\nSize: {len(content)}\n{hash_name}: {value}\n"


def _is_in(deb: Deb, architecture: str) -> bool:
    return deb.architecture == architecture or (deb.architecture == "all" and architecture != "all")


def _write(path: pathlib.Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _date(seconds: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime(seconds))


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""
