"""The version of the distribution: the file `VERSION`, one `VERSION_<PART>=<value>` a line."""

import dataclasses
import pathlib
import re

from buildchain import errors

FILE_NAME = "VERSION"
_PATTERNS = {"MAJOR": r"\d{1,4}", "MINOR": r"\d{1,4}", "PATCH": r"\d{1,4}", "SUFFIX": r"(-[0-9a-z]+(\.[0-9a-z]+)*)?"}


@dataclasses.dataclass(frozen=True, slots=True)
class Version:
    """`major.minor.patch` and a suffix, empty for a release."""

    major: str
    minor: str
    patch: str
    suffix: str

    def __str__(self) -> str:
        return f"{self.short}.{self.patch}{self.suffix}"

    @property
    def short(self) -> str:
        """`major.minor`."""
        return f"{self.major}.{self.minor}"

    @property
    def is_release(self) -> bool:
        """Whether this is a release: it has no suffix, and the development key must not sign it."""
        return not self.suffix


def load(path: pathlib.Path) -> Version:
    """Read the file `VERSION`.

    Raises:
        ConfigError: a part is missing, malformed or given twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.ConfigError(str(path), [("", error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        raise errors.ConfigError(str(path), [("", "not UTF-8")]) from error
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        name, _, value = line.strip().partition("=")
        part = name.removeprefix("VERSION_")
        if not line.strip() or line.startswith("#"):
            continue
        if part == name or part not in _PATTERNS or part in found:
            problems.append((f"line {number}", f"{line!r} is none of VERSION_{{{', '.join(_PATTERNS)}}}, each once"))
        elif not re.fullmatch(_PATTERNS[part], value, re.ASCII):
            problems.append((f"line {number}", f"VERSION_{part} is {value!r}, which does not match {_PATTERNS[part]}"))
        found[part] = value
    problems += [("", f"VERSION_{part} is missing") for part in _PATTERNS if part not in found]
    if problems:
        raise errors.ConfigError(str(path), problems)
    return Version(**{part.lower(): found[part] for part in _PATTERNS})
