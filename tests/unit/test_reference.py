"""The reference pages say all there is: every key of a schema, every setting, every task, every option."""

import argparse
import json
import pathlib
import re
from collections.abc import Iterator

import pytest

import dodo
from buildchain import cli, digest, lint, lock, product, settings
from buildchain.tasks import images

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = ROOT / "docs/reference"
_NOT_SETTINGS = {"HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"}


def _code(page: str) -> set[str]:
    """Everything that stands in backticks on a page."""
    return set(re.findall(r"`([^`\n]+)`", (PAGES / page).read_text(encoding="utf-8")))


def _rows(page: str) -> set[str]:
    """What the first column of the page's tables names."""
    cells = re.findall(r"^\| (`[^|]+) \|", (PAGES / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def _keys(schema: object) -> Iterator[str]:
    """Every key that a schema knows, at any depth."""
    if isinstance(schema, dict):
        properties = schema.get("properties", {})
        yield from properties
        for value in schema.values():
            yield from _keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _keys(value)


SCHEMAS = sorted(path.name.removesuffix(".schema.json") for path in (ROOT / "buildchain/schemas").iterdir())


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "solution-manifest"])
def test_every_key_of_a_schema_stands_in_its_page(name: str) -> None:
    text = (ROOT / f"buildchain/schemas/{name}.schema.json").read_text(encoding="utf-8")
    keys = set(_keys(json.loads(text)))
    assert len(keys) >= 3
    named = _rows(f"{name}-yaml.md")
    headings = set(re.findall(r"^## (\S+)", (PAGES / f"{name}-yaml.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert keys - named - headings == set()
    assert named - keys == set()


def _settings() -> set[str]:
    """Names of the variables that settings.py and doit.sh read."""
    code = pathlib.Path(settings.__file__).read_text(encoding="utf-8")
    found = set(re.findall(r"reader\.\w+\(\s*\"([A-Z_]+)\"", code))
    found |= set(re.findall(r"environment\.get\(\"([A-Z_]+)\"", code))
    shell = (ROOT / "doit.sh").read_text(encoding="utf-8")
    return (found | set(re.findall(r"\$\{([A-Z_]+):-", shell))) - _NOT_SETTINGS


def test_every_setting_stands_in_its_page_and_in_the_example() -> None:
    names = _settings()
    assert {"BUILD_ROOT", "PULL_JOBS", "SOURCE_DATE_EPOCH", "GIT_BIN", "PYTHON_SYS"} <= names
    example = set(re.findall(r"^#(\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    mirrors = {name for name in example if name.endswith("_MIRROR")}
    proxies = {"http_proxy", "https_proxy", "no_proxy"}
    assert example - mirrors - proxies == names
    assert _rows("settings.md") - {"<ARCHIVE>_MIRROR"} == names | proxies
    assert mirrors <= _code("settings.md")
    assert settings._REPLACED.keys() <= _code("settings.md")


def test_every_public_task_stands_in_its_page() -> None:
    tasks = {name.removeprefix("task_") for name in vars(dodo) if name.startswith("task_")}
    public = {name for name in tasks if not name.startswith("_")}
    assert len(public) > 10
    listed = {row for row in _rows("tasks.md") if not row.startswith("./doit.sh")}
    assert listed == public


def test_whatever_is_to_be_typed_is_a_task() -> None:
    """In messages, pages and scripts; what follows doit.sh there is a task, a command of doit or an English word."""
    tasks = {name.removeprefix("task_") for name in vars(dodo) if name.startswith("task_")}
    commands = {"clean", "forget", "info", "list", "tabcompletion"}
    words = {"again", "calls", "does", "is", "once", "runs", "without"}
    paths = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "buildchain").rglob("*.py")]
    typed = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in paths
        if "_build" not in path.parts
        for name in re.findall(r"\./doit\.sh ([a-z_]+)", path.read_text(encoding="utf-8"))
    }
    assert len(typed) > 30
    assert {(path, name) for path, name in typed if name not in tasks | commands | words} == set()


def _commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command by the words to type."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for word, below in group.choices.items():
            yield from _commands(below, f"{name} {word}".strip())
    if not groups:
        yield name, parser


def test_every_option_stands_in_its_page() -> None:
    page = (PAGES / "command-line.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## buildchain ([^\n…]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    commands = dict(_commands(cli._parser()))
    assert len(commands) > 5
    assert sections.keys() == commands.keys()
    for name, parser in commands.items():
        options = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
        for option in options:
            assert f"`{option} " in sections[name] or f"`{option}`" in sections[name]


def test_every_rule_of_lint_stands_in_its_page() -> None:
    text = (PAGES / "solution-rules.md").read_text(encoding="utf-8")
    rows = {
        line.split(" | ")[0].removeprefix("| `").removesuffix("`"): line
        for line in text.splitlines()
        if line.startswith("| `")
    }
    assert rows == {
        name: f"| `{name}` | {rule.severity.value} | {_cell(rule.what)} | {_cell(rule.mend)} |"
        for name, rule in lint.rules().items()
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_every_path_of_a_built_medium_stands_in_its_page() -> None:
    """Of those in its root that are not made under a name of somebody's choice."""
    places = {place.partition("/")[0] for place in _code("medium.md")}
    scripts = {name.removesuffix(".in") for name in product.SCRIPTS}
    folders = {images.BOOTSTRAP, "documentation", "images", "packages", "pillar", "salt"}
    assert (scripts | folders | {"SHA256SUM", "SHA256SUM.asc", "CONTENTS.mtree", product.KEY}) - places == set()


def test_every_page_names_what_is_there() -> None:
    """`NAME` in `FILE`."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    named = {found for text in texts for found in re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)}
    assert named
    assert [each for each in named if not re.search(rf"^{each[0]}\b", (ROOT / each[1]).read_text(), re.MULTILINE)] == []


def test_every_key_of_a_solutions_manifest_stands_in_its_page() -> None:
    text = (ROOT / "buildchain/schemas/solution-manifest.schema.json").read_text(encoding="utf-8")
    named = {part for row in _rows("solution-medium.md") for part in row.split(".")} | _code("solution-medium.md")
    assert set(_keys(json.loads(text))) - named == set()


def _keys_of_what_is_pulled() -> set[str]:
    """Those of an image and of a file of Python, which the default distribution has none of."""
    content = digest.Descriptor.of_bytes(b"")
    image = lock.Image(
        lock.ImageRequest("name", "registry.example/name", "1", ("linux/amd64",), has_signatures=True),
        (lock.ImageManifest(content, "type", "1", "linux/amd64"),),
        (lock.Blob(content, "type"),),
    )
    file = lock.File("salt", "demo", "1.0", "demo-1.0.tar.gz", content)
    written = json.loads(lock.dump(lock.Lock(images=(image,), files=(file,))))
    (row,) = written["images"]
    return {"files", *row, *row["manifests"][0], *row["blobs"][0], *written["files"][0]}


def test_every_key_of_the_lock_stands_in_its_page() -> None:
    written = json.loads((ROOT / lock.FILE_NAME).read_text(encoding="utf-8"))
    parts = (written[section][0] for section in ("indexes", "packages", "sets"))
    keys = {*written, *_keys_of_what_is_pulled()}.union(*parts)
    assert _rows("lock.md") == keys
