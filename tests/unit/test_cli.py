"""The command: what it prints and how it ends."""

import os
import pathlib
import subprocess
import sys

import pytest

from buildchain import cli
from tests.support import keys, medium

ROOT = pathlib.Path(__file__).parents[2]
DEVELOPMENT_KEY = ROOT / "packages/keys/development/public.asc"


@pytest.fixture
def staged(tmp_path: pathlib.Path) -> pathlib.Path:
    """A medium signed by the published development key."""
    with keys.development() as key:
        return medium.stage(medium.good(key), tmp_path / "medium")


def test_development_key_is_good_only_if_it_is_named(staged: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(staged), "--key", str(DEVELOPMENT_KEY)]) == 0
    assert "development key" in capsys.readouterr().out
    assert cli.main(["verify", str(staged)]) == 1
    assert "development key" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "nowhere"], "nowhere"),
        (["verify", ".", "--key", "nowhere.asc"], "nowhere.asc: No such file or directory"),
        (["verify", ".", "--fingerprint", "1234"], "1234"),
    ],
)
def test_misuse_is_a_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["judge"], ["verify", ".", "--key", "a", "--fingerprint", "b"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("arguments", [["rules"], ["rules", "size"]])
def test_a_reader_that_has_seen_enough_is_no_mistake(arguments: list[str]) -> None:
    """Whether it left before the end, or before the first word."""
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-c", "from buildchain import cli; raise SystemExit(cli.main())", "solution", *arguments]
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
