"""The lock: exactly what ships, by digest. Made by `./doit.sh lock`, committed, never edited by hand."""

import pathlib

from buildchain import errors
from buildchain.lock._compare import changes, check_covers, check_files, check_not_older, differences
from buildchain.lock._files import File, Wanted
from buildchain.lock._format import FORMAT, dump, parse
from buildchain.lock._values import (
    FILE_NAME,
    HINT,
    Blob,
    Image,
    ImageManifest,
    ImageRequest,
    Index,
    Lock,
    Package,
    PackageSet,
    Request,
)

__all__ = [
    "FILE_NAME",
    "FORMAT",
    "HINT",
    "Blob",
    "File",
    "Image",
    "ImageManifest",
    "ImageRequest",
    "Index",
    "Lock",
    "Package",
    "PackageSet",
    "Request",
    "Wanted",
    "changes",
    "check_covers",
    "check_files",
    "check_not_older",
    "differences",
    "dump",
    "load",
    "parse",
]


def load(path: pathlib.Path) -> Lock:
    """Read a lock.

    Raises:
        BuildchainError: there is none, or it is not one that `dump` wrote.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), HINT) from error
    try:
        return parse(content)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.BuildchainError(str(path), f"is not a lock of format {FORMAT} ({error!r:.200})", HINT) from error
