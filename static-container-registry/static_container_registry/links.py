"""Write the tree that the constant output serves: links into the root of the images, and lists."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping

from static_container_registry import answers, listing, names

MAX_PAGED_TAGS = 500
"""Lists of what follows a tag grow with the square of the tags; repositories of more tags answer `last` with 400."""


def write(found: listing.Listing, root: pathlib.Path, destination: pathlib.Path, prefix: str = "") -> None:
    """Add the images of one root to a tree, in place of what had the same prefix.

    A repository's files are staged aside and renamed into place; one that has not changed is left alone.

    Arguments:
        root:   where the images are; links are relative, so both folders must keep their places to each other.
        prefix: what repository names begin with, such as `a/`.

    Raises:
        ValueError: the tree would stand among the images.
    """
    top = pathlib.Path(os.path.realpath(destination))
    real_root = pathlib.Path(os.path.realpath(root))
    if top.is_relative_to(real_root):
        raise ValueError(f"{str(destination)!a} stands inside of {str(root)!a}: the tree would count as images")
    top.mkdir(parents=True, exist_ok=True)
    new = {f"{prefix}{repository.name}": repository for repository in found.repositories}
    with tempfile.TemporaryDirectory(prefix=".new-", dir=top) as temporary:
        for number, (name, repository) in enumerate(new.items()):
            final = top / "repos" / name
            stamp = _stamp(prefix, (name, str(real_root), str(top), repository))
            if not _is_stamped(final, stamp):
                staged = pathlib.Path(temporary) / str(number)
                _stage(repository, name, real_root, staged, final)
                _swap(staged, final, stamp)
    for name in _names(top):
        if name not in new and _is_of(top / "repos" / name, prefix):
            _remove_repository(top / "repos" / name)
    _write_json(top / "_catalog.json", {"repositories": _names(top)})


def _stage(
    repository: listing.Repository, name: str, root: pathlib.Path, staged: pathlib.Path, final: pathlib.Path
) -> None:
    """Write a repository with links for the place where it will stand."""
    references = {f"sha256:{manifest.hex}": manifest.hex for manifest in repository.manifests}
    references.update(repository.tags)
    blobs = {blob.hex: blob.path for manifest in repository.manifests for blob in manifest.blobs}
    for manifest in repository.manifests:
        place = f"_digests/{manifest.hex}/m.{listing.ENDINGS[manifest.media_type]}"
        _link(staged / place, root / manifest.path, (final / place).parent)
    for hex_digest, path in blobs.items():
        _link(staged / "_blobs" / hex_digest, root / path, final / "_blobs")
    references.update(_write_referrers(repository, staged))
    for reference, hex_digest in references.items():
        _link(staged / "_manifests" / reference, final / "_digests" / hex_digest, final / "_manifests")
    _write_tags(staged, name, list(repository.tags))


def _swap(staged: pathlib.Path, final: pathlib.Path, stamp: str) -> None:
    final.mkdir(parents=True, exist_ok=True)
    _remove_repository(final)
    for part in sorted(staged.iterdir()):
        part.rename(final / part.name)
    (final / "_stamp").write_text(stamp)


def _stamp(prefix: str, content: object) -> str:
    """With which prefix a repository was written, and a digest of everything that made it."""
    return f"{prefix}\n{hashlib.sha256(repr(content).encode()).hexdigest()}"


def _is_of(directory: pathlib.Path, prefix: str) -> bool:
    """Whether a repository was written with this prefix: others may begin with it, and all begin with none."""
    try:
        return (directory / "_stamp").read_text().partition("\n")[0] == prefix
    except OSError:
        return False


def _is_stamped(directory: pathlib.Path, stamp: str) -> bool:
    """Whether this repository was written whole, and would be written the same again."""
    try:
        return (directory / "_stamp").read_text() == stamp
    except OSError:
        return False


def _write_tags(staged: pathlib.Path, name: str, tags: list[str]) -> None:
    _write_json(staged / "_tags.json", {"name": name, "tags": tags})
    if len(tags) <= MAX_PAGED_TAGS:
        for number, tag in enumerate(tags):
            _write_json(staged / "_tags" / f"{tag}.json", {"name": name, "tags": tags[number + 1 :]})


def _write_referrers(repository: listing.Repository, staged: pathlib.Path) -> dict[str, str]:
    """Write the referrers of every subject; returns the tags of the specification's fallback and their digests."""
    references = {}
    for subject, manifests in repository.referrers().items():
        place = staged / "_referrers" / subject
        content = _write_json(place.with_suffix(".json"), answers.index_of(manifests))
        for artifact_type in {manifest.artifact_type for manifest in manifests}:
            if names.is_media_type(artifact_type):
                chosen = [manifest for manifest in manifests if manifest.artifact_type == artifact_type]
                _write_json(place / f"{artifact_type}.json", answers.index_of(chosen))
        hex_digest = hashlib.sha256(content).hexdigest()
        _write_json(staged / "_digests" / hex_digest / "m.oi", answers.index_of(manifests))
        references[f"sha256:{hex_digest}"] = hex_digest
        if f"sha256-{subject}" not in repository.tags:
            references[f"sha256-{subject}"] = hex_digest
    return references


def _names(destination: pathlib.Path) -> list[str]:
    top = destination / "repos"
    found = []
    for directory, below, files in os.walk(top):
        below[:] = [name for name in below if not name.startswith("_")]
        if "_tags.json" in files:
            found.append(os.path.relpath(directory, top))
    return sorted(found)


def _remove_repository(directory: pathlib.Path) -> None:
    """Remove a repository's own entries and leave those below its name."""
    for name in ("_stamp", "_tags.json"):
        (directory / name).unlink(missing_ok=True)
    for name in ("_tags", "_manifests", "_digests", "_blobs", "_referrers"):
        shutil.rmtree(directory / name, ignore_errors=True)


def _link(place: pathlib.Path, target: pathlib.Path, directory: pathlib.Path) -> None:
    """A relative link, made at one place for use in another directory."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(os.path.relpath(target, directory))


def _write_json(place: pathlib.Path, document: Mapping[str, object]) -> bytes:
    content = json.dumps(document, separators=(",", ":")).encode()
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".new-{os.getpid()}")
    new.write_bytes(content)
    new.replace(place)
    return content
