"""The content-addressed store: every byte the buildchain keeps, by digest.

    partial/<hex>.part   bytes on their way in: unverified, resumable, never read by a build
    sha256/<2>/<hex>     verified, 0444, complete: an entry exists only after its digest was checked
    sha256/<2>/<hex>.x   the same bytes with the mode of a program (0555): an inode has one mode

Several processes may use one store: entries appear by rename, and equal digest means equal bytes.
"""

import contextlib
import dataclasses
import errno
import fcntl
import os
import pathlib
import shutil
import tempfile
import typing
from collections.abc import Iterable, Iterator

from buildchain import digest, errors, tree

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES, errno.ENOTSUP}


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """A store below one folder, which need not exist yet."""

    root: pathlib.Path

    def path(self, content: digest.Digest, *, is_program: bool = False) -> pathlib.Path:
        """Where an entry stands, or would stand."""
        name = f"{content.hex}.x" if is_program else content.hex
        return self.root / "sha256" / content.hex[:2] / name

    def partial_path(self, content: digest.Digest) -> pathlib.Path:
        """Where bytes gather before they are verified; the folder exists afterwards."""
        directory = self.root / "partial"
        _make_directory(directory)
        return directory / f"{content.hex}.part"

    def has(self, content: digest.Descriptor) -> bool:
        """Whether an entry of this digest and size is there; its bytes are not read."""
        try:
            return self.path(content.digest).stat().st_size == content.size
        except OSError:
            return False

    def open(self, content: digest.Digest) -> typing.BinaryIO:
        """Open an entry for reading.

        Raises:
            BuildchainError: the entry is not there or cannot be read.
        """
        path = self.path(content)
        try:
            return path.open("rb")
        except OSError as error:
            hint = "Run ./doit.sh again: what is missing is pulled or built again."
            raise errors.BuildchainError(str(path), error.strerror or str(error), hint) from error

    def read(self, content: digest.Digest) -> bytes:
        """The bytes of a small entry."""
        with self.open(content) as stream:
            return stream.read()

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
        with path.open("rb") as source, self.writer() as writer:
            shutil.copyfileobj(source, writer.stream, digest.BLOCK_SIZE)
            writer.stream.seek(0)
            descriptor = digest.Descriptor(digest.Digest.of_file(writer.stream), writer.stream.tell())
            writer.commit(descriptor)
        return descriptor

    @contextlib.contextmanager
    def writer(self) -> Iterator["Writer"]:
        """A temporary file in the store's file system; without `commit` it vanishes."""
        directory = self.root / "partial"
        _make_directory(directory)
        handle, name = tempfile.mkstemp(prefix="new-", dir=directory)
        try:
            with os.fdopen(handle, "w+b") as stream:
                yield Writer(self, pathlib.Path(name), stream)
        finally:
            pathlib.Path(name).unlink(missing_ok=True)

    def adopt(self, path: pathlib.Path, content: digest.Descriptor) -> None:
        """Make a verified file of `partial/` an entry, by rename.

        The caller has checked the bytes: this is the last step of whoever did.
        """
        final = self.path(content.digest)
        _make_directory(final.parent)
        path.chmod(tree.FILE_MODE)
        path.replace(final)

    def verify(self, content: digest.Descriptor) -> None:
        """Read an entry and judge it; a damaged one is removed, so that the next run gets it anew.

        Raises:
            IntegrityError: the bytes are not those of the digest.
        """
        with self.open(content.digest) as stream:
            actual = digest.Descriptor(digest.Digest.of_file(stream), stream.tell())
        if actual == content:
            return
        self.remove(content.digest)
        raise errors.IntegrityError(
            str(self.path(content.digest)),
            "the store",
            f"{content.digest} of {content.size} bytes",
            f"{actual.digest} of {actual.size} bytes",
            "The damaged entry is removed; run ./doit.sh again to get it anew.",
        )

    def link(self, file: tree.File, target: pathlib.Path) -> bool:
        """Put a file of a tree at `target`, as a hard link where possible; tells whether it had to be copied.

        Raises:
            BuildchainError: the entry is missing, or the target's file system refuses the file.
        """
        source = self._with_mode(file) if file.is_program else self.path(file.content.digest)
        try:
            os.link(source, target)
            return False
        except FileNotFoundError:
            self.open(file.content.digest).close()
            raise
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
        _copy(source, target, file.mode)
        return True

    def remove(self, content: digest.Digest) -> None:
        """Forget an entry, if it is there."""
        for is_program in (False, True):
            self.path(content, is_program=is_program).unlink(missing_ok=True)

    def prune(self, keep: Iterable[digest.Digest]) -> int:
        """Delete every entry and partial file that is not in `keep`; returns the bytes freed."""
        kept = {content.hex for content in keep}
        freed = 0
        for path in [*self.root.glob("sha256/??/*"), *self.root.glob("partial/*")]:
            if path.name.split(".")[0] not in kept:
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
        return freed

    def _with_mode(self, file: tree.File) -> pathlib.Path:
        program = self.path(file.content.digest, is_program=True)
        if not program.exists():
            with self.writer() as writer:
                _copy(self.path(file.content.digest), writer.path, file.mode)
                writer.path.replace(program)
        return program


@dataclasses.dataclass(frozen=True, slots=True)
class Writer:
    """A file on its way into the store."""

    store: Store
    path: pathlib.Path
    stream: typing.BinaryIO

    def commit(self, content: digest.Descriptor) -> None:
        """Flush to disk and make the file the entry of `content`, whose digest the caller has computed."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.store.adopt(self.path, content)


def _make_directory(path: pathlib.Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Set STORE in .env to a folder that you may write to."
        raise errors.BuildchainError(str(path), error.strerror or str(error), hint) from error


def _copy(source: pathlib.Path, target: pathlib.Path, mode: int) -> None:
    """Copy bytes, sharing their blocks where the file system can (reflink)."""
    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            shutil.copyfileobj(reader, writer, digest.BLOCK_SIZE)
    target.chmod(mode)
