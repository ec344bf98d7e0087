"""Stage a tree: lay it out below a folder as hard links to the store.

Staging works in place, so that a folder that is mounted or served elsewhere keeps its identity: only what differs
is touched. What stands there is believed by its inode (a link to a store entry) or, for copies, by its bytes.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import shutil
import stat
from collections.abc import Iterator

from buildchain import digest, errors, store, tree


@dataclasses.dataclass(frozen=True, slots=True)
class Staged:
    """What staging did: files and bytes in the tree, and how many had to be copied instead of linked."""

    files: int
    size: int
    copied: int


def stage(contents: tree.Tree, source: store.Store, target: pathlib.Path) -> Staged:
    """Make `target` hold exactly the tree, after every store entry of it has been verified.

    Raises:
        IntegrityError: a store entry is damaged.
        BuildchainError: the folder cannot be written.
    """
    verify(contents, source)
    try:
        return _stage(contents, source, target)
    except OSError as error:
        place = error.filename or target
        hint = "Free space below BUILD_ROOT, or make it writable."
        raise errors.BuildchainError(str(place), error.strerror or str(error), hint) from error


def verify(contents: tree.Tree, source: store.Store) -> None:
    """Read every store entry of a tree once, and name all that are damaged.

    Raises:
        IntegrityError:  one entry is damaged.
        BuildchainError: several are, or some are missing or unreadable.
    """
    distinct = {file.content for file in contents.files()}
    largest_first = sorted(distinct, key=lambda content: (-content.size, content))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        problems = [
            problem for problem in pool.map(lambda content: _problem(source, content), largest_first) if problem
        ]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        why = "\n".join([f"{len(problems)} entries are damaged or missing", *(f"  {each.what}" for each in problems)])
        raise errors.BuildchainError(str(source.root), why, problems[0].hint)


def is_staged(contents: tree.Tree, source: store.Store, target: pathlib.Path) -> bool:
    """Whether `target` holds exactly the tree, judged as above; only copies are read."""
    expected = _expected(contents)
    try:
        found = {"": target.stat(), **dict(_walk(target))}
        return found.keys() == expected.keys() and all(
            _is_same(expected[path], status, source, target / path) and _has_mode(status, expected[path])
            for path, status in found.items()
        )
    except OSError:
        return False


def _problem(source: store.Store, content: digest.Descriptor) -> errors.BuildchainError | None:
    try:
        source.verify(content)
    except errors.BuildchainError as error:
        return error
    return None


def _stage(contents: tree.Tree, source: store.Store, target: pathlib.Path) -> Staged:
    target.mkdir(parents=True, exist_ok=True)
    expected = _expected(contents)
    kept = set()
    for path, status in sorted(_walk(target), reverse=True):
        if path in expected and _is_same(expected[path], status, source, target / path):
            kept.add(path)
        else:
            _remove(target / path)
    for directory in [target, *(target / path for path in contents.directories())]:
        directory.mkdir(exist_ok=True)
        directory.chmod(tree.DIRECTORY_MODE)
    copied = sum(_place(entry, source, target / entry.path) for entry in contents if entry.path not in kept)
    return Staged(len(contents), sum(file.content.size for file in contents.files()), copied)


def _expected(contents: tree.Tree) -> dict[str, tree.Entry | None]:
    """What stands at each path; None is a directory, of which the empty path is the first."""
    return {"": None, **dict.fromkeys(contents.directories()), **{entry.path: entry for entry in contents}}


def _place(entry: tree.Entry, source: store.Store, path: pathlib.Path) -> bool:
    if isinstance(entry, tree.File):
        return source.link(entry, path)
    path.symlink_to(entry.target)
    return False


def _walk(directory: pathlib.Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as found:
        for item in found:
            path = f"{prefix}{item.name}"
            yield path, item.stat(follow_symlinks=False)
            if item.is_dir(follow_symlinks=False):
                yield from _walk(pathlib.Path(item.path), f"{path}/")


def _is_same(entry: tree.Entry | None, status: os.stat_result, source: store.Store, path: pathlib.Path) -> bool:
    if entry is None:
        return stat.S_ISDIR(status.st_mode)
    if isinstance(entry, tree.Link):
        return stat.S_ISLNK(status.st_mode) and str(path.readlink()) == entry.target
    if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != entry.mode:
        return False
    if status.st_size != entry.content.size:
        return False
    try:
        held = source.path(entry.content.digest, is_program=entry.is_program).stat()
    except OSError:
        return False
    return os.path.samestat(held, status) or _has_bytes(path, entry.content)


def _has_mode(status: os.stat_result, entry: tree.Entry | None) -> bool:
    return entry is not None or stat.S_IMODE(status.st_mode) == tree.DIRECTORY_MODE


def _has_bytes(path: pathlib.Path, content: digest.Descriptor) -> bool:
    with path.open("rb") as stream:
        return digest.Digest.of_file(stream) == content.digest


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
