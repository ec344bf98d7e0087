"""Rock Ridge: POSIX names, modes and links in the system use area of directory records (SUSP 1.12, RRIP 1.12)."""

import stat
import struct
import typing
from collections.abc import Callable, Iterator

from buildchain.verify import medium, records

MAX_CONTINUATIONS = 64
"""Continuation areas of one record; a real one has at most two, a hostile one could go in circles."""

START = b"SP\x07\x01\xbe\xef\0"
"""What the root's own record starts with (SUSP 5.3): without it, or with bytes to skip, readers see other entries."""

_IGNORED = {b"PD", b"ER", b"ES", b"RR", b"TF"}
"""Carry nothing that is judged. What is not here and not read below is refused: ZF, for one, changes contents."""

# RRIP 4.1.1: mode, links, owner and group, each in both byte orders.
_LITTLE = struct.Struct("<I4xI4xI4xI4x")
_BIG = struct.Struct(">4xI4xI4xI4xI")

_NAME_CONTINUES = 0x01
_COMPONENTS = {0x02: ".", 0x04: "..", 0x08: ""}

_KIND_BITS = 0o170000
_KINDS = {stat.S_IFDIR: medium.Kind.DIRECTORY, stat.S_IFREG: medium.Kind.FILE, stat.S_IFLNK: medium.Kind.LINK}

ReadArea = Callable[[records.Extent], bytes]


class Attributes(typing.NamedTuple):
    """What Rock Ridge says of one record; the areas are the continuation areas it was read from."""

    name: bytes
    mode: int
    owner: tuple[int, int]
    target: str
    areas: tuple[records.Extent, ...]

    @property
    def kind(self) -> medium.Kind:
        """The kind of entry, by the file mode."""
        return _KINDS.get(self.mode & _KIND_BITS, medium.Kind.OTHER)


def parse(system_use: bytes, read: ReadArea) -> Attributes:
    """Read one system use area and its continuations."""
    areas: list[records.Extent] = []
    name = b""
    posix = None
    links: list[bytes] = []
    for signature, data in _entries(system_use, read, areas):
        if signature == b"NM":
            name += _name_part(data)
        elif signature == b"PX":
            if posix is not None or len(data) < 32:
                raise medium.DamagedError("has not one Rock Ridge mode")
            posix = data
        elif signature == b"SL":
            links.append(data)
        elif signature not in _IGNORED and not (signature == b"SP" and data == START[4:]):
            raise medium.DamagedError(f"has the unexpected Rock Ridge entry {signature!r}")
    if posix is None:
        raise medium.DamagedError("has no Rock Ridge mode")
    mode, _, user, group = records.agreed(_LITTLE.unpack_from(posix), _BIG.unpack_from(posix))
    return Attributes(name, mode, (user, group), _target(links) if links else "", tuple(areas))


def _entries(system_use: bytes, read: ReadArea, areas: list[records.Extent]) -> Iterator[tuple[bytes, bytes]]:
    waiting = [system_use]
    while waiting:
        for signature, data in _split(waiting.pop()):
            if signature == b"CE":
                waiting.append(read(_continuation(data, areas)))
            else:
                yield signature, data


def _continuation(data: bytes, areas: list[records.Extent]) -> records.Extent:
    block, offset, length = (records.both32(data, at) for at in (0, 8, 16))
    if len(areas) == MAX_CONTINUATIONS or offset + length > records.SECTOR:
        raise medium.DamagedError("has a wrong or endless Rock Ridge continuation")
    areas.append(records.Extent(block * records.SECTOR + offset, length))
    return areas[-1]


def _split(area: bytes) -> list[tuple[bytes, bytes]]:
    """Entries of one area: signature and data; the area ends with ST or with less than four bytes (SUSP 4)."""
    found = []
    position = 0
    while len(area) - position >= 4 and area[position : position + 2] != b"ST":
        length = area[position + 2]
        if length == 0 and not area[position:].strip(b"\0"):
            break
        if length < 4 or position + length > len(area) or area[position + 3] != 1:
            raise medium.DamagedError("has a Rock Ridge entry of a wrong length or version")
        found.append((area[position : position + 2], area[position + 4 : position + length]))
        position += length
    return found


def _name_part(data: bytes) -> bytes:
    if not data or data[0] & ~_NAME_CONTINUES:
        raise medium.DamagedError("has a Rock Ridge name with unexpected flags")
    return data[1:]


def _target(links: list[bytes]) -> str:
    """Join the components of a link's target (RRIP 4.1.3)."""
    parts: list[str] = []
    is_continued = False
    for data in links:
        for flags, content in _components(data[1:]):
            part = _COMPONENTS.get(flags & ~0x01, content.decode("utf-8", "surrogateescape"))
            if flags & ~0x0F:
                raise medium.DamagedError("has a Rock Ridge link with unexpected flags")
            if is_continued:
                parts[-1] += part
            else:
                parts.append(part)
            is_continued = bool(flags & 0x01)
    return "/" if parts == [""] else "/".join(parts)


def _components(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        end = position + 2 + (data[position + 1] if position + 1 < len(data) else 0)
        if end > len(data) or position + 2 > len(data):
            raise medium.DamagedError("has a Rock Ridge link that ends early")
        yield data[position], data[position + 2 : end]
        position = end
