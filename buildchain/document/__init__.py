"""YAML documents written by hand: loaded strictly, checked against a JSON Schema, every problem with its line.

Strict means: UTF-8, no duplicate keys, no aliases (a bomb needs them), no tags, at most a megabyte.

    bytes ──strict_yaml──▶ value and lines ──schema──▶ Document

What was accepted once is not parsed and checked again while its bytes, its schema and this code are the same: that
would be a third of the time of a run without changes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import typing
from collections.abc import Mapping

from buildchain import errors

MAX_BYTES = 1 << 20

_HERE = pathlib.Path(__file__).parent
SCHEMAS = _HERE.parent / "schemas"

Place = tuple[str | int, ...]
"""Where a value stands in a document: the keys and indexes that lead to it."""

_Accepted = tuple[dict[str, typing.Any], Mapping[Place, int]]

_accepted: dict[str, _Accepted] = {}
_recalled: dict[str, list[typing.Any]] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A checked document: plain values, which nobody may change, and the line each of them stands on."""

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
    content = _read(path)
    key = hashlib.sha256(_rules(schema) + hashlib.sha256(content).digest()).hexdigest()
    if key not in _accepted:
        _accepted[key] = _restore(_recalled[key]) if key in _recalled else _check(path, content, schema)
    return Document(str(path), *_accepted[key])


def accepted() -> bytes:
    """What this process has accepted, for `recall` in another one."""
    rows: dict[str, list[typing.Any]] = {}
    for key, (value, lines) in sorted(_accepted.items()):
        rows[key] = [value, [[list(place), line] for place, line in lines.items()]]
    text = json.dumps(rows).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def recall(content: bytes) -> None:
    """Take over what another process has accepted; anything but the output of `accepted` is ignored."""
    checksum, _, text = content.partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() == checksum:
        with contextlib.suppress(ValueError):
            _recalled.update(json.loads(text))


def _read(path: pathlib.Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise errors.ConfigError(str(path), [("", error.strerror or str(error))]) from error
    if len(content) > MAX_BYTES:
        raise errors.ConfigError(str(path), [("", f"larger than {MAX_BYTES} bytes")])
    return content


@functools.cache
def _rules(schema: str) -> bytes:
    """A digest of all that decides about a document's bytes."""
    code = [hashlib.sha256(each.read_bytes()).digest() for each in sorted(_HERE.glob("*.py"))]
    return b"".join([*code, hashlib.sha256(_schema_path(schema).read_bytes()).digest()])


def _restore(row: list[typing.Any]) -> _Accepted:
    value, lines = row
    return value, {tuple(place): line for place, line in lines}


def _check(path: pathlib.Path, content: bytes, schema: str) -> _Accepted:
    # Imported here: a tenth of a second that a run without changes does not need.
    from buildchain.document import schema as schemas
    from buildchain.document import strict_yaml

    try:
        value, lines = strict_yaml.read(content)
    except strict_yaml.NotYamlError as error:
        raise errors.ConfigError(str(path), [error.args]) from error
    if not isinstance(value, dict):
        raise errors.ConfigError(str(path), [("line 1", "must be a mapping of keys to values")])
    document = Document(str(path), value, lines)
    rules = json.loads(_schema_path(schema).read_bytes())
    found = sorted(schemas.violations(value, rules), key=lambda violation: document.line(violation[0]))
    if found:
        hint = f"The schema is buildchain/schemas/{schema}."
        raise errors.ConfigError(str(path), (document.problem(*violation) for violation in found), hint)
    return value, lines


def _schema_path(name: str) -> pathlib.Path:
    return SCHEMAS / name


def _spell(place: Place) -> str:
    return ".".join(str(part) for part in place)
