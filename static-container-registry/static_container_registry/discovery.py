"""Find the images below a root: `NAME/TAG/` folders as skopeo's `dir:` writes them, and OCI image layouts.

Two steps: `files_below` looks at a real folder, `read` needs only sizes by path and a function that reads a file,
so that a caller may list images that stand in no folder yet. Bytes of blobs are never read: their size is compared.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from static_container_registry import listing, names, parse

MAX_MANIFEST_SIZE = 4 << 20
"""Distribution specification 1.1, "Pushing manifests": clients and registries may rely on this limit."""

MAX_LEVELS = 64
"""Folders below folders; a repository name of 255 characters has at most 128 components, and nobody has so many."""
MAX_NESTING = 8
"""Indexes of indexes."""

_REF_NAME = "org.opencontainers.image.ref.name"
_CHILD_SUFFIX = ".manifest.json"
_OF_A_DIRECTORY = frozenset({"manifest.json", "version"})


def discover(root: pathlib.Path) -> listing.Listing:
    """List the images below a folder; a folder that cannot be read is an OSError."""
    files, skipped = files_below(root)
    found = read(files, lambda path: (root / path).read_bytes())
    return dataclasses.replace(found, skipped=tuple(sorted([*found.skipped, *skipped])))


def files_below(root: pathlib.Path) -> tuple[dict[str, int], list[listing.Remark]]:
    """Sizes of all regular files below a folder, and what else is there.

    Links are followed while they stay below the root, but not one behind another: that could take for ever.
    """
    walk = _Walk(os.path.realpath(root))
    walk.directory(walk.top, "", is_linked=False)
    return walk.files, walk.skipped


class _Walk:
    def __init__(self, top: str) -> None:
        self.top = top
        self.files: dict[str, int] = {}
        self.skipped: list[listing.Remark] = []

    def directory(self, directory: str, prefix: str, *, is_linked: bool) -> None:
        with os.scandir(directory) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        if not found and prefix:
            self.skipped.append(listing.Remark(prefix.rstrip("/"), "an empty folder"))
        for entry in found:
            path = prefix + entry.name
            try:
                reason = self._entry(entry, path, is_linked=is_linked)
            except OSError as error:
                reason = error.strerror or str(error)
            if reason:
                self.skipped.append(listing.Remark(path, reason))

    def _entry(self, entry: "os.DirEntry[str]", path: str, *, is_linked: bool) -> str:
        """Take up one entry; returns why not, or ""."""
        real = os.path.realpath(entry.path, strict=True) if entry.is_symlink() else entry.path
        if not f"{real}/".startswith(f"{self.top}/"):
            return "a link that leads out of the root"
        if entry.is_file():
            self.files[path] = entry.stat().st_size
            return ""
        if not entry.is_dir():
            return "neither a file nor a folder"
        if path.count("/") > MAX_LEVELS:
            return f"a folder more than {MAX_LEVELS} levels deep"
        if entry.is_symlink() and (is_linked or entry.path.startswith(f"{real}/")):
            return "a link to a folder behind another, or to one that it stands in"
        self.directory(real, f"{path}/", is_linked=is_linked or entry.is_symlink())
        return ""


def read(files: Mapping[str, int], read_file: Callable[[str], bytes]) -> listing.Listing:
    """List the images among files.

    Arguments:
        files:     size in bytes by path relative to the root.
        read_file: gives the bytes of one of these paths; called for manifests and indexes only.
    """
    reader = _Reader(files, read_file)
    for directory in reader.layouts():
        reader.read_layout(directory)
    for directory in reader.directories_with("manifest.json"):
        reader.read_image(directory)
    return reader.result()


class _Reader:
    def __init__(self, files: Mapping[str, int], read_file: Callable[[str], bytes]) -> None:
        self._files = files
        self._read_file = read_file
        self._used: set[str] = set()
        self._refused: list[str] = []
        self._skipped: list[listing.Remark] = []
        self._notes: set[listing.Remark] = set()
        self._repositories: dict[str, _Repository] = {}
        self._by_directory: dict[str, list[str]] = {}
        for path in sorted(files):
            self._by_directory.setdefault(_parent(path), []).append(path)

    def layouts(self) -> list[str]:
        """Folders with the marks of an OCI image layout: image specification 1.1, "Image layout"."""
        return [
            directory
            for directory in self.directories_with("oci-layout")
            if _join(directory, "index.json") in self._files
        ]

    def directories_with(self, name: str) -> list[str]:
        return [directory for directory in self._by_directory if _join(directory, name) in self._files]

    def read_image(self, directory: str) -> None:
        """Take up `NAME/TAG/` with everything in it, or say why not."""
        name, tag = _parent(directory), _name(directory)
        try:
            _check_names(name, tag)
            repository = self._repositories.setdefault(name, _Repository())
            if tag in repository.tags:
                raise parse.UnfitError(f"the tag {tag} is there already, from an image layout")
            store = _DirectoryStore(directory)
            main = self._manifest(_join(directory, "manifest.json"), store, repository)
        except parse.UnfitError as error:
            self._refuse(directory, str(error))
            return
        repository.tags[tag] = main
        self._used |= {_join(directory, name) for name in _OF_A_DIRECTORY}
        for path in self._by_directory[directory]:
            if path.endswith(_CHILD_SUFFIX) and path not in self._used:
                self._try_manifest(path, store, repository)

    def read_layout(self, directory: str) -> None:
        """Take up every image that the index of a layout names."""
        self._used |= {_join(directory, name) for name in ("oci-layout", "index.json")}
        try:
            index = parse.json_object(self._bytes(_join(directory, "index.json")))
            rows = index.get("manifests")
            if not isinstance(rows, list):
                raise parse.UnfitError("index.json names no manifests")
        except parse.UnfitError as error:
            self._refuse(directory, str(error))
            return
        for number, row in enumerate(rows):
            try:
                self._read_row(directory, row, is_alone=len(rows) == 1)
            except parse.UnfitError as error:
                self._skipped.append(listing.Remark(_join(directory, "index.json"), f"entry {number}: {error}"))

    def _read_row(self, directory: str, row: object, *, is_alone: bool) -> None:
        if not isinstance(row, dict) or not names.is_digest(row.get("digest")):
            raise parse.UnfitError("no sha256 digest")
        store = _LayoutStore(directory)
        annotation = parse.string_map(row.get("annotations")).get(_REF_NAME, "")
        name, tag = _place_in_layout(directory, annotation, is_alone=is_alone)
        _check_names(name, tag or "untagged")
        repository = self._repositories.setdefault(name, _Repository())
        path = store.manifest_path(row["digest"].removeprefix("sha256:"))
        hex_digest = self._manifest(path, store, repository)
        if tag and repository.tags.setdefault(tag, hex_digest) != hex_digest:
            raise parse.UnfitError(f"{name}:{tag} is named twice")

    def _try_manifest(self, path: str, store: "_Store", repository: "_Repository", depth: int = 0) -> bool:
        try:
            self._manifest(path, store, repository, depth)
        except parse.UnfitError as error:
            self._refuse(path, str(error))
            return False
        return True

    def _manifest(self, path: str, store: "_Store", repository: "_Repository", depth: int = 0) -> str:
        """Take up one manifest with its blobs and, for an index, with those children that are here."""
        if depth > MAX_NESTING:
            raise parse.UnfitError(f"an index more than {MAX_NESTING} deep in others")
        content = self._content(path)
        hex_digest = hashlib.sha256(content).hexdigest()
        if store.hex_of(path) not in ("", hex_digest):
            raise parse.UnfitError(f"its bytes are those of sha256:{hex_digest}")
        parsed = parse.manifest(content)
        blobs = tuple(self._blob(reference, store) for reference in parsed.blobs if not reference.is_elsewhere)
        self._used |= {path, *(blob.path for blob in blobs)}
        self._take_children(path, parsed, store, repository, depth)
        found = listing.Manifest(
            hex=hex_digest,
            size=len(content),
            media_type=parsed.media_type,
            path=path,
            blobs=blobs,
            children=tuple(reference.hex for reference in parsed.children),
            subject=parsed.subject,
            artifact_type=parsed.artifact_type,
            annotations=parsed.annotations,
        )
        repository.manifests.setdefault(hex_digest, found)
        return hex_digest

    def _take_children(
        self, path: str, parsed: parse.Parsed, store: "_Store", repository: "_Repository", depth: int
    ) -> None:
        """Take up each child once, however often indexes name it."""
        here = 0
        for hex_digest in dict.fromkeys(reference.hex for reference in parsed.children):
            child = store.manifest_path(hex_digest)
            if child not in self._files:
                self._notes.add(listing.Remark(path, f"its child sha256:{hex_digest} is not here"))
            else:
                if child not in repository.children:
                    repository.children[child] = self._try_manifest(child, store, repository, depth + 1)
                here += repository.children[child]
        if parsed.children and not here:
            raise parse.UnfitError("none of the manifests that it names can be served")

    def _content(self, path: str) -> bytes:
        if path not in self._files:
            raise parse.UnfitError(f"{path} is not here")
        if self._files[path] > MAX_MANIFEST_SIZE:
            raise parse.UnfitError(f"a manifest of more than {MAX_MANIFEST_SIZE} bytes")
        return self._bytes(path)

    def _bytes(self, path: str) -> bytes:
        try:
            return self._read_file(path)
        except OSError as error:
            raise parse.UnfitError(error.strerror or str(error)) from error

    def _blob(self, reference: parse.Reference, store: "_Store") -> listing.Blob:
        path = store.blob_path(reference.hex)
        size = self._files.get(path)
        if size is None:
            raise parse.UnfitError(f"its blob sha256:{reference.hex} is not here")
        if size != reference.size:
            raise parse.UnfitError(f"its blob sha256:{reference.hex} has {size} bytes, not {reference.size}")
        return listing.Blob(reference.hex, size, path)

    def _refuse(self, path: str, reason: str) -> None:
        self._skipped.append(listing.Remark(path or ".", reason))
        self._refused.append(path)

    def result(self) -> listing.Listing:
        repositories = tuple(found.value(name) for name, found in sorted(self._repositories.items()) if found.manifests)
        return listing.Listing(
            repositories, tuple(sorted([*self._skipped, *self._unused()])), tuple(sorted(self._notes))
        )

    def _unused(self) -> Iterator[listing.Remark]:
        refused = set(self._refused)
        for path in self._files:
            if path not in self._used and path not in refused and not any(each in refused for each in _parents(path)):
                yield listing.Remark(path, "no image has a use for it")


class _Repository:
    """A repository while it is read."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.manifests: dict[str, listing.Manifest] = {}
        self.children: dict[str, bool] = {}
        """Path of each child of an index that was looked at, and whether it can be served."""

    def value(self, name: str) -> listing.Repository:
        manifests = tuple(self.manifests[hex_digest] for hex_digest in sorted(self.manifests))
        return listing.Repository(name, dict(sorted(self.tags.items())), manifests)


@dataclasses.dataclass(frozen=True, slots=True)
class _DirectoryStore:
    """Where skopeo's `dir:` keeps blobs and the children of an index."""

    directory: str

    def blob_path(self, hex_digest: str) -> str:
        return _join(self.directory, hex_digest)

    def manifest_path(self, hex_digest: str) -> str:
        return _join(self.directory, hex_digest + _CHILD_SUFFIX)

    def hex_of(self, path: str) -> str:
        """The digest that a file's name claims, if it claims one."""
        return _name(path).removesuffix(_CHILD_SUFFIX) if path.endswith(_CHILD_SUFFIX) else ""


@dataclasses.dataclass(frozen=True, slots=True)
class _LayoutStore:
    """Where an OCI image layout keeps everything."""

    directory: str

    def blob_path(self, hex_digest: str) -> str:
        return _join(self.directory, f"blobs/sha256/{hex_digest}")

    def manifest_path(self, hex_digest: str) -> str:
        return self.blob_path(hex_digest)

    def hex_of(self, path: str) -> str:
        """The digest that a file's name claims."""
        return _name(path)


_Store = _DirectoryStore | _LayoutStore


def _place_in_layout(directory: str, annotation: str, *, is_alone: bool) -> tuple[str, str]:
    """Repository and tag of an entry of `index.json`; the tag is "" for what has none.

    The annotation is a tag, or `[HOST/]NAME:TAG`; a layout in `NAME/TAG/` needs none for its only image.
    """
    name, colon, tag = annotation.rpartition(":")
    if not annotation:
        return (_parent(directory), _name(directory)) if is_alone and "/" in directory else (directory, "")
    if directory or not colon:
        return directory, tag
    host, _, rest = name.partition("/")
    return (rest if rest and ("." in host or ":" in host or host == "localhost") else name), tag


def _check_names(name: str, tag: str) -> None:
    if not names.is_repository(name):
        raise parse.UnfitError(f"{name!a} is no repository name" if name else "no repository name above the tag")
    if not names.is_tag(tag):
        raise parse.UnfitError(f"{tag!a} is no tag")


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _parents(path: str) -> Iterable[str]:
    while path:
        path = _parent(path)
        yield path
