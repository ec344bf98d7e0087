"""Whatever is wrong, ./doit.sh says what, where and what to do, exits with 1, and leaves nothing half-written."""

import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from tests.end_to_end import conftest
from tests.support import mirror, openpgp
from tests.support import small as small_distribution
from tests.support.small import ALPHA, BETA, HEAVY, PACKAGES

_YEAR_S = 365 * 24 * 3600


@pytest.fixture
def site(small: conftest.Small) -> Iterator[conftest.Small]:
    """The small distribution, in the state in which it was committed before and after the test."""
    yield small
    small.upstream.be_honest()
    _run(small, "git", "checkout", "--quiet", "--", ".")
    _run(small, "git", "clean", "--quiet", "--force", "-d")


@pytest.fixture
def empty_store(small: conftest.Small) -> Iterator[str]:
    """A folder of the builder's for another store."""
    with tempfile.TemporaryDirectory(dir=small.checkout.root.parent) as directory:
        if small.checkout.user is not None:
            os.chown(directory, small.checkout.user, small.checkout.user)
        yield directory


def _run(site: conftest.Small, *argv: str, **variables: str) -> str:
    done = site.checkout.run(*argv, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _bad(site: conftest.Small, *arguments: str, **variables: str) -> str:
    """What a run says that must fail decently."""
    done = site.checkout.run("./doit.sh", *arguments, **variables)
    print(done.stdout)
    assert done.returncode == 1, done.stdout
    _check_decent(site, done.stdout, variables.get("STORE"))
    return done.stdout


def _check_decent(site: conftest.Small, output: str, store: str | None = None) -> None:
    """Nothing of Python's is shown, nothing half-written is left, nobody still runs."""
    assert "Traceback" not in output
    assert "Error:" not in output
    _wait_until(lambda: not _processes(site))
    assert _stray(site, pathlib.Path(store or site.checkout.environment["STORE"])) == []


def _stray(site: conftest.Small, store: pathlib.Path) -> list[str]:
    """Files that are no output, no store entry, no part that the next run resumes, and no note."""
    entry = re.compile(r"sha256/[0-9a-f]{2}/[0-9a-f]{64}(\.x)?|partial/[0-9a-f]{64}\.part|notes/licences\.json")
    found = [path for path in store.rglob("*") if path.is_file() and not entry.fullmatch(str(path.relative_to(store)))]
    found += [path for path in (site.checkout.root / "_build").rglob(".*")]
    found += [path for path in site.checkout.root.iterdir() if re.match(r"\.(distribution|build)", path.name)]
    found += [*pathlib.Path(site.checkout.environment["TMPDIR"]).iterdir()]
    return [str(path) for path in found]


def _processes(site: conftest.Small) -> list[str]:
    """Command lines of what still runs with the home folder of this checkout."""
    mark = f"HOME={site.checkout.environment['HOME']}".encode()
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if mark in (path / "environ").read_bytes().split(b"\0"):
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it ended, or is another user's
            continue
    return found


def _built(site: conftest.Small) -> None:
    """Have everything built, and equal to the first build."""
    site.checkout.doit()
    assert site.checkout.iso_digest() == site.digest


def _check_absent_or_whole(site: conftest.Small) -> None:
    """A signal may come a moment too late to stop the writer."""
    assert not site.checkout.iso.exists() or site.checkout.iso_digest() == site.digest


def _wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _start(site: conftest.Small, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start ./doit.sh as a terminal does: in a group of its own that gets the signals."""
    checkout = site.checkout
    return subprocess.Popen(
        ["./doit.sh", *arguments],
        cwd=checkout.root,
        env={**checkout.environment, **variables},
        user=checkout.user,
        group=checkout.user,
        extra_groups=None if checkout.user is None else [],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _edit(site: conftest.Small, path: str, old: str, new: str) -> None:
    file = site.checkout.root / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


@dataclasses.dataclass(frozen=True)
class Edit:
    """A mistake in a file, and what must be said about it."""

    path: str
    old: str
    new: str
    said: tuple[str, ...]
    arguments: tuple[str, ...] = ("populate_iso",)


_EDITS = {
    "unknown key in the intent": Edit(
        "distribution.yaml", "images:\n", "pictures: 1\nimages:\n", ("distribution.yaml", "line 11", "pictures")
    ),
    "wrong type in the intent": Edit(
        "distribution.yaml",
        "packages: [alpha, beta, heavy]",
        "packages: alpha",
        ("distribution.yaml", "line 10", "packages"),
    ),
    "no YAML": Edit("distribution.yaml", "archives:\n", "archives: [\n", ("distribution.yaml", "line")),
    "unknown key in a recipe": Edit(
        "images/tool/image.yaml", "packages:", "pakages: [alpha]\npackages:", ("images/tool/image.yaml", "pakages")
    ),
    "wrong type in a recipe": Edit(
        "images/tool/image.yaml", "entrypoint: [/usr/bin/alpha]", "entrypoint: 7", ("images/tool/image.yaml", "line 2")
    ),
    "unknown key in the exclusions": Edit(
        "images/exclusions.yaml", "exclude:", "exclud: []\nexclude:", ("images/exclusions.yaml", "exclud", "line")
    ),
    "wrong type in the exclusions": Edit(
        "images/exclusions.yaml",
        "reason: manual pages are read where packages are installed",
        "reason: 7",
        ("images/exclusions.yaml", "reason"),
    ),
    "unknown key in the maintainer scripts": Edit(
        "images/maintainer-scripts.yaml",
        "base-files:\n  postinst:\n",
        "base-files:\n  afterinst:\n",
        ("images/maintainer-scripts.yaml", "afterinst"),
    ),
    "wrong type in the maintainer scripts": Edit(
        "images/maintainer-scripts.yaml",
        "base-files:\n",
        "zz-files: 1\nbase-files:\n",
        ("images/maintainer-scripts.yaml", "zz-files"),
    ),
    "recipe that is not there": Edit("distribution.yaml", "tool:", "tole:", ("images/tole", "image.yaml")),
    "key that is not there": Edit("distribution.yaml", "test.asc", "tset.asc", ("distribution.yaml", "tset.asc")),
    "malformed version": Edit("VERSION", "VERSION_MINOR=", "VERSION_MINOR=x", ("VERSION", "VERSION_MINOR", "line")),
    "no version": Edit("VERSION", "VERSION_MINOR=", "VERSION_MINE=", ("VERSION", "VERSION_MINOR is missing")),
    "lock that is no JSON": Edit("distribution.lock.json", "{", "<", ("distribution.lock.json", "./doit.sh lock")),
    "lock with an unknown key": Edit(
        "distribution.lock.json", '"packages"', '"pakages"', ("distribution.lock.json", "./doit.sh lock")
    ),
    "lock that does not cover the intent": Edit(
        "distribution.yaml", "heavy]", "heavy, gamma]", ("gamma is wanted but not locked", "./doit.sh lock")
    ),
    "unknown package": Edit(
        "distribution.yaml", "heavy]", "heavy, gamma]", ("gamma", "repository small", "distribution.yaml"), ("lock",)
    ),
    "unknown package in a recipe": Edit(
        "images/tool/image.yaml", "[alpha]", "[gamma]", ("gamma", "image tool", "recipe"), ("lock",)
    ),
}


@pytest.mark.parametrize("edit", _EDITS.values(), ids=_EDITS.keys())
def test_mistake_in_a_file(site: conftest.Small, edit: Edit) -> None:
    _edit(site, edit.path, edit.old, edit.new)
    said = _bad(site, *edit.arguments)
    assert [words for words in edit.said if words not in said] == []


_SETTINGS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "epoch that is no number": ({"SOURCE_DATE_EPOCH": "today"}, ("SOURCE_DATE_EPOCH", "'today'", "whole number")),
    "epoch before 1970": ({"SOURCE_DATE_EPOCH": "-1"}, ("SOURCE_DATE_EPOCH", "'-1'")),
    "key file that is not there": ({"SIGNING_KEY": "./no.asc"}, ("SIGNING_KEY", "/no.asc is not a file")),
    "build root that holds the checkout": ({"BUILD_ROOT": "."}, ("BUILD_ROOT", "holds the checkout itself")),
    "certificates that are none": ({"CA_BUNDLE": "VERSION", "STORE": "../none"}, ("CA_BUNDLE", "certificates")),
    "volume id that is too long": ({"PROJECT_NAME": "M" * 32}, ("volume id", "PROJECT_NAME")),
}


@pytest.mark.parametrize(("variables", "said"), _SETTINGS.values(), ids=_SETTINGS.keys())
def test_wrong_setting(site: conftest.Small, variables: dict[str, str], said: tuple[str, ...]) -> None:
    printed = _bad(site, **variables)
    assert [words for words in said if words not in printed] == []


def test_all_wrong_settings_are_named_at_once(site: conftest.Small) -> None:
    lines = [
        "SOURCE_DATE_EPOCH=soon", "OFFLINE=yes", "PULL_JOBS=0", "CA_BUNDLE=/none", "DEBIAN_MIRROR=ftp://x",
        "SKOPEO_BIN=/usr/bin/skopeo", "MKISOFS_BIN=mkisofs", "PROJECT_NAME='@'",
    ]  # fmt: skip
    path = site.checkout.root / ".env"
    path.write_text("\n".join(lines) + "\n")
    try:
        said = _bad(site)
    finally:
        path.unlink()
    assert "8 problems" in said
    assert [line for line in lines if line.split("=")[0] not in said] == []
    assert "the ISO is written by pycdlib; remove it" in said
    assert ".env.example" in said


def test_env_that_is_no_shell(site: conftest.Small) -> None:
    path = site.checkout.root / ".env"
    path.write_text("PROJECT_NAME='Meta\n")
    try:
        done = site.checkout.run("./doit.sh", "list")
    finally:
        path.unlink()
    assert done.returncode not in (0, 3)
    assert ".env" in done.stdout


@dataclasses.dataclass(frozen=True)
class Index:
    """What an archive's index may be, and what `lock` must say about it."""

    said: tuple[str, ...]
    age_s: int = 0
    valid_s: int | None = None
    key: str = ""
    is_signed: bool = True


_INDEXES = {
    "expired": Index(("debian", "expired"), valid_s=3600),
    "unsigned": Index(("debian", "not signed"), is_signed=False),
    "wrongly signed": Index(("debian", "NO_PUBKEY"), key="stranger"),
    "older": Index(("debian", "older", "DEBIAN_MIRROR"), age_s=_YEAR_S),
}


@pytest.mark.parametrize("index", _INDEXES.values(), ids=_INDEXES.keys())
def test_bad_index(site: conftest.Small, index: Index) -> None:
    before = (site.checkout.root / "distribution.lock.json").read_bytes()
    date = small_distribution.DATE - index.age_s
    key = site.upstream.home.make(index.key) if index.key else ""
    valid_until = None if index.valid_s is None else date + index.valid_s
    try:
        site.upstream.publish(PACKAGES, date=date, valid_until=valid_until, key=key, is_signed=index.is_signed)
        said = _bad(site, "lock")
    finally:
        site.upstream.publish(PACKAGES)
    assert [words for words in index.said if words not in said] == []
    assert (site.checkout.root / "distribution.lock.json").read_bytes() == before


def test_unsatisfiable_set(site: conftest.Small) -> None:
    try:
        site.upstream.publish([dataclasses.replace(ALPHA, depends="libalpha (>= 9)"), *PACKAGES[1:]])
        said = _bad(site, "lock")
    finally:
        site.upstream.publish(PACKAGES)
    assert "alpha" in said
    assert "libalpha (>= 9)" in said
    assert "distribution.yaml" in said


_LIES: dict[str, tuple[mirror.Lie, tuple[str, ...]]] = {
    "wrong digest": (mirror.wrong_bytes, ("sha256:", "expected")),
    "endless body": (mirror.endless, ("expected", "bytes")),
    "file gone": (mirror.status(404), ("is gone", "HTTP 404", "./doit.sh lock")),
    "forbidden": (mirror.status(403), ("HTTP 403",)),
    "redirect loop": (mirror.redirect(f"/{BETA.path}"), ("redirects in a loop",)),
}


@pytest.mark.parametrize(("lie", "said"), _LIES.values(), ids=_LIES.keys())
def test_lying_mirror(site: conftest.Small, empty_store: str, lie: mirror.Lie, said: tuple[str, ...]) -> None:
    site.upstream.lie(BETA, *[lie] * 10)
    printed = _bad(site, "_pull", STORE=empty_store)
    assert [words for words in (*said, "beta") if words not in printed] == []


_HANGS = {
    "hangs in the body": [mirror.stall(100_000), *[mirror.stall(0)] * 9],
    "never answers": [mirror.silence] * 10,
}


@pytest.mark.parametrize("lies", _HANGS.values(), ids=_HANGS.keys())
def test_hanging_mirror(site: conftest.Small, empty_store: str, lies: list[mirror.Lie]) -> None:
    site.upstream.lie(BETA, *lies)
    started = time.monotonic()
    said = _bad(site, "_pull", STORE=empty_store, READ_TIMEOUT="1")
    assert time.monotonic() - started < 40  # five waits of a second, and those between them
    assert f"{site.upstream.mirror.url}/{BETA.path}: no byte for 1 s (after 5 attempts)" in said
    assert "Check the network" in said


def test_hanging_index(site: conftest.Small) -> None:
    site.upstream.mirror.add(f"dists/{small_distribution.SUITE}/InRelease", b"", *[mirror.silence] * 20)
    try:
        said = _bad(site, "lock", READ_TIMEOUT="1")
    finally:
        site.upstream.publish(PACKAGES)
    assert "archives debian" in said
    assert "Connection failed" in said


def test_a_rewritten_mirror_is_not_asked(site: conftest.Small, empty_store: str) -> None:
    settings = {"DEBIAN_MIRROR": "http://nowhere.invalid/d", "STORE": empty_store}
    settings["URL_REWRITES"] = f"http://nowhere.invalid/d => {site.upstream.mirror.url}"
    for arguments in (["lock", "--check"], ["_pull"]):
        done = site.checkout.run("./doit.sh", *arguments, **settings)
        assert done.returncode == 0, done.stdout
    said = _bad(site, "lock", **{**settings, "URL_REWRITES": "http://nowhere.invalid => ftp://me:secret@m"})
    assert "rule 1 is not" in said
    assert "secret" not in said


def test_all_lies_are_told_at_once(site: conftest.Small, empty_store: str) -> None:
    site.upstream.lie(ALPHA, *[mirror.cut(0)] * 10)
    site.upstream.lie(BETA, *[mirror.other_length(1000)] * 10)
    site.upstream.lie(HEAVY, mirror.status(404))
    said = _bad(site, "_pull", STORE=empty_store)
    assert "3 of 4 files failed" in said
    for words in ("alpha:amd64=1.0-1: ", "the connection ended", "beta:amd64=1.0-1: ", "got 1000 bytes", "HTTP 404"):
        assert words in said
    assert "./doit.sh lock" in said


def test_no_mirror(site: conftest.Small) -> None:
    dead = "http://127.0.0.1:9/debian"
    said = _bad(site, "lock", DEBIAN_MIRROR=dead)
    assert dead in said
    assert "DEBIAN_MIRROR" in said


def test_signing_keys(site: conftest.Small) -> None:
    """Absent, expired, too short, with a wrong passphrase: each is refused by its own words."""
    secret, phrase = site.checkout.root / "key.asc", site.checkout.root / "phrase"
    phrase.write_text("wrong\n")
    variables = {"SIGNING_KEY": "key.asc", "SIGNING_KEY_PASSPHRASE_FILE": "phrase"}
    with openpgp.home() as home:
        keys = {
            "has expired": home.secret(home.make("expired", "ed25519", expires="20210101T000000")),
            "has only 2048 bits": home.secret(home.make("short", "rsa2048")),
            "is not RSA": home.secret(home.make("curve", "ed25519")),
            "no secret key": home.public(home.make("public", "ed25519")),
            "assphrase": home.secret(home.make("locked", passphrase="right"), passphrase="right"),
            "SIGNING_KEY": b"no key at all\n",
        }
    for words, content in keys.items():
        secret.write_bytes(content)
        said = _bad(site, "packaging", **variables)
        assert words in said
        assert "SIGNING_KEY" in said or "RSA key of 3072 bits" in said
    said = _bad(site, "packaging", SIGNING_KEY="nobody@example.org")
    assert "gpg knows no such secret key" in said


def _limited(site: conftest.Small, limit: int, *arguments: str, **variables: str) -> str:
    """What a run says when no file may grow larger than so many bytes."""
    done = site.checkout.run("prlimit", f"--fsize={limit}", "./doit.sh", *arguments, **variables)
    print(done.stdout)
    assert done.returncode == 1, done.stdout
    _check_decent(site, done.stdout, variables.get("STORE"))
    return done.stdout


def test_disk_full_while_pulling(site: conftest.Small, empty_store: str) -> None:
    said = _limited(site, 20_000_000, "_pull", STORE=empty_store)
    assert "the disk is full" in said
    assert empty_store in said
    assert "Free some space, or set STORE" in said
    site.upstream.mirror.log.clear()
    site.checkout.doit("_pull", STORE=empty_store)
    (asked,) = site.upstream.mirror.asked(HEAVY.path)
    assert asked.offset > 10_000_000


def test_disk_full_while_staging(site: conftest.Small) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if site.checkout.user is not None:
            os.chown(other, site.checkout.user, site.checkout.user)
        variables = {"BUILD_ROOT": f"{other}/build"}
        said = _limited(site, 20_000_000, "populate_iso", **variables)
        assert f"{other}/build/root" in said
        assert "Free some space" in said
        assert "copied, not linked" in site.checkout.doit("populate_iso", **variables)


def test_disk_full_while_writing(site: conftest.Small) -> None:
    _built(site)
    site.checkout.iso.unlink()
    said = _limited(site, 30_000_000, "iso")
    assert "metalk8s.iso" in said
    assert "is full" in said
    assert not site.checkout.iso.exists()
    _built(site)


@pytest.mark.root
def test_small_disk_is_refused_before_the_first_byte(site: conftest.Small, empty_store: str) -> None:
    site.upstream.mirror.log.clear()
    mount = f"mount -t tmpfs -o size=8m,mode=0777 none {empty_store} && STORE={empty_store} ./doit.sh _pull"
    done = dataclasses.replace(site.checkout, user=None).run("unshare", "--mount", "sh", "-c", mount)
    assert done.returncode == 1, done.stdout
    assert "the disk is too small" in done.stdout
    assert empty_store in done.stdout
    assert site.upstream.mirror.asked(HEAVY.path) == []


def _entry(site: conftest.Small, name: str) -> pathlib.Path:
    found = next(iter((site.checkout.root / "_build/root/packages").rglob(f"{name}_*.deb")))
    inode = found.stat().st_ino
    store = pathlib.Path(site.checkout.environment["STORE"])
    return next(path for path in store.glob("sha256/??/*") if path.stat().st_ino == inode)


def _damage(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def _truncate(path: pathlib.Path) -> None:
    path.chmod(0o644)
    os.truncate(path, 10)
    path.chmod(0o444)


def _make_unreadable(path: pathlib.Path) -> None:
    path.chmod(0)


@pytest.mark.parametrize("harm", [_damage, _truncate, _make_unreadable])
def test_bad_store_entry_never_ships_and_heals(site: conftest.Small, harm: Callable[[pathlib.Path], None]) -> None:
    """Even if everything but the ISO is up to date: damage is refused once, what cannot be read is pulled at once."""
    _built(site)
    entry = _entry(site, "beta")
    site.checkout.iso.unlink()
    harm(entry)
    if harm is _damage:
        said = _bad(site)
        assert entry.name in said
        assert "The damaged entry is removed; run ./doit.sh again" in said
        assert not site.checkout.iso.exists()
    _built(site)


@pytest.mark.root
def test_foreign_store_entry(site: conftest.Small) -> None:
    """A store entry of another user's: a good one is used, a bad one is refused."""
    _built(site)
    entry = _entry(site, "beta")
    site.checkout.iso.unlink()
    for path in (entry, entry.parent):
        os.chown(path, 0, 0)
    try:
        _built(site)
        site.checkout.iso.unlink()
        _damage(entry)
        said = _bad(site)
    finally:
        entry.unlink()
        assert site.checkout.user is not None
        os.chown(entry.parent, site.checkout.user, site.checkout.user)
    assert entry.name in said
    assert "ask its owner, or set STORE" in said
    assert not site.checkout.iso.exists()
    _built(site)


@pytest.mark.root
def test_read_only_checkout(site: conftest.Small) -> None:
    root = site.checkout.root
    os.chown(root, 0, 0)
    lock = root / ".doit.lock"
    lock.unlink()
    try:
        said = _bad(site)
        looked = site.checkout.run("./doit.sh", "list")
    finally:
        assert site.checkout.user is not None
        os.chown(root, site.checkout.user, site.checkout.user)
    assert str(lock) in said
    assert "The checkout must be writable" in said
    assert looked.returncode == 0, looked.stdout


def test_build_root_that_cannot_be_made(site: conftest.Small) -> None:
    said = _bad(site, "populate_iso", BUILD_ROOT="/proc/build")
    assert "/proc/build" in said
    assert "Set BUILD_ROOT" in said


def test_two_builds_at_once(site: conftest.Small, empty_store: str) -> None:
    site.upstream.lie(HEAVY, mirror.stall(1000))
    site.upstream.mirror.log.clear()
    running = _start(site, "_pull", STORE=empty_store)
    _wait_until(lambda: bool(site.upstream.mirror.asked(HEAVY.path)))
    done = site.checkout.run("./doit.sh")
    looked = site.checkout.run("./doit.sh", "list")
    os.killpg(running.pid, signal.SIGINT)
    running.communicate()
    assert done.returncode == 1
    assert "another ./doit.sh runs in this checkout" in done.stdout
    assert looked.returncode == 0


@pytest.mark.parametrize("options", [(), ("-n", "4")], ids=["one task at a time", "threads"])
def test_interrupted_pull(site: conftest.Small, empty_store: str, options: tuple[str, ...]) -> None:
    site.upstream.lie(HEAVY, mirror.stall(10_000_000))
    site.upstream.mirror.log.clear()
    running = _start(site, *options, "_pull", STORE=empty_store)
    _wait_until(lambda: site.upstream.mirror.sent(HEAVY.path) >= 10_000_000)
    said = _interrupt(site, running, empty_store)
    assert "run ./doit.sh again" in said
    site.upstream.be_honest()
    site.checkout.doit("_pull", STORE=empty_store)
    assert site.upstream.mirror.asked(HEAVY.path)[-1].offset > 1_000_000


def _interrupt(site: conftest.Small, running: subprocess.Popen[str], store: str | None = None) -> str:
    """Press Ctrl-C; the answer must come soon, be decent, and be the last."""
    os.killpg(running.pid, signal.SIGINT)
    started = time.monotonic()
    said = running.communicate(timeout=20)[0]
    print(said)
    assert time.monotonic() - started < 5
    assert running.returncode == 130, said
    _check_decent(site, said, store)
    return said


@pytest.mark.parametrize("options", [(), ("-n", "4")], ids=["one task at a time", "threads"])
def test_interrupted_image_build(site: conftest.Small, options: tuple[str, ...]) -> None:
    fragment = site.checkout.root / "_build/tree/image-tool.json"
    before = fragment.read_bytes()
    fragment.unlink()
    running = _start(site, *options, "images")
    assert running.stdout
    while not running.stdout.readline().startswith(".  IMAGE"):
        assert running.poll() is None
    _interrupt(site, running)
    assert not fragment.exists()
    site.checkout.doit()
    assert fragment.read_bytes() == before


@pytest.mark.parametrize("options", [(), ("-n", "4")], ids=["one task at a time", "threads"])
def test_interrupted_iso(site: conftest.Small, options: tuple[str, ...]) -> None:
    _built(site)
    site.checkout.iso.unlink()
    part = site.checkout.root / "_build/.metalk8s.iso.part"
    running = _start(site, *options)
    _wait_until(part.exists)
    _interrupt(site, running)
    _check_absent_or_whole(site)
    _built(site)


def test_killed_while_the_iso_is_written(site: conftest.Small) -> None:
    """Only the run itself is killed: its children end by themselves and tidy up."""
    _built(site)
    site.checkout.iso.unlink()
    part = site.checkout.root / "_build/.metalk8s.iso.part"
    running = _start(site)
    _wait_until(part.exists)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    _check_decent(site, "")
    _check_absent_or_whole(site)
    _built(site)


def test_source_that_shrinks_while_the_iso_is_written(site: conftest.Small) -> None:
    _built(site)
    site.checkout.iso.unlink()
    entry = _entry(site, "heavy")
    part = site.checkout.root / "_build/.metalk8s.iso.part"
    running = _start(site, "_iso_build")
    _wait_until(part.exists)
    entry.chmod(0o644)
    os.truncate(entry, 1000)
    said = running.communicate(timeout=20)[0]
    print(said)
    assert running.returncode == 1, said
    assert entry.name in said
    assert "changed the store during the build" in said
    _check_decent(site, said)
    assert not site.checkout.iso.exists()
    _built(site)


def test_failing_task_among_others(site: conftest.Small) -> None:
    """With -n 4 the failure is told once, by its own words, and what does not depend on it is done."""
    _edit(site, "distribution.yaml", '{tag: "1.0"}', '{tag: "2.0", follows: alpha}')
    (site.checkout.root / "_build/tree/repository-small.json").unlink()
    said = _bad(site, "-n", "4")
    assert said.count("images:tool failed") == 1
    assert "its tag is 2.0, but alpha is 1.0" in said
    assert (site.checkout.root / "_build/tree/repository-small.json").exists()
    log = json.loads((site.checkout.root / "build.log").read_text())
    (row,) = [task for task in log["tasks"] if task["name"] == "images:tool"]
    assert row["result"] == "fail"
    assert "its tag is 2.0" in row["error"]


def test_wrong_use_of_doit(site: conftest.Small) -> None:
    for arguments in (("nonsense",), ("list", "nonsense"), ("--nonsense",), ("lock", "--nonsense"), ("-n", "x")):
        done = site.checkout.run("./doit.sh", *arguments)
        assert done.returncode == 3, done.stdout
        assert "Traceback" not in done.stdout
        assert re.search("nonsense|num_process", done.stdout)
        assert "__main__" not in done.stdout


_VERIFIED = {
    "missing file": (("missing",), 2),
    "file that may not be read": (("/etc/shadow",), 2),
    "empty file": (("/dev/null",), 1),
    "file that is no medium": (("VERSION",), 1),
    "folder that is no medium": (("docs",), 1),
    "key that is missing": (("_build/metalk8s.iso", "--key", "missing"), 2),
    "key that is a folder": (("_build/metalk8s.iso", "--key", "docs"), 2),
    "key that is none": (("_build/metalk8s.iso", "--key", "VERSION"), 2),
    "fingerprint that is none": (("_build/metalk8s.iso", "--fingerprint", "zz"), 2),
    "key and fingerprint": (("_build/metalk8s.iso", "--key", "k", "--fingerprint", "zz"), 2),
    "no path": ((), 2),
}


@pytest.mark.parametrize(("arguments", "code"), _VERIFIED.values(), ids=_VERIFIED.keys())
def test_verify_on_nonsense(site: conftest.Small, arguments: tuple[str, ...], code: int) -> None:
    done = site.checkout.run(".venv/bin/buildchain", "verify", *arguments)
    print(done.stdout)
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    assert re.search("missing|/etc/shadow|/dev/null|VERSION|docs|key|path", done.stdout)


def test_two_contents_for_one_path(site: conftest.Small) -> None:
    _edit(site, "distribution.lock.json", "b/beta/beta_1.0-1_amd64.deb", "b/beta/heavy_1.0-1_amd64.deb")
    said = _bad(site, "populate_iso")
    assert "heavy_1.0-1_amd64.deb" in said
    assert "pool" in said


_NAMES = {"newline": "beta\\n.deb", "too long": "b" * 250 + ".deb"}


@pytest.mark.parametrize("name", _NAMES.values(), ids=_NAMES.keys())
def test_name_that_no_medium_carries(site: conftest.Small, name: str) -> None:
    _edit(site, "distribution.lock.json", "b/beta/beta_1.0-1_amd64.deb", f"b/beta/{name}")
    said = _bad(site, "populate_iso")
    assert "some paths cannot stand on it" in said
    assert f"pool/{name}" in said
    assert "Rename these files" in said


@pytest.mark.parametrize("content", ["garbage", "[]", "{}", '[{"path": "x"}]'])
def test_damaged_fragment_is_made_anew(site: conftest.Small, content: str) -> None:
    """What an earlier run left in the build root is no input that anybody wrote: it is thrown away."""
    _built(site)
    for path in (site.checkout.root / "_build/tree").iterdir():
        path.write_text(content)
    site.checkout.iso.unlink()
    _built(site)


def test_locking_offline(site: conftest.Small) -> None:
    site.upstream.mirror.log.clear()
    assert "Unset OFFLINE" in _bad(site, "lock", OFFLINE="1")
    assert "Unset OFFLINE" in _bad(site, "lock", "--check", OFFLINE="1")
    assert site.upstream.mirror.log == []


def test_mirror_that_nobody_names(site: conftest.Small) -> None:
    said = _bad(site, "lock", DEBIAN_MIRROR="")
    assert "apt sources offers Test bookworm" in said
    assert "Set DEBIAN_MIRROR in .env" in said


def test_no_source_to_name(site: conftest.Small) -> None:
    root = site.checkout.root
    (root / ".git").rename(root / ".tig")
    try:
        said = _bad(site, "list")
    finally:
        (root / ".tig").rename(root / ".git")
    assert "SOURCE.json" in said
    assert "Build from a git clone" in said


def test_another_build_root_and_back(site: conftest.Small, empty_store: str) -> None:
    """What an earlier run with other input left in a build root is not taken for fresh because another one is."""
    _edit(site, "README.md", "MetalK8s", "MetalK9s")
    site.checkout.doit()
    assert site.checkout.iso_digest() != site.digest
    _run(site, "git", "checkout", "--quiet", "--", ".")
    site.checkout.doit(BUILD_ROOT=f"{empty_store}/build")
    _built(site)
    _run(site, "sh", "-c", "cd _build && sha256sum --check SHA256SUM")
