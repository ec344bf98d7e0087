"""A maker's task: it writes its part of the medium's tree to a file, and is fresh while that part would be the same."""

import functools
import hashlib
import os
import pathlib
import typing
from collections.abc import Callable, Collection, Iterator, Sequence

import doit.tools

from buildchain import digest, manifest, tree
from buildchain.tasks import action, context

_NO_MAKERS = {"tasks", "verify", "solution", "lint"}


class _SameIdentity(doit.tools.config_changed):  # type: ignore[misc]
    """What `./doit.sh info` says of it is short: an identity has whole files in it."""

    def __repr__(self) -> str:
        return "what it is made of, and the code, are those of the last run"


def of_image(spec: manifest.ImageSpec) -> str:
    """The name of an image's fragment."""
    return f"image-{spec.name}"


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
        "file_dep": [*file_dep],
        "task_dep": ["_build_root", *task_dep],
        "uptodate": [
            _SameIdentity({"identity": repr(identity), "makers": makers()}),
            lambda task, values: _digest(path) == values.get("digest") and is_held(here, path),
        ],
        "clean": action.removal(path),
    }


def load(path: pathlib.Path) -> tree.Tree:
    """The part of the tree that a task wrote."""
    return _parse(path.read_bytes())


_parse = functools.lru_cache(tree.load)


def is_held(here: context.Context, path: pathlib.Path) -> bool:
    """Whether the store still holds everything a fragment names."""
    try:
        return all(here.store.has(file.content) for file in load(path).files())
    except (OSError, ValueError):
        return False


@functools.cache
def makers() -> str:
    """A digest of the code that makes bytes: an edit there is an input like any other.

    One value in the record of a task, and not a file of its own for each module: with twelve tasks, doit would ask
    the file system a thousand times whether nothing changed.
    """
    package = pathlib.Path(__file__).resolve().parent.parent
    generator = package.parent / "static-container-registry" / "static_container_registry"
    hasher = hashlib.sha256()
    for path in sorted([*_modules(str(package), leave_out=_NO_MAKERS), *_modules(str(generator))]):
        content = pathlib.Path(path).read_bytes()
        hasher.update(f"{os.path.relpath(path, package)}\0{len(content)}\0".encode() + content)
    return hasher.hexdigest()


def _modules(directory: str, leave_out: Collection[str] = ()) -> Iterator[str]:
    with os.scandir(directory) as found:
        for item in found:
            if item.name.endswith(".py"):
                yield item.path
            elif item.is_dir() and item.name not in leave_out and item.name != "__pycache__":
                yield from _modules(item.path)


def _write(path: pathlib.Path, make: Callable[[], tree.Tree]) -> dict[str, typing.Any]:
    made = make()
    content = tree.dump(made)
    action.write(path, content)
    size = sum(file.content.size for file in made.files())
    return {"files": len(made), "bytes": size, "digest": str(digest.Digest.of_bytes(content))}


def _digest(path: pathlib.Path) -> str:
    """Of a fragment; the one that stands here may come from a run before the last, with another build root."""
    try:
        return str(digest.Digest.of_bytes(path.read_bytes()))
    except OSError:
        return ""
