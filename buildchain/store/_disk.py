"""What the store asks of a disk: locks, folders, copies; and what a disk refuses, as errors about the store."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import stat
import typing
from collections.abc import Iterator

from buildchain import digest, errors, tree

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BAD = {errno.EROFS, errno.EIO}

HINT_FULL = "Free some space, or set STORE in .env to a folder on a larger disk, and run the same command again."
_HINT_FOLDER = "Set STORE in .env to a folder that you may write to."
_HINT_NO_FOLDER = "A file belongs there: remove this folder, and run the same command again."
_HINT_READ = "Check the disk, delete this file and run ./doit.sh again."


def is_file(path: pathlib.Path | str, size: int) -> bool:
    """Whether a regular file of this size stands there."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def text(content: digest.Descriptor) -> str:
    """Digest and size for people."""
    return f"{content.digest} of {content.size} bytes"


def descriptor(stream: typing.BinaryIO) -> digest.Descriptor | None:
    """What a file really holds; None when the disk does not give it."""
    try:
        return digest.Descriptor(digest.Digest.of_file(stream), stream.tell())
    except OSError:
        return None


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
    """Turn what a disk cannot read into an error about a file."""
    try:
        yield
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT_READ) from error


@contextlib.contextmanager
def writing(root: pathlib.Path) -> Iterator[None]:
    """Turn what a disk or its owner refuses into an error about the store's folder."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise errors.StoreError(str(root), f"the disk is full ({error.strerror})", HINT_FULL) from error
        if isinstance(error, IsADirectoryError) and error.filename2:
            raise errors.StoreError(str(error.filename2), "is a folder", _HINT_NO_FOLDER) from error
        is_ours = str(error.filename).startswith(str(root)) if error.filename else error.errno in _BAD
        if is_ours:
            raise errors.StoreError(str(error.filename or root), str(error.strerror), _HINT_FOLDER) from error
        raise


def refused(target: pathlib.Path, error: OSError) -> errors.BuildchainError:
    """The error about a file outside of the store that cannot be written."""
    hint = HINT_FULL if error.errno in FULL else ""
    return errors.BuildchainError(str(target), error.strerror or str(error), hint)


def make_directory(path: pathlib.Path) -> None:
    """Make a folder and its parents with mode 0755, whatever the umask; a folder that is there keeps its mode."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError as error:
        if not path.is_dir():
            raise errors.StoreError(str(path), "is not a folder", _HINT_FOLDER) from error
    else:
        path.chmod(tree.DIRECTORY_MODE)


def open_locked(path: pathlib.Path) -> typing.BinaryIO | None:
    """Open a partial file, made if need be, and lock it; None when another process has the lock.

    Its last holder may have renamed or deleted it after it was opened here: a lock counts only while the name still
    leads to the file.
    """
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.ELOOP) or not os.path.lexists(path):
                raise
            path.unlink()  # not ours, or no file at all: of no use
            continue
        stream = os.fdopen(handle, "r+b", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        if is_same(path, handle):
            return typing.cast(typing.BinaryIO, stream)
        stream.close()


def is_same(path: pathlib.Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def unlink(path: pathlib.Path, *, is_dry: bool) -> int:
    """Delete a file; returns the bytes that are, or with `is_dry` would be, freed."""
    try:
        found = path.lstat()
        if not is_dry:
            path.unlink()
    except FileNotFoundError:  # another process was faster
        return 0
    return found.st_size if found.st_nlink == 1 else 0


def unlink_unlocked(path: pathlib.Path, *, is_dry: bool) -> int:
    """The same for a partial file, which stays if a process writes it."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return unlink(path, is_dry=is_dry)
    except (BlockingIOError, FileNotFoundError):
        return 0


def clone(reader: typing.BinaryIO, writer: typing.BinaryIO) -> None:
    """Copy bytes, sharing their blocks where the file system can (reflink)."""
    try:
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError:
        shutil.copyfileobj(reader, writer, digest.BLOCK_SIZE)
