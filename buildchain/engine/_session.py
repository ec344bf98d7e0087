"""One session with a container engine, and what is left of it in the end: nothing."""

import contextlib
import json
import os
import pathlib
import queue
import re
import socket
import threading
import time
import typing
import urllib.parse
from collections.abc import Generator, Iterable, Iterator, Mapping

from buildchain import errors

_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
_LOOPBACK = re.compile(r"127\.[0-9.]+|localhost")

_STEP = re.compile(r"(?:\[[0-9]+/[0-9]+\] )?S(?:tep|TEP) [0-9]+/[0-9]+ ?: (?P<text>.*)")
_IMAGE = re.compile(r"\s*--?-> (?P<id>[0-9a-f]{11,64})\s*")
_CONTAINER = re.compile(r"\s*(?:---> Running in|Removing intermediate container) (?P<id>[0-9a-f]{12,64})\s*")
_BUILT = re.compile(r"Successfully built (?P<id>[0-9a-f]{12,64})\s*")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_GONE, _BUSY = 404, 409
_PATIENCE = 30.0
"""Seconds until a daemon has let go of what a cancelled build used."""

_HINT_START = (
    "Start dockerd, or podman's socket (systemctl --user start podman.socket), or set DOCKER_HOST. "
    "Only images with a Dockerfile need one."
)
_HINT_AGAIN = "See the engine's own log, then run ./doit.sh again: nothing of this build is kept."


_Row = dict[str, typing.Any]
"""A line of an engine's answer: `stream`, or `error`."""


class StepError(errors.BuildchainError):
    """An instruction failed: its text as the engine has it (empty if it named none), and what was written."""

    def __init__(self, step: str, why: str, output: str) -> None:
        self.step = step
        self.output = output
        super().__init__(step or "the build", why)


class Engine:
    """A daemon, and what it made for us."""

    def __init__(self, client: typing.Any, address: str) -> None:
        self._client = client
        self._address = address
        version = client.version()
        component = (version.get("Components") or [{"Name": "Engine", "Version": version.get("Version", "")}])[0]
        self.is_podman = "podman" in component["Name"].lower()
        self.name = f"{'podman' if self.is_podman else 'dockerd'} {component['Version']}"
        self._before = {row["Id"].removeprefix("sha256:") for row in client.images(all=True)}
        self._containers: list[str] = []
        self._images: list[str] = []

    def pull(self, reference: str) -> None:
        """Pull an image by digest, over plain HTTP, from a registry on the loopback.

        Raises:
            BuildchainError: the engine cannot, or what it got is not what the digest says.
        """
        if self.is_podman:  # its imitation of Docker's call wants HTTPS, whatever the address
            path, parameters = "/v4.0.0/libpod/images/pull", {"reference": reference, "tlsVerify": "false"}
        else:
            path, parameters = f"/v{self._client.api_version}/images/create", {"fromImage": reference}
        with self._talking("pull"), contextlib.closing(self._post(path, parameters)) as answer:
            rows = list(answer)
        self._images.append(reference)
        problems = [str(row["error"]) for row in rows if row.get("error")]
        if problems:
            raise errors.BuildchainError(reference, f"{self.name} refuses it: {problems[-1]}", _HINT_AGAIN)

    def build(
        self, context: typing.BinaryIO, arguments: Mapping[str, str], *, has_network: bool, show: typing.TextIO | None
    ) -> str:
        """Build a context, an uncompressed tar that holds `Dockerfile`; returns the image's id in the engine.

        Nothing is taken from the engine's cache: what may be reused is decided by the hash of all inputs, not here.

        Arguments:
            show: where the engine's words go as they come.

        Raises:
            StepError: an instruction failed.
            BuildchainError: the engine went away.
        """
        parameters = {
            "dockerfile": "Dockerfile",
            "buildargs": json.dumps(dict(arguments), sort_keys=True),
            "nocache": "true",
            "rm": "true",
            "forcerm": "true",
            **({} if has_network else self._no_network()),
        }
        output: list[str] = []
        step = built = ""
        answer = self._post(f"/v{self._client.api_version}/build", parameters, context)
        with self._talking("build"), self._until_it_stops(answer) as rows:
            for row in rows:
                text = _text(row)
                if show is not None:
                    show.write(text)
                if row.get("error"):
                    raise StepError(step, str(row["error"]).strip(), "".join(output))
                if match := _STEP.match(text):
                    step, output = match["text"].strip(), []
                elif match := _BUILT.match(text):
                    built = match["id"]
                elif not self._note(text):
                    output.append(text)
        if not built:
            raise errors.BuildchainError(self.name, "stopped in the middle of a build", _HINT_AGAIN)
        return built

    def save(self, image: str, sink: typing.BinaryIO) -> None:
        """Write an image as `docker save` does."""
        with self._talking("save"):
            for block in self._client.get_image(image):
                sink.write(block)

    def tidy(self) -> None:
        """Remove everything this session made; what is still in use for a moment is waited for.

        podman is told not to wait for the step of a build that nobody waits for.
        """
        if _refusal(self._address):
            return  # it is gone; nobody can remove anything
        deadline = time.monotonic() + _PATIENCE
        for container in self._containers:
            self._remove(self._client.remove_container, container, deadline, force=True)
        for image in reversed(self._images):
            if not any(known.startswith(image) for known in self._before):
                self._remove(self._client.remove_image, image, deadline, force=self.is_podman)

    def _no_network(self) -> dict[str, str]:
        if self.is_podman:  # buildah's words; Docker's are ignored, and a step would see the host's network
            return {"networkmode": "NetworkDisabled", "nsoptions": '[{"Name":"network"}]'}
        return {"networkmode": "none"}

    def _note(self, text: str) -> bool:
        """Whether a line names something that has to be removed in the end."""
        if match := _CONTAINER.fullmatch(text):
            self._containers.append(match["id"])
        elif match := _IMAGE.fullmatch(text):
            self._images.append(match["id"])
        return bool(match)

    @contextlib.contextmanager
    def _until_it_stops(self, answer: Generator[_Row, None, None]) -> Iterator[Iterator[_Row]]:
        """The rows of a build; afterwards the engine is at work for us no longer, also after an error or Ctrl-C.

        podman stops after the step it is at once nobody listens; no call stops the step. dockerd stops at once, but may
        be about to start a container, which nobody would remove: so it is heard to the end, and each container that
        it starts is taken away from it.
        """
        if self.is_podman:
            with contextlib.closing(answer):
                yield answer
            return
        rows = _read_apart(answer)
        try:
            yield rows
        except BaseException:
            self._stop_container()
            for row in rows:
                if self._note(_text(row)):
                    self._stop_container()
            raise

    def _stop_container(self) -> None:
        """Remove the container of the step that a build is at, whereupon the build fails."""
        deadline = time.monotonic() + _PATIENCE
        for container in self._containers[-1:]:
            self._remove(self._client.remove_container, container, deadline, force=True)

    def _post(
        self, path: str, parameters: Mapping[str, str], body: typing.BinaryIO | None = None
    ) -> Generator[_Row, None, None]:
        """Ask, and hand over the rows of the answer as they come.

        Not through the SDK's own method: that sends the user's credentials for all registries along.
        """
        headers = {"Content-Type": "application/tar"}
        url = f"{self._client.base_url}{path}"
        with self._client.post(url, params=parameters, data=body, headers=headers, stream=True, timeout=None) as answer:
            for line in answer.iter_lines():
                row = json.loads(line)
                yield row if answer.ok else {"error": row.get("message") or row.get("cause") or str(row)}

    @contextlib.contextmanager
    def _talking(self, verb: str) -> Iterator[None]:
        import docker.errors

        try:
            yield
        except (OSError, ValueError, docker.errors.DockerException) as error:
            why = f"stopped in the middle of a {verb}: {error}"
            raise errors.BuildchainError(self.name, why, _HINT_AGAIN) from error

    def _remove(self, remove: typing.Any, subject: str, deadline: float, **options: bool) -> None:
        import docker.errors

        while True:
            try:
                remove(subject, **options)
            except docker.errors.APIError as error:
                if error.status_code == _BUSY and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
            except (OSError, docker.errors.DockerException):  # it is gone, and with it what it held for us
                pass
            return


@contextlib.contextmanager
def session(environment: Mapping[str, str] = os.environ) -> Iterator[Engine]:
    """Talk to the engine that the environment names; afterwards it holds nothing of what it did for us.

    Raises:
        BuildchainError: no engine answers.
    """
    # Imported here: half a second that only an image with a Dockerfile is worth.
    import docker
    import docker.errors

    address = _address(environment)
    if why := _refusal(address):
        raise errors.BuildchainError("container engine", f"{address} does not answer: {why}", _HINT_START)
    try:
        client = docker.APIClient(base_url=address, version="auto")
        engine = Engine(client, address)
    except (OSError, ValueError, docker.errors.DockerException) as error:
        raise errors.BuildchainError("container engine", f"{address} does not answer: {error}", _HINT_START) from error
    try:
        yield engine
    finally:
        engine.tidy()
        client.close()


def _text(row: _Row) -> str:
    return _COLOUR.sub("", str(row.get("stream", "")))


def _read_apart(rows: Iterable[_Row]) -> Iterator[_Row]:
    """The same rows, read by a thread: Ctrl-C while waiting for one leaves the connection, and the rest, as it is."""
    arrived: queue.SimpleQueue[_Row | BaseException | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for row in rows:
                arrived.put(row)
        except BaseException as error:  # whoever waits for the row raises it
            arrived.put(error)
        arrived.put(None)

    def take() -> _Row | None:
        row = arrived.get()
        if isinstance(row, BaseException):
            raise row
        return row

    threading.Thread(target=read, daemon=True).start()
    return iter(take, None)  # no generator: that would end with the first exception


def _refusal(address: str) -> str:
    """Why nobody answers there, if so; the SDK asks a dead engine for a minute, and forgets to close its sockets."""
    host = urllib.parse.urlsplit(address)
    is_unix = host.scheme == "unix"
    with socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET) as probe:
        try:
            probe.connect(host.path if is_unix else (host.hostname, host.port or 0))
        except (OSError, ValueError) as error:  # ValueError: the port is none
            return getattr(error, "strerror", None) or str(error)
    return ""


def _address(environment: Mapping[str, str]) -> str:
    if named := environment.get("DOCKER_HOST", ""):
        try:
            host = urllib.parse.urlsplit(named)
        except ValueError as error:
            raise errors.BuildchainError(f"DOCKER_HOST={named}", str(error), "Write it as unix:///…") from error
        if host.scheme != "unix" and not (host.scheme == "tcp" and _LOOPBACK.fullmatch(host.hostname or "")):
            why = f"DOCKER_HOST={named} is another machine, which could not pull from this one's store"
            raise errors.BuildchainError("container engine", why, "Name an engine of this machine: unix:///…")
        return named
    sockets = list(_SOCKETS)
    if runtime := environment.get("XDG_RUNTIME_DIR", ""):
        sockets.append(f"{runtime}/podman/podman.sock")
    for path in sockets:
        if pathlib.Path(path).is_socket():
            return f"unix://{path}"
    why = f"none is running here: DOCKER_HOST is not set, and there is no {' or '.join(sockets)}"
    raise errors.BuildchainError("container engine", why, _HINT_START)
