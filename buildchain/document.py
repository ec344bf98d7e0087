"""YAML documents written by hand: loaded strictly, checked against a JSON Schema, every problem with its line.

Strict means: UTF-8, no duplicate keys, no aliases (a bomb needs them), no tags, at most a megabyte.
"""

import dataclasses
import functools
import importlib.resources
import json
import pathlib
import re
import typing
from collections.abc import Iterator, Mapping

import yaml

from buildchain import errors

MAX_BYTES = 1 << 20
MAX_DEPTH = 100

# libyaml's parser, if PyYAML was built with it: ten times as fast, the same events.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTRUCTOR = yaml.constructor.SafeConstructor()

Place = tuple[str | int, ...]
"""Where a value stands in a document: the keys and indexes that lead to it."""

_MAX_MESSAGE = 300

_YAML = "tag:yaml.org,2002:"
_TEXTS = {f"{_YAML}{name}" for name in ("timestamp", "value", "merge")}
"""What YAML 1.1 would make a date, a default or a merge key of: here it is plain text."""


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A checked document: plain values, and the line each of them stands on."""

    source: str
    value: dict[str, typing.Any]
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a place, or of what it is missing from."""
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)

    def problem(self, place: Place, message: str) -> tuple[str, str]:
        """A problem at a place, as `ConfigError` wants it."""
        line = f"line {self.line(place)}"
        return (f"{line}, {_spell(place)}" if place else line, message)


def load(path: pathlib.Path, schema: str) -> Document:
    """Load a document and check it against one of the schemas in `buildchain/schemas`.

    Raises:
        ConfigError: with every problem found and the line it stands on.
    """
    document = _parse(path)
    found = sorted(_violations(document.value, schema), key=lambda violation: document.line(violation[0]))
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
    try:
        reader = _Reader(content.decode("utf-8-sig"))
        value = reader.read()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise errors.ConfigError(str(path), [_yaml_problem(error, content)]) from error
    if not isinstance(value, dict):
        raise errors.ConfigError(str(path), [("line 1", "must be a mapping of keys to values")])
    return Document(str(path), value, reader.lines)


class _Reader:
    """Builds plain values from YAML events: what is refused is refused before anything is built of it."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=_PARSER)
        self._resolver = yaml.resolver.Resolver()
        self.lines: dict[Place, int] = {}

    def read(self) -> object:
        """The value of the only document, None for an empty one."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        event = next(self._events)
        value = self._value(event, (), _line(event))
        next(self._events)
        extra = next(self._events)
        if not isinstance(extra, yaml.StreamEndEvent):
            raise _error("there is more than one document", extra)
        return value

    def _value(self, event: yaml.Event, place: Place, line: int) -> object:
        if isinstance(event, yaml.AliasEvent):
            raise _error("aliases are not allowed", event)
        if place in self.lines:
            raise _error("the key is given twice", event)
        if len(place) > MAX_DEPTH:
            raise _error("nested too deeply", event)
        self.lines[place] = line
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if typing.cast(yaml.CollectionStartEvent, event).tag is not None:
            raise _error("tags are not allowed", event)
        return self._mapping(place) if isinstance(event, yaml.MappingStartEvent) else self._sequence(place)

    def _mapping(self, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise _error("a key must be plain text", key)
            found[key.value] = self._value(next(self._events), (*place, key.value), _line(key))
        return found

    def _sequence(self, place: Place) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*place, len(found)), _line(event)))
        return found

    def _scalar(self, event: yaml.ScalarEvent) -> object:
        if event.tag is not None:
            raise _error("tags are not allowed", event)
        tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]
        if tag in _TEXTS:
            return event.value
        try:
            return _CONSTRUCTOR.construct_object(yaml.ScalarNode(tag, event.value))
        except (ValueError, ArithmeticError, KeyError) as error:
            raise _error(f"{event.value[:40]!r} is not a value of its kind", event) from error


def _error(message: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=typing.cast(yaml.Mark, event.start_mark))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _yaml_problem(error: Exception, content: bytes) -> tuple[str, str]:
    """Where a document stops being one, and why."""
    if isinstance(error, RecursionError):
        return ("", "nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return (_line_of(content[: error.start]), "not UTF-8")
    if isinstance(error, yaml.reader.ReaderError):
        before = content.decode("utf-8-sig")[: error.position]
        return (_line_of(before.encode()), f"not valid YAML: the character {chr(error.character)!r} is not allowed")
    mark = getattr(error, "problem_mark", None)
    message = getattr(error, "problem", None) or str(error)
    return (f"line {mark.line + 1}" if mark else "", f"not valid YAML: {message}")


def _line_of(before: bytes) -> str:
    return f"line {before.count(bytes([10])) + 1}"


def _violations(value: object, schema: str) -> Iterator[tuple[Place, str]]:
    for error in _validator(schema).iter_errors(value):
        place = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            known = sorted(error.schema.get("properties", {}))
            yield from (
                ((*place, key), f"unknown key; known: {', '.join(known)}")
                for key in sorted(set(error.instance) - set(known))
            )
        elif "propertyNames" in error.absolute_schema_path:
            yield (*place, error.instance), _spell_violation(error)
        else:
            yield place, _spell_violation(error)


@functools.cache
def _validator(schema: str) -> typing.Any:
    # Imported here: a tenth of a second that a run without changes need not spend twice.
    import jsonschema

    kind = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, {"pattern": _pattern}
    )
    return kind(read_schema(schema))


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[Exception]:
    """The keyword `pattern` as JSON Schema means it (ECMA-262): Python's `$` would let a newline follow."""
    import jsonschema

    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern}")


@functools.cache
def read_schema(name: str) -> dict[str, typing.Any]:
    """One of the published JSON Schemas, by file name."""
    text = importlib.resources.files("buildchain").joinpath("schemas", name).read_text(encoding="utf-8")
    return typing.cast(dict[str, typing.Any], json.loads(text))


def _spell_violation(error: typing.Any) -> str:
    if error.validator == "pattern" and "description" in error.schema:
        return _cut(f"{error.instance!r} is not {error.schema['description']}")
    if error.validator == "type" and error.validator_value == "string" and not isinstance(error.instance, list | dict):
        return (
            "is empty; text is wanted"
            if error.instance is None
            else f"{error.instance!r} is not text; put it in quotes"
        )
    return _cut(str(error.message))


def _cut(message: str) -> str:
    """A message quotes the value it is about, which may be the whole document."""
    half = _MAX_MESSAGE // 2
    return message if len(message) <= _MAX_MESSAGE else f"{message[:half]} … {message[-half:]}"


def _spell(place: Place) -> str:
    return ".".join(str(part) for part in place)
