"""The content-addressed store: every byte the buildchain keeps, by digest.

    partial/<hex>.part   bytes on their way in: unverified, resumable, never read by a build
    sha256/<2>/<hex>     verified, 0444, complete: an entry exists only after its digest was checked
    sha256/<2>/<hex>.x   the same bytes with the mode of a program (0555): an inode has one mode

Several processes may use one store: entries appear by rename, equal digest means equal bytes, and whoever writes
below `partial/` holds a lock on that file. A store that cannot be written serves what it holds.
"""

import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
import shutil
import stat
import tempfile
import typing
from collections.abc import Iterable, Iterator

from buildchain import digest, errors, tree

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP}
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_BAD = {errno.EROFS, errno.EIO}

_HINT_MISSING = "Run ./doit.sh again: what is missing or unreadable is pulled or built again."
_HINT_FULL = "Free some space, or set STORE in .env to a folder on a larger disk, and run the same command again."
_HINT_FOLDER = "Set STORE in .env to a folder that you may write to."
_HINT_READ = "Check the disk, delete this file and run ./doit.sh again."


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """A store below one folder, which need not exist yet."""

    root: pathlib.Path

    def path(self, content: digest.Digest, *, is_program: bool = False) -> pathlib.Path:
        """Where an entry stands, or would stand."""
        name = f"{content.hex}.x" if is_program else content.hex
        return self.root / "sha256" / content.hex[:2] / name

    def partial_path(self, content: digest.Digest) -> pathlib.Path:
        """Where bytes gather before they are verified; the folder need not exist."""
        return self.root / "partial" / f"{content.hex}.part"

    def has(self, content: digest.Descriptor) -> bool:
        """Whether a readable entry of this digest and size is there; its bytes are not read."""
        name = content.digest.hex
        path = (
            f"{self.root}/sha256/{name[:2]}/{name}"  # asked for each file in each run: `path` takes ten times as long
        )
        return _is_file(path, content.size) and os.access(path, os.R_OK)

    def open(self, content: digest.Digest) -> typing.BinaryIO:
        """Open an entry for reading.

        Raises:
            BuildchainError: the entry is not there or cannot be read.
        """
        path = self.path(content)
        try:
            return path.open("rb")
        except OSError as error:
            raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT_MISSING) from error

    def read(self, content: digest.Digest) -> bytes:
        """The bytes of a small entry, checked on the way.

        Raises:
            IntegrityError:  the bytes are not those of the digest; the entry is removed.
            BuildchainError: the entry is not there or cannot be read.
        """
        with self.open(content) as stream, _reading(self.path(content)):
            found = stream.read()
        actual = digest.Digest.of_bytes(found)
        if actual != content:
            self._refuse(content, str(content), str(actual))
        return found

    def add_bytes(self, content: bytes) -> digest.Descriptor:
        """Add bytes in memory; adding what is there already changes nothing."""
        descriptor = digest.Descriptor.of_bytes(content)
        if not self.has(descriptor):
            with self.writer() as writer:
                writer.stream.write(content)
                writer.commit(descriptor)
        return descriptor

    def add_file(self, path: pathlib.Path) -> digest.Descriptor:
        """Add a copy of a file."""
        try:
            source = path.open("rb")
        except OSError as error:
            raise errors.BuildchainError(str(path), error.strerror or str(error)) from error
        with source, self.writer() as writer:
            _clone(source, writer.stream)
            writer.stream.seek(0)
            descriptor = digest.Descriptor(digest.Digest.of_file(writer.stream), writer.stream.tell())
            if not self.has(descriptor):
                writer.commit(descriptor)
        return descriptor

    @contextlib.contextmanager
    def writer(self) -> Iterator["Writer"]:
        """A temporary file in the store's file system; without `commit` it vanishes.

        Raises:
            StoreError: the folder cannot be written, or its disk is full.
        """
        with _writing(self.root):
            path, stream = self._temporary()
        try:
            with stream, _writing(self.root):
                yield Writer(self, path, stream)
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def partial(self, content: digest.Digest) -> Iterator[typing.BinaryIO | None]:
        """The unfinished bytes of an entry, open for reading and writing and locked against other processes.

        None when another process holds the lock. The file stays for the next run; an empty one is deleted.

        Raises:
            StoreError: the folder cannot be written, or its disk is full.
        """
        path = self.partial_path(content)
        with _writing(self.root):
            _make_directory(path.parent)
            stream = _open_locked(path)
        if stream is None:
            yield None
            return
        with stream, _writing(self.root):
            try:
                yield stream
            finally:
                if os.fstat(stream.fileno()).st_size == 0 and _is_same(path, stream.fileno()):
                    path.unlink()

    def adopt(self, path: pathlib.Path, content: digest.Descriptor) -> None:
        """Make a verified file of `partial/`, already on disk, an entry, by rename.

        The caller has checked the bytes: this is the last step of whoever did.
        """
        final = self.path(content.digest)
        with _writing(self.root):
            _make_directory(final.parent)
            path.chmod(tree.FILE_MODE)
            path.replace(final)

    def verify(self, content: digest.Descriptor) -> None:
        """Read an entry and judge it; a damaged one is removed, so that the next run gets it anew.

        Raises:
            IntegrityError:  the bytes are not those of the digest.
            BuildchainError: the entry is not there or cannot be read.
        """
        with self.open(content.digest) as stream:
            actual = _descriptor(stream)
        if actual == content:
            actual = self._descriptor_of_program(content)
        if actual != content:
            self._refuse(content.digest, _text(content), _text(actual) if actual else "unreadable bytes")

    def link(self, file: tree.File, target: pathlib.Path) -> bool:
        """Put a file of a tree at `target`, as a hard link where possible; tells whether it had to be copied.

        Raises:
            BuildchainError: the entry is missing or unreadable, or `target` cannot be written.
        """
        source = self._inode(file)
        if source is not None:
            try:
                os.link(source, target)
                return False
            except OSError as error:
                if error.errno not in _CANNOT_LINK:
                    raise _refused(target, error) from error
        self._copy(file, target)
        return True

    def remove(self, content: digest.Digest) -> None:
        """Forget an entry, if it is there."""
        for is_program in (False, True):
            with _writing(self.root):
                self.path(content, is_program=is_program).unlink(missing_ok=True)

    def prune(self, keep: Iterable[digest.Digest]) -> int:
        """Delete every entry and partial file that is not in `keep`; returns the bytes freed.

        A partial file that a living process writes stays.
        """
        kept = {content.hex for content in keep}
        freed = 0
        with _writing(self.root):
            for path in self.root.glob("sha256/??/*"):
                if path.name.split(".")[0] not in kept:
                    freed += path.lstat().st_size
                    path.unlink(missing_ok=True)
            for path in self.root.glob("partial/*"):
                if path.name.split(".")[0] not in kept:
                    freed += _unlink_unlocked(path)
        return freed

    def _temporary(self) -> tuple[pathlib.Path, typing.BinaryIO]:
        directory = self.root / "partial"
        _make_directory(directory)
        while True:
            handle, name = tempfile.mkstemp(prefix="new-", dir=directory)
            stream = os.fdopen(handle, "w+b")
            fcntl.flock(stream, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:  # else `prune` came between the two calls
                return pathlib.Path(name), stream
            stream.close()

    def _descriptor_of_program(self, content: digest.Descriptor) -> digest.Descriptor | None:
        try:
            with self.path(content.digest, is_program=True).open("rb") as stream:
                return _descriptor(stream)
        except FileNotFoundError:
            return content
        except OSError:
            return None

    def _inode(self, file: tree.File) -> pathlib.Path | None:
        """A whole regular file with the right mode, as it may stand in a tree; None when only a copy will do."""
        path = self.path(file.content.digest, is_program=file.is_program)
        try:
            if file.is_program and not _is_file(path, file.content.size):
                self._make_program(file, path)
            if not _is_file(path, file.content.size):
                return None
            if stat.S_IMODE(path.lstat().st_mode) != file.mode:
                path.chmod(file.mode)
        except (OSError, errors.StoreError):  # not ours, or a read-only store
            return None
        return path

    def _make_program(self, file: tree.File, path: pathlib.Path) -> None:
        with self.open(file.content.digest) as reader, self.writer() as writer:
            _clone(reader, writer.stream)
            writer.flush()
            writer.path.chmod(file.mode)
            writer.path.replace(path)

    def _copy(self, file: tree.File, target: pathlib.Path) -> None:
        with self.open(file.content.digest) as reader:
            try:
                with target.open("xb") as writer:
                    _clone(reader, writer)
                    os.fchmod(writer.fileno(), file.mode)
            except FileExistsError as error:
                raise _refused(target, error) from error
            except OSError as error:
                target.unlink(missing_ok=True)
                raise _refused(target, error) from error

    def _refuse(self, content: digest.Digest, expected: str, actual: str) -> typing.NoReturn:
        hint = "The damaged entry is removed; run ./doit.sh again to get it anew."
        try:
            self.remove(content)
        except errors.StoreError as error:
            hint = f"It cannot be removed ({error.why}): ask its owner, or set STORE in .env to a folder of your own."
        raise errors.IntegrityError(str(self.path(content)), "the store", expected, actual, hint)


@dataclasses.dataclass(frozen=True, slots=True)
class Writer:
    """A file on its way into the store."""

    store: Store
    path: pathlib.Path
    stream: typing.BinaryIO

    def flush(self) -> None:
        """Bring everything written to the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())

    def commit(self, content: digest.Descriptor) -> None:
        """Flush to disk and make the file the entry of `content`, whose digest the caller has computed."""
        self.flush()
        self.store.adopt(self.path, content)


def _is_file(path: pathlib.Path | str, size: int) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def _text(content: digest.Descriptor) -> str:
    return f"{content.digest} of {content.size} bytes"


def _descriptor(stream: typing.BinaryIO) -> digest.Descriptor | None:
    """What a file really holds; None when the disk does not give it."""
    try:
        return digest.Descriptor(digest.Digest.of_file(stream), stream.tell())
    except OSError:
        return None


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT_READ) from error


@contextlib.contextmanager
def _writing(root: pathlib.Path) -> Iterator[None]:
    """Turn what a disk or its owner refuses into an error about the store's folder."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise errors.StoreError(str(root), f"the disk is full ({error.strerror})", _HINT_FULL) from error
        is_ours = str(error.filename).startswith(str(root)) if error.filename else error.errno in _DISK_BAD
        if is_ours:
            raise errors.StoreError(str(error.filename or root), str(error.strerror), _HINT_FOLDER) from error
        raise


def _refused(target: pathlib.Path, error: OSError) -> errors.BuildchainError:
    hint = _HINT_FULL if error.errno in _DISK_FULL else ""
    return errors.BuildchainError(str(target), error.strerror or str(error), hint)


def _make_directory(path: pathlib.Path) -> None:
    """Make a folder and its parents with mode 0755, whatever the umask; a folder that is there keeps its mode."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    try:
        path.mkdir()
    except FileExistsError as error:
        if not path.is_dir():
            raise errors.StoreError(str(path), "is not a folder", _HINT_FOLDER) from error
    else:
        path.chmod(tree.DIRECTORY_MODE)


def _open_locked(path: pathlib.Path) -> typing.BinaryIO | None:
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
        if _is_same(path, handle):
            return typing.cast(typing.BinaryIO, stream)
        stream.close()


def _is_same(path: pathlib.Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _unlink_unlocked(path: pathlib.Path) -> int:
    """Delete a partial file that no process writes; returns the bytes freed."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return os.fstat(stream.fileno()).st_size
    except (BlockingIOError, FileNotFoundError):
        return 0


def _clone(reader: typing.BinaryIO, writer: typing.BinaryIO) -> None:
    """Copy bytes, sharing their blocks where the file system can (reflink)."""
    try:
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except OSError:
        shutil.copyfileobj(reader, writer, digest.BLOCK_SIZE)
