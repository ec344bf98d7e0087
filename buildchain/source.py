"""Which source this is: commit, time and files, from git or from the record in a release tarball.

Nothing is taken from tags or branches: they differ between clones of one commit.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import re
import stat
import tarfile

from buildchain import command, errors

RECORD = "SOURCE.json"
"""In a release tarball: commit, epoch and the SHA-256 of every file, checked before it is believed."""

_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """The state of a checkout; `files` are its tracked files, sorted."""

    commit: str
    epoch: int
    is_dirty: bool
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        """The full commit id, with `-dirty` after it if the files are not those of the commit."""
        return f"{self.commit}-dirty" if self.is_dirty else self.commit


def identify(root: pathlib.Path, git: str) -> Source:
    """Find out which source stands in `root`.

    Arguments:
        git: name or path of the git program.

    Raises:
        BuildchainError: there is neither a git checkout nor a record.
    """
    if (root / ".git").exists():
        return _from_git(root, git)
    try:
        record = json.loads((root / RECORD).read_bytes())
        files = {str(path): str(content) for path, content in record["files"].items()}
        commit, epoch = _COMMIT.fullmatch(record["commit"])[0], int(record["epoch"])  # type: ignore[index]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        hint = "Build from a git clone or from a release tarball."
        raise errors.BuildchainError(str(root), f"neither .git nor a readable {RECORD} is here", hint) from error
    is_dirty = any(_fingerprint(root / path) != expected for path, expected in files.items())
    return Source(commit, epoch, is_dirty, tuple(sorted(files)))


def record_of(root: pathlib.Path, source: Source) -> bytes:
    """The record that goes into a release tarball of a clean checkout."""
    files = {path: _fingerprint(root / path) for path in source.files}
    value = {"commit": source.commit, "epoch": source.epoch, "files": files}
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def tarball(root: pathlib.Path, source: Source, name: str) -> bytes:
    """All tracked files and the record below the folder `name`, as an uncompressed tar: a function of the commit."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in source.files:
            _add(archive, f"{name}/{path}", root / path, source.epoch)
        record = record_of(root, source)
        member = _member(f"{name}/{RECORD}", source.epoch)
        member.size = len(record)
        archive.addfile(member, io.BytesIO(record))
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, path: pathlib.Path, epoch: int) -> None:
    """Add a file or link; of its state in this checkout only what git tracks counts."""
    member = _member(name, epoch)
    if path.is_symlink():
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        archive.addfile(member)
        return
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        archive.addfile(member, stream)


def _member(name: str, epoch: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mtime = epoch
    return member


def _from_git(root: pathlib.Path, git: str) -> Source:
    # The checkout may belong to another user (a CI agent's), who is trusted: this very program came out of it. It may
    # also be read-only, and the builder's own git configuration must not change what counts as a difference.
    prefix = [git, "--no-optional-locks", "-C", str(root), "-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

    hint = "Build from a complete git clone or from a release tarball."
    if not command.is_installed(git):
        hint = "Install git, or name it in GIT_BIN."

    def ask(*arguments: str) -> bytes:
        return command.run([*prefix, *arguments], environment=environment, hint=hint)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        commit = pool.submit(ask, "log", "-1", "--format=%H %ct")
        status = pool.submit(ask, "status", "--porcelain", "--untracked-files=no")
        files = pool.submit(ask, "ls-files", "-z")
        name, epoch = commit.result().decode().split()
        paths = files.result().decode(errors="surrogateescape").split("\0")
        return Source(name, int(epoch), bool(status.result()), tuple(sorted(filter(None, paths))))


def _fingerprint(path: pathlib.Path) -> str:
    """SHA-256 of a file's bytes, or of a link's target; empty if neither is there."""
    try:
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return ""
    return hashlib.sha256(content).hexdigest()
