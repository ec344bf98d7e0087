"""Whatever stands in a text of the medium: values or faults, never an exception of another kind."""

import contextlib
import pathlib
import re
from collections.abc import Callable

import hypothesis
import pytest
from hypothesis import strategies

from buildchain.verify import images, listing, nginx, packages, registry, report, signature
from buildchain.verify import medium as verify_medium
from tests.support import keys, medium

PARSERS: dict[str, Callable[[bytes], object]] = {
    "SHA256SUM": listing.parse_sums,
    "CONTENTS.mtree": listing.parse_entries,
    "Packages": packages.parse_stanzas,
    "Release": packages._release_files,
    "Packages.gz": lambda text: packages._gunzip(text, 100),
    "manifest.json": images.parse_manifest,
    "registry": nginx.parse,
    "location": lambda text: nginx.get(nginx.parse(text), "/v2/a"),
    "pattern": lambda text: nginx.pattern(text.decode("latin-1")),
    "signature": signature.is_intact_armour,
    "status": lambda text: signature._parse(text.decode("utf-8", "replace")),
}

# Pieces that the formats are made of, so that random texts get past the first line.
_PIECES = (
    b"\n \t\\\x00\xff#;{}\"'$:./=-[],0123456789"
    b"|#mtree|./a type=file mode=0444 size=1|type=link link=|\\040|SHA256:|Filename: |Size: |SHA256: "
    b"|Acquire-By-Hash: yes|location = /v2/a/manifests/b {|alias |add_header Docker-Content-Digest |sha256:|"
    + b"0"
    * 64
    + b"|  path"
    b'|{"schemaVersion": 2, "layers": [], "config": |"manifests": [|"digest": |"size": 1e999|\\ud800'
    b"|[GNUPG:] GOODSIG|[GNUPG:] VALIDSIG|[GNUPG:] BADSIG|-----BEGIN PGP SIGNATURE-----|\x1f\x8b\x08\0\0\0\0\0\0\x03"
).split(b"|")
texts = strategies.lists(strategies.sampled_from(_PIECES) | strategies.binary(max_size=6), max_size=12).map(b"".join)


@pytest.mark.parametrize("name", PARSERS)
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(text=texts)
def test_any_text_is_read_or_refused(name: str, text: bytes) -> None:
    with contextlib.suppress(verify_medium.DamagedError):
        assert PARSERS[name](text) is not report


class _Unsigned(keys.Key):
    def sign(self, content: bytes, *options: str) -> bytes:
        return b""

    def clearsign(self, content: bytes) -> bytes:
        return content

    @property
    def public(self) -> bytes:
        return b""


GOOD = medium.good(_Unsigned(pathlib.Path(), ""), has_index=True)
TEXTS = sorted(
    path
    for path in GOOD
    if re.search(r"SHA256SUM$|mtree$|Packages|Release$|manifest\.json$|\.inc$|version$", path) and "by-hash" not in path
)


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(
    path=strategies.sampled_from(TEXTS), place=strategies.floats(0, 1), length=strategies.integers(0, 9), text=texts
)
def test_any_change_of_a_text_gives_faults_only(path: str, place: float, length: int, text: bytes) -> None:
    entry = GOOD[path]
    assert isinstance(entry, medium.File)
    start = int(place * len(entry.content))
    changed = entry.content[:start] + text + entry.content[start + length :]
    contents = medium.as_contents(GOOD | {path: medium.File(changed)})
    found, faults, _ = images.judge(contents)
    faults += packages.judge(contents, lambda message: (signature.Judgement(report.Verdict.GOOD), message), None)
    faults += registry.judge(contents, found)
    faults += listing.judge(contents, contents.read(medium.SUMS))
    assert all(str(fault).isprintable() for fault in faults)
    assert faults or changed == entry.content or path == medium.SUMS
