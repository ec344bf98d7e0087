"""APT repositories on the medium: signature → Release → Packages → pool, in both directions.

They are flat repositories: `packages/debian/<name>/{InRelease,Release,Packages,Packages.gz,by-hash/SHA256/…,pool/…}`.
"""

import re
import zlib
from collections.abc import Callable, Iterator

from buildchain.verify import medium, report, repositories, signature

Fault = report.Fault
DIRECTORY = "packages/debian"
INDEXES = ("Packages", "Packages.gz")

JudgeClearsigned = Callable[[bytes], tuple[signature.Judgement, bytes]]

_FIELD = re.compile(r"([!-9;-~]+):[ \t]*(.*)")
_RELEASE_LINE = re.compile(r" +([0-9a-f]{64}) +([0-9]{1,18}) +(\S+)")


def judge(contents: medium.Contents, judge_clearsigned: JudgeClearsigned, signer: str | None) -> Iterator[Fault]:
    """Every fault of every repository.

    `signer` is the primary fingerprint of the key that signed the medium; None when nothing vouches for the medium,
    so that it says nothing who signed its repositories.
    """
    for name in repositories.names(contents, DIRECTORY):
        root = f"{DIRECTORY}/{name}"
        yield from _judge_signature(contents, root, judge_clearsigned, signer)
        yield from _judge_release(contents, root)
        yield from _judge_pool(contents, root)


def parse_stanzas(text: bytes) -> list[dict[str, str]]:
    """Read deb822 text (deb822(5)); continuation lines are joined by newlines.

    Raises:
        DamagedError: a line that is neither field nor continuation, a field that stands twice, or no UTF-8.
    """
    try:
        lines = text.decode().split("\n")
    except UnicodeDecodeError as error:
        raise medium.DamagedError("is not UTF-8") from error
    stanzas: list[dict[str, str]] = []
    parts: dict[str, list[str]] = {}
    field = ""
    for number, line in enumerate([*lines, ""], start=1):
        match = _FIELD.fullmatch(line)
        if not line:
            if parts:
                stanzas.append({name: "\n".join(values) for name, values in parts.items()})
            parts, field = {}, ""
        elif line[0] in " \t" and field:
            parts[field].append(line)
        elif match and match[1] not in parts:
            field = match[1]
            parts[field] = [match[2]]
        else:
            raise medium.DamagedError(f"line {number} is no field")
    return stanzas


def _judge_signature(
    contents: medium.Contents, root: str, judge_clearsigned: JudgeClearsigned, signer: str | None
) -> Iterator[Fault]:
    path = f"{root}/InRelease"
    try:
        judgement, text = judge_clearsigned(contents.read(path))
    except medium.DamagedError as error:
        yield Fault(path, str(error))
        return
    yield from repositories.judge_signer(path, judgement, signer)
    if judgement.verdict is report.Verdict.CORRUPT:
        return
    try:
        if text and text.rstrip(b"\n") != contents.read(f"{root}/Release").rstrip(b"\n"):
            yield Fault(path, "its text is not that of Release")
    except medium.DamagedError as error:
        yield Fault(f"{root}/Release", str(error))


def _judge_release(contents: medium.Contents, root: str) -> Iterator[Fault]:
    path = f"{root}/Release"
    try:
        listed = _release_files(contents.read(path))
    except medium.DamagedError as error:
        yield Fault(path, str(error))
        return
    for name in INDEXES:
        if name not in listed:
            yield Fault(path, f"does not list {name}")
    for name, (expected, size) in sorted(listed.items()):
        yield from repositories.judge_file(contents, f"{root}/{name}", expected, size, path)
        by_hash = f"{root}/by-hash/SHA256/{expected}"
        if not contents.has_file(by_hash):
            yield Fault(by_hash, f"is missing: {path} lists {name}")
    yield from _judge_by_hash(contents, root, {expected for expected, _ in listed.values()})
    yield from _judge_compressed(contents, root)


def _judge_by_hash(contents: medium.Contents, root: str, wanted: set[str]) -> Iterator[Fault]:
    for name in contents.files(f"{root}/by-hash"):
        by_hash = f"{root}/by-hash/{name}"
        expected = name.removeprefix("SHA256/")
        if expected not in wanted:
            yield Fault(by_hash, f"is not listed in {root}/Release")
        elif contents.digests.get(by_hash, expected) != expected:
            yield Fault(by_hash, "its content is not that of its name")


def _release_files(text: bytes) -> dict[str, tuple[str, int]]:
    stanzas = parse_stanzas(text)
    if len(stanzas) != 1:
        raise medium.DamagedError("is not one stanza")
    if stanzas[0].get("Acquire-By-Hash") != "yes":
        raise medium.DamagedError("does not offer Acquire-By-Hash")
    files: dict[str, tuple[str, int]] = {}
    for line in stanzas[0].get("SHA256", "").split("\n")[1:]:
        match = _RELEASE_LINE.fullmatch(line)
        if match is None or not _is_plain(match[3]) or match[3] in files:
            raise medium.DamagedError(f"has a wrong line in SHA256: {line!r}")
        files[match[3]] = match[1], int(match[2])
    return files


def _judge_compressed(contents: medium.Contents, root: str) -> Iterator[Fault]:
    path = f"{root}/Packages.gz"
    try:
        plain = contents.read(f"{root}/Packages")
        unpacked = _gunzip(contents.read(path), len(plain))
    except medium.DamagedError as error:
        if contents.has_file(path):
            yield Fault(path, str(error))
        return
    if unpacked != plain:
        yield Fault(path, "its content is not that of Packages")


def _gunzip(compressed: bytes, size: int) -> bytes:
    """At most one byte more than `size`: a bomb is cut short."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(compressed, size + 1)
    except zlib.error as error:
        raise medium.DamagedError(f"cannot be unpacked: {error}") from error
    if not unpacker.eof and len(plain) <= size:
        raise medium.DamagedError("ends early")
    if unpacker.unused_data:
        raise medium.DamagedError("has bytes after its end")
    return plain


def _judge_pool(contents: medium.Contents, root: str) -> Iterator[Fault]:
    path = f"{root}/Packages"
    try:
        stanzas = parse_stanzas(contents.read(path))
    except medium.DamagedError as error:
        yield Fault(path, str(error))
        return
    indexed = set()
    for number, stanza in enumerate(stanzas, start=1):
        name = stanza.get("Filename", "").removeprefix("./")
        size, expected = stanza.get("Size", ""), stanza.get("SHA256", "")
        if not _is_plain(name) or not re.fullmatch("[0-9]{1,18}", size) or not re.fullmatch("[0-9a-f]{64}", expected):
            yield Fault(path, f"stanza {number} has no usable Filename, Size and SHA256")
        elif name in indexed:
            yield Fault(path, f"names {name} twice")
        else:
            yield from repositories.judge_file(contents, f"{root}/{name}", expected, int(size), path)
        indexed.add(name)
    for name in contents.files(f"{root}/pool"):
        if f"pool/{name}" not in indexed:
            yield Fault(f"{root}/pool/{name}", f"is not listed in {path}")


def _is_plain(path: str) -> bool:
    return not {"", ".", ".."} & set(path.split("/"))
