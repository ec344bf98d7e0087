"""The reader of ISO-9660 against images that lie: every lie is a fault, none is a traceback or a loop."""

import contextlib
import functools
import pathlib
import struct
import tempfile
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from hypothesis import strategies

from buildchain.verify import hashing, image, records, report, rock_ridge
from buildchain.verify import medium as verify_medium
from tests.support import medium

SECTOR = records.SECTOR
ENTRIES: medium.Entries = {
    "product.txt": medium.File(b"NAME=MetalK8s\n"),
    "same.txt": medium.File(b"NAME=MetalK8s\n"),
    "program.sh": medium.File(b"#!/bin/sh\n", 0o555),
    "empty": medium.File(b""),
    "one/two/a long name, with a blank and é": medium.File(b"x" * 5000),
    "one/two/other.bin": medium.File(b"y" * 3000),
    "one/link": medium.Link("../one/two/other.bin"),
    "l" + "o" * 200 + "ng": medium.File(b"needs a continuation area"),
}


@functools.cache
def good() -> bytes:
    # Names of more than 64 bytes are more than pycdlib's Joliet takes.
    with tempfile.TemporaryDirectory() as directory:
        kept = {path: entry for path, entry in ENTRIES.items() if len(path) < 64}
        return medium.write_iso(kept, pathlib.Path(directory) / "x.iso").read_bytes()


def scan(content: bytes, path: pathlib.Path) -> tuple[dict[str, verify_medium.Node], list[str]]:
    path.write_bytes(content)
    with contextlib.closing(image.Image(path)) as opened:
        nodes = image.scan(opened)
        return nodes, [str(fault) for fault in opened.faults]


@pytest.fixture
def iso(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "x.iso"


def test_good_image(iso: pathlib.Path) -> None:
    nodes, faults = scan(good(), iso)
    assert faults == []
    files = {path: entry for path, entry in ENTRIES.items() if isinstance(entry, medium.File) and len(path) < 64}
    assert set(nodes) == {".", "one", "one/two", "one/link", *files}
    for path, entry in files.items():
        content = nodes[path].content
        assert content
        assert (verify_medium.read_bytes(content), nodes[path].mode) == (entry.content, entry.mode)
    assert (nodes["one/link"].target, nodes["one"].owner) == ("../one/two/other.bin", (0, 0))
    same = nodes["product.txt"].content, nodes["same.txt"].content
    assert same[0] == same[1]


def record(identifier: bytes) -> int:
    """Where the directory record of an identifier starts."""
    return good().index(bytes([len(identifier)]) + identifier) - 32


def both32(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def extent_of(place: int) -> int:
    return int(struct.unpack_from("<I", good(), place + 2)[0])


def rock_ridge_entry(signature: bytes, content: bytes) -> int:
    """Where the entry with this signature starts, before this content."""
    return good().rindex(signature, 0, good().index(content))


PVD, JOLIET = 16 * SECTOR, 17 * SECTOR
PRODUCT = record(b"PRODUCT.TXT;1")
OTHER = record(b"OTHER.BIN;1")
ONE = record(b"ONE")
JOLIET_PRODUCT = record("product.txt".encode("utf-16-be"))
JOLIET_ONE = record("one".encode("utf-16-be"))
PARENT_OF_ONE = extent_of(ONE) * SECTOR + good()[extent_of(ONE) * SECTOR]
JOLIET_PARENT_OF_ONE = extent_of(JOLIET_ONE) * SECTOR + good()[extent_of(JOLIET_ONE) * SECTOR]
NAME = good().index(b"NM\x10\x01\x00product.txt")
MODE = good().rindex(b"PX", 0, NAME) if good().rindex(b"PX", 0, NAME) > PRODUCT else good().index(b"PX", NAME)
START = good().index(rock_ridge.START)
LINK = good().index(b"SL", record(b"LINK.;1"))
TABLE = int(struct.unpack_from("<I", good(), PVD + 140)[0]) * SECTOR
BIG_TABLE = int(struct.unpack_from(">I", good(), PVD + 148)[0]) * SECTOR
BLOCKS = len(good()) // SECTOR


@pytest.mark.parametrize(
    ("place", "new", "fault"),
    [
        # Volume descriptors
        (PVD + 1, b"XD001", "volume descriptor 1: is no volume descriptor"),
        (PVD, b"\x07", "volume descriptor 1: is of the unexpected type 7"),
        (PVD + 80, both32(BLOCKS + 1), "the primary volume descriptor: says"),
        (PVD + 80, b"\xff", "volume descriptor 1: has a number whose two byte orders disagree"),
        (PVD + 128, b"\0\x04\x04\0", "is not of a single volume of 2048-byte blocks"),
        (JOLIET + 80, both32(BLOCKS - 1), "the Joliet volume descriptor: says"),
        (JOLIET + 88, b"%/X", "volume descriptor 2: is of the unexpected type 2"),
        (18 * SECTOR, good()[PVD : PVD + SECTOR], "the primary volume descriptor: exists more than once"),
        # Path tables
        (PVD + 140, struct.pack("<I", 0), "has no path table"),
        (PVD + 140, struct.pack("<I", BLOCKS), "path table of the ISO-9660 tree: has an extent outside of the image"),
        (TABLE + 2, struct.pack("<I", 1), "the little-endian path table of the ISO-9660 tree: does not name"),
        (BIG_TABLE + 2, struct.pack(">I", 1), "the big-endian path table of the ISO-9660 tree: does not name"),
        (TABLE + 16, b"\xff", "the little-endian path table of the ISO-9660 tree: "),
        (TABLE + 6, b"\xff\xff", "the little-endian path table of the ISO-9660 tree: names a parent that comes later"),
        # Directory records
        (PRODUCT, b"\0", "/: has bytes after the last record of a sector"),
        (PRODUCT, b"\x21", "/: has a record of a wrong length"),
        (PRODUCT + 2, both32(BLOCKS), "product.txt: has an extent outside of the volume"),
        (PRODUCT + 2, both32(extent_of(OTHER)), "product.txt: has other contents in the Joliet tree"),
        (PRODUCT + 2, both32(extent_of(ONE)), "product.txt: overlaps /one"),
        (PRODUCT + 2, both32(0), "product.txt: overlaps the system area"),
        (PRODUCT + 10, both32(13), "product.txt: has other contents in the Joliet tree"),
        (PRODUCT + 10, both32(0xFFFFFFFF), "product.txt: has an extent outside of the volume"),
        (PRODUCT + 25, b"\x01", "/: has a record with unexpected flags"),
        (PRODUCT + 25, b"\x80", "/: has a file of several extents that do not belong together"),
        (PRODUCT + 26, b"\x01\x01", "/: has a record with unexpected flags, attributes or interleaving"),
        (PRODUCT + 28, b"\x02\0\0\x02", "/: has a record of another volume"),
        (PRODUCT + 33, b"PRODUCE.TXT;1", "product.txt: has the ISO-9660 name b'PRODUCE.TXT;1'"),
        (PRODUCT + 33, b"\x07", "/: has an identifier with characters that are not allowed"),
        (ONE + 2, both32(extent_of(PVD + 156)), "/one: is a directory that is somewhere else too"),
        (ONE + 10, both32(0), "/one: is a directory of a wrong size"),
        (ONE + 10, both32(0xFFFFF800), "/one: has an extent outside of the image"),
        (ONE + 25, b"\0", "one: is a directory in one tree only"),
        (extent_of(ONE) * SECTOR + 2, both32(1), "/one: has wrong records for itself and its parent"),
        (extent_of(ONE) * SECTOR + 10, both32(2 * SECTOR), "/one: has wrong records for itself and its parent"),
        (PARENT_OF_ONE + 2, both32(extent_of(ONE)), "/one: has wrong records for itself and its parent"),
        (PARENT_OF_ONE + 10, both32(2 * SECTOR), "/one: has wrong records for itself and its parent"),
        (PARENT_OF_ONE + 10, both32(0), "/one: has wrong records for itself and its parent"),
        # Joliet
        (JOLIET_PARENT_OF_ONE + 10, both32(2 * SECTOR), "Joliet /one: has wrong records for itself and its parent"),
        (JOLIET_PRODUCT + 2, both32(extent_of(OTHER)), "product.txt: has other contents in the Joliet tree"),
        (JOLIET_PRODUCT + 10, both32(1), "product.txt: has other contents in the Joliet tree"),
        (JOLIET_PRODUCT + 34, b"q", "qroduct.txt: stands in the Joliet tree only"),
        (JOLIET_PRODUCT + 34, b"q", "product.txt: is missing in the Joliet tree"),
        (JOLIET_PRODUCT + 33, b"\xd8", "Joliet /: has a name that is not Unicode"),
        (JOLIET_ONE + 34, b"\0", "Joliet /: has no usable name for"),
        (JOLIET_ONE + 2, both32(extent_of(JOLIET + 156)), "Joliet /one: is a directory that is somewhere else too"),
        # Rock Ridge
        (NAME + 5, b"q", "qroduct.txt: has the ISO-9660 name b'PRODUCT.TXT;1'"),
        (NAME + 5, b"..\0", "/: has no usable name for b'PRODUCT.TXT;1'"),
        (NAME + 5, b"/", "/: has no usable name for"),
        (NAME + 5, b"\xff", "/: has a name that is not Unicode"),
        (NAME + 4, b"\x02", "/: has a Rock Ridge name with unexpected flags"),
        (NAME + 2, b"\x03", "/: has a Rock Ridge entry of a wrong length or version"),
        (NAME + 2, b"\xff", "/: has a Rock Ridge entry of a wrong length or version"),
        (NAME, b"ZF", "/: has the unexpected Rock Ridge entry b'ZF'"),
        (NAME, b"CE", "/: has "),
        (START, b"XX", "/: does not say that it has Rock Ridge"),
        (START + 6, b"\x01", "/: has the unexpected Rock Ridge entry b'SP'"),
        (MODE, b"TF", "/: has no Rock Ridge mode"),
        (MODE + 4, both32(0o40444), "product.txt: is a directory in one tree only"),
        (LINK + 5, b"\x10", "/one: has a Rock Ridge link with unexpected flags"),
        (LINK + 6, b"\xf0", "/one: has a Rock Ridge link that ends early"),
    ],
)
def test_lie(place: int, new: bytes, fault: str, iso: pathlib.Path) -> None:
    content = bytearray(good())
    content[place : place + len(new)] = new
    _, faults = scan(bytes(content), iso)
    assert any(fault in each for each in faults), faults


@pytest.mark.parametrize("size", [0, 1, PVD, PVD + 100, PVD + SECTOR, JOLIET + SECTOR, TABLE + 3, len(good()) - 1])
def test_truncated(size: int, iso: pathlib.Path) -> None:
    _, faults = scan(good()[:size], iso)
    assert faults


def test_bytes_after_the_volume(iso: pathlib.Path) -> None:
    _, faults = scan(good() + bytes(SECTOR), iso)
    assert any(f"says {len(good())} bytes; the image has {len(good()) + SECTOR}" in each for each in faults)


def test_continuation_that_goes_in_circles() -> None:
    circle = b"CE\x1c\x01" + both32(20) + both32(0) + both32(28)
    areas: list[records.Extent] = []

    def read(extent: records.Extent) -> bytes:
        areas.append(extent)
        return circle

    with pytest.raises(verify_medium.DamagedError, match="wrong or endless"):
        rock_ridge.parse(circle, read)
    assert len(areas) == rock_ridge.MAX_CONTINUATIONS


def test_link_in_several_parts() -> None:
    posix = b"PX\x24\x01" + both32(0o120777) + both32(1) + both32(0) + both32(0)
    links = b"SL\x0e\x01\x01\x08\0\x04\0\x01\x03abc" + b"SL\x0c\x01\0\0\x01d\x02\0\0\0"
    parsed = rock_ridge.parse(posix + links, lambda _: b"")
    assert (parsed.target, parsed.kind) == ("/../abcd/./", verify_medium.Kind.LINK)


def test_deep_directories_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, iso: pathlib.Path) -> None:
    monkeypatch.setattr(image, "MAX_LEVELS", 0)
    _, faults = scan(good(), iso)
    assert "/one/two: is a directory that is somewhere else too, or lies too deep" in faults


def test_too_many_entries(monkeypatch: pytest.MonkeyPatch, iso: pathlib.Path) -> None:
    monkeypatch.setattr(verify_medium, "MAX_ENTRIES", 2)
    _, faults = scan(good(), iso)
    assert "/: has more than 2 entries" in faults


def test_other_writer_with_long_names(tmp_path: pathlib.Path) -> None:
    """A file of several extents: the record is split by hand, as for files over 4 GiB."""
    content = bytearray(good())
    for place in (OTHER, record("other.bin".encode("utf-16-be"))):
        length = content[place]
        first, second = bytearray(content[place : place + length]), bytearray(content[place : place + length])
        first[10:18], first[25] = both32(SECTOR), 0x80
        second[2:10], second[10:18] = both32(extent_of(OTHER) + 1), both32(3000 - SECTOR)
        end = (place // SECTOR + 1) * SECTOR
        content[place:end] = (first + second + content[place + length : end])[: end - place]
    nodes, faults = scan(bytes(content), tmp_path / "x.iso")
    assert faults == []
    found = nodes["one/two/other.bin"].content
    assert found
    assert found.parts == ((extent_of(OTHER) * SECTOR, SECTOR), ((extent_of(OTHER) + 1) * SECTOR, 3000 - SECTOR))
    assert verify_medium.read_bytes(found) == b"y" * 3000


METADATA = max(extent_of(ONE), extent_of(JOLIET_ONE)) * SECTOR + 2 * SECTOR
_changes = strategies.lists(
    strategies.tuples(strategies.integers(PVD, METADATA), strategies.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=6,
)


@hypothesis.settings(max_examples=75)
@hypothesis.given(changes=_changes, size=strategies.none() | strategies.integers(0, len(good())))
def test_any_image_gives_faults_only(changes: list[tuple[int, bytes]], size: int | None) -> None:
    content = bytearray(good())
    for place, new in changes:
        content[place : place + len(new)] = new
    with tempfile.TemporaryDirectory() as directory:
        nodes, _ = scan(bytes(content[:size]), pathlib.Path(directory) / "x.iso")
        work = [node.content for node in nodes.values() if node.content and node.content.size <= len(content)]
        results = hashing.digests(work, 1)
    assert all(isinstance(each, str | verify_medium.DamagedError) for each in results.values())


def _parsers() -> Iterator[Callable[[bytes], object]]:
    yield lambda data: records.parse_volume(b"\x01CD001\x01" + data)
    yield lambda data: records.parse_volume(b"\x02CD001\x01" + data)
    yield records.parse_record
    yield lambda data: records.parse_record(bytes([len(data) + 1]) + data)
    yield lambda data: list(records.split_records(data))
    yield lambda data: records.parse_table(data, "little")
    yield lambda data: rock_ridge.parse(data, lambda _: data)
    yield lambda data: rock_ridge.parse(b"SL" + bytes([min(len(data) + 4, 255)]) + b"\x01" + data, lambda _: b"")


@hypothesis.settings(max_examples=150)
@hypothesis.given(data=strategies.binary(max_size=240), number=strategies.integers(0, len(list(_parsers())) - 1))
def test_any_record_is_read_or_refused(data: bytes, number: int) -> None:
    with contextlib.suppress(verify_medium.DamagedError):
        assert list(_parsers())[number](data) is not report
