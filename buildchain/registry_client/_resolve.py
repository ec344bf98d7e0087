"""From a tag to digests: everything an image is made of, as the lock records it."""

import collections
import concurrent.futures
import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from buildchain import digest, errors, lock, manifest, store
from buildchain.registry_client import _client, _documents

MAX_REFERRERS = 1000
_COSIGN = ("sig", "att", "sbom")
"""What cosign hangs on tags `sha256-<hex>.<kind>` (github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md)."""

# What docker's builder puts beside the images of an index (github.com/moby/buildkit, docs/attestations).
_SUBJECT = "vnd.docker.reference.digest"

_HINT_FIT = "Ship another tag of this image, or ask its owner for a proper one."


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """A manifest that ships."""

    row: lock.ImageManifest
    document: _documents.Document


def request(spec: manifest.ImageSpec) -> lock.ImageRequest:
    """What the intent says of a pulled image, as the lock must hold it."""
    return lock.ImageRequest(spec.name, spec.source, spec.tag, spec.platforms, spec.has_signatures)


def resolve(wanted: lock.ImageRequest, pinned: str, client: _client.Client, held: store.Store) -> lock.Image:
    """Ask a registry what a tag stands for; all manifests are kept in the store.

    Arguments:
        pinned: the digest that the intent gives, or "".

    Raises:
        ResolveError:   the tag is not there, stands for another digest, or lacks a platform.
        BuildchainError: the registry does not give it, or it cannot ship; with the reason.
    """
    try:
        return _Resolution(wanted, pinned, client, held).run()
    except _documents.UnfitError as error:
        raise errors.BuildchainError(f"image {wanted.name} ({_spell(wanted)})", str(error), _HINT_FIT) from error
    except errors.TransportError as error:
        if error.status != 404:
            raise
        tried = error.hint.splitlines()[1:]
        hint = "\n".join([f"Check repository and tag of this image in {manifest.FILE_NAME}.", *tried])
        why = f"{_spell(wanted)} cannot be had: {error.what}: {error.why}"
        raise errors.ResolveError(f"image {wanted.name}", why, hint) from error


class _Resolution:
    """One image while its parts are gathered."""

    def __init__(self, wanted: lock.ImageRequest, pinned: str, client: _client.Client, held: store.Store) -> None:
        self._wanted = wanted
        self._pinned = pinned
        self._client = client
        self._store = held
        self._found: dict[tuple[digest.Digest, str], _Found] = {}

    def run(self) -> lock.Image:
        raw = self._client.manifest(self._wanted.source, self._wanted.tag)
        if self._pinned not in ("", str(raw.descriptor.digest)):
            raise self._moved(raw)
        top = self._keep(raw, tag=self._wanted.tag)
        if top.document.is_index:
            self._add_children(top.document)
        else:
            self._check_platform(top.document)
        if self._wanted.has_signatures:
            self._add_signatures()
        found = list(self._found.values())
        return lock.Image(
            self._wanted,
            tuple(sorted(each.row for each in found)),
            _blobs(each.document for each in found),
        )

    def _moved(self, raw: _client.Raw) -> errors.ResolveError:
        what = f"image {self._wanted.name}"
        why = f"{_spell(self._wanted)} is {raw.descriptor.digest}, but {manifest.FILE_NAME} says {self._pinned}"
        hint = "Its owner has moved the tag, or the digest is of another one: compare them, then mend either."
        return errors.ResolveError(what, why, hint)

    def _keep(self, raw: _client.Raw, *, tag: str = "", platform: str = "") -> _Found:
        document = _documents.parse(raw.content, raw.content_type)
        row = lock.ImageManifest(self._store.add_bytes(raw.content), document.media_type, tag, platform)
        return self._found.setdefault((row.content.digest, tag), _Found(row, document))

    def _keep_reference(self, reference: _documents.Reference) -> _Found:
        raw = self._client.manifest(self._wanted.source, str(reference.content.digest))
        if len(raw.content) != reference.content.size:
            raise _documents.UnfitError(
                f"has an index that says {reference.content.size} bytes of {reference.content.digest}, "
                f"which has {len(raw.content)}"
            )
        return self._keep(raw, platform=reference.platform)

    def _add_children(self, index: _documents.Document) -> None:
        """The images of the wanted platforms; the index stays as it is, whatever else it names."""
        chosen = [each for each in index.manifests if self._is_wanted(each)]
        has_platforms = any(each.platform for each in index.manifests)
        for platform in self._wanted.platforms if has_platforms else ():
            if not any(_documents.is_platform(platform, each.platform) for each in chosen):
                raise self._no_platform(platform, [each.platform for each in index.manifests if each.platform])
        for child in chosen or index.manifests:
            if self._keep_reference(child).document.is_index:
                raise _documents.UnfitError("is an index that names another index, which clients do not follow")
        if self._wanted.has_signatures:
            self._add_attestations(index, {str(each.content.digest) for each in chosen})

    def _is_wanted(self, child: _documents.Reference) -> bool:
        return any(_documents.is_platform(each, child.platform) for each in self._wanted.platforms)

    def _add_attestations(self, index: _documents.Document, chosen: set[str]) -> None:
        for each in index.manifests:
            if each.annotations.get(_SUBJECT) in chosen:
                self._keep_reference(each)

    def _check_platform(self, image: _documents.Document) -> None:
        """An image that runs says in its configuration on what."""
        config = image.config
        if config is None or config.media_type not in _documents.IMAGE_CONFIGS:
            return
        if config.content.size > _documents.MAX_BYTES:
            raise _documents.UnfitError(f"has a configuration of {config.content.size} bytes")
        content = self._client.blob(self._wanted.source, config.content)
        self._store.add_bytes(content)
        found = _documents.platform_of_config(content)
        for platform in self._wanted.platforms:
            if not _documents.is_platform(platform, found):
                raise self._no_platform(platform, [found])

    def _no_platform(self, wanted: str, known: list[str]) -> errors.ResolveError:
        why = f"{_spell(self._wanted)} is not for {wanted}; it is for {', '.join(dict.fromkeys(known))}"
        hint = f"Set platform (or platforms) of this image in {manifest.FILE_NAME}."
        return errors.ResolveError(f"image {self._wanted.name}", why, hint)

    def _add_signatures(self) -> None:
        """Whatever refers to what ships, and whatever refers to that."""
        queue = collections.deque(each.row.content.digest for each in self._found.values())
        seen = set(queue)
        for subject in [*queue]:
            self._add_cosign_tags(subject)
        while queue:
            subject = queue.popleft()
            for reference in self._client.referrers(self._wanted.source, subject):
                if reference.content.digest in seen:
                    continue
                seen.add(reference.content.digest)
                if len(seen) > MAX_REFERRERS:
                    raise _documents.UnfitError(f"has more than {MAX_REFERRERS} referrers")
                self._add_referrer(reference, subject)
                queue.append(reference.content.digest)

    def _add_cosign_tags(self, subject: digest.Digest) -> None:
        for kind in _COSIGN:
            tag = f"sha256-{subject.hex}.{kind}"
            raw = self._client.optional_manifest(self._wanted.source, tag)
            if raw and self._keep(raw, tag=tag).document.is_index:
                raise _documents.UnfitError(f"has an index under the tag {tag}, where cosign has a manifest")

    def _add_referrer(self, reference: _documents.Reference, subject: digest.Digest) -> None:
        found = self._keep_reference(reference)
        if found.document.subject != subject or found.document.is_index:
            raise _documents.UnfitError(f"lists {reference.content.digest} as its referrer, which does not refer to it")


def resolve_all(
    images: Mapping[lock.ImageRequest, str],
    kept: Mapping[lock.ImageRequest, lock.Image],
    client: _client.Client,
    held: store.Store,
    *,
    jobs: int,
) -> tuple[lock.Image, ...]:
    """Ask the registries, for all images at once.

    Arguments:
        images: what is wanted, each with the digest that the intent pins it to, or "".
        kept:   what shall not move.

    Raises:
        BuildchainError: with every image that cannot be resolved.
    """

    def one(wanted: lock.ImageRequest) -> lock.Image | errors.BuildchainError:
        try:
            return kept.get(wanted) or resolve(wanted, images[wanted], client, held)
        except errors.BuildchainError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(one, sorted(images)))
    failures = [each for each in found if isinstance(each, errors.BuildchainError)]
    if len(failures) == 1:
        raise failures[0]
    if failures:
        lines = [f"  {error.what}: {error.why}" for error in failures]
        hints = dict.fromkeys(line for error in failures for line in error.hint.splitlines())
        why = "\n".join([f"{len(failures)} of {len(found)} images cannot be resolved", *lines])
        raise errors.BuildchainError("images", why, "\n".join(hints))
    return tuple(each for each in found if isinstance(each, lock.Image))


def _blobs(documents: Iterable[_documents.Document]) -> tuple[lock.Blob, ...]:
    sizes: dict[digest.Digest, int] = {}
    found: set[lock.Blob] = set()
    for blob in (blob for document in documents for blob in document.blobs):
        if sizes.setdefault(blob.content.digest, blob.content.size) != blob.content.size:
            raise _documents.UnfitError(f"gives {blob.content.digest} two sizes")
        found.add(lock.Blob(blob.content, blob.media_type))
    return tuple(sorted(found))


def _spell(wanted: lock.ImageRequest) -> str:
    return f"{wanted.source}:{wanted.tag}"


def folders(image: lock.Image, held: store.Store) -> Iterator["Folder"]:
    """How the parts of an image stand in folders, one for each tag, as readers of `dir:` folders want them.

    Arguments:
        held: holds the manifests.

    Raises:
        BuildchainError: the lock does not name what a manifest names.
    """
    known = {each.content for each in image.blobs}
    by_tag: dict[str, Folder] = {}
    for row in sorted(image.manifests, key=lambda each: not each.tag):
        tag = row.tag or image.request.tag
        names = {each.content for each in _documents.parse(held.read(row.content.digest), row.media_type).blobs}
        if names - known:
            why = f"image {image.request.name}: does not name {', '.join(sorted(str(each.digest) for each in names))}"
            raise errors.BuildchainError(lock.FILE_NAME, why, lock.HINT)
        folder = by_tag.setdefault(tag, Folder(tag, row.content))
        folder.manifests.update({row.content} - {folder.top})
        folder.blobs.update(names)
    return iter(by_tag.values())


@dataclasses.dataclass(slots=True)
class Folder:
    """One tag: what it stands for, further manifests that are served by their digests, and the blobs of all."""

    tag: str
    top: digest.Descriptor
    manifests: set[digest.Descriptor] = dataclasses.field(default_factory=set)
    blobs: set[digest.Descriptor] = dataclasses.field(default_factory=set)
