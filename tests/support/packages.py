"""Small real .deb files and ELF files, made in memory by other means than the code under test; deterministic."""

import dataclasses
import gzip
import io
import lzma
import struct
import tarfile
from collections.abc import Callable, Mapping, Sequence

from buildchain import lock, store

BUILT = 1_700_000_000
"""When every factory package was built, unless a test says otherwise."""


@dataclasses.dataclass(frozen=True)
class Member:
    """One member of a package's data archive."""

    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    mtime: int = BUILT


def link(target: str) -> Member:
    """A symbolic link."""
    return Member(kind=tarfile.SYMTYPE, target=target, mode=0o777)


def hard_link(target: str) -> Member:
    """A hard link."""
    return Member(kind=tarfile.LNKTYPE, target=target)


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Member:
    """A directory."""
    return Member(kind=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)


def make_deb(
    control: Mapping[str, str],
    files: Mapping[str, bytes | Member] | None = None,
    scripts: Mapping[str, str] | None = None,
    *,
    built: int = BUILT,
    compression: str = "xz",
    md5sums: str = "",
) -> bytes:
    """A package; paths of `files` are put into the archive as they are, with all parents but `./` missing."""
    fields = {"Package": "hello", "Version": "1.0", "Architecture": "amd64", **control}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    parts: dict[str, bytes | Member] = {"./control": text.encode()}
    if md5sums:
        parts["./md5sums"] = md5sums.encode()
    parts |= {f"./{name}": Member(script.encode(), 0o755) for name, script in (scripts or {}).items()}
    pack = _PACKERS[compression]
    ending = f".{compression}" if compression else ""
    return make_ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{ending}": pack(make_tar(parts)),
            f"data.tar{ending}": pack(make_tar({"./": directory(), **(files or {})})),
        },
        built,
    )


def make_ar(members: Mapping[str, bytes], mtime: int = BUILT) -> bytes:
    """An ar archive."""
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        parts += [f"{name:<16}{mtime:<12}0     0     100644  {len(content):<10}`\n".encode(), content]
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


def make_tar(members: Mapping[str, bytes | Member], archive_format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar archive in the format dpkg-deb writes."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=archive_format) as archive:
        for path, value in members.items():
            member = value if isinstance(value, Member) else Member(value)
            header = tarfile.TarInfo(path)
            header.type, header.mode, header.linkname = member.kind, member.mode, member.target
            header.uid, header.gid, header.mtime = member.uid, member.gid, member.mtime
            header.size = len(member.content)
            archive.addfile(header, io.BytesIO(member.content))
    return stream.getvalue()


def add(
    source: store.Store, deb: bytes, name: str = "hello", version: str = "1.0", architecture: str = "amd64"
) -> lock.Package:
    """Put a package into a store, as the lock would name it."""
    path = f"pool/main/{name}_{version}_{architecture}.deb"
    return lock.Package(name, architecture, version, name, "debian", path, source.add_bytes(deb))


_PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    # The fastest: to set up the usual one takes longer than to pack what tests pack.
    "xz": lambda content: lzma.compress(content, preset=0),
    "gz": lambda content: gzip.compress(content, mtime=0),
    "": bytes,
}

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
MACHINES = {"amd64": 62, "arm64": 183}


def make_elf(
    needed: Sequence[str] = (), *, loader: str = "", runpath: str = "", rpath: str = "", architecture: str = "amd64"
) -> bytes:
    """A 64-bit ELF file with nothing but what the dynamic loader reads."""
    strings = bytearray(b"\0")

    def text(value: str) -> int:
        strings.extend(value.encode() + b"\0")
        return len(strings) - len(value.encode()) - 1

    tags = [(1, text(name)) for name in needed]
    tags += [(29, text(runpath))] * bool(runpath) + [(15, text(rpath))] * bool(rpath)
    count = 3 if loader else 2
    start = _HEADER.size + count * _SEGMENT.size
    dynamic_size = (len(tags) + 3) * _DYNAMIC.size
    strings_at = start + dynamic_size
    loader_at = strings_at + len(strings)
    end = loader_at + len(loader) + 1
    tags += [(5, strings_at), (10, len(strings)), (0, 0)]
    segments = [
        _SEGMENT.pack(1, 4, 0, 0, 0, end, end, 4096),
        _SEGMENT.pack(2, 4, start, start, start, dynamic_size, dynamic_size, 8),
    ]
    if loader:
        segments.append(_SEGMENT.pack(3, 4, loader_at, loader_at, loader_at, len(loader) + 1, len(loader) + 1, 1))
    identification = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = _HEADER.pack(identification, 3, MACHINES[architecture], 1, 0, _HEADER.size, 0, 0, 64, 56, count, 64, 0, 0)
    dynamic = b"".join(_DYNAMIC.pack(*tag) for tag in tags)
    return header + b"".join(segments) + dynamic + bytes(strings) + loader.encode() + b"\0"
