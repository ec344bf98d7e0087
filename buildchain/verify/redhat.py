"""RPM repositories on the medium: signature → repomd.xml → primary → packages, in both directions.

They are `packages/redhat/<name>/{repodata/{repomd.xml,repomd.xml.asc,*.xml.gz},Packages/…,RPM-GPG-KEY-…}`. What a
package's own header says of its signature is for rpm to judge, when it is installed.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from xml.parsers import expat

from buildchain.verify import medium, report, repositories, signature

Fault = report.Fault
DIRECTORY = "packages/redhat"
KINDS = ("filelists", "other", "primary")

JudgeDetached = Callable[[bytes, bytes], signature.Judgement]

_NAME = re.compile(r"[A-Za-z0-9_+.~^-]+(/[A-Za-z0-9_+.~^-]+)*")
_Element = tuple[str, dict[str, str], str]
"""Path of names from the root on, attributes, and text."""


def judge(contents: medium.Contents, judge_detached: JudgeDetached, signer: str | None) -> Iterator[Fault]:
    """Every fault of every repository.

    `signer` is the primary fingerprint of the key that signed the medium; None when nothing vouches for the medium,
    so that it says nothing who signed its repositories.
    """
    for name in repositories.names(contents, DIRECTORY):
        root = f"{DIRECTORY}/{name}"
        yield from _judge_signature(contents, root, judge_detached, signer)
        yield from _judge_key(contents, root, name)
        yield from _judge_metadata(contents, root)


def _judge_signature(
    contents: medium.Contents, root: str, judge_detached: JudgeDetached, signer: str | None
) -> Iterator[Fault]:
    path = f"{root}/repodata/repomd.xml.asc"
    try:
        judgement = judge_detached(contents.read(path), contents.read(path.removesuffix(".asc")))
    except medium.DamagedError as error:
        yield Fault(path, str(error) if not contents.has_file(path) else f"has nothing to sign: {error}")
        return
    yield from repositories.judge_signer(path, judgement, signer)


def _judge_key(contents: medium.Contents, root: str, name: str) -> Iterator[Fault]:
    """The key that clients are told to trust must be the medium's."""
    path = f"{root}/RPM-GPG-KEY-{name}"
    if not contents.has_file(path):
        yield Fault(path, "is missing")
    elif contents.digests.get(path) != contents.digests.get(medium.KEY_NAME):
        yield Fault(path, f"is not {medium.KEY_NAME}")


def _judge_metadata(contents: medium.Contents, root: str) -> Iterator[Fault]:
    index = f"{root}/repodata/repomd.xml"
    try:
        records = _records(contents.read(index))
    except medium.DamagedError as error:
        yield Fault(index, str(error))
        return
    for kind in KINDS:
        if kind not in records:
            yield Fault(index, f"does not list {kind}")
    listed = {"repodata/repomd.xml", "repodata/repomd.xml.asc"}
    for kind, record in sorted(records.items()):
        listed.add(record["location"])
        yield from _judge_record(contents, root, kind, record)
    for name in contents.files(f"{root}/repodata"):
        if f"repodata/{name}" not in listed:
            yield Fault(f"{root}/repodata/{name}", f"is not listed in {index}")


def _judge_record(contents: medium.Contents, root: str, kind: str, record: dict[str, str]) -> Iterator[Fault]:
    path, index = f"{root}/{record['location']}", f"{root}/repodata/repomd.xml"
    if faults := list(repositories.judge_file(contents, path, record["checksum"], int(record["size"]), index)):
        yield from faults
        return
    try:
        text = _gunzip(contents.read(path), int(record["open-size"]))
        if kind == "primary":
            yield from _judge_packages(contents, root, path, text)
    except medium.DamagedError as error:
        yield Fault(path, str(error))


def _judge_packages(contents: medium.Contents, root: str, index: str, text: bytes) -> Iterator[Fault]:
    listed = set()
    for number, package in enumerate(_packages(text), start=1):
        name, expected, size = (package.get(key, "") for key in ("location", "checksum", "size"))
        path = f"{root}/{name}"
        if not _is_usable(name, expected, size):
            yield Fault(index, f"package {number} has no usable location, SHA-256 checksum and size")
        elif name in listed:
            yield Fault(index, f"names {name} twice")
        else:
            yield from repositories.judge_file(contents, path, expected, int(size), index)
        listed.add(name)
    for name in contents.files(root):
        if name.endswith(".rpm") and name not in listed:
            yield Fault(f"{root}/{name}", f"is not listed in {index}")


def _is_usable(name: str, expected: str, size: str) -> bool:
    is_plain = bool(_NAME.fullmatch(name)) and not {".", ".."} & set(name.split("/"))
    return is_plain and bool(re.fullmatch("[0-9a-f]{64}", expected) and re.fullmatch("[0-9]{1,18}", size))


def _records(text: bytes) -> dict[str, dict[str, str]]:
    """By kind, what a repomd.xml says of each file."""
    records: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for path, attributes, content in _elements(text):
        if path == "/repomd/data":
            kind = attributes.get("type", "")
            if kind in records or not _is_usable(*(current.get(key, "") for key in ("location", "checksum", "size"))):
                raise medium.DamagedError(f"has no usable location, SHA-256 checksum and size of {kind!r}")
            if not re.fullmatch("[0-9]{1,18}", current.get("open-size", "")):
                raise medium.DamagedError(f"has no open-size of {kind!r}")
            records[kind], current = current, {}
        elif path.startswith("/repomd/data/"):
            _take(current, path.rpartition("/")[2], attributes, content)
    return records


def _packages(text: bytes) -> Iterator[dict[str, str]]:
    """What a primary says of each package."""
    current: dict[str, str] = {}
    for path, attributes, content in _elements(text):
        if path == "/metadata/package":
            yield current
            current = {}
        elif path.count("/") == 3 and path.startswith("/metadata/package/"):
            _take(current, path.rpartition("/")[2], attributes, content)


def _take(current: dict[str, str], name: str, attributes: dict[str, str], content: str) -> None:
    if name == "location":
        current[name] = "" if name in current or "xml:base" in attributes else attributes.get("href", "")
    elif name == "checksum":
        current[name] = content if attributes.get("type") == "sha256" and name not in current else ""
    elif name in ("size", "open-size"):
        current[name] = attributes.get("package", content)


def _elements(text: bytes) -> list[_Element]:
    """Every element at its end.

    Raises:
        DamagedError: it is not XML, or declares entities, which could unfold without end.
    """
    found: list[_Element] = []
    open_elements: list[tuple[str, dict[str, str], list[str]]] = []
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        parent = open_elements[-1][0] if open_elements else ""
        open_elements.append((f"{parent}/{name}", attributes, []))

    def end(_name: str) -> None:
        path, attributes, parts = open_elements.pop()
        found.append((path, attributes, "".join(parts).strip()))

    def characters(part: str) -> None:
        open_elements[-1][2].append(part)

    def doctype(*_: object) -> None:
        raise medium.DamagedError("has a document type")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, doctype
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError) as error:
        raise medium.DamagedError(f"is not XML: {error}") from error
    return found


def _gunzip(compressed: bytes, size: int) -> bytes:
    """Exactly `size` bytes out of any number of gzip members: a bomb is cut short."""
    if size > medium.MAX_TEXT_SIZE:
        raise medium.DamagedError(f"unpacks to {size} bytes, more than {medium.MAX_TEXT_SIZE}: not read")
    plain, rest = b"", compressed
    while rest:
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            plain += unpacker.decompress(rest, size + 1 - len(plain))
        except zlib.error as error:
            raise medium.DamagedError(f"cannot be unpacked: {error}") from error
        if not unpacker.eof:
            break
        rest = unpacker.unused_data
    if rest or len(plain) != size:
        raise medium.DamagedError("does not unpack to the size that repomd.xml says")
    return plain
