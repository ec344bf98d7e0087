"""Images from registries: what a tag stands for, and how every part of it is asked for by digest.

    ImageSpec ──resolve──▶ lock.Image ──requests──▶ fetch.pull ──▶ store ──folders──▶ tree

Speaks the pull half of the OCI distribution specification 1.1 on top of `fetch`, which owns the network.
"""

import pathlib
from collections.abc import Iterable, Sequence

from buildchain import fetch
from buildchain.registry_client._access import Access
from buildchain.registry_client._client import Client
from buildchain.registry_client._credentials import Credential, Keyring
from buildchain.registry_client._resolve import Folder, folders, request, resolve, resolve_all
from buildchain.registry_client._sites import Endpoint, Site, Sites, load_sites
from buildchain.registry_client._work import requests

__all__ = [
    "Access",
    "Client",
    "Credential",
    "Endpoint",
    "Folder",
    "Keyring",
    "Site",
    "Sites",
    "access",
    "folders",
    "load_sites",
    "request",
    "requests",
    "resolve",
    "resolve_all",
]


def access(sites: Sites, sources: Iterable[str], credentials: Sequence[pathlib.Path], options: fetch.Options) -> Access:
    """What the registries of these sources want, for `fetch.Options.access`.

    Arguments:
        sources:     as in the intent, `HOST[:PORT]/REPOSITORY`.
        credentials: files of docker and podman, in the order in which they are asked.
        options:     how token servers are asked.
    """
    return Access(sites, {source.partition("/")[0] for source in sources}, Keyring(credentials), options)
