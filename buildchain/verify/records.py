"""The records of an ISO-9660 image: volume descriptors, directory records, path tables (ECMA-119, 4th edition).

Everything here takes bytes and returns values, or raises `DamagedError`; numbers that stand in both byte orders must
agree.
"""

import dataclasses
import struct
import typing
from collections.abc import Iterator

from buildchain.verify import medium

SECTOR = 2048
DIRECTORY_FLAG = 0x02
_MORE_FLAG = 0x80

# Joliet specification, "SVD Escape Sequences field": UCS-2 levels 1 to 3.
_JOLIET_ESCAPES = {b"%/@", b"%/C", b"%/E"}


# Tuples where an image has one or more for each of its names: dataclasses take three times as long to make and sort.
class Extent(typing.NamedTuple):
    """Bytes of the image, one after the other."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the first byte after it."""
        return self.start + self.length


class Record(typing.NamedTuple):
    """One directory record: identifier as it stands there, extent, and the system use area with its offset."""

    identifier: bytes
    extent: Extent
    is_directory: bool
    has_more: bool
    system_use: bytes


# Section 9.1: block, length and volume of a directory record, each in both byte orders; and what is between them.
_LITTLE = struct.Struct("<I4xI4x10xH2x")
_BIG = struct.Struct(">4xI4xI10x2xH")


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """One volume descriptor: a tree of the image."""

    is_joliet: bool
    blocks: int
    root: Record
    table_size: int
    tables: tuple[tuple[str, int, bool], ...]
    """Path tables that exist: byte order, block, and whether it is optional."""


@dataclasses.dataclass(frozen=True, slots=True)
class TableEntry:
    """One directory in a path table; `parent` counts from 1."""

    identifier: bytes
    block: int
    parent: int


def parse_volume(sector: bytes) -> Volume | None:
    """Read a primary or Joliet volume descriptor; None for the terminator (ECMA-119 sections 8.1 to 8.5)."""
    if sector[1:7] != b"CD001\x01":
        raise medium.DamagedError("is no volume descriptor")
    if sector[0] == 255:
        return None
    is_joliet = sector[0] == 2 and sector[88:91] in _JOLIET_ESCAPES
    if sector[0] != 1 and not is_joliet:
        raise medium.DamagedError(f"is of the unexpected type {sector[0]}")
    if both16(sector, 128) != SECTOR or both16(sector, 120) != 1 or both16(sector, 124) != 1:
        raise medium.DamagedError("is not of a single volume of 2048-byte blocks")
    places = [("little", 140, False), ("little", 144, True), ("big", 148, False), ("big", 152, True)]
    tables = [(order, _number(sector[at : at + 4], order), is_optional) for order, at, is_optional in places]
    if any(block == 0 and not is_optional for _, block, is_optional in tables):
        raise medium.DamagedError("has no path table")
    return Volume(
        is_joliet,
        both32(sector, 80),
        parse_record(sector[156:190]),
        both32(sector, 132),
        tuple(table for table in tables if table[1]),
    )


def parse_record(data: bytes) -> Record:
    """Read one directory record (ECMA-119 section 9.1)."""
    name_end = 33 + data[32] if len(data) > 33 else 0
    if len(data) < 34 or data[0] != len(data) or data[32] == 0 or name_end > len(data):
        raise medium.DamagedError("has a record of a wrong length")
    name_end += 1 - data[32] % 2  # a byte of padding after a name of even length
    flags = data[25]
    if flags & ~(DIRECTORY_FLAG | _MORE_FLAG) or data[1] or data[26] or data[27]:
        raise medium.DamagedError("has a record with unexpected flags, attributes or interleaving")
    block, length, volume = agreed(_LITTLE.unpack_from(data, 2), _BIG.unpack_from(data, 2))
    if volume != 1:
        raise medium.DamagedError("has a record of another volume")
    extent = Extent(block * SECTOR, length)
    is_directory = bool(flags & DIRECTORY_FLAG)
    return Record(data[33 : 33 + data[32]], extent, is_directory, bool(flags & _MORE_FLAG), data[name_end:])


def split_records(data: bytes) -> Iterator[bytes]:
    """The records of a directory: none crosses a sector, and the rest of a sector is zero (section 6.8.1.1)."""
    for start in range(0, len(data), SECTOR):
        sector = data[start : start + SECTOR]
        position = 0
        while position < len(sector) and sector[position]:
            yield sector[position : position + sector[position]]
            position += sector[position]
        if sector[position:].strip(b"\0"):
            raise medium.DamagedError("has bytes after the last record of a sector")


def parse_table(data: bytes, order: str) -> list[TableEntry]:
    """Read a path table (ECMA-119 section 9.4)."""
    entries: list[TableEntry] = []
    position = 0
    while position < len(data):
        length = data[position]
        end = position + 8 + length
        if length == 0 or data[position + 1 : position + 2] != b"\0" or end > len(data):
            raise medium.DamagedError("ends within an entry")
        block = _number(data[position + 2 : position + 6], order)
        parent = _number(data[position + 6 : position + 8], order)
        if parent > max(len(entries), 1) or parent == 0:
            raise medium.DamagedError("names a parent that comes later")
        entries.append(TableEntry(data[position + 8 : end], block, parent))
        position = end + length % 2
    return entries


def agreed(little: tuple[int, ...], big: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers that were read in both byte orders."""
    if little != big:
        raise medium.DamagedError("has a number whose two byte orders disagree")
    return little


def both16(data: bytes, at: int) -> int:
    """A 16-bit number in both byte orders (section 7.2.3)."""
    return _both(data[at : at + 2], data[at + 2 : at + 4])


def both32(data: bytes, at: int) -> int:
    """A 32-bit number in both byte orders (section 7.3.3)."""
    return _both(data[at : at + 4], data[at + 4 : at + 8])


def _both(little: bytes, big: bytes) -> int:
    if not little or little != big[::-1]:
        raise medium.DamagedError("has a number whose two byte orders disagree")
    return int.from_bytes(little, "little")


def _number(data: bytes, order: str) -> int:
    return int.from_bytes(data, "little" if order == "little" else "big")
