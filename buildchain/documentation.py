"""The documentation on the medium: `docs/` as HTML that a browser reads from any folder, without network.

`docs/` is CommonMark with tables, and `toctree` is the only directive it uses, so that Sphinx (the lint of every
change) and this module (which a build can afford) read it alike.
"""

import dataclasses
import pathlib
import posixpath
import re
import typing
from collections.abc import Iterator, Mapping, Sequence

import markdown_it
import markdown_it.token
import markupsafe

from buildchain import errors, store, templates, tree

FOLDER = "documentation"
SOURCE = "docs"

_FIRST = "index"
_CONFIGURATION = "conf.py"
"""Sphinx's, which no reader needs."""
_ANCHORED = {"h1", "h2", "h3"}
"""Headings that can be linked to; `myst_heading_anchors` in docs/conf.py says the same."""
_HINT = "Mend it in docs/; ./doit.sh documentation checks the pages."

_Tokens = list[markdown_it.token.Token]


@dataclasses.dataclass(frozen=True, slots=True)
class _Contents:
    """One `toctree`: names of pages, relative to the page it stands on."""

    caption: str
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Page:
    """A parsed page; `name` is its path below docs/ without `.md`."""

    name: str
    tokens: _Tokens
    heading: str
    anchors: Mapping[int, str]
    """By the position of a heading among all tokens."""
    contents: tuple[_Contents, ...]

    def resolve(self, reference: str) -> str:
        """A path relative to this page, as one below docs/."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self.name), reference))


def collect(root: pathlib.Path, tracked_files: Sequence[str], target: store.Store, *, title: str) -> tree.Tree:
    """Render the pages among the tracked files, with the style sheet they share.

    Arguments:
        target: receives the pages.
        title:  stands on every page; the product and its version.

    Raises:
        ConfigError: with every link that leads nowhere, page that cannot be reached, and file that is no page.
    """
    pages, problems = _load(root / SOURCE, [path for path in tracked_files if path.startswith(f"{SOURCE}/")])
    problems += [problem for page in pages.values() for problem in _problems(page, pages)]
    order = _order(pages)
    problems += [(f"{name}.md", "no toctree leads here") for name in sorted(pages.keys() - set(order))]
    if problems:
        raise errors.ConfigError(SOURCE, problems, _HINT)
    rendered = {f"{name}.html": _render(pages, order, name, title) for name in order}
    rendered[templates.STYLE] = templates.style()
    files = (tree.File(path, target.add_bytes(text.encode())) for path, text in rendered.items())
    return tree.build(files).moved_to(FOLDER)


def _load(source: pathlib.Path, tracked: Sequence[str]) -> tuple[dict[str, _Page], list[tuple[str, str]]]:
    pages, problems = {}, []
    for path in (path.removeprefix(f"{SOURCE}/") for path in tracked):
        if path == _CONFIGURATION:
            continue
        if not path.endswith(".md"):
            problems.append((path, "is not a page (.md)"))
            continue
        try:
            text = (source / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append((path, str(error)))
        else:
            page = _parse(path.removesuffix(".md"), text)
            pages[page.name] = page
    if _FIRST not in pages:
        problems.append((f"{_FIRST}.md", "is missing"))
    return pages, problems


def _parser() -> markdown_it.MarkdownIt:
    return markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table")


def _parse(name: str, text: str) -> _Page:
    tokens = _parser().parse(text)
    headings = [
        (index, tokens[index + 1].content) for index, token in enumerate(tokens) if token.type == "heading_open"
    ]
    taken: set[str] = set()
    anchors = {index: _anchor(content, taken) for index, content in headings if tokens[index].tag in _ANCHORED}
    contents = tuple(_contents(token.content) for token in tokens if _is_contents(token))
    return _Page(name, tokens, _plain(headings[0][1]) if headings else name, anchors, contents)


def _anchor(content: str, taken: set[str]) -> str:
    """A heading's anchor, as MyST and GitHub make it."""
    slug = re.sub(r"[^\w\- ]", "", _plain(content).lower()).replace(" ", "-")
    unique, count = slug, 0
    while unique in taken:
        count += 1
        unique = f"{slug}-{count}"
    taken.add(unique)
    return unique


def _plain(content: str) -> str:
    return content.replace("`", "").strip()


def _is_contents(token: markdown_it.token.Token) -> bool:
    return token.type == "fence" and token.info.strip() == "{toctree}"


def _contents(text: str) -> _Contents:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    options = dict(re.findall(r"^:(\w+): *(.*)$", "\n".join(lines), re.MULTILINE))
    return _Contents(options.get("caption", ""), tuple(line for line in lines if not line.startswith(":")))


def _order(pages: Mapping[str, _Page]) -> list[str]:
    """Pages as one would read them: each, once, before those of its own toctrees."""
    found: dict[str, None] = {}
    ahead = [_FIRST] if _FIRST in pages else []
    while ahead:
        name = ahead.pop()
        if name not in found:
            found[name] = None
            ahead += reversed(_children(pages, name))
    return list(found)


def _children(pages: Mapping[str, _Page], name: str) -> list[str]:
    page = pages[name]
    found = (page.resolve(each) for contents in page.contents for each in contents.names)
    return [child for child in found if child in pages]


def _problems(page: _Page, pages: Mapping[str, _Page]) -> Iterator[tuple[str, str]]:
    place = f"{page.name}.md"
    for contents in page.contents:
        for name in contents.names:
            if page.resolve(name) not in pages:
                yield place, f"its toctree names {name}, which is no page"
    for token in page.tokens:
        if token.type == "fence" and token.info.startswith("{") and not _is_contents(token):
            yield place, f"uses the directive {token.info}: only toctree is known"
    yield from ((place, problem) for token in _links(page.tokens) for problem in _problems_of_link(page, pages, token))


def _problems_of_link(page: _Page, pages: Mapping[str, _Page], token: markdown_it.token.Token) -> Iterator[str]:
    if token.type == "image":
        yield f"shows {token.attrs['src']}: pages hold no images"
    elif not _leads_somewhere(page, pages, str(token.attrs["href"])):
        yield f"links to {token.attrs['href']}, which is no page or no heading of it"


def _links(tokens: _Tokens) -> Iterator[markdown_it.token.Token]:
    for token in tokens:
        if token.type in ("link_open", "image"):
            yield token
        yield from _links(token.children or [])


def _leads_somewhere(page: _Page, pages: Mapping[str, _Page], reference: str) -> bool:
    if _is_outside(reference):
        return True
    path, _, anchor = reference.partition("#")
    if path and not path.endswith(".md"):
        return False
    found = pages.get(page.resolve(path.removesuffix(".md"))) if path else page
    return found is not None and (not anchor or anchor in found.anchors.values())


def _is_outside(reference: str) -> bool:
    return reference.startswith(("https://", "http://", "mailto:"))


def _render(pages: Mapping[str, _Page], order: Sequence[str], name: str, title: str) -> str:
    page = pages[name]
    position = order.index(name)
    return templates.render(
        "page.html",
        title=title,
        heading=page.heading,
        top="../" * name.count("/"),
        groups=_groups(pages, page),
        body=markupsafe.Markup(_body(pages, page)),  # noqa: S704 — made by a parser that passes no HTML through
        previous=_link(pages, page, order[position - 1]) if position else None,
        following=_link(pages, page, order[position + 1]) if position + 1 < len(order) else None,
    )


def _groups(pages: Mapping[str, _Page], here: _Page) -> list[dict[str, typing.Any]]:
    """The navigation: the toctrees of the first page."""
    first = pages[_FIRST]
    return [
        {"caption": contents.caption, "pages": [_link(pages, here, first.resolve(name)) for name in contents.names]}
        for contents in first.contents
    ]


def _link(pages: Mapping[str, _Page], here: _Page, name: str) -> dict[str, typing.Any]:
    is_around = name == here.name or here.name in _children(pages, name)
    heading = pages[name].heading
    return {"href": _href(here, name), "heading": heading, "is_here": name == here.name, "is_around": is_around}


def _href(here: _Page, name: str) -> str:
    return posixpath.relpath(f"{name}.html", posixpath.dirname(here.name) or ".")


def _body(pages: Mapping[str, _Page], page: _Page) -> str:
    """The HTML of a page's text. Tokens are changed in place: a page is rendered once."""
    for index, anchor in page.anchors.items():
        page.tokens[index].attrSet("id", anchor)
    for token in _links(page.tokens):
        reference = str(token.attrs["href"])
        if not _is_outside(reference):
            token.attrSet("href", re.sub(r"\.md(#|$)", r".html\1", reference))
    for token in page.tokens:
        if _is_contents(token):
            token.type, token.content = "html_block", _contents_html(pages, page, _contents(token.content))
    parser = _parser()
    return str(parser.renderer.render(page.tokens, parser.options, {}))


def _contents_html(pages: Mapping[str, _Page], page: _Page, contents: _Contents) -> str:
    links = [_link(pages, page, page.resolve(name)) for name in contents.names]
    template = '<li><a href="{href}">{heading}</a></li>\n'
    items = markupsafe.Markup("").join(markupsafe.Markup(template).format(**each) for each in links)  # noqa: S704
    caption = markupsafe.Markup('<p class="label">{}</p>\n').format(contents.caption) if contents.caption else ""
    return f"{caption}<ul>\n{items}</ul>\n"
