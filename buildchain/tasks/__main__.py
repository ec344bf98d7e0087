"""Start doit: `python -m buildchain.tasks`, what ./doit.sh does.

Beside what `python -m doit` does, this refuses two runs in one checkout at once, and turns a mistake in a file of the
user's into a sentence and exit code 1.
"""

import contextlib
import fcntl
import os
import pathlib
import sys
import typing
import warnings
from collections.abc import Iterator, Sequence

import doit.cmd_base
import doit.doit_cmd

from buildchain import errors
from buildchain.tasks import context

_LOOKS_ONLY = {"list", "info", "help", "tabcompletion", "--help", "--version", "dumpdb"}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(argv: Sequence[str]) -> int:
    """Run doit on the tasks of this repository; returns its exit code."""
    os.chdir(context.ROOT)
    try:
        with contextlib.nullcontext() if _only_looks(argv) else _only_run():
            return _run_doit(argv)
    except errors.BuildchainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; what is finished is kept, run ./doit.sh again to go on\n")
        return _INTERRUPTED


def _run_doit(argv: Sequence[str]) -> int:
    # Whatever is wrong with the user's files is said now, by `main`: what a task creator raises, doit takes for a bug.
    here = context.load()
    _ = here.source
    import dodo

    loader = doit.cmd_base.ModuleTaskLoader(dodo)
    code: int = doit.doit_cmd.DoitMain(loader, config_filenames=()).run(list(argv))
    if not os.path.lexists(here.build_root):
        # After `clean` nothing of the build is left, not even the records of it.
        pathlib.Path(str(dodo.DOIT_CONFIG["dep_file"])).unlink(missing_ok=True)
        context.DOCUMENTS.unlink(missing_ok=True)
    elif not _only_looks(argv):
        context.remember()
    return code


def _only_looks(argv: Sequence[str]) -> bool:
    return bool(argv) and argv[0] in _LOOKS_ONLY


@contextlib.contextmanager
def _only_run() -> Iterator[None]:
    """Hold the checkout's lock: two builds would write the same files."""
    path = context.ROOT / ".doit.lock"
    try:
        stream: typing.IO[str] = path.open("w")
    except OSError as error:
        hint = "The checkout must be writable: clone it to a folder of yours."
        raise errors.BuildchainError(str(path), error.strerror or str(error), hint) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            hint = "Wait for it to end, or build in a clone of its own (the store may be shared)."
            raise errors.BuildchainError(str(context.ROOT), "another ./doit.sh runs in this checkout", hint) from error
        yield


if __name__ == "__main__":
    warnings.simplefilter("default")
    sys.exit(main(sys.argv[1:]))
