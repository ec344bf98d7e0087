"""For all unit tests."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _disk_that_need_not_last() -> Iterator[None]:
    """No test outlives a power failure: none waits for the disk. Those about `fsync` set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield
