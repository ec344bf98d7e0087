"""DEB packages: choose them with apt's own solver, and index them as a repository.

Resolving runs `apt-get` in a folder of its own with a configuration of its own, so that neither the host's sources,
nor its keys, nor its installed packages have a say (apt.conf(5)).

    Request ──apt-get --print-uris──▶ Package…          resolve: the only step that asks an archive
    Package… + store ──▶ Packages, Release, InRelease   index: a function of the packages, the key and a date

The repository is a flat one (sources.list(5): the suite is `./`), because the folders of the other kind,
`dists/SUITE/COMPONENT/binary-ARCH/by-hash/SHA256`, are too deep for ISO-9660.
"""

from buildchain.deb._index import index, index_text, own, pool_path
from buildchain.deb._resolve import Apt, Source, open_apt, resolve, resolve_all

__all__ = ["Apt", "Source", "index", "index_text", "open_apt", "own", "pool_path", "resolve", "resolve_all"]
