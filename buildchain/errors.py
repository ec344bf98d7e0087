"""Every error a user can meet, and how it reads.

A `BuildchainError` is a sentence for the user: it never shows a traceback. Anything else that is raised is a bug
and always does. Content errors (`IntegrityError`) and transport errors (`TransportError`) never mix: only the second
kind is worth a retry.
"""

from collections.abc import Iterable, Sequence


class BuildchainError(Exception):
    """What went wrong, why, and the next command to type."""

    def __init__(self, what: str, why: str, hint: str = "") -> None:
        super().__init__(what, why, hint)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}"
        return f"{text}\n{self.hint}" if self.hint else text


class ConfigError(BuildchainError):
    """A file or setting written by the user is wrong; carries every problem found, each with its place."""

    def __init__(self, source: str, problems: Iterable[tuple[str, str]], hint: str = "") -> None:
        self.problems = tuple(problems)
        lines = [f"  {place}: {message}" if place else f"  {message}" for place, message in self.problems]
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        super().__init__(source, "\n".join([count, *lines]), hint)


class ToolError(BuildchainError):
    """A program is missing, too old, or failed."""

    def __init__(
        self, argv: Sequence[str], why: str, hint: str = "", exit_code: int | None = None, output: str = ""
    ) -> None:
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.output = output
        last_lines = "".join(f"\n  {line}" for line in output.splitlines()[-20:])
        super().__init__(self.argv[0], why + last_lines, hint)


class ResolveError(BuildchainError):
    """No set of versions satisfies the intent; `why` is the solver's own explanation."""


class TransportError(BuildchainError):
    """The network failed; the only error that is worth a retry."""

    def __init__(self, url: str, why: str, hint: str = "", status: int | None = None, attempts: int = 1) -> None:
        self.url = url
        self.status = status
        self.attempts = attempts
        tries = f" (after {attempts} attempts)" if attempts > 1 else ""
        super().__init__(url, why + tries, hint)


class IntegrityError(BuildchainError):
    """Bytes or a signature are not what was promised."""

    def __init__(self, subject: str, source: str, expected: str, actual: str, hint: str = "") -> None:
        self.subject = subject
        self.source = source
        self.expected = expected
        self.actual = actual
        super().__init__(subject, f"from {source}: expected {expected}, got {actual}", hint)


class StoreError(BuildchainError):
    """The store's folder cannot be read or written; the next file would fare no better."""


class TreeError(BuildchainError):
    """Content that cannot stand on the medium: two contents for one path, or a name the ISO cannot carry."""
