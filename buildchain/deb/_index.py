"""Write the indexes of a flat repository: a function of the packages, the key and a date."""

import dataclasses
import datetime
import email.utils
from collections.abc import Iterable, Mapping, Sequence

from buildchain import compression, debfile, digest, lock, signing, store, tree


def index(
    packages: Sequence[lock.Package],
    source: store.Store,
    *,
    name: str,
    label: str,
    epoch: int,
    signer: signing.Signer,
) -> tree.Tree:
    """Index packages as a flat, signed repository.

    Arguments:
        name:  suite and code name of the repository.
        label: `Label:`, for pins (apt_preferences(5)).
        epoch: `Date:` of the Release, and the time of its signature.

    Returns:
        The repository's tree: pool/, Packages, Packages.gz, by-hash/, Release, InRelease.
    """
    listing = index_text(packages, source)
    indexes = {"Packages": listing, "Packages.gz": compression.gzip_bytes(listing)}
    architectures = sorted({package.architecture for package in packages} - {"all"})
    release = release_text(indexes, name, label, architectures, epoch)
    texts = {**indexes, "Release": release, "InRelease": signer.clearsign(release, epoch)}
    entries = [tree.File(path, source.add_bytes(text)) for path, text in texts.items()]
    for text in indexes.values():
        content = source.add_bytes(text)
        entries.append(tree.File(f"by-hash/SHA256/{content.digest.hex}", content))
    entries += [tree.File(pool_path(package), package.content) for package in packages]
    return tree.build(entries)


def index_text(packages: Iterable[lock.Package], source: store.Store) -> bytes:
    """The `Packages` index: each package's control file with its place, size and digest (deb822(5))."""
    stanzas = []
    for package in sorted(packages, key=lambda package: (package.name, package.architecture, package.version)):
        fields = (
            f"Filename: {pool_path(package)}",
            f"Size: {package.content.size}",
            f"SHA256: {package.content.digest.hex}",
        )
        stanzas.append(_control(package, source).rstrip("\n") + "\n" + "\n".join(fields) + "\n")
    return "\n".join(stanzas).encode()


def own(name: str, content: digest.Descriptor, source: store.Store) -> lock.Package:
    """A DEB of the store that no archive has, as `index` wants it; `name` is that of its file.

    Raises:
        BuildchainError: its control file cannot be read.
    """
    from debian import deb822

    unread = lock.Package(name, "", "", "", "", name, content)
    fields = deb822.Deb822(_control(unread, source))
    package = fields["Package"]
    origin = fields.get("Source", package).split(" ")[0]
    return dataclasses.replace(
        unread, name=package, architecture=fields["Architecture"], version=fields["Version"], source=origin
    )


def pool_path(package: lock.Package) -> str:
    """Where a package stands in its repository."""
    return f"pool/{package.path.rpartition('/')[2]}"


def _control(package: lock.Package, source: store.Store) -> str:
    stream = source.open(package.content.digest, is_buffered=False)
    with stream, debfile.explained(package, "its control file cannot be read"):
        return debfile.control(stream).decode()


def release_text(
    indexes: Mapping[str, bytes], name: str, label: str, architectures: Sequence[str], epoch: int
) -> bytes:
    """The `Release` of indexes by path: their sizes and digests, dated."""
    date = email.utils.format_datetime(datetime.datetime.fromtimestamp(epoch, datetime.UTC), usegmt=False)
    lines = [
        "Origin: MetalK8s",
        f"Label: {label}",
        f"Suite: {name}",
        f"Codename: {name}",
        f"Date: {date.replace('+0000', 'UTC')}",
        "Acquire-By-Hash: yes",
        f"Architectures: {' '.join(['all', *architectures])}",
        "SHA256:",
    ]
    lines += [f" {digest.Digest.of_bytes(text).hex} {len(text):16d} {path}" for path, text in sorted(indexes.items())]
    return ("\n".join(lines) + "\n").encode()
