"""A repository of RPMs: metadata as a function of the packages, the key and a date.

The elements of the metadata are written by createrepo_c's own library; what stands around them, the compression and
the names are ours, so that no byte depends on the host. Metadata is gzip, which every client reads, and there are no
databases, which none needs.
"""

import pathlib
import typing
from collections.abc import Iterable, Sequence

from buildchain import compression, digest, errors, lock, signing, store, tree
from buildchain.rpm import header

_POOL = "Packages"
_KEY_NAME = "RPM-GPG-KEY-metalk8s-{name}"

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_COMMON = "http://linux.duke.edu/metadata/common"
_RPM = "http://linux.duke.edu/metadata/rpm"
_ELEMENTS = {
    "primary": ("metadata", f'xmlns="{_COMMON}" xmlns:rpm="{_RPM}"'),
    "filelists": ("filelists", 'xmlns="http://linux.duke.edu/metadata/filelists"'),
    "other": ("otherdata", 'xmlns="http://linux.duke.edu/metadata/other"'),
}
_REPOMD = f"""\
{_HEAD}<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="{_RPM}">
  <revision>{{revision}}</revision>
{{records}}</repomd>
"""
_RECORD = """\
  <data type="{kind}">
    <checksum type="sha256">{packed.digest.hex}</checksum>
    <open-checksum type="sha256">{plain.digest.hex}</open-checksum>
    <location href="{path}"/>
    <timestamp>{epoch}</timestamp>
    <size>{packed.size}</size>
    <open-size>{plain.size}</open-size>
  </data>
"""

# lib/rpmtag.h of rpm
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE, _SOURCE, _LICENCE = 1000, 1001, 1002, 1003, 1022, 1044, 1014


def index(
    packages: Sequence[lock.Package],
    source: store.Store,
    *,
    name: str,
    epoch: int,
    signer: signing.Signer,
    keys: Sequence[bytes] = (),
) -> tree.Tree:
    """Index packages as a signed repository.

    Arguments:
        packages: those of the lock and those built here, each signed in its header.
        name:     of the repository, for its key files.
        epoch:    revision and date of the metadata, and the time of its signature.
        keys:     public keys, beside the signer's, by which packages of others are signed.

    Returns:
        The repository's tree: Packages/, repodata/, and the key files, the signer's first.

    Raises:
        BuildchainError: a package is damaged, or is not the one that the lock names.
        TreeError:       two packages have one file name.
    """
    entries = [tree.File(pool_path(package), package.content) for package in packages]
    records = []
    for kind, text in _texts(packages, source).items():
        packed = source.add_bytes(compression.gzip_bytes(text))
        path = f"repodata/{packed.digest.hex}-{kind}.xml.gz"
        plain = digest.Descriptor.of_bytes(text)
        records.append(_RECORD.format(kind=kind, packed=packed, plain=plain, path=path, epoch=epoch))
        entries.append(tree.File(path, packed))
    repomd = _REPOMD.format(revision=epoch, records="".join(records)).encode()
    entries.append(tree.File("repodata/repomd.xml", source.add_bytes(repomd)))
    entries.append(tree.File("repodata/repomd.xml.asc", source.add_bytes(signer.detach(repomd, epoch))))
    for path, key in zip(key_paths(name, len(keys)), [signer.public_key(), *keys], strict=True):
        entries.append(tree.File(path, source.add_bytes(key)))
    return tree.build(entries)


def write_plain(packages: Sequence[lock.Package], source: store.Store, folder: pathlib.Path) -> None:
    """Make `folder` a repository that nobody signed, without the packages themselves: for a solver on this host."""
    records = []
    (folder / "repodata").mkdir(parents=True)
    for kind, text in _texts(packages, source).items():
        path, content = f"repodata/{kind}.xml", digest.Descriptor.of_bytes(text)
        records.append(_RECORD.format(kind=kind, packed=content, plain=content, path=path, epoch=1))
        (folder / path).write_bytes(text)
    (folder / "repodata/repomd.xml").write_text(_REPOMD.format(revision=1, records="".join(records)), encoding="utf-8")


def key_paths(name: str, others: int) -> list[str]:
    """Where the key files of a repository stand in it: the signer's, then those of `others` other keys."""
    first = _KEY_NAME.format(name=name)
    return [first, *(f"{first}-{number}" for number in range(1, others + 1))]


def pool_path(package: lock.Package) -> str:
    """Where a package stands in its repository."""
    return f"{_POOL}/{pathlib.PurePosixPath(package.path).name}"


def package_of(content: digest.Descriptor, source: store.Store) -> lock.Package:
    """What an RPM in the store is, by its header: for packages that were built here, and are in no archive.

    Raises:
        BuildchainError: it is no RPM.
    """
    fields = read_header(content, source)
    name, version, release = (fields[tag].text() for tag in (_NAME, _VERSION, _RELEASE))
    is_source = _SOURCE not in fields
    architecture = "src" if is_source else fields[_ARCHITECTURE].text()
    epoch = f"{fields[_EPOCH].number()}:" if _EPOCH in fields else ""
    origin = name if is_source else source_name(fields[_SOURCE].text())
    path = f"{name}-{version}-{release}.{architecture}.rpm"
    return lock.Package(name, architecture, f"{epoch}{version}-{release}", origin, "", path, content)


def licence_of(content: digest.Descriptor, source: store.Store) -> str:
    """The licence that an RPM in the store declares; empty if it declares none.

    Raises:
        BuildchainError: it is no RPM.
    """
    fields = read_header(content, source)
    return fields[_LICENCE].text() if _LICENCE in fields else ""


def read_header(content: digest.Descriptor, source: store.Store) -> header.Header:
    """The header of an RPM in the store.

    Raises:
        BuildchainError: it is no RPM.
    """
    try:
        with source.open(content.digest) as stream:
            fields = header.parse(header.read_front(stream).header)
    except header.DamagedError as error:
        raise errors.BuildchainError(f"package {content.digest}", str(error)) from error
    missing = {_NAME, _VERSION, _RELEASE, _ARCHITECTURE} - fields.keys()
    if missing:
        raise errors.BuildchainError(f"package {content.digest}", "has no name, version or architecture")
    return fields


def source_name(source_rpm: str) -> str:
    """The name in the file name of a source package, NAME-VERSION-RELEASE.src.rpm."""
    return source_rpm.rsplit("-", 2)[0]


def _texts(packages: Iterable[lock.Package], source: store.Store) -> dict[str, bytes]:
    """The metadata by kind: an element for each package, by name, version and architecture."""
    ordered = sorted(packages, key=lambda package: (package.name, package.architecture, package.version))
    # One after the other: the library keeps the interpreter's lock while it reads.
    dumped = [_dump(package, source) for package in ordered]
    texts = {}
    for number, (kind, (element, spaces)) in enumerate(_ELEMENTS.items()):
        chunks = "".join(each[number] for each in dumped)
        texts[kind] = f'{_HEAD}<{element} {spaces} packages="{len(dumped)}">\n{chunks}</{element}>\n'.encode()
    return texts


def _dump(package: lock.Package, source: store.Store) -> Sequence[str]:
    """The elements of one package, in the order of `_ELEMENTS`."""
    # Imported here: the library takes 30 ms to load, and most runs index nothing.
    import createrepo_c

    try:
        read: typing.Any = createrepo_c.package_from_rpm(str(source.path(package.content.digest)))
    except (OSError, createrepo_c.CreaterepoCError) as error:
        raise errors.BuildchainError(f"package {package.key}", f"its header cannot be read: {error}") from error
    if read.pkgId != package.content.digest.hex:
        raise errors.IntegrityError(package.key, "the store", package.content.digest.hex, read.pkgId)
    read.location_href = pool_path(package)
    # The file's time would be that of this store's copy.
    read.time_file = read.time_build
    return [str(chunk) for chunk in createrepo_c.xml_dump(read)]
