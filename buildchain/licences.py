"""Under which licences packages come: the short names of their machine-readable copyright files.

Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/. Finding the file means unpacking most of a
package, so one package, the smallest, speaks for all of a source, and what was found is noted in the store. An RPM
says it in its header.
"""

import concurrent.futures
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from buildchain import errors, lock, rpm, store
from buildchain.rootfs import package

UNKNOWN = "see copyright file"

NOTE = "licences.json"
"""A note of the store: what its packages said, by digest."""

_FORMAT = re.compile(r"^Format(?:-Specification)?:.*(?:copyright-format|dep5)", re.MULTILINE | re.IGNORECASE)
_LICENCE = re.compile(r"^License:[ \t]*(\S[^\n]*)$", re.MULTILINE | re.IGNORECASE)

_Names = tuple[str, ...]


def parse(text: str) -> _Names:
    """The short names in a copyright file, sorted; `UNKNOWN` if it is not of the machine-readable kind."""
    if not _FORMAT.search(text):
        return (UNKNOWN,)
    return tuple(sorted({" ".join(name.split()) for name in _LICENCE.findall(text)})) or (UNKNOWN,)


def known(packages: Iterable[lock.Package], source: store.Store) -> Mapping[lock.Package, _Names]:
    """What is known of packages without reading any."""
    cache = _load(source)
    return {
        each: tuple(cache[speaker.content.digest.hex])
        for speaker, spoken_for in _speakers(packages)
        for each in spoken_for
        if speaker.content.digest.hex in cache
    }


def read(packages: Iterable[lock.Package], source: store.Store) -> int:
    """Read what is not known yet, from packages that the store holds; returns how many were read."""
    cache = _load(source)
    unread = [each for each, _ in _speakers(packages) if each.content.digest.hex not in cache]
    unread.sort(key=lambda each: -each.content.size)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = pool.map(lambda each: _read(each, source), unread)
        added = {each.content.digest.hex: names for each, names in zip(unread, found, strict=True)}
    if added:
        _save(source, {**cache, **added})
    return len(added)


def _speakers(packages: Iterable[lock.Package]) -> list[tuple[lock.Package, Sequence[lock.Package]]]:
    """For each source and version, the package that is read, and all it speaks for."""
    by_source: dict[tuple[str, str], list[lock.Package]] = {}
    for each in packages:
        by_source.setdefault((each.source, each.version), []).append(each)
    return [(min(group, key=lambda each: (each.content.size, each)), group) for group in by_source.values()]


def _read(locked: lock.Package, source: store.Store) -> _Names:
    try:
        if locked.path.endswith(".rpm"):
            return (rpm.licence_of(locked.content, source) or UNKNOWN,)
        content = package.read_file(locked, source, f"usr/share/doc/{locked.name}/copyright")
    except errors.BuildchainError:  # what is wrong with it is said by those who need its files
        return (UNKNOWN,)
    return parse(content.decode(errors="replace"))


def _load(source: store.Store) -> dict[str, list[str]]:
    try:
        value = json.loads(source.read_note(NOTE))
        return {str(key): [str(name) for name in names] for key, names in value.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def _save(source: store.Store, cache: Mapping[str, Sequence[str]]) -> None:
    source.write_note(NOTE, (json.dumps(cache, indent=0, sort_keys=True) + "\n").encode())
