"""The tutorial is true: what it tells to type works, in this order, in a fresh clone."""

import re
import shlex

import pytest

from tests.end_to_end import conftest

_PAGE = conftest.ROOT / "docs/tutorial/first-iso.md"


def _commands() -> list[str]:
    """The lines after a prompt; blocks of another language are for other places, or done by the fixture."""
    text = _PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_there_is_something_to_run() -> None:
    assert len(_commands()) > 10
    assert "./doit.sh verify" in _commands()


def test_every_command_works(first: conftest.Checkout) -> None:
    before = first.iso_digest()
    for command in _commands():
        done = first.run(*shlex.split(command))
        assert done.returncode == 0, f"{command}\n{done.stdout}"
    assert first.iso_digest() == before


@pytest.mark.parametrize("place", ["_build/SHA256SUM", "_build/root/documentation/index.html", "_build/report.html"])
def test_what_it_names_is_there(first: conftest.Checkout, place: str) -> None:
    assert place.rpartition("/")[2] in _PAGE.read_text(encoding="utf-8")
    assert (first.root / place).is_file()
