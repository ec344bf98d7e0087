"""Choose package versions (lock) and pull them: the only two steps that may ask the network."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

from buildchain import atomic, deb, errors, fetch, image, lock, mirrors, registry_client
from buildchain.image import recipe
from buildchain.solution import context, project


def chains(wanted: project.Project) -> dict[str, tuple[recipe.Recipe, ...]]:
    """By image name: the recipes of its layers, the lowest first.

    Raises:
        ConfigError: a recipe is wrong.
    """
    folder = wanted.root / project.IMAGES
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
    images = here.project.pulled_images
    if not wanted and not images:
        return lock.Lock()
    loaded = lock.load(here.lock_path)
    lock.check_covers(loaded, wanted, {name: archive.suite for name, archive in here.project.archives.items()}, images)
    return loaded


def write_lock(here: context.Context) -> list[str]:
    """Choose all versions anew and write the lock; returns what it changes.

    Raises:
        ResolveError: no set of versions satisfies the intent, or a registry has no such image.
        BuildchainError: offline, or a mirror is missing.
    """
    if here.settings.is_offline:
        why = "versions cannot be chosen offline"
        raise errors.BuildchainError(project.LOCK_NAME, why, "Unset OFFLINE and run the same command again.")
    try:
        old = lock.load(here.lock_path)
    except errors.BuildchainError:
        old = lock.Lock()
    client = registry_client.Client(here.sites, here.fetch_options)
    images = registry_client.resolve_all(
        here.project.pulled_images, {}, client, here.store, jobs=here.settings.pull_jobs
    )
    new = dataclasses.replace(_resolve_packages(here), images=images)
    lock.check_not_older(old, new)
    atomic.write(here.lock_path, lock.dump(new))
    return lock.changes(old, new)


def _resolve_packages(here: context.Context) -> lock.Lock:
    wanted = requests(here.project, chains(here.project))
    if not wanted:
        return lock.Lock()
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    return deb.resolve_all(
        wanted,
        {name: deb.Source(archive, found.url(archive)) for name, archive in here.project.archives.items()},
        ca_bundle=here.settings.ca_bundle,
        packages=here.store,
    )


def pull(here: context.Context, locked: lock.Lock) -> fetch.Pulled:
    """Bring all that is locked into the store; with everything held, no mirror and no registry is asked for."""
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    wanted = [mirrors.request(found, here.project.archives, package, here.store) for package in locked.packages()]
    wanted += [request for each in locked.images for request in registry_client.requests(each, here.sites)]
    wanted += [
        fetch.Request(f"image {name}: {each.path}", each.content, (each.url,))
        for name, recipe in here.dockerfiles.items()
        for each in recipe.sources
    ]
    fetch.check_space(fetch.plan(wanted, here.store), 0, here.store.root)
    with contextlib.closing(fetch.progress_on(sys.__stderr__ or sys.stderr)) as progress:
        return fetch.pull(wanted, here.store, here.fetch_options, progress)


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """All that images are made of, once it is in the store."""

    here: context.Context
    chains: Mapping[str, tuple[recipe.Recipe, ...]]
    locked: lock.Lock

    @property
    def recipes(self) -> pathlib.Path:
        """The folder of the project's recipes."""
        return self.here.project.root / project.IMAGES

    def bases(self, name: str) -> tuple[str, ...]:
        """Names of the images that an image stands on, and that are therefore built before."""
        recipe = self.here.dockerfiles.get(name)
        return recipe.bases if recipe else ()


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
