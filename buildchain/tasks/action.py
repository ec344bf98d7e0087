"""The one wrapper around what tasks do, and the small pieces task dictionaries share."""

import functools
import os
import pathlib
import shutil
import sys
import typing
from collections.abc import Callable

import doit.exceptions

from buildchain import atomic, errors

Task = dict[str, typing.Any]

_VERB_WIDTH = 14

write = atomic.write

_Returned = dict[str, typing.Any] | bool | None


def run(function: Callable[..., _Returned], *arguments: object) -> tuple[Callable[..., object], list[object]]:
    """An action that calls a function; a `BuildchainError` fails the task, any other exception is a bug."""

    @functools.wraps(function)
    def call(*given: object, **keywords: object) -> object:
        try:
            return function(*given, **keywords)
        except errors.BuildchainError as error:
            return doit.exceptions.TaskFailed(str(error))

    return call, list(arguments)


def title(verb: str, subject: str | pathlib.Path) -> Callable[[object], str]:
    """What the reporter prints for a task: an aligned verb and a path below the current folder."""
    text = str(subject)
    if isinstance(subject, pathlib.Path) and subject.is_relative_to(pathlib.Path.cwd()):
        text = str(subject.relative_to(pathlib.Path.cwd()))
    return lambda _task: f"{verb:<{_VERB_WIDTH}} {text}"


def removal(*paths: pathlib.Path) -> list[Callable[[bool], None]]:
    """`clean` for outputs: removes files and whole folders, and says so; with --dry-run it only says so."""

    def remove(dryrun: bool) -> None:
        for path in paths:
            if not os.path.lexists(path):
                continue
            sys.stdout.write(f"removing {path}\n")
            if dryrun:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    return [remove]


def removal_if_empty(path: pathlib.Path) -> list[Callable[[bool], None]]:
    """`clean` for a folder that others put their outputs in."""

    def remove(dryrun: bool) -> None:
        if not dryrun and path.is_dir() and not any(path.iterdir()):
            path.rmdir()

    return [remove]
