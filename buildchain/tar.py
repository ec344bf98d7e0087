"""Tape archives, read strictly and written alike by every Python (POSIX.1-2017, pax, "ustar Interchange Format").

The standard library's reader takes a damaged header for the end of the archive and holds a hostile extended header
in memory whole; its writer has changed bytes between releases. Neither may happen to a layer.
"""

import dataclasses
import enum
import functools
import io
import re
import typing
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

BLOCK = 512
_COPY_SIZE = 1 << 18

MAX_EXTENDED_HEADER = 1 << 20
"""Bytes of a pax header or a GNU long name; Linux's longest path is 4096."""

_MAX_OCTAL_SIZE = 8**11 - 1
_MAX_PADDING = 1 << 20
"""Bytes behind the last member; GNU tar fills up to a record of 10240."""
_MAX_OCTAL_ID = 8**7 - 1
_ZEROS = bytes(BLOCK)
_PLAIN_NUMBER = re.compile(rb" *([0-7]+)[ \0]*")


class TarError(ValueError):
    """An archive is damaged, or is one that no package needs; the text says which."""


class Kind(enum.StrEnum):
    """The type flags of what a package may hold."""

    FILE = "0"
    HARD_LINK = "1"
    SYMBOLIC_LINK = "2"
    DIRECTORY = "5"


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """One member; `target` is that of a link, `mtime` is in whole seconds since 1970.

    `xattrs` are extended attributes, by name; `read` leaves them empty, for no package has any.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    target: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()


_KINDS = {"0": Kind.FILE, "\0": Kind.FILE, "1": Kind.HARD_LINK, "2": Kind.SYMBOLIC_LINK, "5": Kind.DIRECTORY}
_REFUSED = {"3": "a character device", "4": "a block device", "6": "a named pipe", "S": "a sparse file"}


def read(stream: typing.BinaryIO) -> Iterator[tuple[Header, Iterable[bytes]]]:
    """The members of an archive and their content, block by block; what is not read of a content is skipped.

    Raises:
        TarError: the archive is damaged, ends too early, or holds what no package may hold.
    """
    extended: dict[str, str] = {}
    while (block := _exactly(stream, BLOCK)) != _ZEROS:
        _check_sum(block)
        flag, size = chr(block[156]), _number(block[124:136])
        if flag in "xgLK":
            extended |= _extended(flag, _read_extended(stream, size))
            continue
        header = _header(block, flag, size, extended)
        extended = {}
        rest = _Rest(stream, header.size)
        yield header, rest
        rest.skip()
        if header.size % BLOCK:
            _exactly(stream, -header.size % BLOCK)
    _check_padding(stream)


def _check_padding(stream: typing.BinaryIO) -> None:
    """Read to the end, so that a decompressor compares its checksum."""
    padding = stream.read(_MAX_PADDING + 1)
    if len(padding) > _MAX_PADDING or padding != bytes(len(padding)):
        raise TarError("something stands behind the end of the archive")


class _Rest:
    """Content of one member that is still to be read."""

    def __init__(self, stream: typing.BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def __iter__(self) -> Iterator[bytes]:
        while self._left:
            block = _exactly(self._stream, min(self._left, _COPY_SIZE))
            self._left -= len(block)
            yield block

    def skip(self) -> None:
        for _ in self:
            pass


def _exactly(stream: typing.BinaryIO, size: int) -> bytes:
    block = stream.read(size)
    if len(block) != size:
        raise TarError("the archive ends too early")
    return block


def _check_sum(block: bytes) -> None:
    # The low half of an Adler-32 is one more than the sum of the bytes until that reaches 65521; 256 never do.
    # It takes a tenth of the time of `sum`.
    blanked = block[:148] + b" " * 8 + block[156:]
    halves = zlib.adler32(blanked[:256]), zlib.adler32(blanked[256:])
    if _number(block[148:156]) != sum(half & 0xFFFF for half in halves) - 2:
        raise TarError("a header's checksum is wrong")


@functools.lru_cache(maxsize=1024)
def _number(field: bytes) -> int:
    """An octal number, or GNU's binary one for what octal cannot hold; most say what the header before said."""
    if plain := _PLAIN_NUMBER.fullmatch(field):
        return int(plain[1], 8)
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.split(b"\0", 1)[0].strip(b" ")
    if text.strip(b"01234567"):
        raise TarError(f"not a number in a header: {text!r}")
    return int(text or b"0", 8)


def _text(field: bytes) -> str:
    return _decode(field.split(b"\0", 1)[0])


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TarError(f"a name is not UTF-8: {content!r}") from error


def _read_extended(stream: typing.BinaryIO, size: int) -> bytes:
    if size > MAX_EXTENDED_HEADER:
        raise TarError(f"an extended header of {size} bytes; no path needs that much")
    content = _exactly(stream, size)
    _exactly(stream, -size % BLOCK)
    return content


def _extended(flag: str, content: bytes) -> dict[str, str]:
    if flag == "L":
        return {"path": _text(content)}
    if flag == "K":
        return {"linkpath": _text(content)}
    records = dict(_records(content))
    if any(keyword.startswith("GNU.sparse.") for keyword in records):
        raise TarError("a sparse file; packages hold plain ones")
    if flag == "g" and records.keys() - {"comment"}:
        raise TarError("a global extended header; packages have none")
    return {
        keyword: records[keyword] for keyword in ("path", "linkpath", "size", "uid", "gid", "mtime") & records.keys()
    }


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    """Records of the form `<length> <keyword>=<value>\\n`; values that no path or number needs may be binary."""
    while content:
        length, _, _ = content.partition(b" ")
        if not length.isdigit() or len(length) > 8 or not len(length) + 3 <= int(length) <= len(content):
            raise TarError("a pax record of impossible length")
        record, content = content[len(length) + 1 : int(length)], content[int(length) :]
        keyword, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise TarError("a pax record without = or end of line")
        if keyword in {b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"} or keyword.startswith(b"GNU.sparse."):
            yield _decode(keyword), _decode(value[:-1])


def _header(block: bytes, flag: str, size: int, extended: Mapping[str, str]) -> Header:
    path = extended.get("path") or _ustar_path(block)
    if flag not in _KINDS:
        raise TarError(f"{path!r} is {_REFUSED.get(flag, f'of the unknown type {flag!r}')}; packages may not hold one")
    kind = _KINDS[flag]
    if "\0" in path or "\0" in extended.get("linkpath", ""):
        raise TarError(f"a name holds a null byte: {path!r}")
    return Header(
        path=path,
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=_extended_number(extended, "uid", block[108:116]),
        gid=_extended_number(extended, "gid", block[116:124]),
        mtime=_extended_number(extended, "mtime", block[136:148]),
        size=_extended_number(extended, "size", block[124:136]) if kind is Kind.FILE else 0,
        target=extended.get("linkpath") or _text(block[157:257]),
    )


def _ustar_path(block: bytes) -> str:
    name = _text(block[:100])
    # GNU's own format has "ustar  " here and other fields where the prefix would be.
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _extended_number(extended: Mapping[str, str], keyword: str, field: bytes) -> int:
    if keyword not in extended:
        return _number(field)
    whole = extended[keyword].partition(".")[0]
    if not (whole.isascii() and whole.isdigit() and len(whole) <= 18):
        raise TarError(f"not a number: {keyword}={extended[keyword]!r}")
    return int(whole)


def write(members: Iterable[tuple[Header, Iterable[bytes]]], sink: Callable[[bytes], object]) -> None:
    """Write an archive: numeric owners only, and an extended header only where the plain one cannot say it."""
    for header, content in members:
        sink(encode(header))
        for block in content:
            sink(block)
        sink(bytes(-header.size % BLOCK))
    sink(bytes(2 * BLOCK))


def encode(header: Header) -> bytes:
    """The block, or blocks, that announce a member."""
    path = f"{header.path}/" if header.kind is Kind.DIRECTORY else header.path
    records = {f"SCHILY.xattr.{attribute}": value for attribute, value in header.xattrs}
    prefix, name = _split(path)
    if not name:
        records["path"] = path.encode()
        name = _stand_in(path)
    if len(header.target.encode()) > 100 or not header.target.isascii():
        records["linkpath"] = header.target.encode()
    for keyword, value, largest in (
        ("size", header.size, _MAX_OCTAL_SIZE),
        ("uid", header.uid, _MAX_OCTAL_ID),
        ("gid", header.gid, _MAX_OCTAL_ID),
        ("mtime", header.mtime, _MAX_OCTAL_SIZE),
    ):
        if value > largest:
            records[keyword] = str(value).encode()
    plain = _block(header, prefix, name)
    if not records:
        return plain
    content = b"".join(_record(keyword, value) for keyword, value in sorted(records.items()))
    announcement = _block(Header("", Kind.FILE, 0o644, 0, 0, 0, len(content)), "", "PaxHeader", flag="x")
    return announcement + content + bytes(-len(content) % BLOCK) + plain


def _split(path: str) -> tuple[str, str]:
    """Prefix and name of a ustar header; no name if the path does not fit."""
    if not path.isascii():
        return "", ""
    if len(path) <= 100:
        return "", path
    cut = path.find("/", len(path) - 101)
    return (path[:cut], path[cut + 1 :]) if 0 < cut <= 155 and path[cut + 1 :] else ("", "")


def _stand_in(path: str) -> str:
    """What a reader without pax sees."""
    return path.encode("ascii", "replace").decode()[-100:].lstrip("/") or "_"


def _record(keyword: str, value: bytes) -> bytes:
    body = f" {keyword}=".encode() + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _block(header: Header, prefix: str, name: str, flag: str = "") -> bytes:
    fields = io.BytesIO()
    target = header.target.encode("ascii", "replace")[:100]
    for content, width in (
        (name.encode(), 100),
        (b"%07o" % header.mode, 8),
        (b"%07o" % min(header.uid, _MAX_OCTAL_ID), 8),
        (b"%07o" % min(header.gid, _MAX_OCTAL_ID), 8),
        (b"%011o" % min(header.size, _MAX_OCTAL_SIZE), 12),
        (b"%011o" % min(header.mtime, _MAX_OCTAL_SIZE), 12),
        (b" " * 8, 8),
        ((flag or header.kind.value).encode(), 1),
        (target, 100),
        (b"ustar\x0000", 88),
        (prefix.encode(), 155),
        (b"", 12),
    ):
        fields.write(content.ljust(width, b"\0"))
    block = bytearray(fields.getvalue())
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
