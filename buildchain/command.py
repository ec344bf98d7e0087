"""The only place that starts programs.

A program sees a fixed environment (no locale, no time zone, no configuration of the user), so that its output
depends on its arguments alone.
"""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from buildchain import errors

_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
_KEPT = ("PATH", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "LD_LIBRARY_PATH", *_PROXIES)
_FIXED = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

Argument = str | pathlib.Path


def run(
    argv: Sequence[Argument],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    directory: pathlib.Path | None = None,
    hint: str = "",
) -> bytes:
    """Run a program to its end and return what it wrote on its standard output.

    Arguments:
        argv:        program and arguments; the program is searched in PATH.
        stdin:       what the program reads on its standard input.
        environment: variables added to the fixed environment.
        hint:        what the user should do when the program fails.

    Raises:
        ToolError: the program is missing or its exit code is not 0.
    """
    texts = [str(argument) for argument in argv]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        done = subprocess.run(
            texts,
            input=stdin,
            capture_output=True,
            check=False,
            cwd=directory,
            env={**kept, **_FIXED, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise errors.ToolError(texts, "not found on this machine", hint or _install_hint(texts[0])) from error
    if done.returncode != 0:
        output = (done.stderr or done.stdout).decode(errors="replace")
        why = f"failed with exit code {done.returncode}: {' '.join(texts)}"
        raise errors.ToolError(texts, why, hint, exit_code=done.returncode, output=output)
    return done.stdout


def call(argv: Sequence[Argument], *, environment: Mapping[str, str] | None = None, hint: str = "") -> None:
    """Run a program for its effect in the user's own environment, its output going where ours goes.

    Raises:
        ToolError: the program is missing or its exit code is not 0.
    """
    texts = [str(argument) for argument in argv]
    try:
        done = subprocess.run(texts, check=False, env={**os.environ, **(environment or {})})
    except FileNotFoundError as error:
        raise errors.ToolError(texts, "not found on this machine", hint or _install_hint(texts[0])) from error
    if done.returncode != 0:
        why = f"failed with exit code {done.returncode}: {' '.join(texts)}"
        raise errors.ToolError(texts, why, hint, exit_code=done.returncode)


def is_installed(program: str) -> bool:
    """Whether a program of this name is in PATH."""
    return shutil.which(program) is not None


def _install_hint(program: str) -> str:
    return f"Install {program}, or run ./doit.sh deps to see what this machine lacks."
