"""YAML written by hand, or by an enemy: a value, or every problem with its line."""

import json
import pathlib
import re
import sys
import time
import typing
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import command, document, errors

SCHEMA = "distribution.schema.json"

GOOD = """\
# A comment.
archives:
  debian:
    origin: Debian
    suite: bookworm
    components: [main]
    keys: [a.asc]
repositories:
  debian-12:
    archives: [debian]
    packages:
      - bash
images:
  archives: [debian]
  ship: {}
"""


def _load(directory: pathlib.Path, text: str | bytes) -> document.Document:
    path = directory / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return document.load(path, SCHEMA)


def _problems(directory: pathlib.Path, text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(errors.ConfigError) as caught:
        _load(directory, text)
    assert caught.value.what == str(directory / "a.yaml")
    return list(caught.value.problems)


def test_values_and_lines(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, GOOD)
    assert loaded.value["archives"]["debian"]["suite"] == "bookworm"
    assert loaded.value["images"]["ship"] == {}
    assert loaded.problem(("repositories", "debian-12", "packages", 0), "x") == (
        "line 12, repositories.debian-12.packages.0", "x"
    )  # fmt: skip
    assert loaded.line(("repositories", "debian-12", "packages")) == 11
    assert loaded.problem((), "x") == ("line 2", "x")


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(document, "_accepted", {})
    monkeypatch.setattr(document, "_recalled", {})


_COUNTED = """
import pathlib, sys
from buildchain import document
document.recall(pathlib.Path(sys.argv[1]).read_bytes())
loaded = document.load(pathlib.Path(sys.argv[2]), sys.argv[3])
print("yaml" in sys.modules, "jsonschema" in sys.modules, loaded.value, loaded.lines)
"""


def test_what_was_accepted_is_neither_parsed_nor_checked_again(tmp_path: pathlib.Path, forgetful: None) -> None:
    loaded = _load(tmp_path, GOOD)
    (tmp_path / "memory").write_bytes(document.accepted())
    argv: list[command.Argument] = [sys.executable, "-c", _COUNTED, tmp_path / "memory", tmp_path / "a.yaml", SCHEMA]
    said = command.run(argv, directory=pathlib.Path(__file__).parents[2]).decode()
    assert said == f"False False {loaded.value} {loaded.lines}\n"


def test_what_was_accepted_says_nothing_of_other_content(tmp_path: pathlib.Path, forgetful: None) -> None:
    _load(tmp_path, GOOD)
    document.recall(document.accepted())
    assert _problems(tmp_path, GOOD.replace("ship:", "shop:"))
    assert _load(tmp_path, GOOD.replace("bookworm", "trixie")).value["archives"]["debian"]["suite"] == "trixie"
    with pytest.raises(errors.ConfigError):
        document.load(tmp_path / "a.yaml", "image.schema.json")


@pytest.mark.parametrize("damage", [b"", b"\n", b"{}", b"[" * 100_000, b"x\n{}"])
def test_damaged_memory_is_ignored(tmp_path: pathlib.Path, forgetful: None, damage: bytes) -> None:
    loaded = _load(tmp_path, GOOD)
    memory = document.accepted()
    assert b"bookworm" in memory
    for content in (damage, memory[:-1], memory.replace(b"bookworm", b"bookwurm")):
        document.recall(content)
        assert document._recalled == {}
    assert _load(tmp_path, GOOD) == loaded


def test_a_problem_of_what_is_absent_stands_where_it_is_missing(tmp_path: pathlib.Path) -> None:
    assert _load(tmp_path, GOOD).problem(("archives", "debian", "nothing"), "x")[0] == "line 3, archives.debian.nothing"


def test_a_byte_order_mark_is_allowed(tmp_path: pathlib.Path) -> None:
    assert _load(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()).line(("archives",)) == 2


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    origin", "    orgin: x\n    origin", ("line 4, archives.debian.orgin", "unknown key; known: components")),
        ("  ship: {}", "  ship: {}\n  extra:\n    - 1", ("line 16, images.extra", "unknown key; known: archives")),
        ("origin: Debian", "origin: 12", ("line 4, archives.debian.origin", "12 is not text; put it in quotes")),
        ("suite: bookworm", "suite: 1.0", ("line 5, archives.debian.suite", "1.0 is not text; put it in quotes")),
        ("suite: bookworm", "suite: yes", ("line 5, archives.debian.suite", "True is not text; put it in quotes")),
        ("suite: bookworm", "suite:", ("line 5, archives.debian.suite", "is empty; text is wanted")),
        ("[main]", "main", ("line 6, archives.debian.components", "'main' is not of type 'array'")),
        ("[main]", "[]", ("line 6, archives.debian.components", "[] should be non-empty")),
        ("- bash", "- bash\n      - bash", ("line 11, repositories.debian-12.packages", "has non-unique elements")),
        ("- bash", "- Bash", ("line 12, repositories.debian-12.packages.0", "'Bash' is not a Debian package name")),
        ("- bash", '- "bash\\n"', ("line 12, repositories.debian-12.packages.0", "is not a Debian package name")),
        ("bookworm", '"bookworm\\n"', ("line 5, archives.debian.suite", "is not a suite or code name")),
        ("debian-12:", "Debian_12:", ("line 9, repositories.Debian_12", "is not a name of lower-case letters")),
        ("  ship: {}\n", "", ("line 13, images", "'ship' is a required property")),
    ],
)  # fmt: skip
def test_violations_name_line_place_and_what_is_right(
    tmp_path: pathlib.Path, old: str, new: str, problem: tuple[str, str]
) -> None:
    ((place, message),) = _problems(tmp_path, GOOD.replace(old, new, 1))
    assert place == problem[0]
    assert problem[1] in message


def test_all_problems_at_once_in_the_order_of_the_file(tmp_path: pathlib.Path) -> None:
    text = GOOD.replace("origin: Debian", "origin: 1").replace("- bash", "- UPPER").replace("ship: {}", "ship: []")
    places = [place.split(",")[0] for place, _ in _problems(tmp_path, text + "more: 1\nother: 2\n")]
    assert places == ["line 4", "line 12", "line 15", "line 16", "line 17"]


def test_a_message_does_not_quote_the_whole_document(tmp_path: pathlib.Path) -> None:
    packages = ", ".join(f"package-{number}" for number in range(3000))
    ((_, message),) = _problems(tmp_path, GOOD.replace("    archives: [debian]", f"    archives: {{a: [{packages}]}}"))
    assert len(message) < 320
    assert message.endswith("is not of type 'array'")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "line 1", "must be a mapping"),
        ("# nothing\n", "line 1", "must be a mapping"),
        ("- a\n", "line 1", "must be a mapping"),
        ("a: 1\nb: [\n", "line 3", "not valid YAML"),
        ("a: 1\n\tb: 2\n", "line 2", "not valid YAML"),
        ("a: 1\n---\nb: 1\n", "line 2", "not valid YAML: there is more than one document"),
        ("a: 1\nb: 2\na: 3\n", "line 3", "the key is given twice"),
        ("a:\n  b: 1\n  'b': 2\n", "line 3", "the key is given twice"),
        ("1: a\n'1': b\n", "line 2", "the key is given twice"),
        ("a: &x [1]\nb: *x\n", "line 2", "aliases are not allowed"),
        ("a: &x {b: *x}\n", "line 1", "aliases are not allowed"),
        ("? [a]\n: b\n", "line 1", "a key must be plain text"),
        ("a: !!python/object/apply:os.system [id]\n", "line 1", "tags are not allowed"),
        ("a: 1\nb: !!set {a, b}\n", "line 2", "tags are not allowed"),
        ("a: !!binary aGk=\n", "line 1", "tags are not allowed"),
        ("a: !other text\n", "line 1", "tags are not allowed"),
        ("a: !!int 1\n", "line 1", "tags are not allowed"),
        (f"a: {'9' * 5000}\n", "line 1", "is not a value of its kind"),
        (f"a: {'1:' * 400}1.0\n", "line 1", "is not a value of its kind"),
        (b"a: 1\nb: \xff\n", "line 2", "not UTF-8"),
        ("a: 1\nb: 2\n".encode("utf-16"), "line 1", "not UTF-8"),
        (b"a: 1\n\nb: \x00\n", "line 3", "the character '\\x00' is not allowed"),
        ("é: 1\nb: \x07\n", "line 2", "the character '\\x07' is not allowed"),
    ],
)
def test_what_is_no_plain_document(tmp_path: pathlib.Path, text: str | bytes, place: str, message: str) -> None:
    ((where, what),) = _problems(tmp_path, text)
    assert where == place
    assert message in what


@pytest.mark.parametrize("text", ["[" * 2_000, "{a: " * 5_000, "a: " + "[" * 200 + "]" * 200, "- " * 20_000])
def test_deep_nesting_is_refused(tmp_path: pathlib.Path, text: str) -> None:
    ((_, what),) = _problems(tmp_path, text)
    assert "nested too deeply" in what


def test_a_bomb_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    began = time.monotonic()
    assert "aliases" in _problems(tmp_path, "\n".join(lines))[0][1]
    assert time.monotonic() - began < 1


def test_more_than_a_megabyte_is_not_read(tmp_path: pathlib.Path) -> None:
    assert _problems(tmp_path, b"#" * (document.MAX_BYTES + 1)) == [("", "larger than 1048576 bytes")]
    assert _load(tmp_path, GOOD + "#" * (document.MAX_BYTES - len(GOOD))).value["images"]["ship"] == {}


def test_absent_and_unreadable_files(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="No such file"):
        document.load(tmp_path / "none.yaml", SCHEMA)
    with pytest.raises(errors.ConfigError, match="Is a directory"):
        document.load(tmp_path, SCHEMA)


def test_dates_and_lone_signs_are_text(tmp_path: pathlib.Path) -> None:
    for text in ("2024-01-01", "=", "<<"):
        loaded = _load(tmp_path, GOOD.replace("origin: Debian", f"origin: {text}"))
        assert loaded.value["archives"]["debian"]["origin"] == text


_values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=8),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(max_size=8), inner),
    max_leaves=12,
)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=60)
@hypothesis.given(strategies.one_of(
    strategies.binary(max_size=60),
    strategies.text("ab:-?[]{},&*!|>'\"%@`#=<~0.e \n\t", max_size=60).map(str.encode),
    strategies.dictionaries(strategies.sampled_from(["archives", "images", "repositories"]), _values).map(
        lambda value: json.dumps(value).encode()
    ),
))  # fmt: skip
def test_anything_is_a_document_or_a_config_error(tmp_path: pathlib.Path, content: bytes) -> None:
    try:
        loaded = _load(tmp_path, content)
    except errors.ConfigError as error:
        assert error.problems  # noqa: PT017 — either outcome is right
    else:
        assert set(loaded.value) == {"archives", "images", "repositories"}


def _patterns(schema: object) -> Iterator[dict[str, typing.Any]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema
        for each in schema.values():
            yield from _patterns(each)
    for each in schema if isinstance(schema, list) else ():
        yield from _patterns(each)


@pytest.mark.parametrize("path", sorted(document.SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_what_does_not_match_is_not_something(path: pathlib.Path) -> None:
    """A pattern's description ends the sentence `'…' is not`; a node has words of its own for bootstrap.yaml."""
    for schema in _patterns(json.loads(path.read_bytes())) if path.name != "bootstrap.schema.json" else ():
        text = schema["description"]
        word = text.split()[0]
        assert not text.endswith("."), text
        assert word == word.lower() or word.isupper() or not word.isalpha(), text


_ROOT = pathlib.Path(__file__).parents[2]
_OF_OTHERS = {
    "buildchain/lint/rules.yaml": "is read by its module alone, whose tests read every rule",
    "examples/upstream/el-8.yaml": "is a part to be pasted",
    "salt/metalk8s/defaults.yaml": "is read by Salt",
    "salt/metalk8s/families.yaml": "is read by Salt",
    "examples/solution/1.0.0/operator/deploy/crds/examplesolution_crd.yaml": "is of Kubernetes",
    "examples/solution/1.0.0/operator/deploy/role.yaml": "is of Kubernetes",
    "examples/solution/1.1.0/operator/deploy/crds/examplesolution_crd.yaml": "is of Kubernetes",
    "examples/solution/1.1.0/operator/deploy/role.yaml": "is of Kubernetes",
}
_NAMED = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")


def _written() -> list[pathlib.Path]:
    """Every YAML that somebody writes for the buildchain, and edits with its schema at hand."""
    folders = ("buildchain", "examples", "images", "packages", "salt")
    found = [path for folder in folders for path in (_ROOT / folder).rglob("*.yaml") if "template" not in path.parts]
    found = [path for path in [_ROOT / "distribution.yaml", *found] if str(path.relative_to(_ROOT)) not in _OF_OTHERS]
    assert len(found) > 20
    return sorted(found)


@pytest.mark.parametrize("path", _written(), ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_yaml_names_its_schema_which_is_kept(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = _NAMED.match(text)
    assert named
    schema = (path.parent / named[1]).resolve()
    assert schema.parent == document.SCHEMAS
    value = document.load(path, schema.name).value
    copy = tmp_path / path.name
    last = text.count("\n") + 1
    copy.write_text(f"{text}unknown-key: 1\n", encoding="utf-8")
    with pytest.raises(errors.ConfigError, match=rf"line {last}, unknown-key: "):
        document.load(copy, schema.name)
    key = next(iter(value))
    copy.write_text(json.dumps({**value, key: 7.5}), encoding="utf-8")
    with pytest.raises(errors.ConfigError, match=rf"line 1, {re.escape(key)}: "):
        document.load(copy, schema.name)
