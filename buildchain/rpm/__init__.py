"""RPM packages: choose them with dnf's own solver, sign our own, and index them as a repository.

    archives ──metadata, verified──▶ dnf ──▶ Package…     resolve_all: the only step that asks an archive
    RPM in the store + key ──▶ RPM in the store           sign: the header's signature, for packages built here
    Package… + store ──▶ repodata/, Packages/             index: a function of the packages, the key and a date

Neither pulling nor signing nor indexing needs dnf or rpm on the host.
"""

from buildchain.rpm.keys import check
from buildchain.rpm.metadata import Source
from buildchain.rpm.repository import index, key_paths, licence_of, package_of, pool_path
from buildchain.rpm.resolver import Wanted, holes, resolve_all
from buildchain.rpm.signature import sign, sign_all

__all__ = [
    "Source",
    "Wanted",
    "check",
    "holes",
    "index",
    "key_paths",
    "licence_of",
    "package_of",
    "pool_path",
    "resolve_all",
    "sign",
    "sign_all",
]
