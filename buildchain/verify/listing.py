"""The signed listings: SHA256SUM (coreutils text form) and CONTENTS.mtree (a subset of mtree(5))."""

import dataclasses
import re
from collections.abc import Iterator

from buildchain.verify import medium, report

Fault = report.Fault
UNLISTED_SUMS = frozenset({medium.SUM_NAME, medium.SIGNATURE_NAME})
"""SHA256SUM cannot list itself, nor the signature over it."""

_SUM_LINE = re.compile(rb"([0-9a-f]{64})  ([^\0\\\r]+)")
_ENTRY_LINE = re.compile(rb"(\.(?:/[^ ]+)?) type=(dir|file|link)((?: [a-z]+=[^ ]+)*)")
_FILE_LINE = re.compile(rb"\./([^ \\]+) type=file mode=(0[0-7]{3}) size=([0-9]{1,18})")
"""Nearly every line: this way it is read in a third of the time."""
_DOTS = {"", ".", ".."}
_FIELDS = {
    medium.Kind.DIRECTORY: ({"mode"},),
    medium.Kind.FILE: ({"mode", "size"}, {"mode"}),
    medium.Kind.LINK: ({"link"},),
}
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_MODE = re.compile("0[0-7]{3}")
_SIZE = re.compile("[0-9]{1,18}")


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What CONTENTS.mtree says of one entry; `mode` and `size` are None where it says nothing."""

    kind: medium.Kind
    mode: int | None = None
    size: int | None = None
    target: str = ""


def judge(contents: medium.Contents, sum_text: bytes) -> list[Fault]:
    """Every difference between what is there and what the two listings say."""
    sums, faults = parse_sums(sum_text)
    try:
        entries, more = parse_entries(contents.read(medium.LISTING_NAME))
    except medium.DamagedError as error:
        if medium.LISTING_NAME not in sums or medium.LISTING_NAME in contents.digests:
            faults.append(Fault(medium.LISTING_NAME, str(error)))
        return faults + _sum_faults(contents, sums)
    faults += more
    return faults + _sum_faults(contents, sums) + _entry_faults(contents, sums, entries)


def parse_sums(text: bytes) -> tuple[dict[str, str], list[Fault]]:
    """Digest (hex) by path; a line that is not of the form is a fault."""
    sums: dict[str, str] = {}
    faults = []
    for number, line in _lines(text):
        match = _SUM_LINE.fullmatch(line)
        path = _text(match[2]) if match else ""
        if match is None or not _is_plain(path):
            faults.append(Fault(medium.SUM_NAME, f"line {number} is not '<digest>  <path>'"))
        elif path in sums:
            faults.append(Fault(path, f"is listed twice in {medium.SUM_NAME}"))
        else:
            sums[path] = match[1].decode()
    if text and not text.endswith(b"\n"):
        faults.append(Fault(medium.SUM_NAME, "its last line has no end"))
    return sums, faults


def parse_entries(text: bytes) -> tuple[dict[str, Expected], list[Fault]]:
    """Entries by path (the root is `.`); a line that is not of the form is a fault."""
    entries: dict[str, Expected] = {}
    faults = []
    if not text.startswith(b"#mtree\n"):
        faults.append(Fault(medium.LISTING_NAME, "does not start with #mtree"))
    for number, line in _lines(text.removeprefix(b"#mtree\n")):
        try:
            path, expected = _parse_entry(line)
        except ValueError as error:
            faults.append(Fault(medium.LISTING_NAME, f"line {number + 1}: {error}"))
            continue
        if path in entries:
            faults.append(Fault(path, f"is listed twice in {medium.LISTING_NAME}"))
        entries[path] = expected
    return entries, faults


def _parse_entry(line: bytes) -> tuple[str, Expected]:
    if (match := _FILE_LINE.fullmatch(line)) and _is_plain(plain := _text(match[1])):
        return plain, Expected(medium.Kind.FILE, int(match[2], 8), int(match[3]))
    match = _ENTRY_LINE.fullmatch(line)
    if match is None:
        raise ValueError("is not './path type=… …'")
    path = _decode(match[1]).removeprefix("./")
    if path != "." and not _is_plain(path):
        raise ValueError("its path is not plain")
    kind = medium.Kind(match[2].decode())
    words = [word.split(b"=", 1) for word in match[3].split()]
    fields = {name.decode(): _decode(value) for name, value in words}
    if len(fields) != len(words) or set(fields) not in _FIELDS[kind]:
        raise ValueError(f"has not the fields of a {kind.value}")
    if not _MODE.fullmatch(fields.get("mode", "0000")) or not _SIZE.fullmatch(fields.get("size", "0")):
        raise ValueError("its mode or size is no number")
    mode = int(fields["mode"], 8) if "mode" in fields else None
    size = int(fields["size"]) if "size" in fields else None
    return path, Expected(kind, mode, size, fields.get("link", ""))


def _sum_faults(contents: medium.Contents, sums: dict[str, str]) -> list[Fault]:
    faults = []
    for path, expected in sums.items():
        if path in contents.digests:
            if contents.digests[path] != expected:
                faults.append(Fault(path, f"its content is not that of {medium.SUM_NAME}"))
        elif path not in contents.nodes:
            faults.append(Fault(path, "is missing"))
        elif not contents.has_file(path):
            faults.append(Fault(path, "is not a regular file"))
    extra = set(contents.files()) - set(sums) - UNLISTED_SUMS
    return faults + [Fault(path, f"is not listed in {medium.SUM_NAME}") for path in sorted(extra)]


def _entry_faults(contents: medium.Contents, sums: dict[str, str], entries: dict[str, Expected]) -> list[Fault]:
    faults = []
    for path, expected in entries.items():
        node = contents.nodes.get(path)
        if node is not None:
            faults += [Fault(path, what) for what in _differences(node, expected)]
        elif path not in sums and path not in UNLISTED_SUMS:
            faults.append(Fault(path, "is missing"))
    for path in sorted(set(contents.nodes) - set(entries)):
        # A regular file that neither lists is reported once.
        if path in sums or path in UNLISTED_SUMS or not contents.has_file(path):
            faults.append(Fault(path, f"is not listed in {medium.LISTING_NAME}"))
    faults += [
        Fault(path, f"is listed in {medium.SUM_NAME} but not in {medium.LISTING_NAME}")
        for path in sorted(set(sums) - set(entries) - set(contents.nodes))
    ]
    return faults


def _differences(node: medium.Node, expected: Expected) -> Iterator[str]:
    if node.kind is not expected.kind:
        yield f"is a {node.kind.value}, listed as a {expected.kind.value}"
        return
    if expected.mode is not None and node.mode != expected.mode:
        yield f"its mode is {node.mode:04o}, listed as {expected.mode:04o}"
    if expected.size is not None and node.size != expected.size:
        yield f"has {node.size} bytes, listed with {expected.size}"
    if node.target != expected.target:
        yield f"leads to {node.target!r}, listed as {expected.target!r}"
    if node.owner not in {None, (0, 0)}:
        yield f"belongs to {node.owner}, not to (0, 0)"


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines with their number, without the empty rest after the last newline."""
    lines = text.split(b"\n")
    yield from enumerate(lines[:-1] if lines[-1] == b"" else lines, start=1)


def _decode(text: bytes) -> str:
    if b"\\" not in text:
        return _text(text)
    if b"\\" in _OCTAL.sub(b"", text):
        raise ValueError("has a backslash that starts no octal number")
    return _text(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), text))


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _is_plain(path: str) -> bool:
    """Whether a path is relative and written in its only form."""
    return _DOTS.isdisjoint(path.split("/"))
