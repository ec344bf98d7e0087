"""A folder for one step: its root unpacked, its inputs placed, its outputs taken."""

import contextlib
import os
import pathlib
import shutil
import stat
import tempfile
import typing
from collections.abc import Iterator, Mapping

from buildchain import command, digest, errors, store, tree
from buildchain.executor import _action

PLAIN_MODE = 0o644
PROGRAM_MODE = 0o755

UNPACK = ("tar", "--extract", "--no-same-owner", "--same-permissions", "--directory")
"""The folder follows, then `--file` and the archive."""

SCRIPT = 'umask 022 && cd "$0" && exec env -i "$@"'
"""What every room starts in its root: the working directory, then variables and argv as they are."""


def words(action: _action.Action) -> list[str]:
    """The command line inside the root."""
    variables = [f"{name}={value}" for name, value in action.variables.items()]
    return ["/bin/sh", "-c", SCRIPT, action.directory, *variables, *action.argv]


@contextlib.contextmanager
def open_folder(scratch: pathlib.Path) -> Iterator[pathlib.Path]:
    """A private folder that is gone afterwards."""
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="step-", dir=scratch))
    except OSError as error:
        hint = "Set BUILD_ROOT in .env to a folder that you may write to."
        raise errors.BuildchainError(str(scratch), error.strerror or str(error), hint) from error
    try:
        yield folder
    finally:
        _remove(folder)
        with contextlib.suppress(OSError):
            scratch.rmdir()


def unpack(action: _action.Action, source: store.Store, root: pathlib.Path) -> None:
    """Make the root of a step in an empty folder, without its inputs."""
    for layer in action.root:
        command.run([*UNPACK, root, "--file", source.path(layer.digest)])


def place(action: _action.Action, source: store.Store, directory: pathlib.Path) -> None:
    """Copy the inputs: a link to the store would let the step change the store."""
    directory.mkdir(parents=True, exist_ok=True)
    for folder in action.inputs.directories():
        (directory / folder).mkdir(exist_ok=True)
    for entry in action.inputs:
        path = directory / entry.path
        if isinstance(entry, tree.Link):
            path.symlink_to(entry.target)
        else:
            with source.open(entry.content.digest) as reader, path.open("xb") as writer:
                shutil.copyfileobj(reader, writer, digest.BLOCK_SIZE)
            path.chmod(PROGRAM_MODE if entry.is_program else PLAIN_MODE)
        os.utime(path, (action.epoch, action.epoch), follow_symlinks=False)
    for folder in ["", *action.inputs.directories()]:
        (directory / folder).chmod(tree.DIRECTORY_MODE)
    for folder in [*reversed(action.inputs.directories()), ""]:
        os.utime(directory / folder, (action.epoch, action.epoch))


def collect(action: _action.Action, directory: pathlib.Path, source: store.Store) -> dict[str, digest.Descriptor]:
    """Take the outputs of a step into the store.

    Raises:
        BuildchainError: one is missing, or is neither a file nor a folder: a link could lead to a file of the host's.
    """
    found: dict[str, digest.Descriptor] = {}
    for output in action.outputs:
        names = output.split("/")
        for depth in range(1, len(names)):
            if not stat.S_ISDIR(_mode(directory, "/".join(names[:depth]), action)):
                raise _refused(action, output)
        found |= _take(action, directory, output, source)
    return dict(sorted(found.items()))


def _take(
    action: _action.Action, directory: pathlib.Path, path: str, source: store.Store
) -> Mapping[str, digest.Descriptor]:
    mode = _mode(directory, path, action)
    if stat.S_ISREG(mode):
        return {path: source.add_file(directory / path)}
    if not stat.S_ISDIR(mode):
        raise _refused(action, path)
    found: dict[str, digest.Descriptor] = {}
    for item in sorted((directory / path).iterdir()):
        found |= _take(action, directory, f"{path}/{item.name}", source)
    return found


def _mode(directory: pathlib.Path, path: str, action: _action.Action) -> int:
    try:
        return (directory / path).lstat().st_mode
    except OSError as error:
        why = f"left no {path}, which it should make ({error.strerror})"
        raise errors.BuildchainError(action.name, why, "Its recipe does not make what it declares.") from error


def _refused(action: _action.Action, path: str) -> typing.NoReturn:
    why = f"{path} is no plain file or folder"
    raise errors.BuildchainError(action.name, why, "Its recipe must leave plain files only.")


def _remove(folder: pathlib.Path) -> None:
    """Delete a folder that may hold folders nobody may write to."""

    def again(function: typing.Callable[[str], object], path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            for each in (os.path.dirname(path), path):  # noqa: PTH120 — rmtree speaks in strings
                if stat.S_ISDIR(os.lstat(each).st_mode):
                    os.chmod(each, 0o700)  # noqa: PTH101
            if function is os.rmdir or function is os.unlink:
                function(path)
            else:
                shutil.rmtree(path, ignore_errors=True)

    shutil.rmtree(folder, onerror=again)
