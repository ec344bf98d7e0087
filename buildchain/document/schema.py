"""What a JSON Schema has against a value, in the words of those who wrote it by hand."""

import re
import typing
from collections.abc import Iterator

import jsonschema

_MAX_MESSAGE = 300


def violations(value: object, schema: dict[str, typing.Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The place and the reason of every violation."""
    for error in _Validator(schema).iter_errors(value):
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


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[Exception]:
    """The keyword `pattern` as JSON Schema means it (ECMA-262): Python's `$` would let a newline follow."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern}")


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)


def _spell_violation(error: typing.Any) -> str:
    if error.validator == "pattern" and "description" in error.schema:
        return _cut(f"{error.instance!r} is not {error.schema['description']}")
    if error.validator == "not" and "description" in error.schema:
        return str(error.schema["description"])
    if error.validator == "type" and error.validator_value == "string" and not isinstance(error.instance, list | dict):
        is_empty = error.instance is None
        return "is empty; text is wanted" if is_empty else f"{error.instance!r} is not text; put it in quotes"
    return _cut(str(error.message))


def _cut(message: str) -> str:
    """A message quotes the value it is about, which may be the whole document."""
    half = _MAX_MESSAGE // 2
    return message if len(message) <= _MAX_MESSAGE else f"{message[:half]} … {message[-half:]}"
