"""The registry configuration of a Solution: filled in, and kept to serving the Solution's own images.

What a Solution ships is included in the server of every image and package of the cluster. So nothing of it is
rendered as a template, and whatever could reach beyond the Solution's own names and files is refused: other
directives, other locations, other folders, variables that a client sets.

Nothing here needs Salt: lint asks this file, too, so that an author learns what the node would say.
"""

import re
import typing
from collections.abc import Iterator

_DIRECTIVES = {
    *("add_header", "alias", "charset", "client_max_body_size", "default_type", "error_page", "etag", "gzip"),
    *("if", "if_modified_since", "internal", "location", "return", "rewrite", "root", "sendfile", "set", "types"),
}
"""What a registry of files is made of."""
_MAX_SIZE = 4 << 20
_MAX_DEPTH = 8
_PLACEHOLDER = re.compile(r"\{\{\s*(repository|registry_root)\s*\}\}")
# Quoting as ngx_conf_file.c reads it.
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') | (?P<mark>[;{}])"""
    # A brace after a dollar opens no block, whether or not it is closed.
    r""" | (?P<word>(?:[^\s;{}"'\#\\$]|\\.|\$\{\w+\}|\$(?!\{))(?:[^\s;{}\\$]|\\.|\$\{\w+\}|\$(?!\{))*)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"""\\(["'\\trn])""")
_CONTROL = {"t": "\t", "r": "\r", "n": "\n"}
# A piece of a pattern of PCRE, if it is one where each parenthesis begins or ends a group.
_PIECE = re.compile(
    r"""\\Q(?:(?!\\E).)*(?:\\E|\Z) | \\[^A-Za-z0-9()\[\]] | \\[AbBdDEsSwWzZ] | \[\^?[^\[\]()\\]+\]"""
    r""" | (?P<open>\((?:\?:|\?P?<(?P<name>\w+)>|(?![?*]))) | [^\\(\[\]]""",
    re.VERBOSE | re.DOTALL,
)
# Neither nothing nor a dot nor a slash.
_PLAIN = re.compile(r"\[(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9_])+-?\](?:\+|\{[1-9]\d*\})?")
_VARIABLE = re.compile(r"\$\{?(\w+)")
_GROUP = re.compile(r"\(\?P?[<'](\w+)[>']")
_OWN_VARIABLE = re.compile(r"\$static_registry_\w+")
_READABLE = re.compile(r"static_registry_\w+|\d|uri|request_method|arg_n|arg_last|arg_artifactType|http_if_none_match")
"""Variables that a configuration may look at."""
_CATALOG = ["($uri", "=", "/v2/_catalog)"]


class Directive(typing.NamedTuple):
    """One directive of nginx, quotes taken off, with what is within its braces."""

    line: int
    words: list[str]
    block: "list[Directive]"


Problem = tuple[str, str]
"""What it is about (syntax, directive, name, variable or folder), and what is wrong."""


def render(template: str, repository: str, root: str) -> dict[str, typing.Any]:
    """The configuration of one Solution, filled in, and everything in it that could reach beyond the Solution.

    Arguments:
        repository: the first part of the names of its images.
        root: the folder of its images.

    Returns:
        `text`, and `problems`: each with its `line`, what it is `about`, and `what` is wrong. With any of them the text
        must not be used.

    CLI Example::

        salt-call metalk8s_registry.render TEMPLATE my-app-1.0.0 /srv/scality/my-app-1.0.0/images
    """
    values = {"repository": repository, "registry_root": root}
    text = _PLACEHOLDER.sub(lambda match: values[match[1]], template)
    if len(template) > _MAX_SIZE:
        found = [(0, "syntax", f"it has more than {_MAX_SIZE} characters")]
    else:
        try:
            found = list(dict.fromkeys(_problems(_parse(text), repository, root)))
        except _SyntaxError as error:
            found = [(error.line, "syntax", f"it is no configuration of nginx: {error}")]
    return {"text": text, "problems": [{"line": line, "about": about, "what": what} for line, about, what in found]}


class _SyntaxError(ValueError):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


def _parse(text: str) -> list[Directive]:
    if match := re.search(r"[^\t\n -~]", text):
        line = text.count("\n", 0, match.start()) + 1
        raise _SyntaxError(line, "it has characters other than printable ASCII")
    top: list[Directive] = []
    blocks = [top]
    words: list[str] = []
    offset, line, began = 0, 1, 1
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        if match is None:
            raise _SyntaxError(line, f"{text[offset : offset + 20].splitlines()[0]!r} is no word of it")
        began = began if words else line
        offset = match.end()
        line += match[0].count("\n")
        if match["mark"]:
            blocks = _close(blocks, words, match["mark"], began)
            words = []
        elif match["quoted"]:
            words.append(_unescape(match["quoted"][1:-1]))
        elif match["word"]:
            words.append(_unescape(match["word"]))
    if len(blocks) != 1 or words:
        raise _SyntaxError(line, "it ends within a directive")
    return top


def _unescape(word: str) -> str:
    """A word as nginx keeps it, with or without quotes; a backslash before all else stays."""
    return _ESCAPED.sub(lambda match: _CONTROL.get(match[1], match[1]), word)


def _close(blocks: list[list[Directive]], words: list[str], mark: str, line: int) -> list[list[Directive]]:
    """The blocks that are open after the mark that ends some words."""
    if (mark == "}") == bool(words) or (mark == "}" and len(blocks) == 1) or len(blocks) > _MAX_DEPTH:
        raise _SyntaxError(line, f"it has a {mark} too much")
    if mark == "}":
        return blocks[:-1]
    inner: list[Directive] = []
    blocks[-1].append(Directive(line, words, inner))
    return [*blocks, inner] if mark == "{" else blocks


def _walk(
    block: list[Directive], within: tuple[Directive, ...] = ()
) -> Iterator[tuple[Directive, tuple[Directive, ...]]]:
    """Every directive with those around it, but not the lines of a list of types."""
    for each in block:
        yield each, within
        if each.words[0] != "types":
            yield from _walk(each.block, (*within, each))


class _Own(typing.NamedTuple):
    """What is the Solution's own, and what its directives do to each other."""

    prefixes: tuple[str, str]
    """Of paths: those that clients ask for, and internal ones."""
    root: str
    taken: set[str]
    """Variables that are given a value of another origin than the path of the request."""
    made: set[str]
    """First parts of the internal paths that are parts of a file's name, dots and all."""


def _problems(top: list[Directive], repository: str, root: str) -> Iterator[tuple[int, str, str]]:
    found = list(_walk(top))
    prefixes = f"/v2/{repository}/", f"/.static-registry:{repository}/:"
    taken = {name for each, _ in found for name in _captured(each.words)}
    around = [within[-1] for each, within in found if within and each.words[0] in ("alias", "root")]
    own = _Own(prefixes, root, taken, {_first_part(each.words[-1], prefixes[1]) for each in around})
    for each, within in found:
        for about, what in _problems_of(each.words, within, own):
            yield each.line, about, what


def _problems_of(words: list[str], within: tuple[Directive, ...], own: _Own) -> Iterator[Problem]:
    name = words[0]
    if name not in _DIRECTIVES:
        yield "directive", f"it has the directive `{name}`"
        return
    if not within and name != "location" and (name != "if" or words[1:] != _CATALOG):
        yield "directive", f"it has `{' '.join(words)[:80]}` outside of its locations"
    for variable in _unreadable(words):
        yield "variable", f"it reads ${variable}"
    if name in ("alias", "root"):
        for what in _problems_of_folder(words, within, own):
            yield "folder", what
    else:
        for what in _problems_of_names(words, own):
            yield "name", what


def _problems_of_names(words: list[str], own: _Own) -> Iterator[str]:
    """What may be asked for, where that leads, and what it sets."""
    text, first = " ".join(words)[:80], " ".join(words[1:2])
    if words[0] == "location" and not _begins(words[1:], own.prefixes):
        yield f"its `{text}` is not below {own.prefixes[0]}"
    elif words[0] in ("rewrite", "error_page"):
        yield from _problems_of_target(words, own)
    elif words[0] == "return" and not re.fullmatch(r"304|[245]\d\d", first):
        yield f"it sends clients elsewhere: `{text}`"
    elif words[0] == "set" and not _OWN_VARIABLE.fullmatch(first):
        yield f"it sets {first}"


def _begins(arguments: list[str], prefixes: tuple[str, ...]) -> bool:
    """Whether a location holds paths of the Solution only."""
    path = arguments[-1] if arguments else ""
    if arguments[:1] in (["~"], ["~*"]):
        # A pattern of alternatives could match anything.
        path, count = re.subn(r"^(?:\(\?s\))?\^(?:\\Q)?", "", path)
        if not count or "" not in _groups(arguments[-1]):
            return False
        path = path.replace("\\.", ".").replace("\\-", "-")
        # Nor may the end of the prefix be left out.
        prefixes = tuple(prefix for prefix in prefixes if not re.match(r"(?:\\[QE])*[?*{]", path[len(prefix) :]))
    return any(path.startswith(prefix) for prefix in prefixes)


def _groups(pattern: str) -> dict[str, str]:
    """What stands in each group of a pattern, by number and by name; the pattern itself, by "", without alternatives.

    Nothing of a pattern that is not understood.
    """
    pattern = pattern.removeprefix("(?s)")
    found = {"": pattern}
    opened: list[tuple[tuple[str, ...], int]] = []
    offset = number = 0
    while offset < len(pattern):
        match = _PIECE.match(pattern, offset)
        if match is None or (match[0] == ")" and not opened):
            return {}
        offset = match.end()
        if match["open"]:
            is_group = match["open"] != "(?:"
            number += is_group
            opened.append(((str(number), match["name"] or str(number)) if is_group else (), offset))
        elif match[0] == ")":
            names, start = opened.pop()
            found.update(dict.fromkeys(names, pattern[start : match.start()]))
        elif match[0] == "|" and not opened:
            found.pop("", None)
    return found if not opened else {}


def _is_plain(group: str | None) -> bool:
    return group is not None and _PLAIN.fullmatch(group) is not None


def _first_part(pattern: str, own: str) -> str:
    """Of the internal paths that a location holds; nothing if it may hold all of them."""
    match = re.match(rf"(?:\(\?s\))?\^\\Q{re.escape(own)}\\E\(\?:GET\|HEAD\)/([a-z-]+)/", pattern)
    return match[1] if match else ""


def _captured(words: list[str]) -> Iterator[str]:
    if words[0] == "set":
        yield from _VARIABLE.findall(" ".join(words[1:2]))
    if words[0] in ("if", "rewrite"):
        yield from _GROUP.findall(" ".join(words))


def _unreadable(words: list[str]) -> Iterator[str]:
    """Variables that only others than the registry's own pages look at."""
    # The end of a pattern is a dollar too.
    for name in _VARIABLE.findall(" ".join(words[1:])):
        if not _READABLE.fullmatch(name):
            yield name


def _problems_of_folder(words: list[str], within: tuple[Directive, ...], own: _Own) -> Iterator[str]:
    folder = " ".join(words[1:])
    if not folder.startswith(f"{own.root}/") and folder != own.root:
        yield f"it serves {folder[:80]}, which is not below {own.root}"
    if _leads_upwards(folder):
        yield f"it serves {folder[:80]}, which leads upwards"
    for name in _VARIABLE.findall(folder):
        if not _is_of_path(name, folder, within, own):
            yield f"it serves {folder[:80]}, where ${name} may be anything"


def _leads_upwards(path: str) -> bool:
    """Whether it does by itself, or where a variable in it is nothing."""
    return ".." in path or ".." in re.sub(r"\$\{?\w+\}?", "", path)


def _is_of_path(name: str, folder: str, within: tuple[Directive, ...], own: _Own) -> bool:
    """Whether a variable in a folder is a part of the request's path that cannot lead upwards."""
    around = within[-1] if within else Directive(0, ["location"], [])
    if around.words[:2] not in (["location", "~"], ["location", "~*"]) or len(around.words) != 3:
        return False
    has_patterns = any(each.words[0] in ("if", "rewrite") for each, _ in _walk(around.block))
    if has_patterns if name.isdigit() else not name.startswith("static_") or name in own.taken:
        return False
    groups = _groups(around.words[2])
    if name not in groups or _is_plain(groups[name]):
        return name in groups
    # An internal path is of this file's own making; _problems_of_target sees that it does not lead upwards.
    is_whole = re.search(rf"/\$(?:{name}|\{{{name}\}})(?:/|$)", folder) is not None
    is_internal = any(each.words == ["internal"] for each in around.block)
    return _first_part(around.words[2], own.prefixes[1]) != "" and is_whole and is_internal


def _problems_of_target(words: list[str], own: _Own) -> Iterator[str]:
    """An internal redirect stays in the Solution's own names; what leads into them is the path of the request."""
    internal = own.prefixes[1]
    target = words[2] if words[0] == "rewrite" and len(words) == 4 else words[-1]
    is_last = words[0] != "rewrite" or words[3:] == ["last"]
    variables = set(_VARIABLE.findall(target)) - {"request_method"}
    is_own = target.startswith(internal) and not _leads_upwards(target)
    if not is_own or not is_last or not all(name.isdigit() for name in variables):
        yield f"it leads to {target[:80]}"
    groups = _groups(words[1]) if words[0] == "rewrite" else {}
    first = re.match(r"(?:\$request_method|GET|HEAD)/([a-z-]+)/", target.removeprefix(internal))
    if first is None or first[1] in own.made:
        for name in sorted(variables):
            if not _is_plain(groups.get(name)):
                yield f"it leads to {target[:80]}, where ${name} may be anything"
