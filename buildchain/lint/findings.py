"""What a lint says: rules, and the places where they are broken."""

import dataclasses
import enum
import functools
import pathlib
from collections.abc import Mapping

import yaml

_RULES = pathlib.Path(__file__).parent / "rules.yaml"


class Severity(enum.Enum):
    """How bad it is, worst first."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """What it wants, why, and how to mend what breaks it."""

    id: str
    severity: Severity
    what: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.id} ({self.severity.value})\n  {self.what}\n  Why: {self.why}\n  Mend: {self.mend}\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One place where a rule is broken; line 0 stands for the whole file."""

    path: str
    line: int
    rule: Rule
    message: str

    @property
    def place(self) -> str:
        """Path and line, as compilers spell it."""
        return f"{self.path}:{self.line}" if self.line else self.path


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every rule by id."""
    rows = yaml.load(_RULES.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return {
        name: Rule(name, Severity(row["severity"]), row["what"], row["why"], row["mend"]) for name, row in rows.items()
    }


class Findings:
    """Gathers what is found."""

    def __init__(self) -> None:
        self._found: dict[Finding, None] = {}

    def add(self, rule: str, path: str, message: str, line: int = 0) -> None:
        """Note a place; the same one twice is one."""
        self._found[Finding(path, line, rules()[rule], message)] = None

    def sorted(self) -> tuple[Finding, ...]:
        """All of them, by file and line."""
        return tuple(sorted(self._found, key=lambda each: (each.path, each.line, each.rule.id, each.message)))
