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
    r""" | (?P<word>(?:[^\s;{}"'\#\\$]|\\.|\$(?:\{[^}\s]*\})?)(?:[^\s;{}\\$]|\\.|\$(?:\{[^}\s]*\})?)*)""",
    re.VERBOSE | re.DOTALL,
)
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
            # nginx takes a backslash off before a quote or itself, and leaves it before all else.
            words.append(re.sub(r"""\\(["'\\])""", r"\1", match["quoted"][1:-1]))
        elif match["word"]:
            words.append(match["word"])
    if len(blocks) != 1 or words:
        raise _SyntaxError(line, "it ends within a directive")
    return top


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


def _problems(top: list[Directive], repository: str, root: str) -> Iterator[tuple[int, str, str]]:
    prefixes = f"/v2/{repository}/", f"/.static-registry:{repository}/:"
    found = list(_walk(top))
    taken = {name for each, _ in found for name in _captured(each.words)}
    for each, within in found:
        for about, what in _problems_of(each.words, within, prefixes, root, taken):
            yield each.line, about, what


def _problems_of(
    words: list[str], within: tuple[Directive, ...], prefixes: tuple[str, str], root: str, taken: set[str]
) -> Iterator[Problem]:
    name = words[0]
    if name not in _DIRECTIVES:
        yield "directive", f"it has the directive `{name}`"
        return
    if not within and name != "location" and (name != "if" or words[1:] != _CATALOG):
        yield "directive", f"it has `{' '.join(words)[:80]}` outside of its locations"
    for variable in _unreadable(words):
        yield "variable", f"it reads ${variable}"
    if name in ("alias", "root"):
        for what in _problems_of_folder(words, root, taken, within):
            yield "folder", what
    else:
        for what in _problems_of_names(words, prefixes):
            yield "name", what


def _problems_of_names(words: list[str], prefixes: tuple[str, str]) -> Iterator[str]:
    """What may be asked for, where that leads, and what it sets."""
    text, first = " ".join(words)[:80], " ".join(words[1:2])
    if words[0] == "location" and not _begins(words[1:], prefixes):
        yield f"its `{text}` is not below {prefixes[0]}"
    elif words[0] in ("rewrite", "error_page"):
        yield from _problems_of_target(words, prefixes[1])
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
        if not count or "|" in re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "", path):
            return False
        path = path.replace("\\.", ".").replace("\\-", "-")
    return any(path.startswith(prefix) for prefix in prefixes)


def _captured(words: list[str]) -> Iterator[str]:
    """Variables that are given a value of another origin than the path of the request."""
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


def _problems_of_folder(words: list[str], root: str, taken: set[str], within: tuple[Directive, ...]) -> Iterator[str]:
    folder = " ".join(words[1:])
    if not folder.startswith(f"{root}/") and folder != root:
        yield f"it serves {folder[:80]}, which is not below {root}"
    if ".." in folder:
        yield f"it serves {folder[:80]}, which leads upwards"
    around = within[-1] if within else Directive(0, ["location"], [])
    has_patterns = any(each.words[0] in ("if", "rewrite") for each, _ in _walk(around.block))
    for name in _VARIABLE.findall(folder):
        is_of_path = not has_patterns if name.isdigit() else name.startswith("static_") and name not in taken
        if around.words[:2] not in (["location", "~"], ["location", "~*"]) or not is_of_path:
            yield f"it serves {folder[:80]}, where ${name} may be anything"


def _problems_of_target(words: list[str], own: str) -> Iterator[str]:
    """An internal redirect stays in the Solution's own names; what leads into them is the path of the request."""
    target = words[2] if words[0] == "rewrite" and len(words) == 4 else words[-1]
    is_last = words[0] != "rewrite" or words[3:] == ["last"]
    variables = set(_VARIABLE.findall(target)) - {"request_method"}
    if not target.startswith(own) or ".." in target or not is_last or not all(name.isdigit() for name in variables):
        yield f"it leads to {target[:80]}"
