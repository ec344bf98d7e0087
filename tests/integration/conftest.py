"""In which order the files are tested, two at a time: they end together only if the longest begin. Keys of archives."""

from collections.abc import Iterator

import pytest

from tests.support import openpgp

_LONGEST_FIRST = (
    "test_salt_states.py",
    "test_salt_packages.py",
    "test_builder.py",
    "test_dockerfile_tasks.py",
    "test_image.py",
    "test_dockerfile.py",
)


@pytest.fixture(scope="module")
def home() -> Iterator[openpgp.Home]:
    with openpgp.home() as made:
        yield made


@pytest.fixture(scope="module")
def key(home: openpgp.Home) -> str:
    """Signs an archive."""
    return home.make("archive")


@pytest.fixture(scope="module")
def other_key(home: openpgp.Home) -> str:
    """Of somebody else."""
    return home.make("other")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
