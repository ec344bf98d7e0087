"""A missing program is a reported skip by hand, and a failure in CI."""

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = sorted({name for mark in item.iter_markers("tools") for name in mark.args if not shutil.which(name)})
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}", pytrace=False)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
