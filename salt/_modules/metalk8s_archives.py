"""The archives of MetalK8s on this host: ISO files or folders, listed in the pillar `metalk8s:archives`.

All that can be wrong with an archive is found before anything is mounted: the version is read out of the ISO file
itself.
"""

import pathlib
import re
import struct
import typing
from collections.abc import Callable, Mapping

from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]
# Not the function pillar.get: beyond templates, Salt puts asterisks in place of what that returns.
__pillar__: Mapping[str, typing.Any]

PROJECT = "MetalK8s"
_MOUNT_ROOT = "/srv/scality"

# The path stands in fstab(5), in units and in the configuration of nginx, each with other rules of quoting.
_PATH = re.compile(r"(/[A-Za-z0-9_@+][A-Za-z0-9._@+-]*)+")
# As the buildchain writes it; the text becomes a Salt environment, a folder and a prefix of image names.
_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,4}(-[0-9a-z]+(\.[0-9a-z]+)*)?", re.ASCII)

# ECMA-119: sections 6.1.2 (sectors), 8.4 (primary volume descriptor), 9.1 (directory record).
_SECTOR = 2048
_DESCRIPTOR_SECTOR = 16
_MAGIC = b"\x01CD001"
_ROOT_RECORD = 156
_PRODUCT_NAME = "product.txt"
_MAX_DIRECTORY = 1 << 20
_MAX_FILE = 1 << 16


def info(path: str) -> dict[str, str]:
    """What an archive is.

    CLI Example::

        salt-call metalk8s_archives.info /root/metalk8s.iso

    Returns:
        `version`; `environment`, its Salt environment; `location`, where its content stands once it is mounted;
        `iso`, the ISO file, or an empty text for a folder; `variable`, the environment as a variable of nginx.
    """
    is_folder, text = read(path, _PRODUCT_NAME)
    version = _version(path, text)
    environment = f"metalk8s-{version}"
    root = _pillar().get("archives_mount_root", _MOUNT_ROOT)
    return {
        "version": version,
        "environment": environment,
        "location": path if is_folder else f"{root}/{environment}",
        "iso": "" if is_folder else path,
        "variable": re.sub("[^A-Za-z0-9]", "_", environment),
    }


def read(path: str, name: str) -> tuple[bool, str]:
    """A small text in the root of an archive, before anything is mounted.

    Arguments:
        name: of letters, with at most one dot, so that every reader of ISO-9660 has it.

    Returns:
        whether the archive is a folder, and the text.

    CLI Example::

        salt-call metalk8s_archives.read /root/metalk8s.iso product.txt
    """
    if not _PATH.fullmatch(path):
        raise CommandExecutionError(f"archive {path!r}: is not an absolute path of letters, digits and . _ @ + - /")
    try:
        is_folder = pathlib.Path(path).is_dir()
        return is_folder, _read(pathlib.Path(path), name, is_folder=is_folder)
    except (OSError, ValueError, struct.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandExecutionError(f"archive {path}: {reason}") from error


def known() -> list[dict[str, str]]:
    """Every archive of this host, by environment; all that is wrong is told at once.

    CLI Example::

        salt-call metalk8s_archives.known
    """
    found: dict[str, dict[str, str]] = {}
    problems = []
    for path in dict.fromkeys(_pillar().get("archives", [])):
        try:
            archive = info(path)
        except CommandExecutionError as error:
            problems.append(str(error))
            continue
        other = found.setdefault(archive["environment"], archive)
        if other is not archive:
            problems.append(
                f"archive {path}: is version {archive['version']}, as is {other['iso'] or other['location']}"
            )
    if problems:
        raise CommandExecutionError("; ".join(problems))
    return [found[environment] for environment in sorted(found)]


def location(version: str) -> str:
    """Where the content of a version stands.

    CLI Example::

        salt-call metalk8s_archives.location 2.5.1
    """
    archives = {archive["version"]: archive["location"] for archive in known()}
    if version not in archives:
        there = ", ".join(archives) or "none"
        raise CommandExecutionError(f"version {version} is not among the archives of this host; there: {there}")
    return archives[version]


def left(*paths: str) -> str:
    """Which of these archives, of MetalK8s or of Solutions, are mounted though no configuration lists them.

    Returns:
        of each ISO, where it is mounted and its path, on a line.

    CLI Example::

        salt-call --local metalk8s_archives.left /root/metalk8s.iso
    """
    solutions = _pillar().get("solutions", {}).get("config", {})
    unlisted = set(paths) - {*_pillar().get("archives", []), *(solutions.get("archives") or [])}
    # Of an ISO that cannot be read any more, only the table of mounts knows what it was.
    table = __salt__["mount.fstab"]()
    rows = (f"{place} {row['device']}" for place, row in sorted(table.items()) if row.get("device") in unlisted)
    return "\n".join(rows)


def _pillar() -> Mapping[str, typing.Any]:
    found: Mapping[str, typing.Any] = __pillar__.get("metalk8s", {})
    return found


def _version(path: str, text: str) -> str:
    """The version in a product.txt, which is lines of `KEY=VALUE`."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if values.get("NAME") != PROJECT:
        raise CommandExecutionError(f"archive {path}: its product.txt has no line NAME={PROJECT}")
    version = values.get("VERSION", "")
    if not _VERSION.fullmatch(version):
        raise CommandExecutionError(f"archive {path}: {version!r} in its product.txt is not a version")
    return version


def _read(path: pathlib.Path, name: str, *, is_folder: bool) -> str:
    if is_folder:
        try:
            with (path / name).open("rb") as stream:
                content = stream.read(_MAX_FILE + 1)
        except FileNotFoundError:
            raise ValueError(f"it holds no {name}") from None
        if len(content) > _MAX_FILE:
            raise ValueError(f"its {name} has more than {_MAX_FILE} bytes")
        return content.decode()
    with path.open("rb") as stream:
        return _read_from_iso(stream, name)


def _read_from_iso(stream: typing.BinaryIO, name: str) -> str:
    wanted = f"{name.upper()};1".encode()
    stream.seek(_DESCRIPTOR_SECTOR * _SECTOR)
    descriptor = stream.read(_SECTOR)
    if not descriptor.startswith(_MAGIC) or len(descriptor) < _SECTOR:
        raise ValueError("it is neither a folder nor an ISO-9660 file")
    directory = _read_extent(stream, descriptor[_ROOT_RECORD:], _MAX_DIRECTORY)
    offset = 0
    while offset < len(directory):
        length = directory[offset]
        record = directory[offset : offset + length]
        if length == 0:  # Records do not cross sectors; the rest of this one is empty.
            offset = (offset // _SECTOR + 1) * _SECTOR
            continue
        if length < 34:
            raise ValueError("its root directory is damaged")
        if record[33 : 33 + record[32]].upper() == wanted:
            return _read_extent(stream, record, _MAX_FILE).decode()
        offset += length
    raise ValueError(f"it holds no {name}")


def _read_extent(stream: typing.BinaryIO, record: bytes, limit: int) -> bytes:
    sector, size = (int(struct.unpack_from("<I", record, place)[0]) for place in (2, 10))
    if size > limit:
        raise ValueError("its root directory is damaged, or a file in it is too large")
    stream.seek(sector * _SECTOR)
    content = stream.read(size)
    if len(content) < size:
        raise ValueError("it is cut short")
    return content
