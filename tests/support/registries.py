"""Registries to pull from: a real docker-registry, and a fake that speaks the protocol, keeps a log and lies when told.

with registries.Registry() as server:
    server.push("app", "1.0", image)
    server.lie(f"/v2/app/blobs/sha256:{hex}", mirror.cut(100))
"""

import base64
import contextlib
import dataclasses
import http.server
import json
import pathlib
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping

from scr_testing import daemons
from tests.support import images, mirror


class Registry(mirror.Mirror):
    """A registry of images that were pushed by calling `push`.

    Arguments:
        has_tokens:   ask for a bearer token of the repository.
        users:        names and passwords that get a token, or get in; none stands for everybody.
        token_uses:   how many questions a token is good for.
        prefix:       stands before the names of repositories.
    """

    def __init__(
        self,
        context: ssl.SSLContext | None = None,
        *,
        has_tokens: bool = False,
        users: Mapping[str, str] | None = None,
        token_uses: int = 1_000_000,
        prefix: str = "",
        bytes_per_s: float = 0,
        latency_s: float = 0,
    ) -> None:
        super().__init__(context, bytes_per_s, latency_s)
        self.has_tokens = has_tokens
        self.users = users or {}
        self.realm = f"{self.url}/token"
        self.challenge = ""
        self.token_log: list[str] = []
        """The query or the form of each question for a token."""
        self._token_uses = token_uses
        self._tokens: dict[str, int] = {}
        self._prefix = prefix

    @property
    def host(self) -> str:
        """As it stands in a source."""
        return self.url.partition("://")[2]

    def push(self, repository: str, tag: str, image: images.Image, *untagged: images.Image) -> None:
        """Hold an image and all below it, and others without a tag."""
        base = f"v2/{self._prefix}{repository}"
        self._add(f"{base}/manifests/{tag}", image.manifest, image)
        for each in [image, *image.children, *untagged]:
            self._add(f"{base}/manifests/{each.digest}", each.manifest, each)
            for blob in each.blobs:
                self.add(f"{base}/blobs/sha256:{images.hex_of(blob)}", blob)

    def put(self, path: str, content: bytes, media_type: str) -> None:
        """Answer a path with any document."""
        self.add(path.lstrip("/"), content)
        self.types[f"/{path.lstrip('/')}"] = media_type

    def _add(self, path: str, content: bytes, image: images.Image) -> None:
        self.add(path, content)
        self.types[f"/{path}"] = image.media_type

    def blob_log(self) -> list[mirror.Asked]:
        """The questions for blobs."""
        return [asked for asked in self.log if "/blobs/" in asked.path]

    def answer(self, handler: "mirror._Handler") -> None:
        """Answer one request, if it may ask."""
        path = handler.path.partition("?")[0]
        if path == "/token":
            self._give_token(handler)
        elif path.startswith("/v2/") and not self._is_admitted(handler):
            realm = self.challenge or self._challenge(path)
            asked = mirror.Asked(handler.path, 0, dict(handler.headers.items()))
            self.log.append(asked)
            mirror.Answer(handler, self, b"", asked).empty(401, {"WWW-Authenticate": realm})
        else:
            super().answer(handler)

    def _challenge(self, path: str) -> str:
        if not self.has_tokens:
            return 'Basic realm="the test"'
        repository = path.removeprefix("/v2/").partition("/manifests/")[0].partition("/blobs/")[0]
        return f'Bearer realm="{self.realm}",service="registry",scope="repository:{repository}:pull"'

    def _is_admitted(self, handler: "mirror._Handler") -> bool:
        secret = handler.headers.get("Authorization", "")
        if not self.has_tokens:
            return not self.users or self._is_user(secret)
        token = secret.removeprefix("Bearer ")
        self._tokens[token] = self._tokens.get(token, 0) - 1
        return self._tokens[token] >= 0

    def _is_user(self, secret: str) -> bool:
        pairs = {base64.b64encode(f"{user}:{password}".encode()).decode() for user, password in self.users.items()}
        return secret.removeprefix("Basic ") in pairs

    def _give_token(self, handler: "mirror._Handler") -> None:
        length = int(handler.headers.get("Content-Length", "0"))
        form = dict(urllib.parse.parse_qsl(handler.rfile.read(length).decode()))
        self.token_log.append(urllib.parse.urlencode(form) or handler.path.partition("?")[2])
        asked = mirror.Asked(handler.path, 0, dict(handler.headers.items()))
        answer = mirror.Answer(handler, self, b"", asked)
        is_good = form.get("refresh_token") in self.users.values() if form else False
        if self.users and not is_good and not self._is_user(handler.headers.get("Authorization", "")):
            answer.empty(401, {})
            return
        token = f"token-{len(self.token_log)}"
        self._tokens[token] = self._token_uses
        body = json.dumps({"access_token" if form else "token": token}).encode()
        answer.head(200, {"Content-Length": str(len(body)), "Content-Type": "application/json"})
        answer.send(body)


@dataclasses.dataclass(frozen=True)
class Real:
    """A running docker-registry."""

    address: str
    folder: pathlib.Path
    log: pathlib.Path

    def push(self, repository: str, tag: str, image: images.Image, *options: str) -> None:
        """Copy an image byte for byte."""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name, "image")
            images.write_directory(folder, image)
            copy = ["skopeo", "copy", "--all", "--insecure-policy", "--preserve-digests", "--dest-tls-verify=false"]
            target = f"docker://{self.address}/{repository}:{tag}"
            subprocess.run([*copy, *options, f"dir:{folder}", target], check=True, stdout=subprocess.DEVNULL)

    def asked(self) -> list[str]:
        """Method and path of every request so far, those of `push` included."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [
            f"{row['http.request.method']} {row['http.request.uri']}"
            for row in lines
            if row.get("msg") in ("response completed", "response completed with error")
        ]


@contextlib.contextmanager
def docker_registry(top: pathlib.Path, **more: object) -> Iterator[Real]:
    """Start a docker-registry with an empty store.

    Arguments:
        more: sections of its configuration, such as `auth`; `tls` goes below `http`.
    """
    address = f"localhost:{daemons.free_port()}"
    http: dict[str, object] = {"addr": address, "secret": "no secret"}
    if "tls" in more:
        http["tls"] = more.pop("tls")
    configuration = {
        "version": "0.1",
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(top / "registry")}, "delete": {"enabled": True}},
        "http": http,
        **more,
    }
    top.mkdir(parents=True, exist_ok=True)
    (top / "registry.yml").write_text(json.dumps(configuration))
    argv = ["docker-registry", "serve", str(top / "registry.yml")]
    log = top / "registry.log"
    with log.open("wb") as stream, subprocess.Popen(argv, stdout=stream, stderr=stream) as process:
        try:
            _wait(process, log)
            yield Real(address, top, log)
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    for _ in range(400):
        if process.poll() is not None:
            break
        if b"listening on" in log.read_bytes():
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def token_server(key: pathlib.Path, certificate: pathlib.Path, users: Mapping[str, str]) -> Iterator[str]:
    """Give tokens that docker-registry believes (distribution documentation, "spec/auth/jwt"); yields the realm."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            user, _, password = _basic(self.headers.get("Authorization", "")).partition(":")
            if users.get(user) != password:
                self.send_response(401)
                self.end_headers()
                return
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            body = json.dumps({"token": _jwt(key, certificate, user, query)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


def _basic(header: str) -> str:
    return base64.b64decode(header.removeprefix("Basic ")).decode() if header else ":no"


def _jwt(key: pathlib.Path, certificate: pathlib.Path, user: str, query: Mapping[str, str]) -> str:
    lines = [line for line in certificate.read_text().splitlines() if "-----" not in line]
    kind, name, actions = query["scope"].split(":")
    now = int(time.time())
    head = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines)]}
    claims = {
        "iss": "test",
        "sub": user,
        "aud": query["service"],
        "exp": now + 60,
        "nbf": now - 10,
        "iat": now,
        "jti": f"{now}",
        "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
    }
    text = ".".join(_base64url(json.dumps(part).encode()) for part in (head, claims))
    sign = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    return f"{text}.{_base64url(subprocess.run(sign, input=text.encode(), capture_output=True, check=True).stdout)}"


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
