"""The downloader against a server that lies: each lie has its one right end."""

import contextlib
import dataclasses
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest, errors, fetch, store, urls
from buildchain.fetch import _certificates, _hosts, _transport
from tests.support import mirror

CONTENT = bytes(range(256)) * 200
SIZE = len(CONTENT)
OPTIONS = fetch.Options(
    jobs=4,
    first_wait_s=0.001,
    longest_wait_s=0.1,
    read_timeout_s=5,
    connect_timeout_s=1,
    attempts=3,
    attempts_total=20,
)
HASTY = dataclasses.replace(OPTIONS, read_timeout_s=0.15)
"""For a server that is silent on purpose; one that is only slow on a busy machine would be given up as well."""
SILENT = {"stall in mid-body", "no answer at all", "a byte now and then", "stalls", "no answers"}
OTHER_BYTES = (
    "The server has other bytes than the lock: choose another mirror, or run ./doit.sh lock to see what changed."
)


@dataclasses.dataclass
class Journal:
    """A progress that remembers."""

    totals: tuple[int, int] = (0, 0)
    count: int = 0
    names: list[str] = dataclasses.field(default_factory=list)
    retries: list[str] = dataclasses.field(default_factory=list)
    is_closed: bool = False

    def on_start(self, missing: Sequence[fetch.Request], total_bytes: int) -> None:
        self.totals = (len(missing), total_bytes)

    def on_bytes(self, count: int) -> None:
        self.count += count

    def on_done(self, request: fetch.Request) -> None:
        self.names.append(request.name)

    def on_retry(self, name: str, why: str) -> None:
        self.retries.append(f"{name}: {why}")

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.forget_settings(monkeypatch)


@pytest.fixture
def server() -> Iterator[mirror.Mirror]:
    with mirror.Mirror() as server:
        yield server


@pytest.fixture
def shelf(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


def pull(shelf: store.Store, *requests: fetch.Request, options: fetch.Options = OPTIONS) -> fetch.Pulled:
    journal = Journal()
    try:
        return fetch.pull(requests, shelf, options, journal)
    finally:
        assert journal.is_closed == (journal.totals != (0, 0))


def leftovers(shelf: store.Store) -> list[int]:
    """Sizes of what is still in quarantine."""
    return [path.stat().st_size for path in shelf.root.glob("partial/*")]


# The lies that a pull survives: the answers it gets are status and offset of each request.
SURVIVED: dict[str, tuple[list[mirror.Lie], list[tuple[int, int]] | None]] = {
    "truth": ([], [(200, 0)]),
    "chunked": ([mirror.chunked], [(200, 0)]),
    "cut in mid-body": ([mirror.cut(10_000)], [(200, 0), (206, 10_000)]),
    "cut before the first byte": ([mirror.cut(0)], [(200, 0), (200, 0)]),
    "cut after the last byte but one": ([mirror.cut(SIZE - 1)], [(200, 0), (206, SIZE - 1)]),
    "cut more often than attempts": (
        [mirror.cut(10_000)] * 5,
        [(200, 0), (206, 10_000), (206, 20_000), (206, 30_000), (206, 40_000), (206, 50_000)],
    ),
    "end without a length": ([mirror.unsaid_end(10_000)], [(200, 0), (206, 10_000)]),
    "shorter body, said so": ([mirror.other_length(10_000)], [(200, 0), (200, 0)]),
    "stall in mid-body": ([mirror.stall(10_000)], [(200, 0), (206, 10_000)]),
    "no answer at all": ([mirror.silence], [(0, 0), (200, 0)]),
    "a byte now and then": ([mirror.drip(0.02)], None),
    "range ignored": ([mirror.cut(10_000), mirror.ignored_range], [(200, 0), (200, 10_000)]),
    "range ignored and cut": (
        [mirror.cut(10_000), mirror.unsaid_end(20_000)],
        [(200, 0), (200, 10_000), (206, 20_000)],
    ),
    "other part": ([mirror.cut(10_000), mirror.wrong_range(-256)], [(200, 0), (206, 10_000), (200, 0)]),
    "part nobody asked for": ([mirror.wrong_range()], [(206, 0), (200, 0)]),
    "416": ([mirror.cut(10_000), mirror.status(416)], [(200, 0), (416, 10_000), (200, 0)]),
    "wrong bytes in a resumed part": ([mirror.cut(10_000), mirror.wrong_bytes], [(200, 0), (206, 10_000), (200, 0)]),
    "500": ([mirror.status(500)] * 2, [(500, 0), (500, 0), (200, 0)]),
    "503 in mid-file": ([mirror.cut(10_000), mirror.status(503)], [(200, 0), (503, 10_000), (206, 10_000)]),
    "503 with nonsense to wait for": ([mirror.status(503, "soon")], [(503, 0), (200, 0)]),
    "redirect": ([mirror.redirect("/other")], [(302, 0), (200, 0)]),
}


@pytest.mark.parametrize("case", SURVIVED)
def test_survives(case: str, server: mirror.Mirror, shelf: store.Store) -> None:
    lies, answers = SURVIVED[case]
    server.add("other", CONTENT)
    request = server.add("file", CONTENT, *lies)

    pulled = pull(shelf, request, options=HASTY if case in SILENT else OPTIONS)

    assert pulled.count == 1
    assert shelf.read(request.content.digest) == CONTENT
    assert leftovers(shelf) == []
    assert answers is None or [(asked.status, asked.offset) for asked in server.log] == answers
    assert shelf.path(request.content.digest).stat().st_mode & 0o777 == 0o444


# The lies that end a pull: the error's class and text, and how often the server was asked.
REFUSED: dict[str, tuple[list[mirror.Lie], type[errors.BuildchainError], str, int]] = {
    "wrong bytes": (
        [mirror.wrong_bytes],
        errors.IntegrityError,
        "file: from {url}/file: expected {digest}, got sha256:",
        1,
    ),
    "wrong bytes again and again": (
        [mirror.cut(10_000), mirror.wrong_bytes, mirror.wrong_bytes],
        errors.IntegrityError,
        "file: from {url}/file: expected {digest}, got sha256:",
        3,
    ),
    "longer body": (
        [mirror.other_length(SIZE + 1)],
        errors.IntegrityError,
        f"file: from {{url}}/file: expected {SIZE} bytes, got {SIZE + 1} bytes\n{OTHER_BYTES}",
        1,
    ),
    "10 GB instead of 50 kB": (
        [mirror.other_length(10**10)],
        errors.IntegrityError,
        f"file: from {{url}}/file: expected {SIZE} bytes, got 10000000000 bytes\n{OTHER_BYTES}",
        1,
    ),
    "endless body": (
        [mirror.endless],
        errors.IntegrityError,
        f"file: from {{url}}/file: expected {SIZE} bytes, got a longer body\n{OTHER_BYTES}",
        1,
    ),
    "always shorter": (
        [mirror.other_length(SIZE - 1)] * 3,
        errors.IntegrityError,
        f"file: from {{url}}/file: expected {SIZE} bytes, got {SIZE - 1} bytes\n{OTHER_BYTES}",
        3,
    ),
    "part of another file": (
        [mirror.cut(10_000), mirror.wrong_range(total=77)],
        errors.IntegrityError,
        f"file: from {{url}}/file: expected {SIZE} bytes, got 77 bytes\n{OTHER_BYTES}",
        2,
    ),
    "always cut at one place": (
        [mirror.cut(10_000), mirror.cut(0), mirror.cut(0)],
        errors.TransportError,
        "{url}/file: the connection ended before the body did (after 3 attempts)",
        3,
    ),
    "always another part": (
        [mirror.wrong_range()] * 3,
        errors.TransportError,
        "{url}/file: not the part that was asked for "
        f"(Content-Range: 'bytes 0-{SIZE - 1}/{SIZE}') (after 3 attempts)",
        3,
    ),
    "stalls": ([mirror.stall(0)] * 3, errors.TransportError, "{url}/file: no byte for 0.15 s (after 3 attempts)", 3),
    "no answers": ([mirror.silence] * 3, errors.TransportError, "{url}/file: no byte for 0.15 s (after 3 attempts)", 3),
    "500s": (
        [mirror.status(500)] * 3,
        errors.TransportError,
        "{url}/file: HTTP 500 Internal Server Error (after 3 attempts)\n"
        "Check the network and the proxy settings, and run the same command again: what came is kept.",
        3,
    ),
    "403": (
        [mirror.status(403)],
        errors.TransportError,
        "{url}/file: HTTP 403 Forbidden\nAsk the server's owner for access, or choose another mirror.",
        1,
    ),
    "status out of the blue": ([mirror.status(299)], errors.TransportError, "{url}/file: HTTP 299", 1),
    "404": (
        [mirror.status(404)],
        errors.BuildchainError,
        "file: is gone: {url}/file (HTTP 404 Not Found)\n"
        "Run ./doit.sh lock: what the mirrors no longer have is replaced by what they have.",
        1,
    ),
    "redirect loop": (
        [mirror.redirect("/file")],
        errors.TransportError,
        "{url}/file: redirects in a loop: {url}/file -> {url}/file\nMend this address, or choose another mirror.",
        1,
    ),
    "redirect to a local file": (
        [mirror.redirect("file:///etc/passwd")],
        errors.TransportError,
        "{url}/file: is redirected to 'file:///etc/passwd', which is neither an http nor an https URL",
        1,
    ),
    "redirect to nonsense": (
        [mirror.redirect("http://[")],
        errors.TransportError,
        "{url}/file: is redirected to what is no URL\nMend this address, or choose another mirror.",
        1,
    ),
    "redirect to nowhere": ([mirror.status(302)], errors.TransportError, "{url}/file: HTTP 302 Found", 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, server: mirror.Mirror, shelf: store.Store) -> None:
    lies, kind, text, count = REFUSED[case]
    request = server.add("file", CONTENT, *lies)

    with pytest.raises(errors.BuildchainError) as caught:
        pull(shelf, request, options=HASTY if case in SILENT else OPTIONS)

    assert type(caught.value) is kind
    assert str(caught.value).startswith(text.format(url=server.url, digest=request.content.digest))
    assert len(server.log) == count
    assert not shelf.has(request.content)
    assert list(shelf.root.glob("sha256/*/*")) == []


def test_endless_body_is_cut_at_once(server: mirror.Mirror, shelf: store.Store) -> None:
    request = server.add("file", CONTENT, mirror.endless)
    with pytest.raises(errors.IntegrityError):
        pull(shelf, request)
    assert server.sent("file") < 64 << 20  # what the sockets of both sides buffer
    assert leftovers(shelf) == []


def test_the_body_of_a_redirect_is_not_read(server: mirror.Mirror, shelf: store.Store) -> None:
    server.add("file", CONTENT)
    pull(shelf, server.add("start", CONTENT, mirror.endless_redirect))
    assert server.sent("start") < 64 << 20


def test_redirects_without_a_loop_end_too(server: mirror.Mirror, shelf: store.Store) -> None:
    requests = [server.add(f"{number}", b"x", mirror.redirect(f"/{number + 1}")) for number in range(20)]
    with pytest.raises(errors.TransportError, match=r"/0: redirects more than 10 times"):
        pull(shelf, requests[0])
    assert len(server.log) == 11


@hypothesis.settings(max_examples=10, deadline=None)
@hypothesis.given(strategies.lists(strategies.integers(1, SIZE // 4), max_size=10))
def test_no_byte_comes_twice_wherever_the_line_breaks(cuts: list[int]) -> None:
    with mirror.Mirror() as server, _temporary_store() as shelf:
        request = server.add("file", CONTENT, *[mirror.cut(after) for after in cuts])
        pulled = pull(shelf, request)
        assert shelf.read(request.content.digest) == CONTENT
        assert server.sent("file") == pulled.received_bytes == SIZE


def test_attempts_are_bounded_whatever_comes_between(server: mirror.Mirror, shelf: store.Store) -> None:
    request = server.add("file", CONTENT, *[mirror.cut(1)] * 100)
    with pytest.raises(errors.TransportError, match=r"\(after 20 attempts\)"):
        pull(shelf, request)
    assert leftovers(shelf) == [20]


@pytest.mark.parametrize("lie", [mirror.status(429, "3600"), mirror.retry_at(3600)])
def test_retry_after_is_obeyed_up_to_the_cap(lie: mirror.Lie, server: mirror.Mirror, shelf: store.Store) -> None:
    started = time.monotonic()
    pull(shelf, server.add("file", CONTENT, lie))
    assert 0.1 <= time.monotonic() - started < 2


def test_the_next_run_goes_on_where_this_one_ended(server: mirror.Mirror, shelf: store.Store) -> None:
    request = server.add("file", CONTENT, mirror.cut(10_000), mirror.status(403))
    with pytest.raises(errors.TransportError):
        pull(shelf, request)
    assert leftovers(shelf) == [10_000]
    assert fetch.plan([request], shelf).remaining_bytes == SIZE - 10_000

    pull(shelf, request)

    assert server.log[-1].offset == 10_000
    assert server.sent("file") == SIZE


@pytest.mark.parametrize("rest", [b"\0" * 10_000, b"\0" * SIZE, b"\0" * (SIZE + 1)])
def test_a_rotten_part_is_dropped(rest: bytes, server: mirror.Mirror, shelf: store.Store) -> None:
    request = server.add("file", CONTENT)
    shelf.partial_path(request.content.digest).parent.mkdir(parents=True)
    shelf.partial_path(request.content.digest).write_bytes(rest)
    journal = Journal()
    fetch.pull([request], shelf, OPTIONS, journal)
    assert shelf.read(request.content.digest) == CONTENT
    assert journal.totals[1] == journal.count


def test_a_whole_part_needs_no_request(server: mirror.Mirror, shelf: store.Store) -> None:
    request = server.add("file", CONTENT)
    shelf.partial_path(request.content.digest).parent.mkdir(parents=True)
    shelf.partial_path(request.content.digest).write_bytes(CONTENT)
    pull(shelf, request)
    assert shelf.has(request.content)
    assert server.log == []


def test_bytes_are_on_the_disk_before_they_are_an_entry(
    server: mirror.Mirror, shelf: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int | str] = []
    adopt = store.Store.adopt

    def adopt_and_tell(shelf: store.Store, path: pathlib.Path, content: digest.Descriptor) -> None:
        steps.append("adopt")
        adopt(shelf, path, content)

    monkeypatch.setattr(os, "fsync", lambda handle: steps.append(os.fstat(handle).st_size))
    monkeypatch.setattr(store.Store, "adopt", adopt_and_tell)
    pull(shelf, server.add("file", CONTENT))
    assert steps == [SIZE, "adopt"]


def test_empty_file(server: mirror.Mirror, shelf: store.Store) -> None:
    pull(shelf, server.add("empty", b""))
    assert shelf.read(digest.Digest.of_bytes(b"")) == b""
    assert leftovers(shelf) == []


def test_each_digest_once_and_nothing_that_is_held(server: mirror.Mirror, shelf: store.Store) -> None:
    held = server.add("held", b"held")
    shelf.add_bytes(b"held")
    large, small = server.add("large", CONTENT), server.add("small", b"small")
    twin = server.add("twin", CONTENT)

    pulled = pull(shelf, small, held, twin, large, small, options=dataclasses.replace(OPTIONS, jobs=1))

    assert [asked.path for asked in server.log] == ["/twin", "/small"]
    assert (pulled.count, pulled.received_bytes) == (2, SIZE + 5)
    assert (pulled.held_count, pulled.held_bytes, pulled.attempts) == (1, 4, 2)
    assert pull(shelf, small, held, large) == fetch.Pulled(held_count=3, held_bytes=SIZE + 9)
    assert len(server.log) == 2


def test_next_url_after_wrong_bytes_and_after_nothing(server: mirror.Mirror, shelf: store.Store) -> None:
    good = server.add("good", CONTENT)
    bad = server.add("bad", CONTENT, *[mirror.wrong_bytes] * 3)
    pull(shelf, dataclasses.replace(good, urls=(f"{server.url}/absent", *bad.urls, *good.urls)))
    assert [asked.path for asked in server.log] == ["/absent", "/bad", "/good"]


def test_a_part_of_one_mirror_is_ended_by_the_next(server: mirror.Mirror, shelf: store.Store) -> None:
    good = server.add("good", CONTENT)
    bad = server.add("bad", CONTENT, mirror.cut(10_000), mirror.status(403))
    pull(shelf, dataclasses.replace(good, urls=bad.urls + good.urls))
    assert server.log[-1].offset == 10_000


def test_one_failure_tells_all_urls(server: mirror.Mirror, shelf: store.Store) -> None:
    bad = server.add("bad", CONTENT, mirror.wrong_bytes)
    request = dataclasses.replace(bad, urls=(f"{server.url}/absent", *bad.urls))
    with pytest.raises(errors.IntegrityError) as caught:
        pull(shelf, request)
    assert str(caught.value).endswith(f"\nAlso tried: {server.url}/absent: HTTP 404 Not Found")


def test_the_others_finish_and_all_failures_are_told(server: mirror.Mirror, shelf: store.Store) -> None:
    good = [server.add(f"good{number}", bytes([number])) for number in range(5)]
    gone = dataclasses.replace(server.add("gone", b"gone"), urls=(f"{server.url}/absent",))
    wrong = server.add("wrong", b"wrong", mirror.wrong_bytes)
    homeless = dataclasses.replace(server.add("homeless", b"homeless"), urls=())

    with pytest.raises(errors.BuildchainError) as caught:
        pull(shelf, gone, wrong, homeless, *good)

    assert type(caught.value) is errors.BuildchainError
    actual = digest.Digest.of_bytes(bytes(byte ^ 1 for byte in b"wrong"))
    assert str(caught.value) == (
        "pull: 3 of 8 files failed\n"
        f"  gone: is gone: {server.url}/absent (HTTP 404 Not Found)\n"
        "  homeless: has no URL\n"
        f"  wrong: from {server.url}/wrong: expected {wrong.content.digest}, got {actual}\n"
        "Run ./doit.sh lock: what the mirrors no longer have is replaced by what they have.\n"
        f"{OTHER_BYTES}"
    )
    assert all(shelf.has(request.content) for request in good)


def test_whatever_is_asked_for_a_rewritten_host_is_not_asked(server: mirror.Mirror, shelf: store.Store) -> None:
    with mirror.Mirror() as cache:
        old, new = server.url, cache.url.replace("//", "//me:secret@")
        rewrites, problems = urls.parse_rewrites(f"{old} => {new}/cache, {old}/deep => {new}/other")
        assert problems == []
        options = dataclasses.replace(OPTIONS, rewrites=rewrites)
        request = server.add("file", CONTENT)
        deep = server.add("deep/file", b"deep", *[mirror.status(500)] * 9)
        cache.add("cache/file", CONTENT, mirror.cut(10_000), mirror.redirect(f"{old}/moved"))
        cache.add("cache/moved", CONTENT)
        pull(shelf, request, options=options)
        assert fetch.get(f"{old}/moved", options, max_bytes=SIZE) == CONTENT
        assert fetch.is_there(f"{old}/moved", options)
        assert not fetch.is_there(f"{old}/deep/file", options)
        with pytest.raises(errors.BuildchainError) as caught:
            pull(shelf, deep, options=options)
        said = str(caught.value)
        assert said.startswith(f"deep/file: is gone: {cache.url}/other/file (HTTP 404 Not Found)")
        assert server.log == []
        assert "Authorization" in cache.log[0].headers


def test_a_silent_host_is_found_out_once(shelf: store.Store) -> None:
    nowhere = ("http://localhost:1/a",)
    requests = [fetch.Request(name, digest.Descriptor.of_bytes(name.encode()), nowhere) for name in "abc"]
    with pytest.raises(errors.BuildchainError) as caught:
        pull(shelf, *requests, options=dataclasses.replace(OPTIONS, jobs=1))
    assert str(caught.value).count("Connection refused") == 3
    assert str(caught.value).count("(after 3 attempts)") == 1


def test_a_bug_in_a_thread_is_seen(server: mirror.Mirror, shelf: store.Store) -> None:
    class Broken(Journal):
        def on_done(self, request: fetch.Request) -> None:
            raise ZeroDivisionError(request.name)

    with pytest.raises(ZeroDivisionError):
        fetch.pull([server.add("file", CONTENT)], shelf, OPTIONS, Broken())


def test_offline_names_all_that_is_missing(server: mirror.Mirror, shelf: store.Store) -> None:
    offline = dataclasses.replace(OPTIONS, is_offline=True)
    shelf.add_bytes(b"held")
    held, large, small = server.add("held", b"held"), server.add("large", CONTENT), server.add("small", b"small")
    with pytest.raises(errors.BuildchainError) as caught:
        fetch.pull([held, small, large], shelf, offline, fetch.NullProgress())
    assert str(caught.value) == (
        "offline: 2 files are not in the store (51.2 kB)\n  large (51.2 kB)\n  small (5 B)\n"
        "Run ./doit.sh once without OFFLINE, or set STORE in .env to a store that holds them."
    )
    assert fetch.pull([held], shelf, offline, fetch.NullProgress()).held_count == 1
    with pytest.raises(errors.BuildchainError, match="is not asked for offline"):
        fetch.get(small.urls[0], offline, max_bytes=10)
    assert server.log == []


def test_plan_and_its_text(server: mirror.Mirror, shelf: store.Store) -> None:
    shelf.add_bytes(b"held")
    requests = [server.add("held", b"held"), server.add("small", b"small"), server.add("large", CONTENT)]
    shelf.partial_path(requests[2].content.digest).write_bytes(CONTENT[:200])
    plan = fetch.plan(requests, shelf)
    assert [request.name for request in plan.missing] == ["large", "small"]
    assert (plan.missing_bytes, plan.remaining_bytes) == (SIZE + 5, SIZE - 195)
    assert str(plan) == "2 files to pull (51.2 kB), 200 B of them begun, 1 held (4 B)"


def test_plan_makes_no_folder(tmp_path: pathlib.Path, server: mirror.Mirror) -> None:
    fetch.plan([server.add("file", CONTENT)], store.Store(tmp_path / "none"))
    assert list(tmp_path.iterdir()) == []


def test_one_digest_with_two_sizes(server: mirror.Mirror, shelf: store.Store) -> None:
    request = server.add("file", CONTENT)
    liar = fetch.Request("liar", digest.Descriptor(request.content.digest, 1), request.urls)
    with pytest.raises(errors.BuildchainError) as caught:
        fetch.plan([request, liar], shelf)
    assert str(caught.value) == (
        f"{request.content.digest}: is given two sizes: {SIZE} bytes (file) and 1 bytes (liar)\n"
        "Run ./doit.sh lock and commit the result."
    )


def test_too_small_a_disk_is_refused(tmp_path: pathlib.Path) -> None:
    plan = fetch.Plan(remaining_bytes=10**18)
    with pytest.raises(errors.BuildchainError) as caught:
        fetch.check_space(plan, 5 * 10**17, tmp_path / "not" / "yet")
    assert str(caught.value).startswith(f"{tmp_path}/not/yet: the disk is too small: 1500000.0 TB needed, ")
    fetch.check_space(fetch.Plan(), 1, tmp_path)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"), (10**12, "1.0 TB")],
)
def test_size_text(size: int, text: str) -> None:
    assert fetch.size_text(size) == text


def test_get(server: mirror.Mirror) -> None:
    url = server.add("index", b"0123456789", mirror.status(503), mirror.cut(3)).urls[0]
    assert fetch.get(url, OPTIONS, max_bytes=10) == b"0123456789"
    with pytest.raises(errors.IntegrityError, match="expected at most 9 bytes, got more"):
        fetch.get(url, OPTIONS, max_bytes=9)
    with pytest.raises(errors.TransportError) as caught:
        fetch.get(f"{server.url}/absent", OPTIONS, max_bytes=9)
    assert (caught.value.status, caught.value.why) == (404, "HTTP 404 Not Found")


def test_is_there_reads_no_body(server: mirror.Mirror) -> None:
    url = server.add("file", b"x", mirror.status(503), mirror.endless, mirror.status(410), mirror.status(403)).urls[0]
    assert fetch.is_there(url, OPTIONS)
    assert not fetch.is_there(url, OPTIONS)
    assert not fetch.is_there(f"{server.url}/absent", OPTIONS)
    with pytest.raises(errors.TransportError, match="HTTP 403 Forbidden"):
        fetch.is_there(url, OPTIONS)
    with pytest.raises(errors.BuildchainError, match="is not asked for offline"):
        fetch.is_there(url, dataclasses.replace(OPTIONS, is_offline=True))
    assert len(server.log) == 5


def test_get_of_an_endless_document(server: mirror.Mirror) -> None:
    url = server.add("index", b"", mirror.endless).urls[0]
    with pytest.raises(errors.IntegrityError):
        fetch.get(url, OPTIONS, max_bytes=1000)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://localhost:1/x", "http://localhost:1/x: Connection refused (after 3 attempts)"),
        ("http://me:secret@localhost:1/x", "http://localhost:1/x: Connection refused (after 3 attempts)"),
        ("ftp://localhost/x", "ftp://localhost/x: is neither an http nor an https URL"),
        ("file:///etc/passwd", "file:///etc/passwd: is neither an http nor an https URL"),
        ("http://", "http://: is no URL"),
        ("http://me:secret@[/", "http://[/: is no URL"),
    ],
)
def test_url_that_leads_nowhere(url: str, text: str) -> None:
    with pytest.raises(errors.TransportError) as caught:
        fetch.get(url, OPTIONS, max_bytes=9)
    assert str(caught.value).startswith(text)
    assert "secret" not in str(caught.value)


def test_credentials_stay_with_their_host(server: mirror.Mirror) -> None:
    elsewhere = server.url.replace("localhost", "127.0.0.1")
    server.add("target", b"x")
    url = server.add("file", b"x", mirror.redirect(f"{elsewhere}/target")).urls[0]
    fetch.get(url.replace("//", "//me:secret@"), OPTIONS, max_bytes=9)
    assert "Authorization" in server.log[0].headers
    assert "Authorization" not in server.log[1].headers


def test_proxies_and_their_exceptions(server: mirror.Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    url = server.add("file", b"x").urls[0]
    with pytest.raises(errors.TransportError):
        fetch.get("http://mirror.invalid/file", OPTIONS, max_bytes=9)
    assert server.log[0].path == "http://mirror.invalid/file"
    monkeypatch.setenv("no_proxy", "localhost")
    assert fetch.get(url, OPTIONS, max_bytes=9) == b"x"


def test_proxy_that_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http:///x")
    with pytest.raises(errors.TransportError, match="the proxy's address is no URL"):
        fetch.get("http://mirror.invalid/", OPTIONS, max_bytes=9)


HEADERS = ["Location", "Content-Length", "Content-Range", "Content-Encoding", "Transfer-Encoding", "Retry-After", ""]


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(
    strategies.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 206 P", b"HTTP/1.0 302", b"HTTP/1.1 503 -", b"HTTP/9", b""]
    ),
    strategies.lists(strategies.tuples(strategies.sampled_from(HEADERS), strategies.binary(max_size=20)), max_size=4),
    strategies.binary(max_size=50),
)
def test_whatever_a_server_says_the_end_is_an_error(
    status: bytes, headers: list[tuple[str, bytes]], body: bytes
) -> None:
    lines = [status, *(name.encode() + b": " + value for name, value in headers)]
    with mirror.Mirror() as server, _temporary_store() as shelf:
        request = server.add("file", CONTENT, mirror.raw(b"\r\n".join(lines) + b"\r\n\r\n" + body))
        with pytest.raises(errors.BuildchainError):
            pull(shelf, request, options=dataclasses.replace(HASTY, attempts=1))
        assert not shelf.has(request.content)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("7", 7),
        (" 7 ", 7),
        ("-7", 0),
        ("7.5", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("9" * 40, 999_999_999),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    assert _transport._retry_after_s({"Retry-After": text}) == seconds


def test_ca_bundle_order(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    assert _certificates.find_ca_bundle(None) is not None
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
        assert _certificates.find_ca_bundle(None) == str(tmp_path / name)
    assert _certificates.find_ca_bundle(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_ca_bundle_that_is_none(content: bytes | None, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.BuildchainError, match=f"CA_BUNDLE: {path}: no certificates can be read from it"):
        fetch.get("https://localhost:1/", dataclasses.replace(OPTIONS, ca_bundle=str(path)), max_bytes=9)


def _two_files_of_images() -> list[fetch.Request]:
    content = digest.Descriptor.of_bytes(b"")
    return [fetch.Request("[a]", content, (), ("one", "both")), fetch.Request("b", content, (), ("both",))]


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    shown = fetch.progress_on(stream)
    assert isinstance(shown, fetch.LineProgress)
    files = _two_files_of_images()
    shown.on_start(files, 2_000_000)
    for _ in range(1000):  # in the first second, then in the second one
        shown.on_bytes(1000)
    now[0] = 2.0
    shown.on_bytes(500_000)
    shown.on_retry("a", "HTTP 503")
    shown.on_done(files[0])
    now[0] = 13.0
    shown.on_bytes(1)
    shown.close()
    assert stream.getvalue().splitlines() == [
        "pulled 0/2 files, 0/2 images, 1.5 MB of 2.0 MB, 750.0 kB/s, 1 s left",
        "retry a: HTTP 503",
        "pulled 1/2 files, 1/2 images, 1.5 MB of 2.0 MB, 115.4 kB/s, 4 s left",
    ]


def test_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    shown = fetch.progress_on(stream)
    assert isinstance(shown, fetch.BarProgress)
    shown.close()
    files = _two_files_of_images()
    shown.on_start(files, 2_000_000)
    shown.on_bytes(2_000_000)
    shown.on_retry("[a]", "HTTP 503")
    shown.on_done(files[0])
    shown.close()
    assert "pull 1/2 files, 1/2 images" in stream.getvalue()
    assert "2.0/2.0 MB" in stream.getvalue()
    assert "retry [a]: HTTP 503" in stream.getvalue()
    assert "\x1b[3" not in stream.getvalue()  # no colour


def test_nothing_heavy_is_imported_before_the_first_byte() -> None:
    program = "import sys, buildchain.fetch; print({'requests', 'rich', 'urllib3'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"


@contextlib.contextmanager
def _temporary_store() -> Iterator[store.Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield store.Store(pathlib.Path(folder))


# How much a host is asked at once.


def test_a_limit_is_halved_once_for_all_that_was_asked_before() -> None:
    hosts = _hosts.Hosts(8, threading.Event())
    started = time.monotonic()
    for _ in range(8):
        hosts.slow_down("a", started, 0)
    assert (hosts.limit("a"), hosts.limit("b")) == (4, 8)
    hosts.slow_down("a", time.monotonic(), 0)
    for _ in range(5):
        hosts.slow_down("a", time.monotonic(), 0)
    assert hosts.limit("a") == 1
    hosts.ease("a")
    assert hosts.limit("a") == 2
    hosts.ease("a")
    hosts.ease("a")
    assert hosts.limit("a") == 3


def test_a_full_or_waiting_host_has_no_turn() -> None:
    hosts = _hosts.Hosts(1, threading.Event())
    with hosts.turn("a"):
        assert not hosts.is_free("a")
        assert hosts.is_free("b")
    assert hosts.is_free("a")
    hosts.slow_down("a", time.monotonic(), 0.2)
    assert not hosts.is_free("a")
    started = time.monotonic()
    with hosts.turn("a"):
        assert time.monotonic() - started > 0.1


def test_nobody_waits_for_a_turn_when_the_pull_ends() -> None:
    stop = threading.Event()
    hosts = _hosts.Hosts(1, stop)
    hosts.slow_down("a", time.monotonic(), 60)
    stop.set()
    with hosts.turn("a"):
        pass


class EnoughError(Exception):
    """What was waited for has come."""


@dataclasses.dataclass
class Impatient(Journal):
    """Ends the pull as soon as some names are done."""

    wanted: frozenset[str] = frozenset()
    has_waited: threading.Event = dataclasses.field(default_factory=threading.Event)

    def on_retry(self, name: str, why: str) -> None:
        super().on_retry(name, why)
        self.has_waited.set()

    def on_done(self, request: fetch.Request) -> None:
        super().on_done(request)
        if self.wanted <= set(self.names):
            raise EnoughError


def test_files_of_another_host_do_not_wait(shelf: store.Store) -> None:
    journal = Impatient(wanted=frozenset({"o0", "o1", "o2"}))

    def once_the_busy_host_is_known(answer: mirror.Answer) -> None:
        journal.has_waited.wait(60)
        answer.honest_head()
        answer.body(0, len(answer.content))

    with mirror.Mirror() as busy, mirror.Mirror() as other:
        requests = [
            busy.add("first", b"x" * 2000, mirror.status(429, "60")),
            other.add("o0", b"y" * 1900, once_the_busy_host_is_known),
            *(busy.add(f"{number}", b"x" * (1000 + number)) for number in range(3)),
            *(other.add(f"o{number}", b"y" * (10 + number)) for number in (1, 2)),
        ]
        options = dataclasses.replace(OPTIONS, jobs=2, longest_wait_s=60)
        with pytest.raises(EnoughError):
            fetch.pull(requests, shelf, options, journal)
    assert sorted(journal.names) == ["o0", "o1", "o2"]


def test_what_a_pull_says_at_its_end() -> None:
    pulled = fetch.Pulled(
        count=2,
        received_bytes=10_000_000,
        held_count=1,
        held_bytes=5,
        seconds=2,
        shared_bytes=7_000,
        peak_bytes_per_s=6e6,
    )
    assert str(pulled) == "pulled 2 files, 10.0 MB in 2.0 s (1.20 x the link's floor), 7.0 kB shared, 1 held (5 B)"
