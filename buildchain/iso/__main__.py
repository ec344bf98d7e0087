"""The process that writes one image: the plan on standard input, JSON lines on standard output.

Standard input stays open as long as whoever asked for the image is alive. When it ends, so does this process, with
the unfinished file removed.
"""

import contextlib
import gc
import json
import os
import pathlib
import sys
import threading
import typing

from buildchain import errors, store, tree
from buildchain.iso import image


def main() -> None:
    """Write the image that the plan asks for, and answer."""
    gc.disable()  # a hundred thousand records, none of them garbage: a third of the time
    plan = json.loads(sys.stdin.buffer.readline())
    contents = tree.load(sys.stdin.buffer.read(plan["tree_size"]))
    target = pathlib.Path(plan["target"])
    threading.Thread(target=_end_with_parent, args=(target,), daemon=True).start()
    try:
        result = image.write(
            contents,
            store.Store(pathlib.Path(plan["store"])),
            volume_id=plan["volume_id"],
            epoch=plan["epoch"],
            target=target,
            progress=_Percent(),
        )
    except errors.IntegrityError as error:
        _answer("integrity", error.subject, error.source, error.expected, error.actual, error.hint)
    except errors.BuildchainError as error:
        _answer("error", error.what, error.why, error.hint)
    else:
        _answer("result", result.digest.hex, result.size)
    os._exit(0)  # to free pycdlib's records one by one takes seconds


class _Percent:
    """Answers each percent once."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        percent = done * 100 // total
        if percent != self._last:
            self._last = percent
            _answer("progress", done, total)


def _answer(kind: str, *fields: str | int) -> None:
    sys.stdout.write(json.dumps([kind, *fields]) + "\n")
    sys.stdout.flush()


def _end_with_parent(target: pathlib.Path) -> typing.Never:
    sys.stdin.buffer.read(1)
    with contextlib.suppress(OSError):
        image.part_path(target).unlink()
    os._exit(1)


if __name__ == "__main__":
    main()
