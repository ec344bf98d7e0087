r"""Pages of a list inside nginx: the `n` and `last` of the distribution specification 1.1, "Listing tags".

nginx cannot count, but a regular expression over "what was asked for, and the list" can. A list is text, each item in
double quotes and followed by a comma, in byte order.
"""

from collections.abc import Iterable, Iterator

from static_container_registry import nginx

# Every character of a tag or a repository name, in byte order, as runs.
_RUNS = ("-", ".", "/", "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "_", "abcdefghijklmnopqrstuvwxyz")

# A larger `n` gives pages of the largest of these, with a Link: PCRE unrolls the count, so it must stay small.
PAGE_SIZES = (*range(1, 10), *range(10, 100, 10), 100)

_ITEM = '"[^"]*",'
# Whole items: PCRE gives up after ten million steps, and each character of `last` looks through the list once.
_SKIPPED = f"(?>{_ITEM})*?"
_REST = "(?<static_registry_rest>.*)"


def directives(list_variable: str, path: str) -> Iterator[str]:
    """Directives of a location that cut `list_variable` down to the page asked for.

    The rest is left in `$static_registry_page` without its last comma, the next page in `$static_registry_next`.
    Captures have names: nginx percent-encodes the numbered ones when the request's path was percent-encoded.

    Arguments:
        path: of the list, for the Link header; variables in it are expanded.
    """
    yield 'set $static_registry_next "";'
    yield f"set $static_registry_page ${list_variable};"
    yield "set $static_registry_last $arg_last;"
    yield from _decoded_slashes()
    yield f'set $static_registry_key "$static_registry_last ${list_variable}";'
    yield from _if("$static_registry_last", r".", ['set $static_registry_page "";'])
    yield from _if("$static_registry_key", _greater(), ["set $static_registry_page $static_registry_rest;"])
    # The usual case, and right for a list that several files in no order have written.
    exact = rf'^([^" ]+) (?:.*,)?"\1",{_REST}\z'
    yield from _if("$static_registry_key", exact, ["set $static_registry_page $static_registry_rest;"])
    yield 'set $static_registry_key "$arg_n:$static_registry_page";'
    yield from _if("$arg_n", r"^0+\z", ['set $static_registry_page "";'])
    link = nginx.text(f'<{path}?n=$arg_n&last=$static_registry_tail>; rel="next"')
    yield from _if(
        "$static_registry_key",
        _first_page(),
        ["set $static_registry_page $static_registry_head;", f"set $static_registry_next {link};"],
    )
    without_comma = r"^(?<static_registry_head>.*),\z"
    yield from _if("$static_registry_page", without_comma, ["set $static_registry_page $static_registry_head;"])


def _if(subject: str, pattern: str, body: Iterable[str], operator: str = "~") -> Iterator[str]:
    return nginx.block(f"if ({subject} {operator} {nginx.text(pattern)})", body)


def _decoded_slashes() -> Iterator[str]:
    """A client may write the slash of a repository name as %2F, and nginx does not decode arguments."""
    pattern = r"^(?<static_registry_head>.*)%2F(?<static_registry_tail>.*)\z"
    for _ in range(4):
        body = ['set $static_registry_last "$static_registry_head/$static_registry_tail";']
        yield from _if("$static_registry_last", pattern, body, "~*")


def _greater() -> str:
    """Everything from the first item that comes after `last`, which need not be in the list.

    The longest common beginning is tried first: what shares more with `last` stands before what shares less.
    """
    ends = [rf' {_SKIPPED}(?="\1[^",])']
    for number, run in enumerate(_RUNS):
        later = [_class(each) for each in _RUNS[number + 1 :]]
        for place, character in enumerate(run):
            larger = "".join([_class(run[place + 1 :]), *later])
            if larger:
                first = f"[{character}]" if character in "-." else character
                ends.append(rf'{first}[^ ]* {_SKIPPED}(?="\1[{larger}])')
    return rf'^([^" ]*)(?:{"|".join(ends)}){_REST}\z'


def _class(run: str) -> str:
    return f"{run[0]}-{run[-1]}" if len(run) > 1 else run


def _first_page() -> str:
    ends = []
    for size in PAGE_SIZES:
        digits = {1: str(size), 2: f"{str(size)[0]}[0-9]", 3: "[0-9]{3,}"}[len(str(size))]
        page = rf'(?<static_registry_head>(?:{_ITEM}){{{size - 1}}}"(?<static_registry_tail>[^"]*)",)'
        ends.append(f"{digits}:{page}.")
    return f"^0*(?|{'|'.join(ends)})"
