"""What a root file system leaves out of the packages: a list of names with reasons, never code."""

import dataclasses
import functools
import pathlib
import re
import typing
from collections.abc import Mapping, Sequence

from buildchain import document


@dataclasses.dataclass(frozen=True, slots=True)
class Exclusion:
    """A pattern of absolute paths that stay out, with all below them, except those that match one of `keep`.

    `*` matches within one name, `**` across names.
    """

    pattern: str
    reason: str
    keep: tuple[str, ...] = ()

    def matches(self, path: str) -> bool:
        """Whether an entry of this relative path stays out."""
        absolute = f"/{path}"
        return bool(_compile(self.pattern, "(?:/.*)?").fullmatch(absolute)) and not any(
            _compile(pattern, "").fullmatch(absolute) for pattern in self.keep
        )


def load(path: pathlib.Path) -> tuple[Exclusion, ...]:
    """Load a list of exclusions.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    return parse(document.load(path, "exclusions.schema.json").value["exclude"])


def parse(rows: Sequence[Mapping[str, typing.Any]]) -> tuple[Exclusion, ...]:
    """Exclusions from the rows of a checked document."""
    return tuple(Exclusion(row["path"], row["reason"], tuple(row.get("keep", ()))) for row in rows)


def is_excluded(path: str, exclusions: Sequence[Exclusion]) -> bool:
    """Whether any exclusion keeps this path out."""
    return any(exclusion.matches(path) for exclusion in exclusions)


@functools.cache
def _compile(pattern: str, ending: str) -> re.Pattern[str]:
    wild = {"*": "[^/]*", "**": ".*"}
    parts = re.split(r"(\*\*|\*)", pattern)
    return re.compile("".join(wild.get(part) or re.escape(part) for part in parts) + ending, re.DOTALL)
