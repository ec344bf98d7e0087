"""The headers of an RPM file: read and written as values.

Format: https://rpm-software-management.github.io/rpm/manual/format_v4.html. A file is a lead of 96 bytes, a signature
header padded to 8 bytes, the header proper, and the payload. Both headers have one form: magic, number of index
entries, size of the data, the entries, the data.
"""

import dataclasses
import struct
import typing
from collections.abc import Iterable, Mapping

LEAD_SIZE = 96
LEAD_MAGIC = b"\xed\xab\xee\xdb"
MAGIC = b"\x8e\xad\xe8\x01\0\0\0\0"

MAX_ENTRIES = 0xFFFF
MAX_DATA = 256 << 20
"""rpm's own limits (lib/header.c: `hdrchkTags`, `hdrchkData`)."""

BINARY = 7
"""Type of an entry that is bytes; its count is their number."""

_ENTRY = struct.Struct(">iIiI")
_COUNTS = struct.Struct(">II")
_TEXT_TYPES = (6, 8, 9)  # one string, an array of strings, translated strings
_ALIGNMENT = {3: 2, 4: 4, 5: 8}  # integers of 16, 32 and 64 bits


class DamagedError(ValueError):
    """These bytes are no RPM file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One entry of a header: its type, how many values it has, and their bytes."""

    type: int
    count: int
    data: bytes

    def text(self) -> str:
        """The first string."""
        return self.data.split(b"\0", 1)[0].decode(errors="replace")

    def number(self) -> int:
        """The first integer."""
        return int.from_bytes(self.data[: _ALIGNMENT.get(self.type, 1)], "big")


Header = Mapping[int, Field]
"""Fields by tag."""


@dataclasses.dataclass(frozen=True, slots=True)
class Front:
    """What stands before the payload of a file, as bytes; `signatures` without its padding."""

    lead: bytes
    signatures: bytes
    header: bytes


def read_front(stream: typing.BinaryIO) -> Front:
    """Read a file up to its payload.

    Raises:
        DamagedError: it is no RPM file.
    """
    lead = stream.read(LEAD_SIZE)
    if len(lead) < LEAD_SIZE or not lead.startswith(LEAD_MAGIC):
        raise DamagedError("is no RPM file")
    signatures = _read(stream)
    stream.read(-len(signatures) % 8)
    return Front(lead, signatures, _read(stream))


def _read(stream: typing.BinaryIO) -> bytes:
    start = stream.read(len(MAGIC) + _COUNTS.size)
    if len(start) < len(MAGIC) + _COUNTS.size or not start.startswith(MAGIC):
        raise DamagedError("has no header")
    entries, size = _COUNTS.unpack_from(start, len(MAGIC))
    if entries > MAX_ENTRIES or size > MAX_DATA:
        raise DamagedError("has a header that is too large")
    wanted = entries * _ENTRY.size + size
    rest = stream.read(wanted)
    if len(rest) < wanted:
        raise DamagedError("ends within its header")
    return start + rest


def parse(content: bytes) -> Header:
    """The fields of a header in bytes.

    Raises:
        DamagedError: it is none.
    """
    entries, size = _COUNTS.unpack_from(content, len(MAGIC))
    start = len(MAGIC) + _COUNTS.size
    data = content[start + entries * _ENTRY.size :]
    fields, used = {}, 0
    for number in range(entries):
        tag, kind, offset, count = _ENTRY.unpack_from(content, start + number * _ENTRY.size)
        if not 0 <= offset <= size:
            raise DamagedError("has an entry outside its header")
        fields[tag] = Field(kind, count, _bytes_of(data, kind, offset, count))
        used += len(fields[tag].data)
        if used > size:  # entries that share bytes: reading them could take for ever
            raise DamagedError("has entries that overlap")
    return fields


def _bytes_of(data: bytes, kind: int, offset: int, count: int) -> bytes:
    if kind not in _TEXT_TYPES:
        return data[offset : offset + count * _ALIGNMENT.get(kind, 1)]
    end = offset
    for _ in range(count):
        end = data.find(b"\0", end) + 1
        if end == 0:
            raise DamagedError("has a text without an end")
    return data[offset:end]


def dump(fields: Header, region: int) -> bytes:
    """A header in bytes, as rpm writes it: entries by tag, all of them covered by the region tag `region`."""
    index, data = bytearray(), bytearray()
    for tag, field in sorted((tag, field) for tag, field in fields.items() if tag != region):
        data += bytes(-len(data) % _ALIGNMENT.get(field.type, 1))
        index += _ENTRY.pack(tag, field.type, len(data), field.count)
        data += field.data
    size = _ENTRY.size + len(index)
    first = _ENTRY.pack(region, BINARY, len(data), _ENTRY.size)
    data += _ENTRY.pack(region, BINARY, -size, _ENTRY.size)
    return MAGIC + _COUNTS.pack(size // _ENTRY.size, len(data)) + first + bytes(index) + bytes(data)


def without(fields: Header, tags: Iterable[int]) -> dict[int, Field]:
    """The fields but those with the given tags."""
    return {tag: field for tag, field in fields.items() if tag not in set(tags)}
