"""Repositories of packages that nobody has: what hosts hold already, as metadata for the solver alone."""

import pathlib
import typing
from collections.abc import Sequence

from buildchain import bases, digest

_FLAGS = {"=": "EQ", ">=": "GE", "<=": "LE", ">": "GT", "<": "LT"}


def write(packages: Sequence[bases.Package], folder: pathlib.Path) -> None:
    """Make `folder` a repository that offers the packages of a base."""
    import createrepo_c

    writer: typing.Any = createrepo_c.RepositoryWriter(str(folder), compression=createrepo_c.GZ_COMPRESSION)
    writer.set_num_of_pkgs(len(packages))
    for each in packages:
        writer.add_pkg(_package(each))
    writer.finish()


def _package(package: bases.Package) -> object:
    import createrepo_c

    made: typing.Any = createrepo_c.Package()
    made.name, made.arch = package.name, package.architecture
    made.epoch, made.version, made.release = split(package.version)
    made.pkgId = digest.Digest.of_bytes(f"{package.name} {package.version}".encode()).hex
    made.checksum_type = "sha256"
    made.location_href = f"{package.name}.rpm"
    made.summary = made.description = made.rpm_license = "-"
    made.rpm_sourcerpm = f"{package.name}-{package.version}.src.rpm"
    own = f"{package.name} = {package.version}"
    made.provides = [_dependency(each) for each in (own, *package.provides) if not each.startswith("/")]
    made.files = [("", *_folder_and_name(each), "") for each in package.provides if each.startswith("/")]
    return made


def split(version: str) -> tuple[str, str, str]:
    """[EPOCH:]VERSION[-RELEASE] in its parts."""
    epoch, _, rest = version.rpartition(":")
    number, _, release = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return epoch or "0", number, release


def _dependency(text: str) -> tuple[str, str | None, str | None, str | None, str | None, bool]:
    words = text.rsplit(" ", 2)
    if len(words) == 3 and words[1] in _FLAGS:
        epoch, number, release = split(words[2])
        return words[0], _FLAGS[words[1]], epoch, number, release or None, False
    return text, None, None, None, None, False


def _folder_and_name(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return f"{folder}/", name
