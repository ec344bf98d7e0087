"""Choose package versions (lock) and pull them: the only two steps that may ask the network."""

import contextlib
import dataclasses
import pathlib
import sys
import urllib.parse
from collections.abc import Mapping, Sequence

from buildchain import atomic, deb, errors, fetch, image, lock, mirrors
from buildchain.image import recipe
from buildchain.solution import context, project

IMAGES = "images"
"""Folder of the recipes in a project."""


def chains(wanted: project.Project) -> dict[str, tuple[recipe.Recipe, ...]]:
    """By image name: the recipes of its layers, the lowest first.

    Raises:
        ConfigError: a recipe is wrong.
    """
    folder = wanted.root / IMAGES
    return {each.name: image.load_chain(folder, each.origin) for each in wanted.images if each.kind == "recipe"}


def requests(wanted: project.Project, found: Mapping[str, tuple[recipe.Recipe, ...]]) -> list[lock.Request]:
    """What the images want, as the lock must hold it."""
    archives = tuple(sorted(wanted.archives))
    all_requests = {
        image.request(chain[: index + 1], archives) for chain in found.values() for index in range(len(chain))
    }
    return sorted(all_requests)


def load_lock(here: context.Context, wanted: Sequence[lock.Request]) -> lock.Lock:
    """The lock, if it covers the intent; none is needed where nothing is to be locked.

    Raises:
        BuildchainError: there is none, or it does not cover the intent.
    """
    if not wanted:
        return lock.Lock()
    loaded = lock.load(here.lock_path)
    lock.check_covers(loaded, wanted, {name: archive.suite for name, archive in here.project.archives.items()})
    return loaded


def write_lock(here: context.Context) -> list[str]:
    """Choose all versions anew and write the lock; returns what it changes.

    Raises:
        ResolveError: no set of versions satisfies the intent.
        BuildchainError: offline, or a mirror is missing.
    """
    if here.settings.is_offline:
        why = "versions cannot be chosen offline"
        raise errors.BuildchainError(project.LOCK_NAME, why, "Unset OFFLINE and run the same command again.")
    try:
        old = lock.load(here.lock_path)
    except errors.BuildchainError:
        old = lock.Lock()
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    new = deb.resolve_all(
        requests(here.project, chains(here.project)),
        {name: deb.Source(archive, found.url(archive)) for name, archive in here.project.archives.items()},
        ca_bundle=here.settings.ca_bundle,
        packages=here.store,
    )
    lock.check_not_older(old, new)
    atomic.write(here.lock_path, lock.dump(new))
    return lock.changes(old, new)


def pull(here: context.Context, locked: lock.Lock) -> fetch.Pulled:
    """Bring every locked package into the store; with everything held, no mirror is asked for."""
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    wanted = [_request(here, found, package) for package in locked.packages()]
    fetch.check_space(fetch.plan(wanted, here.store), 0, here.store.root)
    with contextlib.closing(fetch.progress_on(sys.__stderr__ or sys.stderr)) as progress:
        return fetch.pull(wanted, here.store, here.fetch_options, progress)


def _request(here: context.Context, found: mirrors.Mirrors, package: lock.Package) -> fetch.Request:
    if here.settings.is_offline or here.store.has(package.content):
        return fetch.Request(package.key, package.content, ())
    url = f"{found.url(here.project.archives[package.archive])}/{urllib.parse.quote(package.path)}"
    return fetch.Request(package.key, package.content, (url,))


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """All that images are made of, once it is in the store."""

    here: context.Context
    chains: Mapping[str, tuple[recipe.Recipe, ...]]
    locked: lock.Lock

    @property
    def recipes(self) -> pathlib.Path:
        """The folder of the project's recipes."""
        return self.here.project.root / IMAGES


def gather(here: context.Context) -> Inputs:
    """Read recipes and lock, and pull.

    Raises:
        ConfigError: a recipe is wrong.
        BuildchainError: the lock does not cover the intent, or something cannot be pulled.
    """
    found = chains(here.project)
    locked = load_lock(here, requests(here.project, found))
    pull(here, locked)
    return Inputs(here, found, locked)
