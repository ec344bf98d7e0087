"""Write nginx configuration: tokens that mean what they say, and JSON longer than a token may be.

nginx has no way to write a plain dollar sign, so `text` must not have one where none is meant; `json_text` has none.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator

# ngx_conf_file.c, ngx_conf_read_token: a token must fit a buffer of NGX_CONF_BUFFER, 4096 bytes, with its quotes.
MAX_TOKEN = 3500

# The same function drops a backslash before these, and turns \t \r \n into control characters.
_SPECIAL = re.compile(r"\\(?=[\"'\\trn]|\Z)")
_PLAIN_IN_JSON = re.compile(r"[^A-Za-z0-9 _./:+=,;*()@&!?|-]")
_JSON_UNIT = re.compile(r"\\u[0-9a-f]{4}|[^\\]")


def text(value: str) -> str:
    """A quoted token; variables in it are expanded where the directive does so."""
    quote = "'" if '"' in value and "'" not in value else '"'
    return quote + _SPECIAL.sub(r"\\\\", value).replace(quote, f"\\{quote}") + quote


def literal_pattern(value: str) -> str:
    r"""A regular expression that matches this text; what Jinja puts into it later is quoted as well.

    `\Q` needs no knowledge of the text, unlike `re.escape`, which would quote the braces of a placeholder.
    """
    return rf"\Q{value}\E"


def json_string(value: str) -> str:
    """A JSON string with nothing in it that nginx, Jinja or an unsuspecting reader could expand."""

    def escaped(match: re.Match[str]) -> str:
        units = match[0].encode("utf-16-be", "surrogatepass").hex()
        return "".join(f"\\u{unit}" for unit in textwrap.wrap(units, 4))

    return '"' + _PLAIN_IN_JSON.sub(escaped, value) + '"'


def json_text(value: object) -> str:
    """JSON without spaces, keys as they come, strings as in `json_string`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_string(str(key))}:{json_text(value[key])}" for key in value) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(json_text(each) for each in value) + "]"
    return json_string(value) if isinstance(value, str) else json.dumps(value)


def set_long(variable: str, value: str, start: str = "") -> Iterator[str]:
    """Directives that give a variable a value of any length, in pieces that nginx can read.

    Arguments:
        value: JSON, or a part of it; no variable in it is expanded.
        start: what comes before it; variables in it are expanded.
    """
    for piece in _pieces(value):
        yield f"set ${variable} {text(start + piece)};"
        start = f"${{{variable}}}"


def block(head: str, body: Iterable[str]) -> Iterator[str]:
    """A block with its lines indented."""
    yield f"{head} {{"
    yield from (f"    {line}" if line else line for line in body)
    yield "}"


def _pieces(value: str) -> Iterator[str]:
    piece: list[str] = []
    size = 0
    for unit in _JSON_UNIT.findall(value):
        # A quote or a backslash takes two bytes once it is quoted.
        cost = len(unit.encode()) + 1
        if size + cost > MAX_TOKEN:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(unit)
        size += cost
    yield "".join(piece)
