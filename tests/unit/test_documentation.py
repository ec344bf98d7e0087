"""Pages that a browser reads from any folder, and every mistake of their writer's in one message."""

import html.parser
import os
import pathlib
import posixpath
import subprocess
import sys
import urllib.parse

import pytest

from buildchain import documentation, errors, store, tree

ROOT = pathlib.Path(__file__).parent.parent.parent
_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(html.parser.HTMLParser):
    """The links, anchors and nesting of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.anchors: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            assert values["id"] not in self.anchors
            self.anchors.add(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        self.resources += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        if tag == "link":
            self.resources.append(values["href"])
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _write(root: pathlib.Path, **pages: str) -> list[str]:
    for name, text in pages.items():
        path = root / "docs" / name.replace("__", "/")
        path = path.with_suffix(".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return sorted(str(path.relative_to(root)) for path in (root / "docs").rglob("*") if path.is_file())


def _collect(root: pathlib.Path, files: list[str]) -> dict[str, str]:
    target = store.Store(root / "store")
    made = documentation.collect(root, files, target, title="Product 1.0")
    return {file.path: target.read(file.content.digest).decode() for file in made.files()}


_INDEX = "# Start\n\n```{toctree}\n:caption: Read\n:maxdepth: 1\n\nguide/first\n```\n"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The documentation of this repository."""
    folder = tmp_path_factory.mktemp("documentation")
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")]
    target = store.Store(folder / "store")
    made = documentation.collect(ROOT, files, target, title="MetalK8s")
    return {file.path: target.read(file.content.digest).decode() for file in made.files()}


@pytest.fixture(scope="module")
def pages(shipped: dict[str, str]) -> dict[str, Page]:
    """The same, as a browser would read it."""
    return {path: Page(text) for path, text in shipped.items() if path.endswith(".html")}


def test_every_link_and_anchor_of_ours_leads_somewhere(pages: dict[str, Page]) -> None:
    checked = 0
    for path, page in pages.items():
        assert page.open == [], path
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme:
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(path), parts.path)) if parts.path else path
            assert target in pages, f"{path}: {link}"
            assert not parts.fragment or parts.fragment in pages[target].anchors, f"{path}: {link}"
            checked += 1
    assert checked > 500


def test_a_page_loads_nothing_but_the_style_sheet(shipped: dict[str, str], pages: dict[str, Page]) -> None:
    for path, page in pages.items():
        (resource,) = page.resources
        assert posixpath.normpath(posixpath.join(posixpath.dirname(path), resource)) == "documentation/style.css"
        assert "<script" not in shipped[path]
    style = shipped["documentation/style.css"]
    assert "prefers-color-scheme: dark" in style
    assert "url(" not in style
    assert "@import" not in style


def test_nothing_of_the_place_shows(shipped: dict[str, str]) -> None:
    assert not [path for path, text in shipped.items() if str(ROOT) in text]


def test_bytes_depend_on_nothing_around(tmp_path: pathlib.Path) -> None:
    files = _write(tmp_path / "a", index=_INDEX, guide__first="# One\n\n| a | b |\n|---|---|\n| `x` | é |\n")
    program = (
        "import pathlib, sys; from buildchain import documentation, store, tree\n"
        "made = documentation.collect(pathlib.Path(sys.argv[1]), sys.argv[3:], store.Store(pathlib.Path(sys.argv[2])),"
        " title='P')\nsys.stdout.buffer.write(tree.dump(made))"
    )
    (tmp_path / "another, longer place").symlink_to(tmp_path / "a")
    found = set()
    for place, zone, locale, mask, seed in (
        ("a", "Asia/Kolkata", "C.UTF-8", 0o022, "1"),
        ("another, longer place", "America/St_Johns", "C", 0o077, "7"),
    ):
        argv = [sys.executable, "-c", program, str(tmp_path / place), str(tmp_path / seed), *files]
        environment = {**os.environ, "TZ": zone, "LC_ALL": locale, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, cwd=tmp_path, env=environment, umask=mask, capture_output=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
    assert len(tree.load(found.pop())) == 3


def test_pages_are_reached_and_followed_in_order(tmp_path: pathlib.Path) -> None:
    files = _write(
        tmp_path,
        index=_INDEX + "\nSee [there](guide/first.md#a-b-c).\n",
        guide__first="# One `x`\n\n## A: b, c?\n\n## A: b, c?\n\n[up](../index.md) [here](#a-b-c-1)\n\n"
        "```{toctree}\nsecond\n```\n",
        guide__second="# Two & more\n",
    )
    pages = _collect(tmp_path, files)
    assert set(pages) == {
        f"documentation/{name}" for name in ("index.html", "guide/first.html", "guide/second.html", "style.css")
    }
    first = pages["documentation/guide/first.html"]
    assert '<h2 id="a-b-c">' in first
    assert '<h2 id="a-b-c-1">' in first
    assert '<a href="../index.html">up</a>' in first
    assert '<a rel="next" href="second.html">Two &amp; more →</a>' in first
    assert "<title>One x · Product 1.0</title>" in first
    assert '<li class="here"><a href="first.html">One x</a></li>' in pages["documentation/guide/second.html"]


def test_html_in_a_page_is_text(tmp_path: pathlib.Path) -> None:
    files = _write(tmp_path, index="# <b>\n\n<script>alert(1)</script>\n")
    page = _collect(tmp_path, files)["documentation/index.html"]
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_all_mistakes_at_once(tmp_path: pathlib.Path) -> None:
    files = _write(
        tmp_path,
        index=_INDEX + "\n```{toctree}\nabsent\n```\n\n[a](guide/first.md#no) [b](gone.md) [c](conf.py) ![d](d.png)\n\n"
        "```{note}\nx\n```\n",
        guide__first="# One\n",
        lost="# Lost\n",
    )
    (tmp_path / "docs/notes.txt").write_text("")
    (tmp_path / "docs/latin.md").write_bytes(b"\xe9")
    with pytest.raises(errors.ConfigError) as caught:
        _collect(tmp_path, [*files, "docs/notes.txt", "docs/latin.md", "docs/deleted.md", "docs/conf.py"])
    text = str(caught.value)
    for words in (
        "notes.txt: is not a page",
        "latin.md: 'utf-8'",
        "deleted.md: [Errno 2]",
        "index.md: its toctree names absent",
        "index.md: links to guide/first.md#no",
        "index.md: links to gone.md",
        "index.md: links to conf.py",
        "index.md: shows d.png",
        "index.md: uses the directive {note}",
        "lost.md: no toctree leads here",
    ):
        assert words in text
    assert len(caught.value.problems) == 10


def test_pages_that_name_each_other_end(tmp_path: pathlib.Path) -> None:
    files = _write(tmp_path, index=_INDEX, guide__first="# One\n\n```{toctree}\n../index\nfirst\n```\n")
    assert len(_collect(tmp_path, files)) == 3


def test_without_a_first_page(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"index\.md: is missing"):
        _collect(tmp_path, [])
