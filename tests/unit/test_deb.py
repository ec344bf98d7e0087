"""The parts of deb that need no apt: the index text, and damaged packages."""

import gzip
import lzma
import pathlib
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import deb, debfile, digest, errors, lock, store
from tests.support import archive, packages


def _locked(shelf: store.Store, made: archive.Deb, content: bytes | None = None) -> lock.Package:
    found = shelf.add_bytes(made.content() if content is None else content)
    return lock.Package(made.name, made.architecture, made.version, made.name, "debian", made.path, found)


def test_the_index_is_each_control_file_with_its_place(tmp_path: pathlib.Path) -> None:
    shelf = store.Store(tmp_path)
    hello, all_of_it = archive.Deb("hello", "1:2.0-1", depends="b"), archive.Deb("b", "2.0+x", architecture="all")
    locked = [_locked(shelf, hello), _locked(shelf, all_of_it)]
    expected = [
        f"{made.control}Filename: pool/{made.path.rsplit('/', 1)[1]}\nSize: {len(made.content())}\n"
        f"SHA256: {digest.Digest.of_bytes(made.content()).hex}\n"
        for made in (all_of_it, hello)
    ]
    assert deb.index_text(locked, shelf).decode() == "\n".join(expected)
    assert deb.index_text(reversed(locked), shelf) == deb.index_text(locked, shelf)
    assert deb.index_text([], shelf) == b""


GOOD = archive.Deb("hello").content()


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", b"text", GOOD[:100], GOOD[:200],
     GOOD.replace(b"control.tar.xz", b"missing.tar.xz"), GOOD.replace(b"\xfd7zXZ", b"\xfd7zXY")],
)  # fmt: skip
def test_a_damaged_package_is_named(tmp_path: pathlib.Path, content: bytes) -> None:
    shelf = store.Store(tmp_path)
    locked = _locked(shelf, archive.Deb("hello"), content)
    with pytest.raises(errors.BuildchainError, match=r"package hello:amd64=1\.0-1: its control file cannot be read"):
        deb.index_text([locked], shelf)


CONTROL = archive.Deb("hello").control.encode()


def _plain(control: bytes, compress: Callable[[bytes], bytes] = bytes, ending: str = "") -> bytes:
    content = compress(packages.make_tar({"./": packages.directory(), "./control": control, "./md5sums": b"x\n"}))
    return packages.make_ar({"debian-binary": b"2.0\n", f"control.tar{ending}": content, "data.tar": b""})


@pytest.mark.parametrize(
    ("compress", "ending"), [(bytes, ""), (gzip.compress, ".gz"), (lzma.compress, ".xz")], ids=["plain", "gz", "xz"]
)
def test_every_compression_of_the_archive(
    tmp_path: pathlib.Path, compress: Callable[[bytes], bytes], ending: str
) -> None:
    shelf = store.Store(tmp_path)
    locked = _locked(shelf, archive.Deb("hello"), _plain(CONTROL, compress, ending))
    assert deb.index_text([locked], shelf).startswith(CONTROL)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_plain(b"Package: \xff\n"), "codec can't decode"),
        (_plain(CONTROL, bytes, ".zst"), "compressed as 'zst'"),
        (_plain(CONTROL, lambda content: content[:700]), "ends too early"),
        (_plain(CONTROL, lambda content: content[:600] + b"?" + content[601:]), "checksum"),
        (_plain(CONTROL, lambda content: lzma.compress(content)[:-40], ".xz"), "ends too early"),
        (packages.make_ar({"control.tar": b"", "debian-binary": b""}), "its first member is not debian-binary"),
        (packages.make_ar({"debian-binary": b"2.0\n", "data.tar": b""}), "has no control file"),
        (_plain(CONTROL).replace(b"`\n", b"'\n"), "a header of the ar archive"),
        (b"!<arch>\n", "its first member"),
    ],
)
def test_what_is_damaged_is_said(tmp_path: pathlib.Path, content: bytes, why: str) -> None:
    shelf = store.Store(tmp_path)
    with pytest.raises(errors.BuildchainError, match=why):
        deb.index_text([_locked(shelf, archive.Deb("hello"), content)], shelf)


def test_a_bomb_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debfile, "MAX_CONTROL", 1 << 20)
    shelf = store.Store(tmp_path)
    with pytest.raises(errors.BuildchainError, match="unpacks to more than 1048576 bytes"):
        deb.index_text([_locked(shelf, archive.Deb("hello"), _plain(bytes(2 << 20), lzma.compress, ".xz"))], shelf)


PLAIN = _plain(CONTROL)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=80)
@hypothesis.given(
    strategies.sampled_from([GOOD, PLAIN]),
    strategies.integers(0, max(len(GOOD), len(PLAIN))),
    strategies.binary(min_size=1, max_size=12),
    strategies.booleans(),
)
def test_any_damage_is_read_or_named(
    tmp_path: pathlib.Path, good: bytes, place: int, other: bytes, is_cut: bool
) -> None:
    shelf = store.Store(tmp_path)
    place %= len(good)
    content = good[:place] + other + (b"" if is_cut else good[place + len(other) :])
    locked = _locked(shelf, archive.Deb("hello"), content)
    try:
        text = deb.index_text([locked], shelf)
    except errors.BuildchainError as error:
        assert error.what == "package hello:amd64=1.0-1"  # noqa: PT017 — either outcome is right
    else:
        assert f"SHA256: {locked.content.digest.hex}\n".encode() in text
