"""Small good media, written without the makers' code: as values, staged in a folder, or as an ISO."""

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import re
import stat
import typing
from collections.abc import Iterable

import pycdlib

from buildchain import command
from buildchain.verify import medium as verify_medium
from tests.support import keys

ROOT = pathlib.Path(__file__).parents[2]
SUMS, SIGNATURE, LISTING, KEY = "SHA256SUM", "SHA256SUM.asc", "CONTENTS.mtree", "signing-key.asc"
REPOSITORY = "packages/debian/base"
REGISTRY = "salt/metalk8s/repo/files/metalk8s-registry.inc"
PREFIX = "metalk8s-2.5.1/"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclasses.dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o444


@dataclasses.dataclass(frozen=True)
class Link:
    target: str


Entries = dict[str, File | Link]


def good(key: keys.Key, *, version: str = "2.5.1", has_index: bool = False) -> Entries:
    """A whole good medium; with `has_index` also an image for several architectures (a name too long for pycdlib)."""
    return seal(unsealed(key, version=version, has_index=has_index), key)


def unsealed(key: keys.Key, *, version: str = "2.5.1", has_index: bool = False) -> Entries:
    images = [image("nginx", "1.27"), image("nginx", "1.27-alias"), image("library/etcd", "3.5.16", b"other")]
    if has_index:
        images.append(image_index("multi", "1"))
    entries: Entries = {
        "verify.sh": File((ROOT / "scripts" / "verify.sh").read_bytes(), 0o555),
        "product.txt": File(f"NAME=MetalK8s\nVERSION={version}\n".encode()),
        KEY: File(key.public),
        "documents/lëtter 中.txt": File(b"name beyond ASCII\n"),
        "documents/a #1 note.txt": File(b"name with blanks\n"),
        "documents/empty": File(b""),
        "documents/large": File(bytes(range(256)) * 40),
        "salt/latest": Link("metalk8s/repo"),
        "salt/metalk8s/up": Link("../../documents/a #1 note.txt"),
    }
    entries |= repository(key)
    for each in images:
        entries |= each
    entries[REGISTRY] = File(registry(entries))
    entries[REGISTRY.replace(".inc", "-common.inc")] = File(b"location = /v2/ {\n    return 200 'ok';\n}\n")
    return entries


def seal(entries: Entries, key: keys.Key) -> Entries:
    """Add the listings and the signature; those that are there already are made anew."""
    sealed: Entries = {path: entry for path, entry in entries.items() if path not in {SUMS, SIGNATURE, LISTING}}
    sealed[LISTING] = File(listing(sealed))
    sums = b"".join(
        f"{hashlib.sha256(entry.content).hexdigest()}  {path}\n".encode()
        for path, entry in sorted(sealed.items(), key=lambda item: item[0].encode())
        if isinstance(entry, File)
    )
    return sealed | {SUMS: File(sums), SIGNATURE: File(key.sign(sums))}


def listing(entries: Entries) -> bytes:
    lines = ["#mtree", ". type=dir mode=0755"]
    lines += [f"./{vis(path)} type=dir mode=0755" for path in directories(entries)]
    lines += [f"./{path} type=file mode=0444" for path in (SUMS, SIGNATURE, LISTING)]
    for path, entry in entries.items():
        if isinstance(entry, Link):
            lines.append(f"./{vis(path)} type=link link={vis(entry.target)}")
        else:
            lines.append(f"./{vis(path)} type=file mode={entry.mode:04o} size={len(entry.content)}")
    return "\n".join([*lines[:2], *sorted(lines[2:]), ""]).encode()


def directories(entries: Iterable[str]) -> list[str]:
    found = {str(parent) for path in entries for parent in pathlib.PurePosixPath(path).parents}
    return sorted(found - {"."})


def vis(text: str) -> str:
    return re.sub(rb"[^!-~]|[#=\\]", lambda match: b"\\%03o" % match[0][0], text.encode()).decode()


def repository(key: keys.Key, root: str = REPOSITORY) -> Entries:
    debs = {f"pool/{name}_1.0_amd64.deb": f"package {name}\n".encode() * 200 for name in ("one", "two")}
    packages = "\n".join(
        f"Package: {path[5:8]}\nVersion: 1.0\nDescription: short\n and\tlong\nFilename: ./{path}\nSize: {len(deb)}\n"
        f"SHA256: {hashlib.sha256(deb).hexdigest()}\n"
        for path, deb in debs.items()
    ).encode()
    indexes = {"Packages": packages, "Packages.gz": gzip.compress(packages, mtime=0)}
    rows = [f" {hashlib.sha256(text).hexdigest()} {len(text)} {name}\n" for name, text in indexes.items()]
    release = f"Suite: base\nAcquire-By-Hash: yes\nSHA256:\n{''.join(rows)}".encode()
    files = {**debs, **indexes, "Release": release, "InRelease": key.clearsign(release)}
    files |= {f"by-hash/SHA256/{hashlib.sha256(text).hexdigest()}": text for text in indexes.values()}
    return {f"{root}/{path}": File(content) for path, content in files.items()}


def image(name: str, tag: str, seed: bytes = b"") -> Entries:
    """An image of two layers; the first is shared by all."""
    blobs = [b'{"architecture":"amd64"}' + seed, b"base layer" * 300, b"layer of " + seed + b"." * 3000]
    return _image_files(f"images/{name}/{tag}", blobs, _manifest(blobs), "manifest.json")


def image_index(name: str, tag: str) -> Entries:
    """An image index of two architectures, one of which is left out."""
    blobs = [b'{"architecture":"arm64"}', b"a layer for arm64"]
    child, absent = _manifest(blobs), _manifest([b"{}", b"absent"])
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [{"mediaType": MANIFEST_TYPE, **_descriptor(each)} for each in (child, absent)],
    }
    root = f"images/{name}/{tag}"
    entries = _image_files(root, blobs, child, f"{hashlib.sha256(child).hexdigest()}.manifest.json")
    return entries | {f"{root}/manifest.json": File(json.dumps(index).encode())}


def _image_files(root: str, blobs: list[bytes], manifest: bytes, manifest_name: str) -> Entries:
    entries: Entries = {f"{root}/{hashlib.sha256(blob).hexdigest()}": File(blob) for blob in blobs}
    entries[f"{root}/version"] = File(b"Directory Transport Version: 1.1\n")
    entries[f"{root}/{manifest_name}"] = File(manifest)
    return entries


def _manifest(blobs: list[bytes]) -> bytes:
    config, *layers = map(_descriptor, blobs)
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}, indent=1
    ).encode()


def _descriptor(content: bytes) -> dict[str, str | int]:
    return {"digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def registry(entries: Entries) -> bytes:
    """The configuration as the original generator writes it: one location for each tag, digest and name."""
    served: dict[str, str] = {}
    tags: dict[str, list[str]] = {}
    for path, entry in sorted(entries.items()):
        if not path.startswith("images/") or not path.endswith("manifest.json") or not isinstance(entry, File):
            continue
        name, tag, file = path.removeprefix("images/").rsplit("/", 2)
        digest = f"sha256:{hashlib.sha256(entry.content).hexdigest()}"
        text = f" {{\n    alias $metalk8s_images/{name}/{tag}/;\n    types {{ }}\n"
        text += f'    default_type "{json.loads(entry.content)["mediaType"]}";\n'
        text += f'    add_header Docker-Content-Digest "{digest}";\n    try_files {file} =404;\n}}\n'
        served.setdefault(f"{name}/manifests/{digest}", text)
        if file == "manifest.json":
            served[f"{name}/manifests/{tag}"] = text
            tags.setdefault(name, []).append(tag)
    for name, listed in tags.items():
        served[f"{name}/tags/list"] = f" {{\n    return 200 '{json.dumps({'name': name, 'tags': listed})}';\n}}\n"
    config = "".join(f"location = /v2/{PREFIX}{path}{text}" for path, text in served.items())
    for name, listed in tags.items():
        config += f'location ~ "^/v2/{re.escape(PREFIX + name)}/blobs/sha256:([a-f0-9]{{64}})$" {{\n'
        config += f"    alias $metalk8s_images/{name}/;\n    # one folder a tag\n"
        config += f"    try_files {' '.join(f'{tag}/$1' for tag in listed)} =404;\n}}\n"
    return config.encode()


def stage(entries: Entries, root: pathlib.Path) -> pathlib.Path:
    """Write entries into a folder, which must not exist; equal contents become one inode."""
    root.mkdir()
    seen: dict[File, pathlib.Path] = {}
    for path, entry in entries.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, Link):
            target.symlink_to(entry.target)
        elif entry in seen:
            target.hardlink_to(seen[entry])
        else:
            target.write_bytes(entry.content)
            target.chmod(entry.mode)
            seen[entry] = target
    return root


def write_iso(entries: Entries, path: pathlib.Path) -> pathlib.Path:
    """Write entries as an ISO with all three trees."""
    writer = _Writer(entries)
    writer.iso.write(str(path))
    writer.iso.close()
    return path


def write_sums(iso: pathlib.Path, key: keys.Key) -> None:
    """Put SHA256SUM and its signature beside an ISO."""
    text = f"{hashlib.sha256(iso.read_bytes()).hexdigest()}  {iso.name}\n".encode()
    (iso.parent / SUMS).write_bytes(text)
    (iso.parent / SIGNATURE).write_bytes(key.sign(text))


def write_iso_with(program: str, folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Let xorriso or genisoimage write the ISO of a staged folder."""
    argv = ["xorriso", "-as", "mkisofs"] if program == "xorriso" else ["genisoimage", "-input-charset", "UTF-8"]
    owner = ["-uid", "0", "-gid", "0"]
    command.run([*argv, "-quiet", "-iso-level", "3", "-R", "-J", "-joliet-long", *owner, "-o", path, folder])
    return path


class _Writer:
    """Drives pycdlib: names that are unique in each tree, modes, and one extent for equal contents."""

    def __init__(self, entries: Entries) -> None:
        self.iso = pycdlib.PyCdlib()
        self.iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="TEST")
        self._names = {"": ""}
        self._taken: set[str] = set()
        self._first: dict[bytes, str] = {}
        for path in directories(entries):
            self._name(path, is_directory=True)
            name = path.rpartition("/")[2]
            self.iso.add_directory(self._names[path], rr_name=name, joliet_path=f"/{path}", file_mode=0o40755)
        for path, entry in sorted(entries.items()):
            self._name(path)
            self._add(path, entry)
        root: typing.Any = self.iso.get_record(iso_path="/")
        for record in root.children[:2]:
            record.rock_ridge.dr_entries.px_record.posix_file_mode = 0o40755

    def _name(self, path: str, *, is_directory: bool = False) -> None:
        parent, _, name = path.rpartition("/")
        stem, dot, extension = ("".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper()), "", "")
        if not is_directory and re.fullmatch(r"\w+\.\w{1,3}", name, re.ASCII):
            stem, dot, extension = name.upper().partition(".")
        count = 0
        while (found := f"{self._names[parent]}/{stem[:20]}{count or ''}{dot}{extension}") in self._taken:
            count += 1
        self._taken.add(found)
        self._names[path] = found if is_directory else found if dot else f"{found}."

    def _add(self, path: str, entry: File | Link) -> None:
        name, place = path.rpartition("/")[2], f"{self._names[path]};1"
        if isinstance(entry, Link):
            self.iso.add_symlink(place, rr_symlink_name=name, rr_path=entry.target)
        elif entry.content in self._first and entry.content:
            first = self._first[entry.content]
            self.iso.add_hard_link(iso_old_path=first, iso_new_path=place, rr_name=name)
            self.iso.add_hard_link(iso_old_path=first, joliet_new_path=f"/{path}")
        else:
            mode = stat.S_IFREG | entry.mode
            stream = io.BytesIO(entry.content)
            self.iso.add_fp(stream, len(entry.content), place, rr_name=name, joliet_path=f"/{path}", file_mode=mode)
            self._first[entry.content] = place


def as_contents(entries: Entries) -> verify_medium.Contents:
    """Entries as the judges see them, without a folder or an image."""
    nodes = {path: verify_medium.Node(verify_medium.Kind.DIRECTORY, 0o755) for path in (".", *directories(entries))}
    for path, entry in entries.items():
        if isinstance(entry, Link):
            nodes[path] = verify_medium.Node(verify_medium.Kind.LINK, 0o777, target=entry.target)
        else:
            place = verify_medium.Content(pathlib.Path(path), (0, 0), 0, ((0, len(entry.content)),))
            nodes[path] = verify_medium.Node(verify_medium.Kind.FILE, entry.mode, place)
    files = {path: entry.content for path, entry in entries.items() if isinstance(entry, File)}
    digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}

    def read(path: str) -> bytes:
        try:
            return files[path]
        except KeyError:
            raise verify_medium.DamagedError("is missing") from None

    return verify_medium.Contents.of(nodes, digests, read)
