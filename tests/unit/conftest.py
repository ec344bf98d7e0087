"""For all unit tests."""

import gc
import os
import pathlib
import shutil
from collections.abc import Iterator

import hypothesis
import pytest

_HERE = pathlib.Path(__file__).parent
_MEMORY = pathlib.Path("/dev/shm")  # noqa: S108 - pytest makes a private folder in it
_ROOM = 1 << 30
"""What the unit tests write is far less, but a container may have 64 MiB there."""

# Half the usual number, for a suite that is run after every edit; no deadline, since other work may share the cores.
hypothesis.settings.register_profile("unit", max_examples=50, deadline=None)
hypothesis.settings.load_profile("unit")


def pytest_configure(config: pytest.Config) -> None:
    """Temporary folders stand in memory where there is room: a disk takes a millisecond to delete each of 20,000 files.

    Other suites write whole media; asked for together with them, the unit tests stay where they are.
    """
    asked = [config.invocation_params.dir / name.partition("::")[0] for name in config.args]
    if all(path.resolve().is_relative_to(_HERE) for path in asked) and _is_fit(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def pytest_collection_finish() -> None:
    """All tests and modules live to the end: no search for garbage looks at them again."""
    gc.freeze()


def _is_fit(folder: pathlib.Path) -> bool:
    try:
        may_run = not os.statvfs(folder).f_flag & os.ST_NOEXEC
        return may_run and os.access(folder, os.W_OK | os.X_OK) and shutil.disk_usage(folder).free > _ROOM
    except OSError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _disk_that_need_not_last() -> Iterator[None]:
    """No test outlives a power failure: none waits for the disk. Those about `fsync` set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield
