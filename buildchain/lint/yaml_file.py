"""YAML files of a Solution, read for their lines: every problem is a finding."""

import dataclasses
import re
import typing
from collections.abc import Mapping

from buildchain.document import strict_yaml
from buildchain.lint import findings
from buildchain.verify import medium

Place = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Object:
    """One document of a file: plain values and the line each stands on."""

    path: str
    value: dict[str, typing.Any]
    lines: Mapping[Place, int]

    def line(self, *place: str | int) -> int:
        """The line of a place, or of what it is missing from."""
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)

    def get(self, *place: str | int) -> typing.Any:
        """The value at a place, None if there is none."""
        value: typing.Any = self.value
        for key in place:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def mapping(self, *place: str | int) -> dict[str, typing.Any]:
        """The mapping at a place, an empty one if there is none."""
        value = self.get(*place)
        return value if isinstance(value, dict) else {}

    def items(self, *place: str | int) -> list[typing.Any]:
        """The list at a place, an empty one if there is none."""
        value = self.get(*place)
        return value if isinstance(value, list) else []

    def text(self, *place: str | int) -> str:
        """The text at a place, empty if there is none."""
        value = self.get(*place)
        return value if isinstance(value, str) else ""


def load(path: str, read: medium.Reader, rule: str, found: findings.Findings) -> list[Object] | None:
    """The documents of a file that are not empty; None after a finding, if it is no plain YAML."""
    try:
        documents = strict_yaml.read_all(read(path))
    except medium.DamagedError as error:
        found.add(rule, path, str(error))
        return None
    except strict_yaml.NotYamlError as error:
        where, why = error.args
        found.add(rule, path, why, line_in(where))
        return None
    objects = []
    for value, lines in documents:
        if isinstance(value, dict):
            objects.append(Object(path, value, lines))
        elif value is not None:
            found.add(rule, path, "is not a mapping of keys to values", lines.get((), 1))
            return None
    return objects


def line_in(where: str) -> int:
    """The number in the words `line N, …` of an error; 0 if there is none."""
    match = re.match(r"line (\d+)", where)
    return int(match[1]) if match else 0
