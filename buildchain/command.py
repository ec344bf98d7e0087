"""The only place that starts programs.

A program sees a fixed environment (no locale, no time zone, no configuration of the user), so that its output
depends on its arguments alone.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

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
    is_users_own: bool = False,
    hint: str = "",
) -> bytes:
    """Run a program to its end and return what it wrote on its standard output.

    Arguments:
        argv:        program and arguments; the program is searched in PATH.
        stdin:       what the program reads on its standard input.
        environment: variables added to the fixed environment.
        is_users_own: start from the user's own environment instead: what it says is nobody's input but the user's.
        hint:        what the user should do when the program fails.

    Raises:
        ToolError: the program is missing or its exit code is not 0.
    """
    texts = [str(argument) for argument in argv]
    with _starting(texts, hint):
        done = subprocess.run(
            texts,
            input=stdin,
            capture_output=True,
            check=False,
            cwd=directory,
            env={**os.environ, **(environment or {})} if is_users_own else _environment(environment),
        )
    if done.returncode != 0:
        # apt explains itself on the one, fails on the other.
        raise _failure(texts, done.returncode, done.stdout + done.stderr, hint)
    return done.stdout


def call(argv: Sequence[Argument], *, environment: Mapping[str, str] | None = None, hint: str = "") -> None:
    """Run a program for its effect in the user's own environment, its output going where ours goes.

    Raises:
        ToolError: the program is missing or its exit code is not 0.
    """
    texts = [str(argument) for argument in argv]
    with _starting(texts, hint):
        done = subprocess.run(texts, check=False, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        raise _failure(texts, done.returncode, b"", hint)


def stream(
    argv: Sequence[Argument],
    on_line: Callable[[bytes], None],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    hint: str = "",
) -> None:
    """Run a program to its end and hand over each line of its standard output as it comes.

    The program's standard input stays open after `stdin`: its end tells the program that nobody waits any more,
    and it has to end as well. That is what happens when `on_line` raises and when this process is killed. A Ctrl-C
    reaches it in no other way, so that none can come while it cannot tidy up.

    Raises:
        ToolError: the program is missing or its exit code is not 0.
    """
    texts = [str(argument) for argument in argv]
    with tempfile.TemporaryFile() as log:
        with _starting(texts, hint):
            child = subprocess.Popen(
                texts,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(environment),
                process_group=0,
            )
        try:
            with child, contextlib.suppress(BrokenPipeError):  # ended early: its exit code says why
                _talk(child, stdin, on_line)
        finally:
            child.wait()  # after Ctrl-C, `with` waits for a moment only
        if child.returncode != 0:
            log.seek(0)
            raise _failure(texts, child.returncode, log.read(), hint)


def is_installed(program: str) -> bool:
    """Whether a program of this name is in PATH; of an absolute path, which may have wildcards: whether it is there."""
    if program.startswith("/"):
        return any(pathlib.Path("/").glob(program[1:]))
    return shutil.which(program) is not None


@contextlib.contextmanager
def _starting(texts: list[str], hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if not shutil.which(texts[0]):
            raise errors.ToolError(texts, "not found on this machine", hint or _install_hint(texts[0])) from error
        why = f"cannot be started: {error.strerror}: {error.filename}"
        raise errors.ToolError(texts, why, hint) from error


def _talk(child: subprocess.Popen[bytes], stdin: bytes, on_line: Callable[[bytes], None]) -> None:
    if child.stdin is not None and child.stdout is not None:
        child.stdin.write(stdin)
        child.stdin.flush()
        for line in child.stdout:
            on_line(line)


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **_FIXED, **(added or {})}


def _failure(texts: list[str], exit_code: int, output: bytes, hint: str) -> errors.ToolError:
    end = f"was ended by signal {-exit_code}" if exit_code < 0 else f"failed with exit code {exit_code}"
    why = f"{end}: {' '.join(texts)}"
    return errors.ToolError(texts, why, hint, exit_code=exit_code, output=output.decode(errors="replace"))


def _install_hint(program: str) -> str:
    return f"Install {program}, or run ./doit.sh deps to see what this machine lacks."
