"""The store itself: what is done with an entry."""

import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
import stat
import tempfile
import typing
from collections.abc import Iterable, Iterator

from buildchain import digest, errors, tree
from buildchain.store import _disk

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP}
_HINT_MISSING = "Run ./doit.sh again: what is missing or unreadable is pulled or built again."


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
        path = self._name(content.digest)
        return _disk.is_file(path, content.size) and os.access(path, os.R_OK)

    def open(self, content: digest.Digest, *, is_buffered: bool = True) -> typing.BinaryIO:
        """Open an entry for reading.

        Arguments:
            is_buffered: for many small reads; a few large ones are faster without.

        Raises:
            BuildchainError: the entry is not there or cannot be read.
        """
        path = self._name(content)
        try:
            return open(path, "rb", -1 if is_buffered else 0)  # noqa: PTH123 - asked for each package; caller closes
        except OSError as error:
            raise errors.BuildchainError(path, error.strerror or str(error), _HINT_MISSING) from error

    def _name(self, content: digest.Digest) -> str:
        """As `path`, which takes ten times as long."""
        return f"{self.root}/sha256/{content.hex[:2]}/{content.hex}"

    def read(self, content: digest.Digest) -> bytes:
        """The bytes of a small entry, checked on the way.

        Raises:
            IntegrityError:  the bytes are not those of the digest; the entry is removed.
            BuildchainError: the entry is not there or cannot be read.
        """
        with self.open(content) as stream, _disk.reading(self.path(content)):
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
            _disk.clone(source, writer.stream)
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
        with _disk.writing(self.root):
            path, stream = self._temporary()
        try:
            with stream, _disk.writing(self.root):
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
        with _disk.writing(self.root):
            _disk.make_directory(path.parent)
            stream = _disk.open_locked(path)
        if stream is None:
            yield None
            return
        with stream, _disk.writing(self.root):
            try:
                yield stream
            finally:
                if os.fstat(stream.fileno()).st_size == 0 and _disk.is_same(path, stream.fileno()):
                    path.unlink()

    def adopt(self, path: pathlib.Path, content: digest.Descriptor) -> None:
        """Make a verified file of `partial/`, already on disk, an entry, by rename.

        The caller has checked the bytes: this is the last step of whoever did.
        """
        final = self.path(content.digest)
        with _disk.writing(self.root):
            _disk.make_directory(final.parent)
            path.chmod(tree.FILE_MODE)
            path.replace(final)

    def verify(self, content: digest.Descriptor) -> None:
        """Read an entry and judge it; a damaged one is removed, so that the next run gets it anew.

        Raises:
            IntegrityError:  the bytes are not those of the digest.
            BuildchainError: the entry is not there or cannot be read.
        """
        with self.open(content.digest) as stream:
            actual = _disk.descriptor(stream)
        if actual == content:
            actual = self._descriptor_of_program(content)
        if actual != content:
            self._refuse(content.digest, _disk.text(content), _disk.text(actual) if actual else "unreadable bytes")

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
                    raise _disk.refused(target, error) from error
        self._copy(file, target)
        return True

    def remove(self, content: digest.Digest) -> None:
        """Forget an entry, if it is there."""
        for is_program in (False, True):
            with _disk.writing(self.root):
                self.path(content, is_program=is_program).unlink(missing_ok=True)

    def prune(self, keep: Iterable[digest.Digest], *, is_dry: bool = False) -> int:
        """Delete every entry and partial file that is not in `keep`, or with `is_dry` only say what that would free.

        A partial file that a living process writes stays. Returns the bytes freed: what has a link elsewhere, in a
        staged tree, takes as much room as before.
        """
        kept = {content.hex for content in keep}
        freed = 0
        with _disk.writing(self.root):
            for path in self.root.glob("sha256/??/*"):
                if path.name.split(".")[0] not in kept:
                    freed += _disk.unlink(path, is_dry=is_dry)
            for path in self.root.glob("partial/*"):
                if path.name.split(".")[0] not in kept:
                    freed += _disk.unlink_unlocked(path, is_dry=is_dry)
        return freed

    def read_note(self, name: str, *, is_own: bool = False) -> bytes:
        """What was noted under a name; nothing, if there is no note or it cannot be read.

        A note is only a claim. With `is_own` one of another user is as good as none: anybody may write to a shared
        store.
        """
        try:
            with self._note_path(name).open("rb") as stream:
                is_foreign = is_own and os.fstat(stream.fileno()).st_uid != os.geteuid()
                return b"" if is_foreign else stream.read()
        except OSError:
            return b""

    def write_note(self, name: str, content: bytes) -> None:
        """Note something that costs time to find out again; a store that cannot be written keeps no notes."""
        with contextlib.suppress(errors.StoreError), self.writer() as writer:
            writer.stream.write(content)
            writer.flush()
            with _disk.writing(self.root):
                _disk.make_directory(self._note_path(name).parent)
                writer.path.chmod(tree.FILE_MODE)
                writer.path.replace(self._note_path(name))

    def _note_path(self, name: str) -> pathlib.Path:
        return self.root / "notes" / name

    def _temporary(self) -> tuple[pathlib.Path, typing.BinaryIO]:
        directory = self.root / "partial"
        _disk.make_directory(directory)
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
                return _disk.descriptor(stream)
        except FileNotFoundError:
            return content
        except OSError:
            return None

    def _inode(self, file: tree.File) -> pathlib.Path | None:
        """A whole regular file with the right mode, as it may stand in a tree; None when only a copy will do."""
        path = self.path(file.content.digest, is_program=file.is_program)
        try:
            if file.is_program and not _disk.is_file(path, file.content.size):
                self._make_program(file, path)
            if not _disk.is_file(path, file.content.size):
                return None
            if stat.S_IMODE(path.lstat().st_mode) != file.mode:
                path.chmod(file.mode)
        except (OSError, errors.StoreError):  # not ours, or a read-only store
            return None
        return path

    def _make_program(self, file: tree.File, path: pathlib.Path) -> None:
        with self.open(file.content.digest) as reader, self.writer() as writer:
            _disk.clone(reader, writer.stream)
            writer.flush()
            writer.path.chmod(file.mode)
            writer.path.replace(path)

    def _copy(self, file: tree.File, target: pathlib.Path) -> None:
        with self.open(file.content.digest) as reader:
            try:
                with target.open("xb") as writer:
                    _disk.clone(reader, writer)
                    os.fchmod(writer.fileno(), file.mode)
            except FileExistsError as error:
                raise _disk.refused(target, error) from error
            except OSError as error:
                target.unlink(missing_ok=True)
                raise _disk.refused(target, error) from error

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
