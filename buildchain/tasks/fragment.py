"""A maker's task: it writes its part of the medium's tree to a file, and is fresh while that part would be the same."""

import pathlib
import typing
from collections.abc import Callable, Sequence

import doit.tools

from buildchain import tree
from buildchain.tasks import action, context

_NO_MAKERS = {"tasks", "verify"}


def task(
    here: context.Context,
    name: str,
    make: Callable[[], tree.Tree],
    *,
    identity: object,
    verb: str,
    subject: str | pathlib.Path,
    file_dep: Sequence[pathlib.Path] = (),
    task_dep: Sequence[str] = (),
) -> action.Task:
    """A task that runs `make` unless its identity and the code are those of the last run and the store has it all.

    Arguments:
        name:     of the fragment.
        identity: JSON-like value of everything but files that `make` depends on.
        file_dep: files that `make` reads.
    """
    path = here.fragment(name)
    return {
        "title": action.title(verb, subject),
        "actions": [action.run(_write, path, make)],
        "targets": [path],
        "file_dep": [*maker_files(), *file_dep],
        "task_dep": ["_build_root", *task_dep],
        "uptodate": [doit.tools.config_changed({"identity": repr(identity)}), lambda: is_held(here, path)],
        "clean": action.removal(path),
    }


def load(path: pathlib.Path) -> tree.Tree:
    """The part of the tree that a task wrote."""
    return tree.load(path.read_bytes())


def is_held(here: context.Context, path: pathlib.Path) -> bool:
    """Whether the store still holds everything a fragment names."""
    try:
        return all(here.store.has(file.content) for file in load(path).files())
    except (OSError, ValueError):
        return False


def maker_files() -> list[pathlib.Path]:
    """The code that makes bytes: an edit there is an input like any other."""
    package = pathlib.Path(__file__).resolve().parent.parent
    generator = package.parent / "static-container-registry" / "static_container_registry"
    found = [path for path in package.rglob("*.py") if _NO_MAKERS.isdisjoint(path.relative_to(package).parts)]
    return sorted([*found, *generator.rglob("*.py")])


def _write(path: pathlib.Path, make: Callable[[], tree.Tree]) -> dict[str, typing.Any]:
    made = make()
    action.write(path, tree.dump(made))
    return {"files": len(made), "bytes": sum(file.content.size for file in made.files())}
