"""Plain values from YAML, strictly: what is refused is refused before anything is built of it."""

import typing
from collections.abc import Iterator

import yaml

Place = tuple[str | int, ...]

MAX_DEPTH = 100

# libyaml's parser, if PyYAML was built with it: ten times as fast, the same events.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONSTRUCTOR = yaml.constructor.SafeConstructor()

_YAML = "tag:yaml.org,2002:"
_TEXTS = {f"{_YAML}{name}" for name in ("timestamp", "value", "merge")}
"""What YAML 1.1 would make a date, a default or a merge key of: here it is plain text."""


class NotYamlError(Exception):
    """The content is not such a document: the place in the text, and why."""


def read(content: bytes) -> tuple[object, dict[Place, int]]:
    """The value of the only document, None for an empty one, and the line of everything in it.

    Raises:
        NotYamlError: with the line, or nothing if there is none, and the reason.
    """
    try:
        reader = _Reader(content.decode("utf-8-sig"))
        return reader.read(), reader.lines
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise NotYamlError(*_problem(error, content)) from error


def read_all(content: bytes) -> list[tuple[object, dict[Place, int]]]:
    """As `read`, of a stream of documents: each with its lines; the line of a document is that of its place `()`.

    Raises:
        NotYamlError: with the line, or nothing if there is none, and the reason.
    """
    try:
        reader = _Reader(content.decode("utf-8-sig"))
        return list(reader.read_all())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise NotYamlError(*_problem(error, content)) from error


class _Reader:
    """Builds plain values from YAML events."""

    def __init__(self, text: str) -> None:
        self._events = yaml.parse(text, Loader=_PARSER)
        self._resolver = yaml.resolver.Resolver()
        self.lines: dict[Place, int] = {}

    def read(self) -> object:
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

    def read_all(self) -> Iterator[tuple[object, dict[Place, int]]]:
        next(self._events)
        while not isinstance(next(self._events), yaml.StreamEndEvent):
            self.lines = {}
            event = next(self._events)
            yield self._value(event, (), _line(event)), self.lines
            next(self._events)

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


def _problem(error: Exception, content: bytes) -> tuple[str, str]:
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
