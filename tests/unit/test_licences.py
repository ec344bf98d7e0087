"""Short names of licences out of packages: read once, kept, and never a reason to fail."""

import dataclasses
import json
import pathlib

import pytest

from buildchain import licences, lock, store
from tests.support import packages

_FORMAT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
_TEXT = f"{_FORMAT}\nFiles: *\nLicense: GPL-2+ or  Artistic\n The text.\n License: no name\n\nLicense: Expat\n"


@pytest.fixture
def held(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


def _add(held: store.Store, name: str, text: str, source: str = "", padding: int = 0) -> lock.Package:
    files = {f"./usr/share/doc/{name}/copyright": text.encode(), "./zeros": bytes(range(256)) * padding}
    deb = packages.make_deb({"Package": name}, files, compression="")
    return dataclasses.replace(packages.add(held, deb, name), source=source or name)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (_TEXT, ("Expat", "GPL-2+ or Artistic")),
        ("Format-Specification: http://dep.debian.net/deps/dep5/\nLicense: MIT\n", ("MIT",)),
        (_FORMAT, (licences.UNKNOWN,)),
        ("This is free software.\nLicense: GPL\n", (licences.UNKNOWN,)),
        ("", (licences.UNKNOWN,)),
    ],
)
def test_short_names(text: str, names: tuple[str, ...]) -> None:
    assert licences.parse(text) == names


def test_each_package_is_read_once(held: store.Store) -> None:
    free, other = _add(held, "free", _TEXT), _add(held, "other", "in prose")
    assert licences.known([free, other], held) == {}
    assert licences.read([free, other], held) == 2
    assert licences.read([free, other], held) == 0
    assert licences.known([free, other], held) == {
        free: ("Expat", "GPL-2+ or Artistic"),
        other: (licences.UNKNOWN,),
    }


def test_the_smallest_speaks_for_its_source(held: store.Store) -> None:
    large = _add(held, "large", "never read", "one", padding=99)
    small = _add(held, "small", _TEXT, "one")
    assert licences.read([large, small], held) == 1
    assert licences.known([large, small], held)[large] == ("Expat", "GPL-2+ or Artistic")


def test_what_is_no_package_has_unknown_licences(held: store.Store) -> None:
    broken = dataclasses.replace(_add(held, "broken", _TEXT), content=held.add_bytes(b"no package"))
    assert licences.read([broken], held) == 1
    assert licences.known([broken], held) == {broken: (licences.UNKNOWN,)}


def test_a_text_without_end_is_not_read(held: store.Store) -> None:
    endless = _add(held, "endless", _FORMAT + "License: MIT\n" + "x" * (9 << 20))
    licences.read([endless], held)
    assert licences.known([endless], held) == {endless: (licences.UNKNOWN,)}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\x00"])
def test_a_damaged_cache_is_as_good_as_none(held: store.Store, content: str) -> None:
    free = _add(held, "free", _TEXT)
    held.write_note(licences.NOTE, content.encode())
    assert licences.read([free], held) == 1
    assert json.loads(held.read_note(licences.NOTE)).keys() == {free.content.digest.hex}
