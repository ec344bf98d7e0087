"""What an archive says of its RPMs: pulled, verified, and laid out for dnf to read.

    repomd.xml.asc ──declared keys──▶ repomd.xml ──SHA-256, size──▶ primary, filelists, modules

All of it goes through our downloader, so that proxies, certificates and limits are the same for every format; dnf
reads a folder, and asks nobody. The folder's own repomd.xml names only what was pulled.
"""

import dataclasses
import pathlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence

from buildchain import command, digest, errors, fetch, lock, manifest, signing, store

MAX_REPOMD = 4 << 20
_WANTED = ("primary", "filelists", "modules")
_SPACE = "{http://linux.duke.edu/metadata/repo}"
_HINT = "Check the mirror (<ARCHIVE>_MIRROR in .env) and the keys in distribution.yaml."


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An archive and the base URL of its mirror."""

    archive: manifest.Archive
    url: str


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A file that a repomd.xml names; `path` is relative to the archive."""

    kind: str
    path: str
    content: digest.Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Metadata:
    """The verified index of an archive, and its files, which the store holds."""

    source: Source
    index: lock.Index
    records: tuple[Record, ...]

    def lay_out(self, folder: pathlib.Path, packages: store.Store) -> None:
        """Make `folder` a repository without packages, for dnf to read."""
        (folder / "repodata").mkdir(parents=True)
        for record in self.records:
            path = folder / "repodata" / pathlib.PurePosixPath(record.path).name
            path.write_bytes(packages.read(record.content.digest))
        (folder / "repodata/repomd.xml").write_text(_repomd(self.records), encoding="utf-8")


def read(source: Source, packages: store.Store, options: fetch.Options) -> Metadata:
    """Pull the metadata of an archive.

    Raises:
        ResolveError:    the repomd.xml is unsigned, signed by none of the declared keys, or cannot be understood.
        IntegrityError:  a file is not the one that the repomd.xml names.
        TransportError:  a file cannot be had.
    """
    name = source.archive.name
    text = fetch.get(f"{source.url}/repodata/repomd.xml", options, max_bytes=MAX_REPOMD)
    try:
        signature = fetch.get(f"{source.url}/repodata/repomd.xml.asc", options, max_bytes=MAX_REPOMD)
    except errors.TransportError as error:
        raise errors.ResolveError(f"archive {name}", f"its repomd.xml is not signed: {error}", _HINT) from error
    _verify(source.archive, text, signature)
    try:
        records, date = parse_repomd(text)
    except ValueError as error:
        raise errors.ResolveError(f"archive {name}", f"its repomd.xml {error}", _HINT) from error
    requests = [
        fetch.Request(f"{name}: {record.path}", record.content, (f"{source.url}/{record.path}",)) for record in records
    ]
    fetch.pull(requests, packages, options, fetch.NullProgress())
    return Metadata(source, lock.Index(name, source.archive.suite, digest.Digest.of_bytes(text), date), records)


def _verify(archive: manifest.Archive, text: bytes, signature: bytes) -> None:
    with signing.private_home() as home:
        gpg: list[command.Argument] = ["gpg", "--homedir", home, "--batch", "--no-options", "--quiet"]
        (home / "text").write_bytes(text)
        (home / "signature").write_bytes(signature)
        command.run([*gpg, "--import", *archive.keys], hint=_HINT)
        try:
            said = command.run([*gpg, "--status-fd=1", "--verify", home / "signature", home / "text"]).decode()
        except errors.ToolError as error:
            raise _unverified(archive, error.output) from error
    # gpg is content with signatures of keys that have expired, or were revoked.
    if "\n[GNUPG:] GOODSIG " not in f"\n{said}":
        raise _unverified(archive, said)


def _unverified(archive: manifest.Archive, said: str) -> errors.ResolveError:
    lines = [f"  {line}" for line in said.splitlines() if not line.startswith("[GNUPG:]")]
    why = "the signature of its repomd.xml is not one of the declared keys; gpg says"
    return errors.ResolveError(f"archive {archive.name}", "\n".join([why, *lines]), _HINT)


def parse_repomd(text: bytes) -> tuple[tuple[Record, ...], int]:
    """The wanted records of a repomd.xml, and its date in seconds since 1970: the newest timestamp.

    Raises:
        ValueError: it is none, or names no SHA-256 digests, sizes or dates.
    """
    if b"<!DOCTYPE" in text:  # what it declares could unfold without end
        raise ValueError("has a document type")
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 — signed, and without a document type
    except ElementTree.ParseError as error:
        raise ValueError(f"is not XML: {error}") from error
    records, dates = [], [0]
    for element in root.iter(f"{_SPACE}data"):
        dates.append(int(re.sub(r"\..*", "", _text(element, "timestamp")) or 0))  # some write fractions
        if element.get("type") in _WANTED:
            records.append(_record(element))
    if not {"primary", "filelists"} <= {record.kind for record in records}:
        raise ValueError("names no primary or no filelists")
    if max(dates) == 0:
        raise ValueError("has no timestamp")
    return tuple(sorted(records, key=lambda record: record.kind)), max(dates)


def _record(element: ElementTree.Element) -> Record:
    kind = element.get("type", "")
    checksum, location = element.find(f"{_SPACE}checksum"), element.find(f"{_SPACE}location")
    path = "" if location is None else location.get("href", "")
    if not re.fullmatch(r"(?!\.)[A-Za-z0-9_.+-]+(/(?!\.)[A-Za-z0-9_.+-]+)*", path):
        raise ValueError(f"has no usable location of {kind}")
    size = _text(element, "size")
    if checksum is None or checksum.get("type") != "sha256" or not size.isdigit():
        raise ValueError(f"has no SHA-256 digest and size of {kind}")
    return Record(kind, path, digest.Descriptor(digest.Digest((checksum.text or "").strip()), int(size)))


def _text(element: ElementTree.Element, name: str) -> str:
    found = element.find(f"{_SPACE}{name}")
    return "" if found is None else (found.text or "").strip()


def _repomd(records: Sequence[Record]) -> str:
    rows = "".join(
        f'<data type="{record.kind}"><checksum type="sha256">{record.content.digest.hex}</checksum>'
        f'<location href="repodata/{pathlib.PurePosixPath(record.path).name}"/>'
        f"<size>{record.content.size}</size></data>"
        for record in records
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="{_SPACE.strip("{}")}">{rows}</repomd>\n'


def read_all(
    sources: Mapping[str, Source], packages: store.Store, options: fetch.Options
) -> Iterator[tuple[str, Metadata]]:
    """The metadata of several archives, by name."""
    for name, source in sorted(sources.items()):
        yield name, read(source, packages, options)
