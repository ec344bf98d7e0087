"""The downloader among other processes, on full disks, behind TLS, killed and interrupted."""

import contextlib
import json
import os
import pathlib
import pwd
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from buildchain import command, digest, errors, fetch, store, tree
from tests.support import mirror

pytestmark = pytest.mark.tools("openssl", "mount", "umount")

OPTIONS = fetch.Options(jobs=4, first_wait_s=0.01, longest_wait_s=0.2, read_timeout_s=5, attempts=3)

# Pulls what its standard input says; prints what came of it.
PULLER = """
import json, os, pathlib, re, resource, sys
import requests  # before the user changes: the interpreter may stand where only the first one can read
from buildchain import digest, errors, fetch, store
from buildchain.fetch import _pool
user, file_limit, rows = json.load(sys.stdin)
if file_limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
if user:
    os.setgroups([])
    os.setuid(user)
requests = [
    fetch.Request(name, digest.Descriptor(digest.Digest(hex), size), tuple(urls)) for name, hex, size, urls in rows
]
options = fetch.Options(jobs=4, first_wait_s=0.01, longest_wait_s=0.2)
try:
    pulled = fetch.pull(requests, store.Store(pathlib.Path(sys.argv[1])), options, fetch.NullProgress())
except errors.BuildchainError as error:
    sys.exit(str(error))
# Not ru_maxrss, which starts with what the process that started this one had.
(peak,) = re.findall("VmHWM:\\s+([0-9]+) kB", pathlib.Path("/proc/self/status").read_text())
print(json.dumps([pulled.count, pulled.received_bytes, int(peak)]))
"""


CHILDREN: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_orphans() -> Iterator[None]:
    yield
    while CHILDREN:
        with CHILDREN.pop() as child:
            child.kill()


def start(
    shelf: store.Store, requests: list[fetch.Request], *, user: int = 0, file_limit: int = 0
) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", PULLER, shelf.root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    CHILDREN.append(child)
    assert child.stdin
    rows = [[each.name, each.content.digest.hex, each.content.size, each.urls] for each in requests]
    json.dump([user, file_limit, rows], child.stdin)
    child.stdin.close()
    child.stdin = None
    return child


def end(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, problems = child.communicate(timeout=60)
    return child.returncode, output, problems


def contents(count: int, size: int) -> list[bytes]:
    return [bytes([number]) * (size + number) for number in range(count)]


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.forget_settings(monkeypatch)


@pytest.fixture
def shelf(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


def kept(shelf: store.Store, pattern: str = "*/**/*") -> int:
    """Bytes in the store, whole or not, while a process writes there."""
    total = 0
    for path in shelf.root.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def begun(shelf: store.Store) -> int:
    """Bytes in quarantine."""
    return kept(shelf, "partial/*")


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_again_and_again(shelf: store.Store) -> None:
    with mirror.Mirror(bytes_per_s=4e6) as server:
        requests = [server.add(f"{number}", body) for number, body in enumerate(contents(12, 300_000))]
        kills = 0
        while True:
            child, goal = start(shelf, requests), kept(shelf) + 250_000 + 97_000 * (kills % 5)
            wait_until(lambda child=child, goal=goal: child.poll() is not None or kept(shelf) >= goal)  # type: ignore[misc]
            if child.returncode == 0:
                break
            child.kill()
            end(child)
            kills += 1
            for request in requests:
                if shelf.has(request.content):
                    shelf.verify(request.content)
        assert end(child)[0] == 0
        assert kills > 1
        for request in requests:
            shelf.verify(request.content)
            assert [asked.sent for asked in server.asked(request.name)].count(request.content.size) <= 1
            assert [asked.offset for asked in server.asked(request.name)] == sorted(
                asked.offset for asked in server.asked(request.name)
            )
        assert any(asked.offset for asked in server.log)
        assert list(shelf.root.glob("partial/*")) == []


def test_two_processes_share_one_store(shelf: store.Store) -> None:
    with mirror.Mirror(bytes_per_s=4e6) as server:
        requests = [server.add(f"{number}", body) for number, body in enumerate(contents(10, 200_000))]
        ends = [end(child) for child in [start(shelf, requests), start(shelf, requests)]]
        assert [code for code, _, _ in ends] == [0, 0]
        counts = [json.loads(output)[0] for _, output, _ in ends]
        assert sum(counts) == len(requests)
        for request in requests:
            assert len(server.asked(request.name)) == 1
            shelf.verify(request.content)


def test_the_wait_for_a_killed_process_ends(shelf: store.Store) -> None:
    body = b"x" * 100_000
    with mirror.Mirror() as server:
        request = server.add("file", body, mirror.stall(40_000))
        stuck = start(shelf, [request])
        wait_until(lambda: begun(shelf) == 40_000)
        waiting = start(shelf, [request])
        time.sleep(0.5)
        assert waiting.poll() is None
        stuck.kill()
        assert end(waiting)[0] == 0
        assert end(stuck)[0] == -signal.SIGKILL
        assert [asked.offset for asked in server.log] == [0, 40_000]


def test_ctrl_c_is_quick_and_keeps_the_parts(shelf: store.Store) -> None:
    with mirror.Mirror() as server:
        requests = [
            server.add(f"{number}", body, mirror.stall(40_000)) for number, body in enumerate(contents(4, 100_000))
        ]
        child = start(shelf, requests)
        wait_until(lambda: begun(shelf) == 4 * 40_000)
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        code, _, problems = end(child)
        assert time.monotonic() - started < 5
        assert code == -signal.SIGINT
        assert problems.splitlines()[-1] == "KeyboardInterrupt"
        assert begun(shelf) == 4 * 40_000
        assert end(start(shelf, requests))[0] == 0
        assert sum(asked.sent for asked in server.log) == sum(request.content.size for request in requests)


def test_ctrl_c_is_quick_when_no_server_answers(shelf: store.Store) -> None:
    with mirror.Mirror() as server:
        child = start(shelf, [server.add(f"{number}", bytes([number]), mirror.silence) for number in range(4)])
        wait_until(lambda: len(server.log) == 4)
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        code, _, _ = end(child)
        assert (code, time.monotonic() - started < 5) == (-signal.SIGINT, True)


@contextlib.contextmanager
def small_disk(folder: pathlib.Path, size: int) -> Iterator[pathlib.Path]:
    folder.mkdir()
    command.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder])
    try:
        yield folder
    finally:
        command.run(["umount", folder])


@pytest.mark.root
def test_full_disk(tmp_path: pathlib.Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as folder, mirror.Mirror() as server:
        shelf = store.Store(folder / "store")
        requests = [server.add(f"{number}", body) for number, body in enumerate(contents(4, 400_000))]
        with pytest.raises(errors.StoreError) as caught:
            fetch.pull(requests, shelf, OPTIONS, fetch.NullProgress())
        text = str(caught.value)
        assert text.startswith(f"{shelf.root}: the disk is full (No space left on device); ")
        assert text.endswith(
            f" are still to be pulled into {shelf.root}\n"
            "Free some space, or set STORE in .env to a folder on a larger disk, and run the same command again."
        )
        with pytest.raises(errors.BuildchainError, match="the disk is too small"):
            fetch.check_space(fetch.plan(requests, shelf), 0, shelf.root)
        assert begun(shelf) > 0
        for request in requests:
            if shelf.has(request.content):
                shelf.verify(request.content)

        command.run(["mount", "-o", "remount,size=8m", folder])
        sent = sum(asked.sent for asked in server.log)
        remaining = fetch.plan(requests, shelf).remaining_bytes
        fetch.pull(requests, shelf, OPTIONS, fetch.NullProgress())
        assert sum(asked.sent for asked in server.log) - sent == remaining


def test_file_size_limit(shelf: store.Store) -> None:
    with mirror.Mirror() as server:
        request = server.add("file", b"x" * 500_000)
        code, _, problems = end(start(shelf, [request], file_limit=300_000))
        assert code == 1
        assert problems.startswith(f"{shelf.root}: the disk is full (File too large); ")
        assert begun(shelf) == 300_000
        assert end(start(shelf, [request]))[0] == 0
        assert server.log[-1].offset == 300_000


def test_memory_is_flat(shelf: store.Store) -> None:
    peaks = []
    with mirror.Mirror() as server:
        for size in (1 << 10, 200 << 20):
            code, output, problems = end(start(shelf, [server.add(f"{size}", mirror.Synthetic(size))]))
            assert (code, problems) == (0, "")
            peaks.append(json.loads(output)[2])
    assert peaks[1] - peaks[0] < 8 << 10  # kilobytes


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a private authority (`ca.pem`) and a server's key and certificate (`server.pem`)."""
    folder = tmp_path_factory.mktemp("authority")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command.run(
        ["openssl", "req", "-x509", *key, "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.pem"],
        directory=folder,
    )
    command.run(
        ["openssl", "req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"],
        directory=folder,
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    command.run(
        ["openssl", "x509", "-req", "-in", "server.csr", *signer, "-extfile", "names", "-out", "server.crt"],
        directory=folder,
    )
    (folder / "server.pem").write_bytes((folder / "server.key").read_bytes() + (folder / "server.crt").read_bytes())
    return folder


@pytest.fixture
def secure(authority: pathlib.Path) -> Iterator[mirror.Mirror]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem")
    with mirror.Mirror(context) as server:
        yield server


def test_private_authority(
    secure: mirror.Mirror, authority: pathlib.Path, shelf: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [secure.add(f"{number}", body, mirror.cut(1000)) for number, body in enumerate(contents(4, 100_000))]
    with pytest.raises(errors.TransportError) as caught:
        fetch.pull(requests[:1], shelf, OPTIONS, fetch.NullProgress())
    assert str(caught.value) == (
        f"{secure.url}/0: its certificate is not trusted: unable to get local issuer certificate\n"
        "Set CA_BUNDLE in .env to the file of the certificate authority that signed this server's certificate."
    )
    trusting = fetch.Options(ca_bundle=str(authority / "ca.pem"), first_wait_s=0.01)
    assert fetch.pull(requests, shelf, trusting, fetch.NullProgress()).count == 4
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    assert fetch.get(requests[0].urls[0], OPTIONS, max_bytes=1 << 20) == contents(1, 100_000)[0]


def test_the_name_on_the_certificate_counts(secure: mirror.Mirror, authority: pathlib.Path, shelf: store.Store) -> None:
    trusting = fetch.Options(ca_bundle=str(authority / "ca.pem"))
    with pytest.raises(errors.TransportError, match=r"is not trusted: .* not valid for '127\.0\.0\.1'"):
        fetch.get(secure.url.replace("localhost", "127.0.0.1"), trusting, max_bytes=10)


def test_no_way_from_https_to_http(secure: mirror.Mirror, authority: pathlib.Path) -> None:
    trusting = fetch.Options(ca_bundle=str(authority / "ca.pem"))
    with mirror.Mirror() as plain:
        target = plain.add("file", b"x").urls[0]
        url = secure.add("file", b"x", mirror.redirect(target)).urls[0]
        with pytest.raises(errors.TransportError, match="is redirected from https to http"):
            fetch.get(url, trusting, max_bytes=10)
        assert plain.log == []


NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def open_folder() -> Iterator[pathlib.Path]:
    """A folder that another user may reach and write to; nobody but its owner may enter pytest's own."""
    with tempfile.TemporaryDirectory(prefix="fetch-") as name:
        pathlib.Path(name).chmod(0o777)
        yield pathlib.Path(name)


@pytest.mark.root
def test_unreadable_and_foreign_entries_are_healed(open_folder: pathlib.Path) -> None:
    shelf = store.Store(open_folder / "store")
    with mirror.Mirror() as server:
        request = server.add("file", b"content")
        unended = server.add("unended", b"begun before")
        assert end(start(shelf, [request], user=NOBODY))[0] == 0
        path = shelf.path(request.content.digest)
        os.chown(path, 0, 0)
        path.chmod(0o400)  # root's now: an earlier run with sudo
        shelf.partial_path(unended.content.digest).write_bytes(b"begun")
        shelf.partial_path(unended.content.digest).chmod(0o600)

        assert end(start(shelf, [request, unended], user=NOBODY))[0] == 0

        assert path.stat().st_uid == NOBODY
        shelf.verify(request.content)
        shelf.verify(unended.content)


@pytest.mark.root
def test_a_store_of_another_user(open_folder: pathlib.Path) -> None:
    shelf = store.Store(open_folder / "store")
    held = shelf.add_bytes(b"held")
    with mirror.Mirror() as server:
        request = server.add("held", b"held")
        missing = server.add("missing", b"missing")
        assert end(start(shelf, [request], user=NOBODY))[0] == 0
        code, _, problems = end(start(shelf, [request, missing], user=NOBODY))
        assert server.log == []
    assert code == 1
    assert problems.startswith(f"{shelf.partial_path(missing.content.digest)}: Permission denied; 7 B are still to be")
    assert problems.strip().endswith("Set STORE in .env to a folder that you may write to.")
    program = """
import os, pathlib, sys
from buildchain import digest, store, tree
os.setgroups([])
os.setuid(int(sys.argv[2]))
shelf, held = store.Store(pathlib.Path(sys.argv[1])), digest.Descriptor.of_bytes(b"held")
shelf.verify(held)
for name, is_program in (("file", False), ("program", True)):
    print(shelf.link(tree.File(name, held, is_program), shelf.root.parent / name))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, shelf.root, str(NOBODY)], check=True, capture_output=True, text=True
    )
    is_protected = pathlib.Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1"
    assert done.stdout.split() == [str(is_protected), "True"]
    assert (open_folder / "file").read_bytes() == (open_folder / "program").read_bytes() == b"held"
    assert (open_folder / "program").stat().st_mode & 0o777 == tree.PROGRAM_MODE
    shelf.verify(held)


@pytest.mark.root
def test_a_damaged_entry_of_another_user(open_folder: pathlib.Path) -> None:
    shelf = store.Store(open_folder / "store")
    held = shelf.add_bytes(b"held")
    shelf.path(held.digest).chmod(0o644)
    shelf.path(held.digest).write_bytes(b"HELD")
    program = """
import os, pathlib, sys
from buildchain import digest, errors, store
os.setgroups([])
os.setuid(int(sys.argv[2]))
try:
    store.Store(pathlib.Path(sys.argv[1])).verify(digest.Descriptor.of_bytes(b"held"))
except errors.IntegrityError as error:
    print(error.hint)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, shelf.root, str(NOBODY)], check=True, capture_output=True, text=True
    )
    assert done.stdout == (
        "It cannot be removed (Permission denied): ask its owner, or set STORE in .env to a folder of your own.\n"
    )


@pytest.mark.root
def test_other_and_read_only_file_systems(tmp_path: pathlib.Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as folder:
        shelf = store.Store(folder / "store")
        held = shelf.add_bytes(b"held")
        command.run(["mount", "-o", "remount,ro", folder])
        request = fetch.Request("held", held, ())
        assert fetch.pull([request], shelf, OPTIONS, fetch.NullProgress()).held_count == 1
        for name, is_program in (("file", False), ("program", True)):
            file = tree.File(name, held, is_program)
            assert shelf.link(file, tmp_path / name)
            assert (tmp_path / name).read_bytes() == b"held"
            assert (tmp_path / name).stat().st_mode & 0o777 == file.mode
        missing = fetch.Request("missing", digest.Descriptor.of_bytes(b"missing"), ("http://localhost:1/",))
        with pytest.raises(errors.StoreError, match="Read-only file system"):
            fetch.pull([missing], shelf, OPTIONS, fetch.NullProgress())
