"""The rooms that steps run in: as an ordinary user, as root without namespaces, in two engines; the same bytes."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest

from buildchain import digest, errors, executor, store, tree
from buildchain.executor import _local
from scr_testing import docker
from tests.support import rooms

ROOT = pathlib.Path(__file__).parents[2]

pytestmark = pytest.mark.tools("busybox", "unshare", "tar")


def _texts(source: store.Store, result: executor.Result) -> dict[str, str]:
    return {path: source.read(content.digest).decode() for path, content in result.outputs.items()}


RUN_ELSEWHERE = """\
import os, pathlib, sys
builder, source, base = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
from buildchain import executor, store
from tests.support import rooms
os.umask(0o077)
kept = store.Store(pathlib.Path(source))
room = executor.choose(builder, kept, base / "rooms", base / "logs")
for path, content in room.run(rooms.look(kept)).outputs.items():
    print(path, content.digest, content.size)
"""


def _elsewhere(prefix: list[str], builder: str) -> dict[str, str]:
    """The outputs of `_look` by another process with another user, umask, store and folder."""
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        base.chmod(0o777)
        for folder in ("store", "base"):
            (base / folder).mkdir()
            (base / folder).chmod(0o777)
        argv = [*prefix, sys.executable, "-B", "-c", RUN_ELSEWHERE, builder, str(base / "store"), str(base / "base")]
        path = f"{ROOT}:{ROOT}/static-container-registry"
        environment = {**os.environ, "PYTHONPATH": path, "HOME": str(base)}
        done = subprocess.run(argv, capture_output=True, text=True, cwd=base, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert not (base / "base" / "rooms").exists()
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(name="source")
def _source(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


@pytest.fixture(name="room")
def _room(source: store.Store, tmp_path: pathlib.Path) -> executor.Executor:
    return executor.choose("namespace", source, tmp_path / "rooms", tmp_path / "logs")


def _digests(result: executor.Result) -> dict[str, str]:
    return {path: f"{content.digest} {content.size}" for path, content in result.outputs.items()}


@pytest.mark.root
@pytest.mark.tools("setpriv")
def test_the_same_bytes_whoever_runs_it(room: executor.Executor, source: store.Store, tmp_path: pathlib.Path) -> None:
    result = room.run(rooms.look(source))
    expected = _digests(result)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    unable = ["setpriv", "--bounding-set=-sys_admin"]
    assert _elsewhere(nobody, "namespace") == expected
    assert _elsewhere([], "chroot") == expected
    assert {**_elsewhere(unable, "auto"), "out/host": ""} == {**expected, "out/host": ""}  # the host's name: see below
    text = _texts(source, result)
    assert (text["out/user"], text["out/group"], text["out/umask"], text["out/host"]) == (
        "0\n",
        "0\n",
        "0022\n",
        "build\n",
    )
    assert "WORD=a b\n" in text["out/env"]
    assert set(dict(line.split("=", 1) for line in text["out/env"].splitlines())) - {"SHLVL", "PWD", "OLDPWD", "_"} == {
        *executor.ENVIRONMENT,
        "WORD",
    }
    assert text["out/inputs"].splitlines()[:2] == [
        "../in/a 644 0 0 1700000000 regular file",
        "../in/run 755 0 0 1700000000 regular file",
    ]
    assert text["out/root"].split() == ["bin", "build", "dev", "proc", "tmp", "usr"]
    assert (text["out/tmp"], text["out/d/copied"]) == ("0\n", "input\n")
    assert not (tmp_path / "rooms").exists()


@pytest.mark.root
@pytest.mark.tools("dockerd", "docker", "ip")
def test_the_same_bytes_in_an_engine(room: executor.Executor, source: store.Store, tmp_path: pathlib.Path) -> None:
    expected = room.run(rooms.look(source)).outputs
    other = store.Store(tmp_path / "other")
    with docker.dockerd() as client:
        engine = executor.choose("docker", other, tmp_path / "rooms", tmp_path / "logs", client.argv)
        result = engine.run(rooms.look(other))
        assert "WORD=a b" in other.read(result.log.digest).decode()
        with pytest.raises(errors.ToolError, match="failed with exit code 3: sh"):
            engine.run(rooms.step(other, "echo why; exit 3"))
        with pytest.raises(errors.ToolError, match="did not end within 1 second"):
            engine.run(rooms.step(other, "sleep 60", seconds=1))
        with pytest.raises(errors.BuildchainError, match="left no out"):
            engine.run(rooms.step(other, "true"))
        assert client("ps", "--all", "--quiet") == client("images", "--quiet") == ""
    assert {**result.outputs, "out/root": 0} == {**expected, "out/root": 0}
    assert set(_texts(other, result)["out/root"].split()) >= {"bin", "build", "dev", "etc", "proc", "tmp", "usr"}


def test_no_network_and_nothing_of_the_host(room: executor.Executor, source: store.Store) -> None:
    script = (
        "cat /proc/net/dev > net; ls -d /proc/[0-9]* > processes; ls /dev > dev; ls -a /.. > above; echo > /dev/null"
    )
    result = room.run(rooms.step(source, script, outputs=("net", "processes", "dev", "above")))
    text = _texts(source, result)
    assert [line.split(":")[0].strip() for line in text["net"].splitlines()[2:]] == ["lo"]
    assert len(text["processes"].split()) <= 3
    assert set(text["dev"].split()) == {
        *("null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm")
    }
    assert "etc" not in text["above"].split()


def test_a_result_is_kept_while_all_of_it_is_there(
    room: executor.Executor, source: store.Store, tmp_path: pathlib.Path
) -> None:
    action = rooms.step(source, "cat /proc/sys/kernel/random/uuid > out")
    first = room.run(action)
    assert room.run(action) == first == executor.recall(action, source)
    (kept,) = (tmp_path / "store" / "actions").rglob(action.digest.hex)
    if os.geteuid() == 0:
        os.chown(kept, 65534, 65534)
        assert executor.recall(action, source) is None
        os.chown(kept, 0, 0)
    for damage in (b"", b"{}", b"[]", kept.read_bytes().replace(action.digest.hex[:9].encode(), b"0" * 9)):
        content = kept.read_bytes()
        kept.write_bytes(damage)
        assert executor.recall(action, source) is None
        kept.write_bytes(content)
    source.remove(first.outputs["out"].digest)
    assert executor.recall(action, source) is None
    second = room.run(action)
    assert second.outputs != first.outputs
    assert executor.recall(action, source) == second


@pytest.mark.parametrize(
    ("script", "seconds", "words"),
    [
        ("echo first; echo why >&2; exit 7", 30, ["failed with exit code 7", "first", "why", "Its log is"]),
        ("echo waiting; sleep 60", 1, ["did not end within 1 seconds", "waiting"]),
        ("nowhere", 30, ["failed with exit code 127", "nowhere: not found"]),
        ("true", 30, ["left no out, which it should make"]),
        ("ln -s /etc/passwd out", 30, ["out is no plain file or folder"]),
        ("mkdir out; ln -s /etc out/etc", 30, ["out/etc is no plain file or folder"]),
    ],
)
def test_what_fails_says_so(
    room: executor.Executor, source: store.Store, tmp_path: pathlib.Path, script: str, seconds: int, words: list[str]
) -> None:
    action = rooms.step(source, script, seconds=seconds)
    started = time.monotonic()
    with pytest.raises(errors.BuildchainError) as caught:
        room.run(action)
    assert time.monotonic() - started < 15
    for word in words:
        assert word in str(caught.value)
    assert executor.recall(action, source) is None
    assert not (tmp_path / "rooms").exists()


def test_an_output_below_a_link_is_refused(room: executor.Executor, source: store.Store) -> None:
    with pytest.raises(errors.BuildchainError, match="no plain file or folder"):
        room.run(rooms.step(source, "ln -s / up", outputs=("up/bin/busybox",)))


def test_a_step_cannot_change_the_store(room: executor.Executor, source: store.Store) -> None:
    content = source.add_bytes(b"kept\n")
    inputs = tree.build([tree.File("a", content)])
    room.run(rooms.step(source, "echo changed > a; echo > out", inputs=inputs))
    source.verify(content)


def test_folders_nobody_may_write_to_go_away(
    source: store.Store, room: executor.Executor, tmp_path: pathlib.Path
) -> None:
    room.run(rooms.step(source, "mkdir -p a/b; touch a/b/c; chmod 0 a/b; chmod 0555 a; echo > out"))
    assert not (tmp_path / "rooms").exists()


def test_what_is_not_in_the_store_is_named(room: executor.Executor, source: store.Store) -> None:
    inputs = tree.build([tree.File("a", digest.Descriptor.of_bytes(b"absent"))])
    with pytest.raises(errors.BuildchainError, match="not in the store: sha256:"):
        room.run(rooms.step(source, "true", inputs=inputs))


def _refuse(launcher: tuple[str, ...]) -> bool:
    return not launcher


@pytest.mark.parametrize(
    ("builder", "user", "expected"),
    [
        ("auto", 1000, "BUILDER=auto: this machine refuses user namespaces, and we are not root"),
        ("namespace", 0, "BUILDER=namespace: this machine refuses user namespaces"),
        ("chroot", 1000, "BUILDER=chroot: needs root"),
        ("docker", 0, "BUILDER=docker: no engine answers `false version`"),
    ],
)
def test_a_machine_that_refuses_says_so_in_one_line(
    builder: str, user: int, expected: str, source: store.Store, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_local, "can_enter", _refuse)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(errors.BuildchainError) as caught:
        executor.choose(builder, source, tmp_path, tmp_path, ("false",))
    assert str(caught.value).splitlines()[0] == expected
    assert caught.value.hint
