"""Which source this is: commit, time and files, from git or from the record in a release tarball.

Nothing is taken from tags or branches: they differ between clones of one commit.
"""

import dataclasses
import hashlib
import io
import json
import pathlib
import tarfile

from buildchain import command, errors

RECORD = "SOURCE.json"
"""In a release tarball: commit, epoch and the SHA-256 of every file, checked before it is believed."""


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
        record = json.loads((root / RECORD).read_text())
    except (OSError, ValueError) as error:
        hint = "Build from a git clone or from a release tarball."
        raise errors.BuildchainError(str(root), f"neither .git nor a readable {RECORD} is here", hint) from error
    files: dict[str, str] = record["files"]
    is_dirty = any(_sha256(root / path) != expected for path, expected in files.items())
    return Source(str(record["commit"]), int(record["epoch"]), is_dirty, tuple(sorted(files)))


def record_of(root: pathlib.Path, source: Source) -> bytes:
    """The record that goes into a release tarball of a clean checkout."""
    files = {path: _sha256(root / path) for path in source.files}
    value = {"commit": source.commit, "epoch": source.epoch, "files": files}
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def tarball(root: pathlib.Path, source: Source, name: str) -> bytes:
    """All tracked files and the record below the folder `name`, as an uncompressed tar: a function of the commit."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in source.files:
            member = archive.gettarinfo(root / path, f"{name}/{path}")
            _normalise(member, source.epoch)
            with (root / path).open("rb") as stream:
                archive.addfile(member, stream if member.isreg() else None)
        record = record_of(root, source)
        member = tarfile.TarInfo(f"{name}/{RECORD}")
        member.size = len(record)
        _normalise(member, source.epoch)
        archive.addfile(member, io.BytesIO(record))
    return buffer.getvalue()


def _normalise(member: tarfile.TarInfo, epoch: int) -> None:
    member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
    member.mode = 0o755 if member.mode & 0o100 else 0o644


def _from_git(root: pathlib.Path, git: str) -> Source:
    # The checkout may belong to another user (a CI agent's): asking for its state runs nothing of it.
    prefix = [git, "-C", str(root), "-c", f"safe.directory={root}", "-c", "core.fsmonitor=false"]
    commit, epoch = command.run([*prefix, "log", "-1", "--format=%H %ct"]).decode().split()
    status = command.run([*prefix, "status", "--porcelain", "--untracked-files=no"])
    files = command.run([*prefix, "ls-files", "-z"]).decode(errors="surrogateescape")
    return Source(commit, int(epoch), bool(status), tuple(sorted(filter(None, files.split("\0")))))


def _sha256(path: pathlib.Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
