"""Rules about `images/`: what a registry can serve, and what a node can run."""

import collections
import dataclasses
import gzip
import io
import json
import posixpath
import re
import tarfile
import typing
from collections.abc import Iterator

from buildchain.lint import findings, subject
from buildchain.verify import images as judged
from buildchain.verify import medium

DIRECTORY = "images"
MAX_LAYER = 256 << 20
"""Bytes of the largest layer that is unpacked to look for a program."""

_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_VERSION = b"Directory Transport Version: 1.1\n"
_HEX = re.compile("[0-9a-f]{64}")
_ROOTS = {"", "0", "root", "0:0", "root:root"}
_PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One image that was understood; `config` is its configuration's `config` part, `layers` are hex digests."""

    name: str
    tag: str
    path: str
    config: dict[str, typing.Any]
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


def check(of: subject.Subject, found: findings.Findings) -> list[Image]:
    """Check every image; returns those that were understood."""
    suffix = f"/{judged.MANIFEST_NAME}"
    folders = [path.removesuffix(suffix) for path in of.files(DIRECTORY) if path.endswith(suffix)]
    if not folders:
        found.add("images-missing", DIRECTORY, "holds no image")
    _check_twice(of, found)
    checked = (_Folder(of, path, found).check() for path in folders if path.count("/") > 1)
    return [image for image in checked if image]


def _check_twice(of: subject.Subject, found: findings.Findings) -> None:
    """Equal bytes that stand at more than one place of the disk."""
    places: dict[str, dict[object, str]] = collections.defaultdict(dict)
    for path in of.files(DIRECTORY):
        content = of.contents.nodes[path].content
        if content and content.size and path in of.contents.digests:
            places[of.contents.digests[path]].setdefault(content.identity, path)
    for copies in places.values():
        first, *others = copies.values()
        for path in others:
            size = of.contents.nodes[path].size
            if size > 4096:
                found.add("image-blob-twice", path, f"{size} bytes stand at {first} already")


class _Folder:
    """One image while it is checked."""

    def __init__(self, of: subject.Subject, path: str, found: findings.Findings) -> None:
        self._of = of
        self._path = path
        self._found = found
        name, _, self._tag = path.removeprefix(f"{DIRECTORY}/").rpartition("/")
        self._name = name
        self._used = {judged.MANIFEST_NAME, "version"}

    def _add(self, rule: str, file: str, message: str) -> None:
        self._found.add(rule, f"{self._path}/{file}" if file else self._path, message)

    def check(self) -> Image | None:
        self._check_names()
        self._check_version_file()
        text = self._read_manifest(judged.MANIFEST_NAME)
        if text is None:
            return None
        children = [each for each in self._children(text) if each]
        manifests = children if "manifests" in text else [text]
        for each in manifests:
            self._check_blobs(each)
        for file in self._of.contents.files(self._path):
            if file not in self._used:
                self._add("image-stray-file", file, f"is not named by {judged.MANIFEST_NAME}")
        return self._image(manifests[0]) if manifests else None

    def _check_names(self) -> None:
        if not _NAME.fullmatch(self._name):
            self._add("image-name", "", f"{self._name!r} is not a name that a registry can serve")
        if not _TAG.fullmatch(self._tag):
            self._add("image-tag", "", f"{self._tag!r} is not a tag that a registry can serve")
        if self._tag == "latest":
            self._add("image-tag-latest", "", "is tagged latest")

    def _check_version_file(self) -> None:
        try:
            if self._of.contents.read(f"{self._path}/version") != _VERSION:
                self._add("image-version-file", "version", f"is not {_VERSION.decode().strip()!r}")
        except medium.DamagedError as error:
            self._add("image-version-file", "version", str(error))

    def _read_manifest(self, file: str) -> dict[str, typing.Any] | None:
        try:
            text = self._of.contents.read(f"{self._path}/{file}")
            if b'"schemaVersion"' in text and _is_schema1(text):
                self._add("image-schema1", file, "has schema version 1")
                return None
            judged.parse_manifest(text)
        except medium.DamagedError as error:
            self._add("image-manifest", file, str(error))
            return None
        value: dict[str, typing.Any] = json.loads(text)
        return value

    def _children(self, text: dict[str, typing.Any]) -> Iterator[dict[str, typing.Any] | None]:
        for row in text.get("manifests") or []:
            file = f"{row['digest'].removeprefix('sha256:')}.{judged.MANIFEST_NAME}"
            self._used.add(file)
            if self._of.contents.has_file(f"{self._path}/{file}"):
                yield self._read_manifest(file)

    def _check_blobs(self, manifest: dict[str, typing.Any]) -> None:
        for row in [manifest["config"], *manifest["layers"]]:
            name = row["digest"].removeprefix("sha256:")
            path = f"{self._path}/{name}"
            self._used.add(name)
            kind = str(row.get("mediaType", ""))
            if row.get("urls") or "foreign" in kind or "nondistributable" in kind:
                self._add("image-foreign-layer", judged.MANIFEST_NAME, f"{name[:12]} is to be fetched from elsewhere")
            elif not self._of.contents.has_file(path):
                if name not in self._of.required:
                    self._add("image-blob-missing", judged.MANIFEST_NAME, f"names {name}, which is not there")
            elif self._of.contents.nodes[path].size != row["size"]:
                size = self._of.contents.nodes[path].size
                self._add("image-blob-size", name, f"has {size} bytes, the manifest says {row['size']}")
            elif self._of.contents.digests.get(path, name) != name:
                self._add("image-blob-digest", name, "its content is not that of its name")

    def _image(self, manifest: dict[str, typing.Any]) -> Image | None:
        name = manifest["config"]["digest"].removeprefix("sha256:")
        layers = tuple(row["digest"].removeprefix("sha256:") for row in manifest["layers"])
        config: dict[str, typing.Any] = {}
        path = f"{self._path}/{name}"
        if self._of.contents.has_file(path):
            config = self._config(name)
        return Image(self._name, self._tag, self._path, config, layers)

    def _config(self, name: str) -> dict[str, typing.Any]:
        try:
            value = json.loads(self._of.contents.read(f"{self._path}/{name}"))
            runtime = value.get("config") or {}
            platform = f"{value.get('os')}/{value.get('architecture')}"
            names = [str(label) for label in runtime.get("Labels") or {}]
            user = str(runtime.get("User", ""))
        except (medium.DamagedError, ValueError, AttributeError, TypeError, RecursionError):
            self._add("image-config", name, "is not the configuration of an image")
            return {}
        if platform != "linux/amd64":
            self._add("image-platform", name, f"is for {platform}")
        if not names:
            self._add("image-labels", name, "has no labels")
        if not runtime.get("Entrypoint") and not runtime.get("Cmd"):
            self._add("image-entrypoint", name, "has neither an entrypoint nor a command")
        if user in _ROOTS:
            self._add("image-root-user", name, "runs as root")
        found: dict[str, typing.Any] = runtime
        return found


def _is_schema1(text: bytes) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("schemaVersion") == 1


def check_program(of: subject.Subject, image: Image, program: str, found: findings.Findings) -> None:
    """Look for a program in an image's layers; a layer that cannot be looked into is taken to hold it."""
    wanted = {posixpath.join(folder, program) for folder in _PROGRAMS}
    held = (_holds(of, f"{image.path}/{layer}", wanted) for layer in reversed(image.layers))
    if not any(held):
        found.add("operator-program", image.path, f"has no program {program}")


def _holds(of: subject.Subject, path: str, wanted: set[str]) -> bool:
    node = of.contents.nodes.get(path)
    if node is None or node.content is None or node.size > MAX_LAYER:
        return True
    try:
        packed = io.BytesIO(medium.read_bytes(node.content, MAX_LAYER))
        stream = gzip.GzipFile(fileobj=packed) if packed.getvalue()[:2] == b"\x1f\x8b" else packed
        with tarfile.open(fileobj=typing.cast(typing.BinaryIO, stream), mode="r|") as layer:
            return any(posixpath.normpath(member.name).lstrip("/") in wanted for member in layer)
    except (medium.DamagedError, OSError, EOFError, tarfile.TarError, ValueError):
        return True


def check_ports(of_ui: Image, found: findings.Findings) -> None:
    """Check that the UI's image names its ports."""
    if of_ui.config and not of_ui.config.get("ExposedPorts"):
        found.add("image-port", of_ui.path, "names no ports")


def size(of: subject.Subject, found: findings.Findings) -> None:
    """Report how large the images are, and what they share."""
    blobs: dict[str, int] = {}
    named = 0
    for path in of.files(DIRECTORY):
        name = path.rpartition("/")[2]
        if _HEX.fullmatch(name):
            blobs[name] = of.contents.nodes[path].size
            named += of.contents.nodes[path].size
    total = sum({n.content.identity: n.size for n in of.contents.nodes.values() if n.content}.values())
    unique = sum(blobs.values())
    message = f"{total} bytes in all; images have {unique} bytes in {len(blobs)} blobs and share {named - unique}"
    found.add("size", DIRECTORY, message)
