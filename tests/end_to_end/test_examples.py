"""The example Solutions: built, linted and judged as their README would have it, in a fresh clone."""

import pathlib

import pytest

from tests.end_to_end import conftest

_COMMAND = ".venv/bin/buildchain"
_KEY = "packages/keys/development/public.asc"


@pytest.fixture(scope="module")
def built(first: conftest.Checkout) -> list[pathlib.Path]:
    """The ISOs of both versions."""
    paths = []
    for version in ("1.0.0", "1.1.0"):
        done = first.run(_COMMAND, "solution", "build", f"examples/solution/{version}")
        assert done.returncode == 0, done.stdout
        assert "0 errors, 0 warnings" in done.stdout
        paths.append(first.root / f"examples/solution/{version}/_build/example-solution-{version}-dev.iso")
    return paths


def test_both_are_authentic_and_intact(first: conftest.Checkout, built: list[pathlib.Path]) -> None:
    for path in built:
        done = first.run(_COMMAND, "solution", "verify", str(path), "--key", _KEY)
        assert done.returncode == 0, done.stdout


def test_both_break_no_rule(first: conftest.Checkout, built: list[pathlib.Path]) -> None:
    for path in [*built, *(each.parent.parent for each in built)]:
        done = first.run(_COMMAND, "solution", "lint", "--strict", str(path))
        assert done.returncode == 0, done.stdout


def test_the_new_version_changes_its_crd(first: conftest.Checkout, built: list[pathlib.Path]) -> None:
    lines = first.run(_COMMAND, "solution", "diff", *map(str, built)).stdout.splitlines()
    assert "  spec.versions.1: added" in lines
    assert "  spec.versions.0.storage: True -> False" in lines
    assert any(line.startswith("layers: ") for line in lines)


def test_a_thin_one_leaves_its_base_layers_to_the_platform(first: conftest.Checkout, built: list[pathlib.Path]) -> None:
    """The examples stand on the base layer of the main medium."""
    project = built[0].parent.parent
    done = first.run(
        _COMMAND,
        "solution",
        "build",
        str(project),
        "--base",
        str(first.iso),
        BUILD_ROOT=str(first.root / "_build/thin"),
    )
    assert done.returncode == 0, done.stdout
    thin = first.root / "_build/thin" / built[0].name
    assert thin.stat().st_size < built[0].stat().st_size
    judged = first.run(_COMMAND, "solution", "verify", str(thin), "--key", _KEY)
    assert "MetalK8s" in judged.stdout
    assert judged.returncode == 0, judged.stdout
