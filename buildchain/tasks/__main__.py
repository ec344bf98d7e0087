"""Start doit: `python -m buildchain.tasks`, what ./doit.sh does.

Beside what `python -m doit` does, this refuses two runs in one checkout at once, and turns a mistake in a file of the
user's into a sentence and exit code 1.
"""

import contextlib
import fcntl
import fnmatch
import io
import os
import pathlib
import signal
import sys
import typing
import warnings
from collections.abc import Iterator, Sequence

import doit.cmd_base
import doit.cmd_completion
import doit.doit_cmd
import doit.exceptions
import doit.task

from buildchain import errors, product
from buildchain.tasks import context

_LOOKS_ONLY = {"list", "info", "help", "tabcompletion", "--help", "--version", "dumpdb"}
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_PROGRAM = "doit.sh"
_REPORTERS = {"json": "buildchain.tasks.reporter:JsonReporter"}


class _RefusedError(BaseException):
    """A `BuildchainError`, its cause, on the way past doit, which takes every `Exception` here for a bug."""


class _Loader(doit.cmd_base.ModuleTaskLoader):  # type: ignore[misc]
    """Loads the tasks; what is wrong with a file of the user's gets to `main`."""

    def load_tasks(self, cmd: doit.cmd_base.Command, pos_args: list[str]) -> list[doit.task.Task]:
        try:
            tasks: list[doit.task.Task] = super().load_tasks(cmd, pos_args)
        except errors.BuildchainError as error:
            raise _RefusedError from error
        check_words(pos_args, tasks, is_info=cmd.get_name() == "info")
        return tasks


class _TabCompletion(doit.cmd_completion.TabCompletion):  # type: ignore[misc]
    """doit's completion scripts, calling the program as it was typed: ./doit.sh is in no PATH."""

    name = "tabcompletion"
    outstream: typing.TextIO

    def execute(self, opt_values: dict[str, typing.Any], pos_args: list[str]) -> None:
        target, self.outstream = self.outstream, io.StringIO()
        super().execute(opt_values, pos_args)
        typed = {"bash": "${COMP_WORDS[0]}", "zsh": "${words[1]}"}[opt_values["shell"]]
        target.write(self.outstream.getvalue().replace(f"$({_PROGRAM} ", f"$({typed} "))


class _Doit(doit.doit_cmd.DoitMain):  # type: ignore[misc]
    """doit under the name that the user types."""

    BIN_NAME = f"./{_PROGRAM}"
    DOIT_CMDS = tuple(
        _TabCompletion if command is doit.cmd_completion.TabCompletion else command
        for command in doit.doit_cmd.DoitMain.DOIT_CMDS
    )


def check_words(words: Sequence[str], tasks: Sequence[doit.task.Task], *, is_info: bool) -> None:
    """Refuse what doit would pass over, or stumble at: a pattern that no task matches, an unknown task for `info`.

    Raises:
        InvalidCommand: as doit does for any other word that it does not know.
    """
    known = {task.name: task for task in tasks}
    for word in words:
        if word in known and known[word].pos_arg:
            return  # what follows are the task's own words
        if ("*" in word and not fnmatch.filter(known, word)) or (is_info and word not in known):
            raise doit.exceptions.InvalidCommand(not_found=word)


def main(argv: Sequence[str]) -> int:
    """Run doit on the tasks of this repository; returns its exit code."""
    os.chdir(context.ROOT)
    if _only_talks(argv):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `list | head` is no mistake
    try:
        with contextlib.nullcontext() if _only_looks(argv) else _only_run():
            return _run_doit(argv)
    except errors.BuildchainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except _RefusedError as refused:
        sys.stderr.write(f"{refused.__cause__}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; what is finished is kept, run ./doit.sh again to go on\n")
        return _INTERRUPTED


def _run_doit(argv: Sequence[str]) -> int:
    # Whatever is wrong with the user's files is said now, by `main`: what a task creator raises, doit takes for a bug.
    here = context.load()
    _ = here.source, here.dockerfiles
    product.volume_id(here.settings.project_name, here.version)
    import dodo

    sys.argv[0] = _PROGRAM  # what doit calls itself in completion scripts
    code: int = _Doit(_Loader(dodo), config_filenames=(), extra_config={"REPORTER": _REPORTERS}).run(list(argv))
    if not os.path.lexists(here.build_root):
        # After `clean` nothing of the build is left, not even the records of it.
        pathlib.Path(str(dodo.DOIT_CONFIG["dep_file"])).unlink(missing_ok=True)
        context.DOCUMENTS.unlink(missing_ok=True)
    elif not _only_looks(argv):
        context.remember()
    return code


def _only_looks(argv: Sequence[str]) -> bool:
    return bool(argv) and argv[0] in _LOOKS_ONLY


def _only_talks(argv: Sequence[str]) -> bool:
    """Whether this run starts nothing that may end while we talk to it."""
    return _only_looks(argv) or (bool(argv) and argv[0] == "clean")


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
    # In a log as on a terminal: what is said first stands first, on both streams.
    typing.cast(io.TextIOWrapper, sys.stdout).reconfigure(line_buffering=True)
    sys.exit(main(sys.argv[1:]))
