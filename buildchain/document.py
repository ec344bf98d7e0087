"""YAML documents written by hand: loaded strictly, checked against a JSON Schema, every problem with its line.

Strict means: no duplicate keys, no aliases (a bomb needs them), no tags, at most a megabyte.
"""

import dataclasses
import functools
import importlib.resources
import json
import pathlib
import typing
from collections.abc import Mapping

import yaml

from buildchain import errors

MAX_BYTES = 1 << 20

MAX_DEPTH = 50

# libyaml's parser, if PyYAML was built with it: ten times as fast, the same events.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_TIMESTAMP = "tag:yaml.org,2002:timestamp"

Place = tuple[str | int, ...]
"""Where a value stands in a document: the keys and indexes that lead to it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A checked document: plain values, and the line each of them stands on."""

    source: str
    value: dict[str, typing.Any]
    lines: Mapping[Place, int]

    def problem(self, place: Place, message: str) -> tuple[str, str]:
        """A problem at a place, as `ConfigError` wants it."""
        while place not in self.lines and place:
            place = place[:-1]
        return (f"line {self.lines.get(place, 1)}, {_spell(place)}" if place else "line 1", message)


def load(path: pathlib.Path, schema: str) -> Document:
    """Load a document and check it against one of the schemas in `buildchain/schemas`.

    Raises:
        ConfigError: with every problem found and the line it stands on.
    """
    document = _parse(path)
    found = sorted(_violations(document.value, schema), key=lambda violation: [str(part) for part in violation[0]])
    if found:
        hint = f"The schema is buildchain/schemas/{schema}."
        raise errors.ConfigError(str(path), (document.problem(*violation) for violation in found), hint)
    return document


def _parse(path: pathlib.Path) -> Document:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise errors.ConfigError(str(path), [("", error.strerror or str(error))]) from error
    if len(content) > MAX_BYTES:
        raise errors.ConfigError(str(path), [("", f"larger than {MAX_BYTES} bytes")])
    lines: dict[Place, int] = {}
    try:
        value = _Reader(content, lines).read()
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise errors.ConfigError(str(path), [_yaml_problem(error)]) from error
    if not isinstance(value, dict):
        raise errors.ConfigError(str(path), [("line 1", "must be a mapping of keys to values")])
    return Document(str(path), value, lines)


class _Reader:
    """Builds plain values from YAML events: what is refused is refused before anything is built of it."""

    def __init__(self, content: bytes, lines: dict[Place, int]) -> None:
        self._events = yaml.parse(content, Loader=_PARSER)
        self._resolver = yaml.resolver.Resolver()
        self._lines = lines

    def read(self) -> object:
        """The value of the only document."""
        next(self._events)
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)
        extra = next(self._events)
        if not isinstance(extra, yaml.StreamEndEvent):
            raise _refusal("only one document is allowed", extra)
        return value

    def _value(self, event: yaml.Event, place: Place) -> object:
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event)
        if place in self._lines:
            raise _refusal("the key is given twice", event)
        if len(place) > MAX_DEPTH:
            raise _refusal("nested too deeply", event)
        self._lines[place] = _line(event)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place)
        return self._scalar(typing.cast(yaml.ScalarEvent, event))

    def _mapping(self, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise _refusal("a key must be plain text", key)
            found[key.value] = self._value(next(self._events), (*place, key.value))
        return found

    def _sequence(self, place: Place) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*place, len(found))))
        return found

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        if event.tag is not None:
            raise _refusal("tags are not allowed", event)
        tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        if tag == _TIMESTAMP:
            return event.value
        return _CONSTRUCTOR.construct_object(yaml.ScalarNode(tag, event.value))


class _RefusedError(ValueError):
    """Valid YAML that this reader does not take."""

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


def _refusal(why: str, event: yaml.Event) -> _RefusedError:
    return _RefusedError(why, _line(event))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _yaml_problem(error: Exception) -> tuple[str, str]:
    if isinstance(error, _RefusedError):
        return (f"line {error.line}", str(error))
    mark = getattr(error, "problem_mark", None)
    message = getattr(error, "problem", None) or str(error)
    return (f"line {mark.line + 1}" if mark else "", f"not valid YAML: {message}")


def _violations(value: object, schema: str) -> list[tuple[Place, str]]:
    # Imported here: a tenth of a second that a run without changes need not spend twice.
    import jsonschema

    validator = jsonschema.Draft202012Validator(read_schema(schema))
    return [(tuple(error.absolute_path), _spell_violation(error)) for error in validator.iter_errors(value)]


@functools.cache
def read_schema(name: str) -> dict[str, typing.Any]:
    """One of the published JSON Schemas, by file name."""
    text = importlib.resources.files("buildchain").joinpath("schemas", name).read_text()
    return typing.cast(dict[str, typing.Any], json.loads(text))


def _spell_violation(error: typing.Any) -> str:
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(known))
        return f"unknown key {', '.join(map(repr, extra))}; known: {', '.join(known)}"
    if error.validator == "pattern" and "description" in error.schema:
        return f"{error.instance!r} is not {error.schema['description']}"
    return str(error.message)


def _spell(place: Place) -> str:
    return ".".join(str(part) for part in place)
