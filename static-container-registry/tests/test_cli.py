import pathlib
import subprocess
import sys

import pytest

import static_container_registry
from scr_testing import images
from static_container_registry import cli, replay


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    images.write_directory(tmp_path / "images" / "nginx" / "1.0", images.random_image())
    return tmp_path / "images"


def test_the_whole_configuration(root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(root)]) == 0
    out = capsys.readouterr().out
    found = static_container_registry.discover(root)
    assert out == static_container_registry.render(found, static_container_registry.Options(str(root)))


def test_both_parts_make_the_whole(root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for option in ([], ["--only-constants"], ["--omit-constants"]):
        assert cli.main([*option, "--name-prefix", "p", str(root)]) == 0
        outputs.append(capsys.readouterr().out.splitlines())
    whole, constants, rest = outputs
    assert whole == constants + rest[1:]


def test_the_current_folder_by_default(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert cli.main([]) == 0
    assert f'alias "{root}/' in capsys.readouterr().out


def test_strict_writes_nothing(root: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "stray").touch()
    assert cli.main([str(root)]) == 0
    assert capsys.readouterr().err == "skipped: stray: no image has a use for it\n"
    assert cli.main(["--strict", str(root)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 skipped, and --strict allows none" in captured.err


def test_a_hostile_name_cannot_write_lines_into_the_report(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "a\nnote: all is well\x1b[2J").touch()
    cli.main([str(root)])
    assert capsys.readouterr().err == "skipped: a\\nnote: all is well\\x1b[2J: no image has a use for it\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/no/such/folder"], "'/no/such/folder': No such file or directory"),
        (["--name-prefix", "A", "ROOT"], "'A' cannot begin a repository name"),
        (["--server-root", "a\nb", "ROOT"], "has a control character"),
        (["--only-constants", "--omit-constants", "ROOT"], "not allowed with"),
        (["--tree", "x", "--omit-constants", "ROOT"], "without parts to choose"),
        (["--tree", "TREE", "--name-prefix", "{{ x }}", "ROOT"], "a tree needs names"),
    ],
)
def test_misuse(root: pathlib.Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    names = {"ROOT": str(root), "TREE": str(root.parent / "tree")}
    with pytest.raises(SystemExit) as caught:
        cli.main([names.get(argument, argument) for argument in arguments])
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_full_disk_is_told(root: pathlib.Path) -> None:
    """However little there is to write."""
    source = pathlib.Path(static_container_registry.__file__).parent.parent
    for arguments in ([str(root)], ["--only-constants"]):
        argv = [sys.executable, "-m", "static_container_registry", *arguments]
        with pathlib.Path("/dev/full").open("w") as full:
            done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=source)
        assert done.returncode == 2
        assert done.stderr.endswith("error: standard output: No space left on device\n")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:8080", "'127.0.0.1:8080' is no URL of a registry"),
        ("http://", "'http://' is no URL of a registry"),
        ("http://127.0.0.1:1", "error: http://127.0.0.1:1: Connection refused"),
        ("http://127.0.0.1:x", "Port could not be cast"),
    ],
)
def test_a_replay_without_a_registry(
    root: pathlib.Path, capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        replay.main([url, str(root)])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_it_runs_as_a_module_and_without_any_other_package(root: pathlib.Path) -> None:
    source = pathlib.Path(static_container_registry.__file__).parent.parent
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(source)!r}); import runpy; "
        f"sys.argv[1:] = [{str(root)!r}]; runpy.run_module('static_container_registry', run_name='__main__')",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "/v2/nginx/" in done.stdout
