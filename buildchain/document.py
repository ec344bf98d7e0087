"""YAML documents written by hand: loaded strictly, checked against a JSON Schema, every problem with its line.

Strict means: no duplicate keys, no aliases (a bomb needs them), no tags, at most a megabyte.
"""

import dataclasses
import functools
import importlib.resources
import json
import pathlib
import typing
from collections.abc import Hashable, Mapping

import yaml

from buildchain import errors

MAX_BYTES = 1 << 20

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
    try:
        node = _compose(content)
        lines: dict[Place, int] = {}
        value = _construct(node, (), lines)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise errors.ConfigError(str(path), [_yaml_problem(error)]) from error
    if not isinstance(value, dict):
        raise errors.ConfigError(str(path), [("line 1", "must be a mapping of keys to values")])
    return Document(str(path), value, lines)


class _Loader(yaml.SafeLoader):
    """Refuses aliases: they save a writer little, and let a hostile document grow without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, as PyYAML does, unless it is an alias."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", mark)
        return super().compose_node(parent, index)


def _compose(content: bytes) -> yaml.Node | None:
    loader = _Loader(content)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _construct(node: yaml.Node | None, place: Place, lines: dict[Place, int]) -> object:
    if node is None:
        return None
    if place in lines:
        raise yaml.constructor.ConstructorError(None, None, "the key is given twice", node.start_mark)
    lines[place] = node.start_mark.line + 1
    if len(place) > 100:
        raise yaml.constructor.ConstructorError(None, None, "nested too deeply", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return {_key(key): _construct(child, (*place, _key(key)), lines) for key, child in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*place, index), lines) for index, child in enumerate(node.value)]
    return _scalar(typing.cast(yaml.ScalarNode, node))


def _key(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", node.start_mark)
    return str(node.value)


def _scalar(node: yaml.ScalarNode) -> Hashable:
    if node.tag == "tag:yaml.org,2002:timestamp":
        return str(node.value)
    loader = yaml.SafeLoader("")
    return typing.cast(Hashable, loader.construct_object(node))


def _yaml_problem(error: Exception) -> tuple[str, str]:
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
