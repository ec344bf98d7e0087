"""Steps as values; tests/integration/test_executor.py runs them."""

import pytest

from buildchain import digest, executor, tree

ROOM = digest.Descriptor.of_bytes(b"room")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"argv": ()}, "needs a program"),
        ({"outputs": ("../a",)}, "not a plain relative path"),
        ({"outputs": ("/a",)}, "not a plain relative path"),
        ({"directory": "build"}, "not a plain absolute path"),
        ({"directory": "/build/../etc"}, "not a plain absolute path"),
        ({"environment": {"A=B": ""}}, "not a variable"),
    ],
)
def test_an_action_refuses_nonsense(change: dict[str, object], problem: str) -> None:
    plain: dict[str, object] = {"argv": ("true",), "root": (ROOM,), "inputs": tree.Tree(), "outputs": ("out",)}
    with pytest.raises(ValueError, match=problem):
        executor.Action(name="a", **{**plain, **change})  # type: ignore[arg-type]


def test_the_digest_of_an_action_is_that_of_all_it_sees() -> None:
    def action(**change: object) -> executor.Action:
        plain: dict[str, object] = {"argv": ("true",), "root": (ROOM,), "inputs": tree.Tree(), "outputs": ("out",)}
        return executor.Action(**{"name": "a", **plain, **change})  # type: ignore[arg-type]

    file = tree.build([tree.File("a", ROOM)])
    changes: list[dict[str, object]] = [
        {"argv": ("false",)},
        {"root": (ROOM, ROOM)},
        {"inputs": file},
        {"outputs": ("in",)},
        {"environment": {"A": "1"}},
        {"directory": "/src"},
        {"platform": "linux/arm64"},
    ]
    found = {action(**change).digest for change in [{}, *changes]}
    assert len(found) == len(changes) + 1
    assert action(name="b").digest == action().digest
    assert action(environment={"B": "1", "A": "1"}).digest == action(environment={"A": "1", "B": "1"}).digest
