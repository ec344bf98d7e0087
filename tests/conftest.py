"""What holds for every test: a missing program or right is a reported skip by hand, and a failure in CI."""

import os
import signal

import pytest

from buildchain import command

# Whoever starts the tests in the background has them ignore Ctrl-C, and with them every program they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


HOSTS = {"end_to_end": "container", "vm": "vm"}
"""The tag of the scenarios that the tests of a folder try."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the scenarios that are tried on another host."""
    left = [item for item in items if not _is_for_another_host(item)]
    if len(left) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if _is_for_another_host(item)])
        items[:] = left


def _is_for_another_host(item: pytest.Item) -> bool:
    tags = {marker.name for marker in item.iter_markers()} & set(HOSTS.values())
    return bool(tags) and HOSTS.get(item.path.parent.name) not in tags


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = sorted(
        program for marker in item.iter_markers("tools") for program in marker.args if not command.is_installed(program)
    )
    if missing:
        reason = f"not installed: {', '.join(missing)} (./doit.sh deps)"
    elif item.get_closest_marker("root") and os.geteuid() != 0:
        reason = "only root may"
    else:
        return
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _plain_umask() -> None:
    """A test that changes the umask does it in a process of its own."""
    os.umask(0o022)
