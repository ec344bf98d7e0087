"""What has to be pulled for an image: digests only, in the same list of work as everything else."""

from collections.abc import Iterator

from buildchain import digest, fetch, lock
from buildchain.registry_client import _sites


def requests(image: lock.Image, sites: _sites.Sites) -> Iterator[fetch.Request]:
    """A request for each manifest and each blob."""
    for each in image.manifests:
        yield _request(image, sites, "manifests", each.content)
    for blob in image.blobs:
        yield _request(image, sites, "blobs", blob.content)


def _request(image: lock.Image, sites: _sites.Sites, kind: str, content: digest.Descriptor) -> fetch.Request:
    registry, _, repository = image.request.source.partition("/")
    urls = tuple(endpoint.url(repository, kind, str(content.digest)) for endpoint in sites.endpoints(registry))
    return fetch.Request(
        f"image {image.request.name} {kind.removesuffix('s')} {content.digest}", content, urls, (image.request.name,)
    )
