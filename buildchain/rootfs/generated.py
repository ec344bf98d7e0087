"""What maintainer scripts would have written, written by us as data.

There is no /etc/ld.so.cache: without one the dynamic loader searches its built-in directories (ld.so(8)), which hold
Debian's libraries; `linkage` checks with the same rule.
"""

from collections.abc import Iterable, Iterator

from buildchain import tar
from buildchain.rootfs import entries, package, spool

CA_PACKAGE = "ca-certificates"
CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_CA_SOURCE = "usr/share/ca-certificates/"

_MASTERS = {
    "usr/share/base-passwd/passwd.master": "etc/passwd",
    "usr/share/base-passwd/group.master": "etc/group",
}

STATUS_DIRECTORY = "var/lib/dpkg/status.d"
"""Where images without dpkg tell scanners what they hold; distroless images began it."""

FILE_MODE = 0o644


def file(path: str, content: bytes, mtime: int, origin: str, contents: spool.Spool) -> entries.File:
    """A generated file: root's, mode 0644."""
    return entries.File(path, entries.Attributes(FILE_MODE, 0, 0, mtime), origin, contents.add([content]))


def certificates(packages: Iterable[package.Package], contents: spool.Spool) -> Iterator[entries.File]:
    """The bundle that update-ca-certificates(8) makes: all certificates of the package, sorted by name."""
    for each in packages:
        if each.locked.name != CA_PACKAGE:
            continue
        found = [
            entry
            for entry in each.entries
            if isinstance(entry, entries.File) and entry.path.startswith(_CA_SOURCE) and entry.path.endswith(".crt")
        ]
        found.sort(key=lambda entry: entry.path.encode())
        bundle = b"".join(contents.read(entry.content).rstrip(b"\n") + b"\n" for entry in found)
        yield file(CA_BUNDLE, bundle, each.built, f"generated from {each.origin}", contents)


def accounts(packages: Iterable[package.Package], contents: spool.Spool) -> Iterator[entries.File]:
    """/etc/passwd and /etc/group as a fresh Debian has them."""
    for each in packages:
        for entry in each.entries:
            if isinstance(entry, entries.File) and entry.path in _MASTERS:
                content = contents.read(entry.content)
                yield file(_MASTERS[entry.path], content, each.built, f"generated from {each.origin}", contents)


def status(packages: Iterable[package.Package], contents: spool.Spool) -> Iterator[entries.File]:
    """For each package its control file and the md5sums of what is shipped of it."""
    for each in packages:
        origin = f"generated from {each.origin}"
        path = f"{STATUS_DIRECTORY}/{each.locked.name}"
        yield file(path, stanza(each.control).encode(), each.built, origin, contents)
        shipped = {entry.path for entry in each.entries}
        sums = "".join(f"{line}\n" for line in each.md5sums.splitlines() if _path(line) in shipped)
        yield file(f"{path}.md5sums", sums.encode(), each.built, origin, contents)


def stanza(control: str) -> str:
    """The control file as dpkg records it: with a status after the name."""
    head, _, rest = control.strip().partition("\n")
    return f"{head}\nStatus: install ok installed\n{rest}\n"


def _path(line: str) -> str:
    try:
        return entries.canonical(line.partition("  ")[2])
    except tar.TarError:
        return ""
