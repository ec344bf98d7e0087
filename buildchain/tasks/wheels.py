"""Tasks that make the Python environments of own packages: `_build_environments:NAME`.

An environment is made in the room of the package's DEBs, once for both families.
"""

import pathlib
from collections.abc import Iterator, Sequence

from buildchain import builder, digest, executor, fetch, lock, tree, wheels
from buildchain.tasks import action, context, fragment

MIRROR = "pypi"


def task__build_environments() -> Iterator[action.Task]:
    """Make the Python environments that own packages ship."""
    here = context.load()
    yield {"name": None, "doc": "Make the Python environments that own packages ship."}
    for recipe in here.recipes.values():
        if recipe.requirements:
            yield _task(here, recipe)


def fragment_name(name: str) -> str:
    """The fragment that holds the environment of a recipe."""
    return f"environment-{name}"


def sources(here: context.Context, recipe: builder.recipe.Recipe) -> dict[str, digest.Descriptor]:
    """What a recipe's environment adds to its sources: the archive, and the source distributions, by file name."""
    if not recipe.requirements:
        return {}
    made = fragment.load(here.fragment(fragment_name(recipe.name)))
    pulled = {each.name: each.content for each in _files(here, recipe) if not each.is_wheel}
    return pulled | {each.path: each.content for each in made.files()}


def choose(here: context.Context, old: lock.Lock) -> tuple[lock.File, ...]:
    """The files of all environments; those of the old lock stay while the requirements allow them."""
    found: list[lock.File] = []
    for name, wanted in here.environments.items():
        kept = wheels.index.keep(name, wanted, old.files)
        left = [each for each in wanted if each.project not in kept]
        found += kept.values()
        found += wheels.index.choose(name, left, _indexes(here), here.store) if left else []
    return tuple(sorted(found))


def requests(here: context.Context, files: Sequence[lock.File]) -> list[fetch.Request]:
    """Where locked files are to be had; no index is asked for what the store has."""
    if here.settings.is_offline or all(here.store.has(each.content) for each in files):
        return [fetch.Request(each.label, each.content, ()) for each in files]
    return wheels.index.requests(files, _indexes(here), here.store)


def _indexes(here: context.Context) -> wheels.index.Indexes:
    return wheels.index.configured(here.settings.mirrors.get(MIRROR), here.settings.pip, here.fetch_options)


def _room(here: context.Context, recipe: builder.recipe.Recipe) -> pathlib.Path:
    """The fragment of the room that `_builder` makes for the recipe's DEBs."""
    return here.fragment(here.rooms[recipe.name, builder.recipe.DEBIAN].name.replace(" ", "-"))


def _files(here: context.Context, recipe: builder.recipe.Recipe) -> list[lock.File]:
    return [each for each in here.locked.files if each.environment == recipe.name]


def _task(here: context.Context, recipe: builder.recipe.Recipe) -> action.Task:
    files = [str(each.content.digest) for each in _files(here, recipe)] if here.is_locked else []
    task = fragment.task(
        here,
        fragment_name(recipe.name),
        lambda: _make(here, recipe),
        identity=[files, sorted(recipe.left_out)],
        verb="ENVIRONMENT",
        subject=recipe.name,
        file_dep=[_room(here, recipe)],
        task_dep=["_pull"],
    )
    return {"name": recipe.name, "doc": f"Make the Python environment of {recipe.name}.", **task, "verbosity": 2}


def _make(here: context.Context, recipe: builder.recipe.Recipe) -> tree.Tree:
    (room,) = fragment.load(_room(here, recipe)).files()
    held = here.locked.set(here.rooms[recipe.name, builder.recipe.DEBIAN].name).packages
    step: executor.Action = wheels.steps.environment(
        recipe.name,
        _files(here, recipe),
        recipe.left_out,
        room.content,
        here.store,
        epoch=here.locked.date_of(held),
    )
    (content,) = here.room.run(step).outputs.values()
    return tree.build([tree.File(builder.steps.ENVIRONMENT, content)])
