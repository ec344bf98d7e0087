"""The file VERSION."""

import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import errors, version

GOOD = "VERSION_MAJOR=2\nVERSION_MINOR=5\nVERSION_PATCH=1\nVERSION_SUFFIX=-dev\n"


def _load(directory: pathlib.Path, text: str | bytes) -> version.Version:
    path = directory / "VERSION"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return version.load(path)


def _problems(directory: pathlib.Path, text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(errors.ConfigError) as caught:
        _load(directory, text)
    return list(caught.value.problems)


def test_the_four_parts(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, GOOD)
    assert (str(loaded), loaded.short, loaded.is_release) == ("2.5.1-dev", "2.5", False)


def test_a_release_has_no_suffix(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, "# A comment.\n\n" + GOOD.replace("-dev", ""))
    assert (str(loaded), loaded.is_release) == ("2.5.1", True)


@pytest.mark.parametrize("suffix", ["-rc1", "-alpha.1", "-0", "-beta.2.x"])
def test_suffixes(tmp_path: pathlib.Path, suffix: str) -> None:
    assert str(_load(tmp_path, GOOD.replace("-dev", suffix))) == f"2.5.1{suffix}"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (GOOD.replace("=5", "=five"), "line 2", "VERSION_MINOR is 'five', which does not match"),
        (GOOD.replace("=5", "=-5"), "line 2", "VERSION_MINOR is '-5'"),
        (GOOD.replace("=5", "=\u0665"), "line 2", "VERSION_MINOR is '\u0665'"),
        (GOOD.replace("=5", "=55555"), "line 2", "VERSION_MINOR is '55555'"),
        (GOOD.replace("=5", "= 5"), "line 2", "VERSION_MINOR is ' 5'"),
        (GOOD.replace("=5", "="), "line 2", "VERSION_MINOR is ''"),
        (GOOD.replace("-dev", '"-dev"'), "line 4", "VERSION_SUFFIX is '\"-dev\"'"),
        (GOOD.replace("-dev", "dev"), "line 4", "VERSION_SUFFIX is 'dev'"),
        (GOOD.replace("-dev", "-Dev"), "line 4", "VERSION_SUFFIX is '-Dev'"),
        (GOOD.replace("-dev", "-a/../b"), "line 4", "VERSION_SUFFIX is '-a/../b'"),
        (GOOD.replace("VERSION_SUFFIX=-dev\n", ""), "", "VERSION_SUFFIX is missing"),
        (GOOD + "VERSION_PATCH=2\n", "line 5", "each once"),
        (GOOD + "VERSION_BUILD=2\n", "line 5", "is none of VERSION_{MAJOR, MINOR, PATCH, SUFFIX}"),
        (GOOD + "MAJOR=2\n", "line 5", "is none of"),
        (GOOD + "2.5.1\n", "line 5", "'2.5.1' is none of"),
        (b"\xff" + GOOD.encode(), "", "not UTF-8"),
    ],
)
def test_mistakes(tmp_path: pathlib.Path, text: str | bytes, place: str, message: str) -> None:
    ((where, what),) = _problems(tmp_path, text)
    assert where == place
    assert message in what


def test_all_mistakes_at_once(tmp_path: pathlib.Path) -> None:
    assert [place for place, _ in _problems(tmp_path, "VERSION_MAJOR=x\nnonsense\nVERSION_PATCH=1\n")] == [
        "line 1", "line 2", "", ""
    ]  # fmt: skip


def test_an_absent_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="No such file or directory"):
        version.load(tmp_path / "VERSION")
    with pytest.raises(errors.ConfigError, match="Is a directory"):
        version.load(tmp_path)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(strategies.binary(max_size=80) | strategies.text("VERSION_MAJR=\n#2", max_size=80).map(str.encode))
def test_anything_else_is_a_config_error(tmp_path: pathlib.Path, content: bytes) -> None:
    assert _problems(tmp_path, content)
