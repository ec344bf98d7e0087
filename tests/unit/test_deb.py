"""The parts of deb that need no apt: the index text, and damaged packages."""

import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import deb, digest, errors, lock, store
from tests.support import archive


def _locked(packages: store.Store, made: archive.Deb, content: bytes | None = None) -> lock.Package:
    found = packages.add_bytes(made.content() if content is None else content)
    return lock.Package(made.name, made.architecture, made.version, made.name, "debian", made.path, found)


def test_the_index_is_each_control_file_with_its_place(tmp_path: pathlib.Path) -> None:
    packages = store.Store(tmp_path)
    hello, all_of_it = archive.Deb("hello", "1:2.0-1", depends="b"), archive.Deb("b", "2.0+x", architecture="all")
    locked = [_locked(packages, hello), _locked(packages, all_of_it)]
    expected = [
        f"{made.control}Filename: pool/{made.path.rsplit('/', 1)[1]}\nSize: {len(made.content())}\n"
        f"SHA256: {digest.Digest.of_bytes(made.content()).hex}\n"
        for made in (all_of_it, hello)
    ]
    assert deb.index_text(locked, packages).decode() == "\n".join(expected)
    assert deb.index_text(reversed(locked), packages) == deb.index_text(locked, packages)
    assert deb.index_text([], packages) == b""


GOOD = archive.Deb("hello").content()


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", b"text", GOOD[:100], GOOD[:200],
     GOOD.replace(b"control.tar.xz", b"missing.tar.xz"), GOOD.replace(b"\xfd7zXZ", b"\xfd7zXY")],
)  # fmt: skip
def test_a_damaged_package_is_named(tmp_path: pathlib.Path, content: bytes) -> None:
    packages = store.Store(tmp_path)
    locked = _locked(packages, archive.Deb("hello"), content)
    with pytest.raises(errors.BuildchainError, match=r"package hello:amd64=1\.0-1: its control file cannot be read"):
        deb.index_text([locked], packages)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=80)
@hypothesis.given(
    strategies.integers(0, len(GOOD) - 1), strategies.binary(min_size=1, max_size=12), strategies.booleans()
)
def test_any_damage_is_read_or_named(tmp_path: pathlib.Path, place: int, other: bytes, is_cut: bool) -> None:
    packages = store.Store(tmp_path)
    content = GOOD[:place] + other + (b"" if is_cut else GOOD[place + len(other) :])
    locked = _locked(packages, archive.Deb("hello"), content)
    try:
        text = deb.index_text([locked], packages)
    except errors.BuildchainError as error:
        assert error.what == "package hello:amd64=1.0-1"  # noqa: PT017 — either outcome is right
    else:
        assert f"SHA256: {locked.content.digest.hex}\n".encode() in text
