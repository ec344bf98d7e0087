"""The root file system of a room: locked packages unpacked, and what their scripts would have written.

No maintainer script runs. What a build looks for is written as data: accounts, links of alternatives, and dpkg's
record of what is installed with the files beside it that dpkg-shlibdeps(1) and lintian read.

The room has one user: every file is root's, and none is set-uid.

A room costs seconds and is kept by what it is made of: its packages, its tools, and the code that makes it.
"""

import dataclasses
import functools
import hashlib
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from buildchain import debfile, digest, lock, store, tar
from buildchain.builder import recipe
from buildchain.rootfs import entries, exclusions, generated, package, spool

STATUS = "var/lib/dpkg/status"
INFO = "var/lib/dpkg/info"

_BESIDE = ("md5sums", "shlibs", "symbols", "conffiles", "triggers")
"""Files of a package's control archive that dpkg keeps and builds read (deb(5))."""


MAKERS = (debfile, entries, exclusions, generated, package, spool, tar)
"""The modules beside this one that the bytes of a room come from."""


def layer(packages: Sequence[lock.Package], tools: recipe.Tools, source: store.Store) -> digest.Descriptor:
    """The root of a room, as one uncompressed tar in the store: the kept one, or made.

    Raises:
        TreeError: packages do not fit together.
        BuildchainError: a package is damaged.
    """
    note = f"rooms/{_identity(packages, tools)}"
    kept = _recall(source.read_note(note, is_own=True))
    if kept is not None and source.has(kept):
        return kept
    made = _make(packages, tools, source)
    source.write_note(note, f"{made.digest} {made.size}\n".encode())
    return made


def _identity(packages: Sequence[lock.Package], tools: recipe.Tools) -> str:
    """A digest of all that a room is made of."""
    held = [(each.key, each.content.digest.hex) for each in sorted(packages)]
    made_of = (tools.exclude, sorted(tools.alternatives.items()), held, _code())
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


@functools.cache
def _code() -> str:
    hasher = hashlib.sha256()
    for path in sorted([__file__, *(str(each.__file__) for each in MAKERS)]):
        hasher.update(hashlib.sha256(pathlib.Path(path).read_bytes()).digest())
    return hasher.hexdigest()


def _recall(content: bytes) -> digest.Descriptor | None:
    try:
        name, size = content.decode().split()
        return digest.Descriptor(digest.Digest.parse(name), int(size))
    except ValueError:
        return None


def _make(packages: Sequence[lock.Package], tools: recipe.Tools, source: store.Store) -> digest.Descriptor:
    with spool.open_spool(source) as contents:
        read = [package.read(each, source, contents, tools.exclude) for each in sorted(packages)]
        written = [*generated.accounts(read, contents), *_dpkg(read, source, contents)]
        root = entries.merge("the builder's root", entries.Rootfs(), [*(each.entries for each in read), written])
        found = root.by_path()
        found |= {link.path: link for link in _links(found, tools)}
        entries.complete(found)
        plain = entries.build(map(_plain, found.values()))
        return _pack(plain, contents, source)


def _pack(root: entries.Rootfs, contents: spool.Spool, source: store.Store) -> digest.Descriptor:
    with source.writer() as writer:
        tar.write(entries.members(root, contents), writer.stream.write)
        writer.stream.seek(0)
        descriptor = digest.Descriptor(digest.Digest.of_file(writer.stream), writer.stream.tell())
        if not source.has(descriptor):
            writer.commit(descriptor)
    return descriptor


def _plain(entry: entries.Entry) -> entries.Entry:
    """An entry that is root's; only the sticky bit of the special ones stays."""
    attributes = dataclasses.replace(entry.attributes, uid=0, gid=0, mode=entry.attributes.mode & 0o1777)
    return dataclasses.replace(entry, attributes=attributes)


def _links(found: dict[str, entries.Entry], tools: recipe.Tools) -> Iterator[entries.Link]:
    for path, target in tools.alternatives.items():
        leads_to = found.get(entries.canonical(target[1:]))
        if leads_to is not None and entries.canonical(path[1:]) not in found:
            attributes = dataclasses.replace(leads_to.attributes, mode=entries.LINK_MODE)
            yield entries.Link(entries.canonical(path[1:]), attributes, f"alternative of {leads_to.origin}", target)


def _spellings(path: str) -> Iterator[str]:
    """A path, and how packages spelt it before /usr was merged: dpkg-shlibdeps(1) asks for either."""
    yield path
    if path.startswith("usr/") and path.split("/")[1] in entries.MERGED:
        yield path.removeprefix("usr/")


def _dpkg(packages: Iterable[package.Package], source: store.Store, contents: spool.Spool) -> Iterator[entries.File]:
    """dpkg's record of what is installed."""
    stanzas, newest = [], 0
    for each in packages:
        newest = max(newest, each.built)
        control = package.read_control(each.locked, source)
        same = re.search(r"^Multi-Arch: same$", each.control, re.MULTILINE)
        name = f"{each.locked.name}:{each.locked.architecture}" if same else each.locked.name
        listed = "/.\n" + "".join(f"/{path}\n" for entry in each.entries for path in _spellings(entry.path))
        beside = {ending: control[ending] for ending in _BESIDE if ending in control}
        for ending, content in {"list": listed.encode(), **beside}.items():
            yield generated.file(f"{INFO}/{name}.{ending}", content, each.built, each.origin, contents)
        stanzas.append(generated.stanza(each.control))
    # Without it dpkg looks for a list without the architecture in its name.
    yield generated.file(f"{INFO}/format", b"1\n", newest, "generated", contents)
    yield generated.file(STATUS, "\n".join(stanzas).encode(), newest, "generated", contents)
