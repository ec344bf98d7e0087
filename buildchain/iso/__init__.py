"""ISO-9660: a tree and a store become one file, and its digest.

    write ──plan on stdin──▶ python -m buildchain.iso ──▶ layout (pycdlib: names, directories, extents)
      ▲                                                     image (the bytes, hashed while they are written)
      └────────one JSON line a percent, then the result─────┘

The image is written in a process of its own: pycdlib has to be shown a stopped clock, its records are freed by the
end of the process, and a task runner's threads keep their core. Whether a source's bytes have the digest that the
tree says is judged when they enter the store and when the tree is staged; here only their number is: a second hash
of every byte would cost more than the whole writing (tests/bench/bench_iso.py).
"""

import json
import pathlib
import sys
from collections.abc import Callable

from buildchain import command, digest, errors, store, tree

MAX_VOLUME_ID = 32
"""ECMA-119 section 8.4.7: the volume identifier has 32 bytes."""
LAST_SECOND = 5869583999
"""The end of the year 2155: ECMA-119 section 9.1.5 counts years from 1900 in one byte."""

Progress = Callable[[int, int], None]


def write(
    contents: tree.Tree,
    source: store.Store,
    *,
    volume_id: str,
    epoch: int,
    target: pathlib.Path,
    progress: Progress | None = None,
) -> digest.Descriptor:
    """Write the medium and return its digest and size; a file at `target` is replaced in one step, at the end.

    Arguments:
        volume_id: at most 32 ASCII characters.
        epoch:     every date on the medium, in seconds since 1970.
        progress:  called with the bytes written and their total, about once a percent.

    Raises:
        BuildchainError: the volume id or the date cannot stand on a medium, or a file cannot be read or written.
        IntegrityError: a file of the store has not the size that the tree says.
    """
    _check_volume_id(volume_id)
    _check_epoch(epoch)
    rows = tree.dump(contents)
    plan = {
        "store": str(source.root.absolute()),
        "target": str(target.absolute()),
        "volume_id": volume_id,
        "epoch": epoch,
        "tree_size": len(rows),
    }
    return _run(json.dumps(plan).encode() + b"\n" + rows, progress or _ignore)


def _run(plan: bytes, progress: Progress) -> digest.Descriptor:
    results: list[digest.Descriptor] = []

    def read_answer(line: bytes) -> None:
        kind, *fields = json.loads(line)
        if kind == "progress":
            progress(*fields)
        elif kind == "result":
            results.append(digest.Descriptor(digest.Digest(fields[0]), fields[1]))
        else:
            raise (errors.IntegrityError if kind == "integrity" else errors.BuildchainError)(*fields)

    argv = [sys.executable, "-P", "-m", "buildchain.iso"]
    environment = {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    try:
        command.stream(argv, read_answer, stdin=plan, environment=environment)
    except errors.ToolError as error:
        if error.exit_code is None or error.exit_code < 0:
            raise
        raise RuntimeError(error.output) from error
    return results[0]


def _check_volume_id(volume_id: str) -> None:
    reasons = []
    if not volume_id.isascii() or not volume_id.isprintable():
        reasons.append("has characters other than printable ASCII")
    if len(volume_id) > MAX_VOLUME_ID:
        reasons.append(f"has {len(volume_id)} characters, {MAX_VOLUME_ID} are the most")
    if not volume_id.strip():
        reasons.append("is empty")
    if reasons:
        hint = "It is made of PROJECT_NAME and VERSION: shorten or change one of the two."
        raise errors.BuildchainError(f"the volume id {volume_id!r}", " and ".join(reasons), hint)


def _check_epoch(epoch: int) -> None:
    if not 0 <= epoch <= LAST_SECOND:
        hint = "Set SOURCE_DATE_EPOCH to a time between 1970 and 2155."
        raise errors.BuildchainError(f"the date {epoch}", "cannot be written on an ISO-9660 medium", hint)


def _ignore(done: int, total: int) -> None:
    pass
