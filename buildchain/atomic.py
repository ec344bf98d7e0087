"""Files that are whole or not there."""

import os
import pathlib

from buildchain import errors


def write(path: pathlib.Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        BuildchainError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        hint = "Free space there, or make it writable."
        raise errors.BuildchainError(str(path), error.strerror or str(error), hint) from error
    finally:
        if path.parent.is_dir():
            temporary.unlink(missing_ok=True)
