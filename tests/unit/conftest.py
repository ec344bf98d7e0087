"""For all unit tests."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

# Half the usual number, for a suite that is run after every edit; no deadline, since other work may share the cores.
hypothesis.settings.register_profile("unit", max_examples=50, deadline=None)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True, scope="session")
def _disk_that_need_not_last() -> Iterator[None]:
    """No test outlives a power failure: none waits for the disk. Those about `fsync` set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield
