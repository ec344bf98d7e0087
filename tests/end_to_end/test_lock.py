"""What moves the lock, what it tells, and what it refuses: against an upstream that changes."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.end_to_end import conftest
from tests.support import archive
from tests.support.small import ALPHA, BETA, DATE, HEAVY, LIBALPHA, PACKAGES

_LATER = DATE + 3600
_NEW_ALPHA, _NEW_LIBALPHA, _NEW_BETA = (
    dataclasses.replace(package, version="1.0-2") for package in (ALPHA, LIBALPHA, BETA)
)
_NEWER = (_NEW_ALPHA, _NEW_LIBALPHA, _NEW_BETA, HEAVY)


@pytest.fixture
def moved(small: conftest.Small) -> Iterator[conftest.Small]:
    """The upstream a while after the lock was made: alpha and beta are fixed."""
    small.upstream.publish(_NEWER, date=_LATER)
    yield small
    small.upstream.publish(PACKAGES)
    done = small.checkout.run("git", "checkout", "--quiet", "--", "distribution.lock.json")
    assert done.returncode == 0, done.stdout


def _versions(site: conftest.Small) -> dict[str, str]:
    value = json.loads((site.checkout.root / "distribution.lock.json").read_text())
    return {package["name"]: package["version"] for package in value["packages"]}


def _lock_bytes(site: conftest.Small) -> bytes:
    return (site.checkout.root / "distribution.lock.json").read_bytes()


def test_nothing_new(small: conftest.Small) -> None:
    before = _lock_bytes(small)
    small.checkout.doit("lock", "--check")
    assert "nothing changes" in small.checkout.doit("lock")
    assert _lock_bytes(small) == before


def test_check_names_newer_fixes(moved: conftest.Small) -> None:
    before = _lock_bytes(moved)
    done = moved.checkout.run("./doit.sh", "lock", "--check")
    assert done.returncode == 1
    newer = [line for line in done.stdout.splitlines() if line.endswith("(newer)")]
    assert len(newer) >= 3
    for name in ("alpha", "libalpha", "beta"):
        assert any(f" {name}" in line and "1.0-1" in line and "1.0-2" in line for line in newer), newer
    assert "heavy" not in done.stdout
    assert "Run ./doit.sh lock to move" in done.stdout
    assert "Traceback" not in done.stdout
    assert _lock_bytes(moved) == before


def test_check_names_files_that_are_gone(moved: conftest.Small) -> None:
    path = pathlib.PurePosixPath(BETA.path).as_posix()
    moved.upstream.forget(path)
    done = moved.checkout.run("./doit.sh", "lock", "--check")
    assert done.returncode == 1
    assert "beta 1.0-1: gone from the mirror" in done.stdout
    assert "alpha 1.0-1: gone" not in done.stdout


def test_lock_moves_everything_and_says_so(moved: conftest.Small) -> None:
    said = moved.checkout.doit("lock")
    assert _versions(moved) == {"alpha": "1.0-2", "libalpha": "1.0-2", "beta": "1.0-2", "heavy": "1.0-1"}
    for name in ("alpha", "libalpha", "beta"):
        assert any(f" {name}" in line and "1.0-1" in line and "1.0-2" in line for line in said.splitlines()), said
    moved.checkout.doit("lock", "--check")


def test_partial_update_moves_only_one_source(moved: conftest.Small) -> None:
    """alpha and libalpha come of one source; beta has a fix as well, and stays."""
    moved.checkout.doit("lock", "libalpha")
    assert _versions(moved) == {"alpha": "1.0-2", "libalpha": "1.0-2", "beta": "1.0-1", "heavy": "1.0-1"}


def test_partial_update_of_an_unknown_package(moved: conftest.Small) -> None:
    before = _lock_bytes(moved)
    done = moved.checkout.run("./doit.sh", "lock", "gamma")
    assert done.returncode == 1
    assert "has no package gamma" in done.stdout
    assert "Traceback" not in done.stdout
    assert _lock_bytes(moved) == before


def test_replayed_index_is_refused(moved: conftest.Small) -> None:
    moved.checkout.doit("lock")
    after = _lock_bytes(moved)
    moved.upstream.publish(PACKAGES, date=archive.DATE)
    for arguments in ([], ["beta"], ["--check"]):
        done = moved.checkout.run("./doit.sh", "lock", *arguments)
        assert done.returncode == 1, (arguments, done.stdout)
        assert "older than the one in distribution.lock.json" in done.stdout, arguments
        assert _lock_bytes(moved) == after
