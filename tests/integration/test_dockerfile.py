"""Images from Dockerfiles, built by a real dockerd and a real podman: same bytes, no network, nothing left behind."""

import contextlib
import functools
import io
import json
import pathlib
import signal
import subprocess
import threading
import typing
from collections.abc import Callable, Iterator

import pytest

from buildchain import dockerfile, engine, errors, stage, store
from buildchain.engine import loopback
from tests.support import engines
from tests.support.dockerfiles import BUSYBOX, Workshop

pytestmark = [pytest.mark.root, pytest.mark.tools("docker", "dockerd", "containerd", "ip", "podman", "runc", "busybox")]

TEXT = """\
FROM base AS maker
RUN echo made > /made && busybox touch -d '2001-01-01 00:00:00' /made
FROM base:1
ARG SOURCE_DATE_EPOCH
COPY --chown=33:33 . /opt/
WORKDIR /data
# one of each that a layer can hold, and no network but the loopback
RUN busybox test "$(busybox ip -o link | busybox wc -l)" = 1 \\
 && echo $SOURCE_DATE_EPOCH > first && busybox ln first second && busybox ln -s first third \\
 && busybox chmod 4755 first && busybox rm -r /srv/folder && echo new > /srv/old
COPY --from=maker /made made
WORKDIR /run/app
"""
FILES = {"tool.sh": "#!/bin/sh\n", "etc/tool.conf": "a = 1\n"}


@pytest.fixture(name="workshop")
def _workshop(tmp_path: pathlib.Path) -> Workshop:
    return Workshop(tmp_path / "images", store.Store(tmp_path / "store"))


@pytest.fixture(name="dockerd", scope="module")
def _dockerd() -> Iterator[engines.Engine]:
    with engines.dockerd() as running:
        yield running


@pytest.fixture(name="podman", scope="module")
def _podman() -> Iterator[engines.Engine]:
    with engines.podman() as running:
        yield running


@pytest.fixture(name="running", params=["dockerd", "podman"])
def _running(request: pytest.FixtureRequest) -> engines.Engine:
    found: engines.Engine = request.getfixturevalue(request.param)
    return found


def _build(
    workshop: Workshop, running: engines.Engine, text: str, show: typing.TextIO | None = None, **options: typing.Any
) -> dockerfile.Image:
    recipe = workshop.recipe(text, **options)
    bases = {"base": workshop.base(BUSYBOX.read_bytes())}
    return dockerfile.build(
        recipe, bases, workshop.source, functools.partial(engine.session, running.environment), show=show
    )


def test_both_engines_make_the_same_bytes(
    workshop: Workshop,
    dockerd: engines.Engine,
    podman: engines.Engine,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registries = _recorded(monkeypatch)
    base = workshop.base(BUSYBOX.read_bytes())
    built = {each.host: _build(workshop, each, TEXT, files=FILES) for each in (dockerd, podman)}
    first, second = built.values()
    assert dockerfile.compare(first, second) == []
    assert first.manifest == second.manifest
    assert [*dockerd.holds(), *podman.holds()] == []
    for registry in registries:
        assert f"GET /v2/base/manifests/{base.manifest.digest} 200" in registry.log
        assert all(line.endswith(" 200") for line in registry.log)

    manifest = json.loads(workshop.source.read(first.manifest.digest))
    below = json.loads(workshop.source.read(base.manifest.digest))
    assert manifest["layers"][: len(below["layers"])] == below["layers"]
    stage.stage(dockerfile.tree(first, "app", "1"), workshop.source, tmp_path / "root")
    argv = ["skopeo", "inspect", "--config", f"dir:{tmp_path}/root/images/app/1"]
    config = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert config["config"]["WorkingDir"] == "/run/app"
    assert config["config"]["Labels"] == {"org.opencontainers.image.title": "app"}
    assert "127.0.0.1" not in json.dumps(config)
    assert config["created"] == "2023-11-14T22:13:20Z"


def _recorded(monkeypatch: pytest.MonkeyPatch) -> list[loopback.Registry]:
    """The registries that builds open from now on."""
    found: list[loopback.Registry] = []
    serve = loopback.serve

    @contextlib.contextmanager
    def record(*arguments: typing.Any) -> Iterator[loopback.Registry]:
        with serve(*arguments) as registry:
            found.append(registry)
            yield registry

    monkeypatch.setattr(loopback, "serve", record)
    return found


def test_a_step_that_fails_is_shown_with_its_line(workshop: Workshop, running: engines.Engine) -> None:
    text = "FROM base\n\nRUN echo one; \\\n  echo two; exit 3\n"
    with pytest.raises(errors.BuildchainError) as caught:
        _build(workshop, running, text)
    assert caught.value.what == "images/app/Dockerfile:3"
    assert "RUN echo one;   echo two; exit 3 failed: " in caught.value.why
    assert "3" in caught.value.why.splitlines()[0].partition("failed: ")[2]
    assert caught.value.why.splitlines()[1:] == ["  one", "  two"]
    assert running.holds() == []


def test_a_damaged_base_is_refused(workshop: Workshop, running: engines.Engine) -> None:
    base = workshop.base(BUSYBOX.read_bytes())
    (layer,) = json.loads(workshop.source.read(base.manifest.digest))["layers"]
    path = next(workshop.source.root.glob(f"sha256/??/{layer['digest'].removeprefix('sha256:')}"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    recipe = workshop.recipe("FROM base\nRUN true\n")
    connect = functools.partial(engine.session, running.environment)
    with pytest.raises(errors.IntegrityError) as caught:
        dockerfile.build(recipe, {"base": base}, workshop.source, connect)
    assert caught.value.subject == str(path)
    assert "refuses it: " in str(caught.value.__context__)  # the engine found out, not we
    assert not path.exists()
    assert running.holds() == []


class _Listener(io.StringIO):
    """Does something once the engine says it is at a step."""

    def __init__(self, step: str, act: Callable[[], None]) -> None:
        super().__init__()
        self._step = step
        self._act = act

    def write(self, text: str) -> int:
        if self._step in text:
            self._act()
        return super().write(text)


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_nothing_is_left_after_ctrl_c(workshop: Workshop, running: engines.Engine) -> None:
    text = "FROM base\nRUN echo here; busybox sleep 30\n"
    with pytest.raises(KeyboardInterrupt):
        _build(workshop, running, text, _Listener("here", _interrupt))
    assert running.holds() == []


def test_nothing_is_left_after_ctrl_c_in_the_middle_of_a_step(workshop: Workshop, running: engines.Engine) -> None:
    text = "FROM base\nRUN echo begun; busybox sleep 30\n"
    interrupt = functools.partial(signal.pthread_kill, threading.get_ident(), signal.SIGINT)
    later = threading.Timer(0.5, interrupt)  # the build waits for the next line by then
    with pytest.raises(KeyboardInterrupt):
        _build(workshop, running, text, _Listener("begun\n", later.start))
    assert running.holds() == []


def test_an_engine_that_stops_is_one_clear_line(workshop: Workshop) -> None:
    with engines.podman() as running:
        assert running.process is not None
        stop = functools.partial(running.process.send_signal, signal.SIGKILL)
        with pytest.raises(errors.BuildchainError, match=r"podman .*: stopped in the middle of a build"):
            _build(workshop, running, "FROM base\nRUN echo here; busybox sleep 2\n", _Listener("here", stop))


def test_what_differs_between_two_builds_is_named(workshop: Workshop, dockerd: engines.Engine) -> None:
    recipe = workshop.recipe("FROM base\nRUN busybox cat /proc/sys/kernel/random/uuid > /srv/stamp\n")
    bases = {"base": workshop.base(BUSYBOX.read_bytes())}
    with pytest.raises(errors.BuildchainError) as caught:
        dockerfile.prove(recipe, bases, workshop.source, functools.partial(engine.session, dockerd.environment))
    assert caught.value.why.splitlines() == [
        "two builds of the same inputs differ",
        "  images/app/Dockerfile:2: RUN busybox cat /proc/sys/kernel/random/uuid > /srv/stamp: /srv/stamp",
    ]


def test_an_image_that_stands_on_nothing(workshop: Workshop, podman: engines.Engine) -> None:
    built = _build(workshop, podman, "FROM scratch\nCOPY tool.sh /\nENV A=b\n", files=FILES)
    config = json.loads(workshop.source.read(built.config.digest))
    assert (config["created"], len(built.layers)) == ("1980-01-01T00:00:00Z", 1)
