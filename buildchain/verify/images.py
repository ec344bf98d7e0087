"""OCI images on the medium: every blob against the manifest that names it, and nothing besides.

An image is a directory with `manifest.json` (containers/image, "dir:" transport): `images/NAME/TAG/`, where NAME may
have several parts. Media types: OCI image specification 1.1 and Docker's image manifest, version 2, schema 2.
"""

import dataclasses
import json
import re
import typing
from collections.abc import Iterator

from buildchain.verify import medium, report, solution

Fault = report.Fault
DIRECTORY = "images"
MANIFEST_NAME = "manifest.json"

_VERSION = b"Directory Transport Version: 1.1\n"
MANIFEST_TYPES = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
INDEX_TYPES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_DIGEST = re.compile("sha256:([0-9a-f]{64})")
_HEX = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """One image: digests (hex) of its manifest, its blobs, and of further manifests: of an index, and referrers.

    `children` have their media types.
    """

    name: str
    tag: str
    media_type: str
    manifest: str
    children: tuple[tuple[str, str], ...]
    blobs: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest names: size by digest (hex). `manifests` of an index, `blobs` of an image, what it refers to."""

    media_type: str
    blobs: dict[str, int]
    manifests: dict[str, int]
    subject: str = ""


def judge(contents: medium.Contents) -> tuple[list[Image], list[Fault], list[str]]:
    """The images that could be read, every fault, and what is left out on purpose (notes)."""
    images, faults, notes = [], [], []
    suffix = f"/{MANIFEST_NAME}"
    thin = solution.of(contents)
    if thin.required:
        notes.append(f"{len(thin.required)} blobs are not here: {thin.base or 'its base'} must have them")
    for path in contents.files(DIRECTORY):
        name, _, tag = path.removesuffix(suffix).rpartition("/")
        if not path.endswith(suffix) or not name:
            continue
        judged = _Directory(contents, f"{DIRECTORY}/{name}/{tag}", thin.required)
        image = judged.judge(name, tag)
        faults += judged.faults
        notes += judged.notes
        images += [image] if image else []
    return images, faults, notes


class _Directory:
    """One image while it is judged."""

    def __init__(self, contents: medium.Contents, path: str, elsewhere: frozenset[str] = frozenset()) -> None:
        self._contents = contents
        self._elsewhere = elsewhere
        self._path = path
        self._used = {MANIFEST_NAME, "version"}
        self._blobs: set[str] = set()
        self.faults: list[Fault] = []
        self.notes: list[str] = []

    def judge(self, name: str, tag: str) -> Image | None:
        self._judge_version()
        manifest = self._read_manifest(MANIFEST_NAME)
        if manifest is None:
            return None
        own = self._contents.digests.get(f"{self._path}/{MANIFEST_NAME}", "")
        judged = {each: self._judge_child(each, size) for each, size in sorted(manifest.manifests.items())}
        children = [(each, media_type) for each, media_type in judged.items() if media_type is not None]
        absent = len(manifest.manifests) - len(children)
        if manifest.manifests and not children:
            self._fault(MANIFEST_NAME, "is an index, and none of its images is here")
        elif absent:
            self.notes.append(f"{self._path}: {absent} of {len(manifest.manifests)} images of the index are not here")
        self._judge_blobs(manifest)
        children += self._judge_referrers({own, *manifest.manifests})
        for file in self._contents.files(self._path):
            if file not in self._used:
                self._fault(file, f"is not named by {MANIFEST_NAME}")
        return Image(name, tag, manifest.media_type, own, tuple(children), tuple(sorted(self._blobs)))

    def _fault(self, file: str, what: str) -> None:
        self.faults.append(Fault(f"{self._path}/{file}", what))

    def _judge_version(self) -> None:
        try:
            if self._contents.read(f"{self._path}/version") != _VERSION:
                self._fault("version", f"is not {_VERSION.decode().strip()!r}")
        except medium.DamagedError as error:
            self._fault("version", str(error))

    def _read_manifest(self, file: str) -> Manifest | None:
        try:
            return parse_manifest(self._contents.read(f"{self._path}/{file}"))
        except medium.DamagedError as error:
            self._fault(file, str(error))
            return None

    def _judge_child(self, digest: str, size: int) -> str | None:
        """The media type of a manifest of an index; None where it is left out."""
        file = f"{digest}.{MANIFEST_NAME}"
        if not self._contents.has_file(f"{self._path}/{file}"):
            return None
        self._used.add(file)
        self._judge_file(file, digest, size)
        manifest = self._read_manifest(file)
        if manifest is not None and manifest.manifests:
            self._fault(file, "is an index within an index")
        elif manifest is not None:
            self._judge_blobs(manifest)
        return manifest.media_type if manifest else ""

    def _judge_referrers(self, subjects: set[str]) -> list[tuple[str, str]]:
        """Manifests that no index names but that refer to what is here, such as signatures: digests, media types."""
        suffix, found = f".{MANIFEST_NAME}", []
        names = [path.removeprefix(f"{self._path}/") for path in self._contents.files(self._path)]
        waiting = {file.removesuffix(suffix) for file in names if file.endswith(suffix)} - subjects
        while referring := sorted(each for each in waiting if self._subject(each) in subjects):
            for each in referring:
                size = self._contents.nodes[f"{self._path}/{each}{suffix}"].size
                found.append((each, self._judge_child(each, size) or ""))
            subjects |= set(referring)
            waiting -= set(referring)
        return found

    def _subject(self, digest: str) -> str:
        try:
            return parse_manifest(self._contents.read(f"{self._path}/{digest}.{MANIFEST_NAME}")).subject
        except medium.DamagedError:
            return ""

    def _judge_blobs(self, manifest: Manifest) -> None:
        self._blobs |= set(manifest.blobs)
        for digest, size in sorted(manifest.blobs.items()):
            self._used.add(digest)
            if digest not in self._elsewhere or self._contents.has_file(f"{self._path}/{digest}"):
                self._judge_file(digest, digest, size)

    def _judge_file(self, file: str, digest: str, size: int) -> None:
        path = f"{self._path}/{file}"
        if not self._contents.has_file(path):
            self._fault(file, f"is missing: {MANIFEST_NAME} names it")
        elif self._contents.nodes[path].size != size:
            self._fault(file, f"has {self._contents.nodes[path].size} bytes, {MANIFEST_NAME} says {size}")
        elif self._contents.digests.get(path, digest) != digest:
            self._fault(file, "its content is not that of its name")


def parse_manifest(text: bytes) -> Manifest:
    """Read an image manifest or index.

    Raises:
        DamagedError: it is not JSON, of an unknown media type, or has a wrong descriptor.
    """
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise medium.DamagedError(f"is not proper JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise medium.DamagedError("is no manifest of schema version 2")
    media_type = _media_type(document)
    if media_type in INDEX_TYPES:
        return Manifest(media_type, {}, dict(_descriptors(document.get("manifests"))))
    layers = list(_descriptors(document.get("layers")))
    subject = dict(_descriptors([document["subject"]])) if document.get("subject") else {}
    blobs = dict([*_descriptors([document.get("config")]), *layers])
    return Manifest(media_type, blobs, {}, next(iter(subject), ""))


def _media_type(document: dict[str, typing.Any]) -> str:
    """The media type, by content where the field is left out (OCI allows that)."""
    found = document.get("mediaType")
    if found is None:
        return f"application/vnd.oci.image.{'index' if 'manifests' in document else 'manifest'}.v1+json"
    if not isinstance(found, str) or found not in MANIFEST_TYPES | INDEX_TYPES:
        raise medium.DamagedError(f"is of the unknown media type {found!r}")
    return found


def _descriptors(value: object) -> Iterator[tuple[str, int]]:
    if not isinstance(value, list):
        raise medium.DamagedError("has no list of descriptors")
    for each in value:
        match = _DIGEST.fullmatch(str(each.get("digest"))) if isinstance(each, dict) else None
        if match is None or type(each.get("size")) is not int or each["size"] < 0:
            raise medium.DamagedError(f"has a wrong descriptor: {str(each)[:200]}")
        yield match[1], each["size"]


def _unique(pairs: list[tuple[str, typing.Any]]) -> dict[str, typing.Any]:
    """Two readers could take two values for one key that stands twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found
