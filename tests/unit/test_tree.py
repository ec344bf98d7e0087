"""The tree refuses what a reader of the medium could not carry, and says everything it found."""

import json

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest, errors, tree

A = digest.Descriptor.of_bytes(b"a")
B = digest.Descriptor.of_bytes(b"b")


def _refusal(*entries: tree.Entry) -> str:
    with pytest.raises(errors.TreeError) as caught:
        tree.build(entries)
    return str(caught.value)


def test_entries_are_sorted_by_bytes_and_directories_implied() -> None:
    built = tree.build([tree.File("b/c/d", A), tree.Link("é", "b"), tree.File("b.txt", A), tree.File("Z", A)])
    assert [entry.path for entry in built] == ["Z", "b.txt", "b/c/d", "é"]
    assert built.directories() == ["b", "b/c"]
    assert [file.path for file in built.files()] == ["Z", "b.txt", "b/c/d"]
    assert len(built) == 4


def test_the_order_of_entries_does_not_matter() -> None:
    entries: list[tree.Entry] = [tree.File("b", A), tree.File("a/b", B), tree.Link("c", "a/b")]
    assert tree.build(entries) == tree.build(reversed(entries)) == tree.merge(*(tree.Tree((each,)) for each in entries))


def test_the_same_entry_twice_is_one() -> None:
    assert len(tree.merge(tree.Tree((tree.File("a", A),)), tree.Tree((tree.File("a", A),)))) == 1


@pytest.mark.parametrize("other", [tree.File("a", B), tree.File("a", A, is_program=True), tree.Link("a", "b")])
def test_two_contents_for_one_path_are_refused(other: tree.Entry) -> None:
    assert "'a' has two contents" in _refusal(tree.File("a", A), other)


def test_a_path_is_not_both_file_and_directory() -> None:
    assert "'a' is both a file and a directory" in _refusal(tree.File("a", A), tree.File("a/b", A))
    assert "'a' is both a file and a directory" in _refusal(tree.Link("a", "b"), tree.File("a/b", A))


def test_every_problem_is_named_at_once() -> None:
    text = _refusal(
        tree.File("a\nb", A), tree.File("../c", A), tree.Link("d", "/e"), tree.File("f", A), tree.Link("f", "d")
    )
    assert all(part in text for part in (r"'a\nb'", "'../c'", "'/e'", "'f' has two contents", "Rename these files"))
    assert len(text.splitlines()) == 6


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "./a", "a/.", "..", "../a", "a/../b"])
def test_paths_are_plain_and_relative(path: str) -> None:
    assert "is not a plain relative path" in _refusal(tree.File(path, A))


def test_sha256sum_reads_a_dash_as_standard_input() -> None:
    assert "standard input" in _refusal(tree.File("-", A))
    assert len(tree.build([tree.File("a/-", A), tree.File("--", A)])) == 2


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\t", "\x1f", "\x7f", "*", ":", ";", "?", "\\"])
def test_characters_that_a_reader_cannot_carry(character: str) -> None:
    assert "a control character or one of" in _refusal(tree.File(f"d/a{character}b/c", A))


def test_a_name_that_ends_with_a_dot_is_refused() -> None:
    assert "ends with a dot" in _refusal(tree.File("d/name.", A))
    assert "ends with a dot" in _refusal(tree.File("folder./name", A))
    assert len(tree.build([tree.File(".hidden/a...b", A)])) == 1


@pytest.mark.parametrize("name", ["a b", "a=b", "#a", "a%3ab", "a+b~c", "'\"$`&|<>", "ä", "日本"])
def test_other_names_are_carried(name: str) -> None:
    assert [entry.path for entry in tree.build([tree.File(name, A)])] == [name]


@pytest.mark.parametrize("code", [0xDCFF, 0xD800])
def test_names_that_are_not_utf8_are_refused(code: int) -> None:
    name = chr(code)
    assert "a name is not UTF-8" in _refusal(tree.File(f"d/{name}", A))
    assert "a name is not UTF-8" in _refusal(tree.Link("a", f"d/{name}"))


def test_longest_names() -> None:
    assert len(tree.build([tree.File("a" * 103, A), tree.File("日" * 80, A)])) == 2
    assert "longer than 103 UTF-16 units" in _refusal(tree.File("a" * 104, A))
    assert "longer than 103 UTF-16 units" in _refusal(tree.File("😀" * 52, A))
    text = _refusal(tree.File("日" * 81, A))
    assert "longer than 240 bytes" in text
    assert "UTF-16" not in text


def test_directories_stand_eight_levels_deep_with_the_root() -> None:
    assert tree.build([tree.File("1/2/3/4/5/6/7/file", A)]).directories()[-1] == "1/2/3/4/5/6/7"
    assert "'1/2/3/4/5/6/7/8' lies deeper than 8 levels" in _refusal(tree.File("1/2/3/4/5/6/7/8/file", A))


@pytest.mark.parametrize(
    ("path", "target"), [("a", "b"), ("a", "."), ("d/a", ".."), ("d/e/a", "../../f"), ("d/a", "../d/a"), ("a", "..b")]
)
def test_links_inside_the_tree(path: str, target: str) -> None:
    assert tree.build([tree.Link(path, target)]).entries == (tree.Link(path, target),)


@pytest.mark.parametrize(("path", "target"), [("a", ".."), ("d/a", "../.."), ("d/a", "../../d/b")])
def test_links_that_lead_out(path: str, target: str) -> None:
    assert "leads out of the tree" in _refusal(tree.Link(path, target))


@pytest.mark.parametrize("target", ["", "/", "/etc/passwd", "//a", "a//b", "a/", "./a", "a/../b"])
def test_link_targets_are_plain(target: str) -> None:
    assert "is not a plain relative path" in _refusal(tree.Link("d/e/f", target))


def test_links_do_not_lead_out_over_other_links() -> None:
    # here/here/../.. looks as deep as it began, but with `here` being the root it ends two levels above.
    assert "plain relative path" in _refusal(tree.Link("here", "."), tree.Link("out", "here/here/../../etc"))


def test_below_and_moved_to_are_opposites() -> None:
    part = tree.build([tree.File("a/b", A), tree.Link("c", "a")])
    whole = tree.merge(part.moved_to("x/y"), tree.build([tree.File("x/yy", A)]))
    assert whole.below("x/y") == part
    assert whole.below("x/y/a").entries == (tree.File("b", A),)
    assert len(whole.below("none")) == 0


def test_modes() -> None:
    assert (tree.File("a", A).mode, tree.File("a", A, is_program=True).mode) == (0o444, 0o555)


def test_dump_is_one_line_an_entry() -> None:
    text = tree.dump(tree.build([tree.File("b", A, is_program=True), tree.Link("ä", "b"), tree.File("a", B)])).decode()
    rows = text.splitlines()
    assert [rows[0], rows[-1]] == ["[", "]"]
    assert rows[3] == '{"path": "ä", "target": "b"}'
    assert json.loads(rows[2].rstrip(",")) == {"path": "b", "digest": str(A.digest), "size": 1, "program": True}
    assert len(rows) == 5


_names = strategies.text(strategies.sampled_from("ab-é日 ="), min_size=1, max_size=3).filter(lambda name: name != "-")
_paths = strategies.lists(_names, min_size=1, max_size=3).map("/".join)
_entries = strategies.one_of(
    strategies.builds(tree.File, _paths, strategies.sampled_from([A, B]), strategies.booleans()),
    strategies.builds(tree.Link, _paths, _paths),
)


@hypothesis.given(strategies.lists(_entries, max_size=6))
def test_load_reads_what_dump_writes(entries: list[tree.Entry]) -> None:
    try:
        built = tree.build(entries)
    except errors.TreeError:
        return
    assert tree.load(tree.dump(built)) == built


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"7", b"[7]", b'["path"]', b'[{}]', b'[{"path": "a"}]', b"[" * 100_000,
     b'[{"path": "a", "digest": "sha256:0", "size": 1}]',
     b'[{"path": "a", "digest": "sha256:%b", "size": 1e999}]' % (b"0" * 64)],
)  # fmt: skip
def test_load_refuses_what_dump_did_not_write(content: bytes) -> None:
    with pytest.raises((ValueError, errors.TreeError)):
        tree.load(content)


@hypothesis.given(strategies.lists(strategies.builds(tree.Link, strategies.text(), strategies.text()), max_size=3))
def test_any_text_is_carried_or_refused(entries: list[tree.Entry]) -> None:
    try:
        built = tree.build(entries)
    except errors.TreeError:
        return
    assert tree.load(tree.dump(built)) == built
