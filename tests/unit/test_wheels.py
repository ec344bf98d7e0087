"""Environments of Python: requirements with hashes, the choice of files, and the step that puts them together."""

import hashlib
import pathlib
from collections.abc import Mapping

import pytest

from buildchain import digest, errors, fetch, lock, store, wheels

WHEEL = "demo-1.0-py3-none-any.whl"


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _requirements(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / "requirements.txt"
    path.write_text(text)
    return path


def _index(folder: pathlib.Path, files: Mapping[str, bytes], project: str = "demo") -> str:
    """An index in a folder, with a page for one project."""
    page = folder / "simple" / project
    page.mkdir(parents=True, exist_ok=True)
    anchors = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        anchors.append(f'<a data-requires-python="&gt;=3" href="../../{name}#sha256={_sha(content)}">{name}</a><br/>')
    (page / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(anchors)}</body></html>")
    return (folder / "simple").as_uri()


def _wanted(*contents: bytes, version: str = "1.0") -> wheels.requirements.Requirement:
    return wheels.requirements.Requirement("demo", version, frozenset(map(digest.Digest.of_bytes, contents)))


def test_requirements_are_those_of_the_target_whatever_the_host(tmp_path: pathlib.Path) -> None:
    text = f"""\
# comment
zope.demo==2.0 \\
    --hash=sha256:{_sha(b"a")} \\
    --hash=sha256:{_sha(b"b")}
    # via salt
newer==1 ; python_full_version >= '3.12' \\
    --hash=sha256:{_sha(b"a")}
windows==1 ; sys_platform == 'win32' --hash=sha256:{_sha(b"a")}
Demo==1.0 ; sys_platform != 'win32' --hash=sha256:{_sha(b"c")}
dropped==1 --hash=sha256:{_sha(b"c")}
"""
    found = wheels.requirements.load(_requirements(tmp_path, text), {"dropped"})
    assert [(each.project, each.version) for each in found] == [("demo", "1.0"), ("zope-demo", "2.0")]
    assert found[1].digests == {digest.Digest(_sha(b"a")), digest.Digest(_sha(b"b"))}


def test_every_line_that_pins_too_little_is_named(tmp_path: pathlib.Path) -> None:
    path = _requirements(tmp_path, f"loose>=1 --hash=sha256:{_sha(b'')}\nbare==1\nodd==1 --hash=md5:00\n")
    with pytest.raises(errors.ConfigError) as caught:
        wheels.requirements.load(path, {"absent"})
    text = str(caught.value)
    assert "loose" in text
    assert "has no exact version" in text
    assert "has no hash" in text
    assert "not a sha256 digest" in text
    assert "absent: is to be left out, but not required" in text


def test_the_requirements_of_salt_are_read_as_they_stand() -> None:
    root = pathlib.Path(__file__).parents[2]
    found = {each.project: each for each in wheels.requirements.load(root / "requirements/salt.txt", {"timelib"})}
    assert found["salt"].version == "3008.3"
    assert "pywin32" not in found
    assert len(found) > 60


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ([WHEEL, "demo-1.0.tar.gz"], WHEEL),
        (["demo-1.0.tar.gz"], "demo-1.0.tar.gz"),
        ([WHEEL, "demo-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"], "manylinux"),
        (["demo-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "demo-1.0-cp37-abi3-manylinux2014_x86_64.whl"], "cp311"),
        # Not ours: another Python, another C library, another processor, a newer C library than EL 9's.
        (["demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", WHEEL], WHEEL),
        (["demo-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", WHEEL], WHEEL),
        (["demo-1.0-cp311-cp311-manylinux_2_17_aarch64.whl", WHEEL], WHEEL),
        (["demo-1.0-cp311-cp311-manylinux_2_35_x86_64.whl", WHEEL], WHEEL),
    ],
)
def test_the_best_file_for_both_families_is_chosen(tmp_path: pathlib.Path, offered: list[str], chosen: str) -> None:
    files = {name: name.encode() for name in offered}
    indexes = wheels.index.Indexes((_index(tmp_path, files),))
    source = store.Store(tmp_path / "store")
    (found,) = wheels.index.choose("env", [_wanted(*files.values())], indexes, source)
    assert chosen in found.name
    assert found.content == digest.Descriptor.of_bytes(files[found.name])
    assert source.read(found.content.digest) == files[found.name]


def test_a_file_with_another_hash_is_no_candidate(tmp_path: pathlib.Path) -> None:
    address = _index(tmp_path, {WHEEL: b"good"})
    (tmp_path / WHEEL).write_bytes(b"evil")  # the page still states the hash of the good one
    indexes = wheels.index.Indexes((address, (tmp_path / "none").as_uri()), (str(tmp_path / "links"),))
    with pytest.raises(errors.ResolveError, match="index: no index offers"):
        wheels.index.choose("env", [_wanted(b"good")], indexes, store.Store(tmp_path / "store"))


def test_a_folder_of_wheels_is_an_index_too(tmp_path: pathlib.Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / WHEEL).write_bytes(b"wheel")
    (links / "readme.txt").write_bytes(b"")
    (links / "broken-.whl").write_bytes(b"")
    indexes = wheels.index.Indexes((), (str(links),))
    (found,) = wheels.index.choose("env", [_wanted(b"wheel")], indexes, store.Store(tmp_path / "store"))
    assert found.name == WHEEL
    other = store.Store(tmp_path / "other")
    (request,) = wheels.index.requests([found], indexes, other)
    assert request.urls == ()
    assert other.has(found.content)


def test_a_locked_file_stays_while_the_requirements_allow_it() -> None:
    content = digest.Descriptor.of_bytes(b"wheel")
    old = lock.File("env", "demo", "1.0", WHEEL, content)
    assert wheels.index.keep("env", [_wanted(b"wheel", b"sdist")], [old]) == {"demo": old}
    assert wheels.index.keep("env", [_wanted(b"sdist")], [old]) == {}
    assert wheels.index.keep("env", [_wanted(b"wheel", version="2.0")], [old]) == {}
    assert wheels.index.keep("other", [_wanted(b"wheel")], [old]) == {}


def test_the_index_is_the_one_of_pip(tmp_path: pathlib.Path) -> None:
    options = fetch.Options()
    mirror = wheels.index.configured("http://mirror.invalid/simple", {"PIP_INDEX_URL": "http://x.invalid"}, options)
    assert (mirror.indexes, mirror.pages) == (("http://mirror.invalid/simple",), ())
    variables = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "http://own.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "http://a.invalid http://b.invalid",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    own = wheels.index.configured(None, variables, options)
    assert own.indexes == ("http://own.invalid/simple", "http://a.invalid", "http://b.invalid")
    assert own.pages == (str(tmp_path),)


def test_names_of_inputs_fit_a_tree_and_pip(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path)
    content = source.add_bytes(b"")
    long = f"demo-1.0-cp311-cp311-{'manylinux2014_x86_64.' * 6}manylinux_2_28_x86_64.whl"
    files = [lock.File("env", "demo", "1.0", name, content) for name in (WHEEL, long, "demo-1.0.tar.gz")]
    action = wheels.steps.environment("env", files, ["b", "a"], content, source, epoch=7)
    assert [each.path for each in action.inputs.files()] == [
        "check.py",
        "sdists/demo-1.0.tar.gz",
        "trim.py",
        "wheels/demo-1.0-cp311-cp311-linux_x86_64.whl",
        f"wheels/{WHEEL}",
    ]
    assert action.argv[-2:] == ("a", "b")
    assert action.variables["SOURCE_DATE_EPOCH"] == "7"
