"""In which order the files are tested: two at a time, they end together only if the longest begin."""

import pytest

_LONGEST_FIRST = (
    "test_salt_states.py",
    "test_salt_packages.py",
    "test_builder.py",
    "test_dockerfile_tasks.py",
    "test_image.py",
    "test_dockerfile.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
