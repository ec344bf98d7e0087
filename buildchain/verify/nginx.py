"""Reads nginx's configuration language, and works out what it answers to a plain GET.

Only what a static registry needs: choice of location, `rewrite … last`, `set`, `alias`, `try_files`, `types`,
`default_type`, `add_header`, `return`. An `if` is not taken: the request has no arguments and no conditions.
Sources: nginx.org, ngx_http_core_module ("location", "alias", "types") and ngx_http_rewrite_module.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator

from buildchain.verify import medium

MAX_DEPTH = 16
MAX_REWRITES = 10
"""nginx's own limit (ngx_http.h, NGX_HTTP_MAX_URI_CHANGES)."""
MAX_VALUE = 1 << 20

# Quoting as ngx_conf_file.c reads it.
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') | (?P<mark>[;{}])"""
    r""" | (?P<word>(?:[^\s;{}"'\#\\$]|\\.|\$(?:\{[^}\s]*\})?)(?:[^\s;{}\\$]|\\.|\$(?:\{[^}\s]*\})?)*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LITERAL = re.compile(r"\\Q(.*?)(?:\\E|$)", re.DOTALL)
# What a hostile text could make slow (a repeated group, many unbounded repetitions), and what Python's patterns
# may one day read otherwise (operators within a set).
_REFUSED = re.compile(r"\)[*+?{]|\(\?[^:<s]|\[\^?\[|--|&&|~~|\|\|")
_UNBOUNDED = re.compile(r"[*+]|,\}")


@dataclasses.dataclass(eq=False)
class Directive:
    """One directive: its words, and what stands in its block. The whole text is the block of one without words."""

    words: list[str]
    block: list["Directive"] = dataclasses.field(default_factory=list)

    @functools.cached_property
    def locations(self) -> "Locations":
        """The locations of the block."""
        found = [each for each in self.block if each.words[0] == "location" and len(each.words) in {2, 3}]
        return Locations(
            {each.words[2]: each for each in found if each.words[1] == "="},
            {each.words[-1]: each for each in found if each.words[1] not in {"=", "~", "~*"}},
            [each for each in found if each.words[1] in {"~", "~*"} and len(each.words) == 3],
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Locations:
    """Locations by how they are chosen; what stands here twice, nginx refuses."""

    exact: dict[str, Directive]
    prefixes: dict[str, Directive]
    patterns: list[Directive]

    def longest_prefix(self, uri: str) -> Directive | None:
        """The location with the longest prefix that `uri` begins with."""
        lengths = range(len(uri), -1, -1)
        return next((self.prefixes[uri[:length]] for length in lengths if uri[:length] in self.prefixes), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What is sent: a file (the first of the candidates that exists) or a text, its type and headers.

    Variables that the text does not set are left in: the server's root is one.
    """

    files: tuple[str, ...]
    text: str
    media_type: str
    headers: dict[str, str]


@functools.lru_cache(maxsize=2)
def parse(text: bytes) -> Directive:
    """Read a configuration; nobody may change what comes.

    Raises:
        DamagedError: the text is not of the language.
    """
    try:
        whole = text.decode()
    except UnicodeDecodeError as error:
        raise medium.DamagedError("is not UTF-8") from error
    top = Directive([])
    open_blocks = [top]
    words: list[str] = []
    for is_mark, part in _tokens(whole):
        if not is_mark:
            words.append(part)
            continue
        if (part == "}") == bool(words) or (part == "}" and len(open_blocks) == 1) or len(open_blocks) > MAX_DEPTH:
            raise medium.DamagedError(f"has an unexpected {part}")
        if part == "}":
            open_blocks.pop()
            continue
        directive = Directive(words)
        open_blocks[-1].block.append(directive)
        words = []
        if part == "{":
            open_blocks.append(directive)
    if words or len(open_blocks) > 1:
        raise medium.DamagedError("ends within a directive")
    return top


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise medium.DamagedError(f"cannot be read from character {position} on")
        position = match.end()
        kind = match.lastgroup
        if kind is None:
            continue
        part = match[kind]
        if kind == "quoted":
            part = part[1:-1]
        if "\\" in part:
            part = _ESCAPED.sub(_unescaped, part)
        yield kind == "mark", part


def _unescaped(match: re.Match[str]) -> str:
    """Only quotes and the backslash itself lose their backslash; that of a regular expression stays."""
    return match[1] if match[1] in "\"'\\ ;{}" else match[0]


def walk(block: Directive) -> Iterator[Directive]:
    """Every directive of a block, at any depth."""
    for directive in block.block:
        yield directive
        yield from walk(directive)


def get(config: Directive, uri: str) -> Answer | None:
    """The answer to a GET, or None where there is none.

    Raises:
        DamagedError: the configuration has a pattern that is not understood, or goes in circles.
    """
    variables = {"request_method": "GET"}
    for _ in range(MAX_REWRITES):
        location = _find(config, uri, variables)
        if location is None:
            return None
        outcome = _run(location, uri, variables)
        if not isinstance(outcome, str):
            return outcome
        uri = outcome
    raise medium.DamagedError("rewrites in circles")


@functools.lru_cache(maxsize=16384)
def pattern(text: str, *, is_caseless: bool = False) -> re.Pattern[str]:
    r"""Translate a pattern of PCRE; `\Q…\E`, `\z` and `(?<name>…)` are written otherwise in Python.

    Raises:
        DamagedError: the pattern is not of the kind that is quickly searched.
    """
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(re.escape(match[1]))
        return f"\0{len(kept) - 1}\0"

    plain = _LITERAL.sub(keep, text)
    if _REFUSED.search(plain) or len(_UNBOUNDED.findall(plain)) > 3:
        raise medium.DamagedError("has a pattern that is not understood")
    translated = plain.replace(r"\z", r"\Z").replace("(?<", "(?P<")
    translated = re.sub("\0([0-9]+)\0", lambda match: kept[int(match[1])], translated)
    try:
        return re.compile(translated, re.IGNORECASE if is_caseless else 0)
    except (re.error, OverflowError, RecursionError) as error:
        raise medium.DamagedError("has a pattern that is not understood") from error


def _find(block: Directive, uri: str, variables: dict[str, str]) -> Directive | None:
    """Choose a location: exact, else the longest prefix, else (unless that is `^~`) the first pattern."""
    if uri in block.locations.exact:
        return block.locations.exact[uri]
    best = block.locations.longest_prefix(uri)
    nested = _find(best, uri, variables) if best else None
    if nested:
        return nested
    if best is None or best.words[1] != "^~":
        for each in block.locations.patterns:
            if _matches(each, uri, variables):
                return _find(each, uri, variables) or each
    return best


def _matches(location: Directive, uri: str, variables: dict[str, str]) -> bool:
    match = pattern(location.words[2], is_caseless=location.words[1] == "~*").search(uri)
    if match:
        _capture(match, variables)
    return match is not None


def _capture(match: re.Match[str], variables: dict[str, str]) -> None:
    variables |= {name: value or "" for name, value in match.groupdict().items()}
    variables |= {str(number): value or "" for number, value in enumerate(match.groups(), start=1)}


def _run(location: Directive, uri: str, variables: dict[str, str]) -> Answer | str | None:
    """Carry out the location; a text is the URI to go on with."""
    for directive in location.block:
        name, *values = directive.words
        if name == "set" and len(values) == 2:
            variables[values[0].removeprefix("$")] = expand(values[1], variables)
        elif name == "rewrite" and len(values) == 3 and values[2] == "last":
            match = pattern(values[0]).search(uri)
            if match:
                _capture(match, variables)
                return expand(values[1], variables)
        elif name == "return":
            return _answer(location, uri, variables) if values[:1] == ["200"] else None
    return _answer(location, uri, variables)


def _answer(location: Directive, uri: str, variables: dict[str, str]) -> Answer:
    texts = [expand(words[1], variables) for words in _all(location, "return", 2)]
    alias = [expand(words[0], variables) for words in _all(location, "alias", 1)]
    tried = [name for words in _all(location, "try_files", 1)[:1] for name in words if name[:1] not in {"=", "@"}]
    is_prefix = location.words[1] not in {"~", "~*", "="}
    names = tried or [uri.removeprefix(location.words[-1]) if is_prefix else ""]
    types = {
        ending: each.words[0]
        for block in location.block
        if block.words == ["types"]
        for each in block.block
        for ending in each.words[1:]
    }
    default = [words[0] for words in _all(location, "default_type", 1)]
    return Answer(
        tuple(alias[0] + expand(name, variables) for name in names) if alias else (),
        texts[0] if texts else "",
        types.get(uri.rpartition(".")[2], default[0] if default else ""),
        {words[0].lower(): expand(words[1], variables) for words in _all(location, "add_header", 2)},
    )


def _all(location: Directive, name: str, count: int) -> list[list[str]]:
    """The values of every directive of this name that has at least so many."""
    return [each.words[1:] for each in location.block if each.words[0] == name and len(each.words) > count]


def expand(text: str, variables: dict[str, str]) -> str:
    """Put in the variables that are known; the others stay as they are.

    Raises:
        DamagedError: the result grows without end.
    """
    result = _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)
    if len(result) > MAX_VALUE:
        raise medium.DamagedError("has a value without end")
    return result
