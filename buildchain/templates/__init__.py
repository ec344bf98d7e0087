"""The pages the buildchain makes: Jinja templates and one style sheet, which knows light and dark."""

import pathlib

import jinja2

FOLDER = pathlib.Path(__file__).parent
STYLE = "style.css"

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(name: str, **values: object) -> str:
    """Fill in a template; a value it needs and does not get is a bug."""
    return _ENVIRONMENT.get_template(name).render(values)


def style() -> str:
    """The style sheet, to be served as a file or put into a page."""
    return (FOLDER / STYLE).read_text(encoding="utf-8")
