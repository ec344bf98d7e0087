"""The one task that asks the network in a build: pull what the lock names into the store, packages and images alike."""

import contextlib
import sys
import typing
from collections.abc import Iterator, Sequence

from buildchain import digest, fetch, lock, mirrors, registry_client, settings
from buildchain.tasks import action, context, wheels


def task__pull() -> action.Task:
    """Pull every locked file that the store does not hold."""
    here = context.load()
    return {
        "title": action.title("PULL", "packages and images" if here.pulled_images else "packages"),
        "actions": [action.run(_pull, here)],
        # Who cannot build the packages of this repository learns it before anything is pulled.
        "task_dep": ["_builder:check"] if here.rooms else [],
        "uptodate": [lambda: is_pulled(here)],
        "verbosity": 2,
    }


def is_pulled(here: context.Context) -> bool:
    """Whether the store holds all that is pulled."""
    return here.is_locked and all(map(here.store.has, contents(here)))


def contents(here: context.Context) -> Iterator[digest.Descriptor]:
    """All that the lock names, and the sources of Dockerfiles."""
    yield from (package.content for package in here.locked.packages())
    yield from (content for image in here.locked.images for content in image.contents())
    yield from (each.content for each in here.locked.files)
    yield from (each.content for each in here.image_sources)


def pull_packages(here: context.Context, packages: Sequence[lock.Package]) -> fetch.Pulled:
    """Pull packages from the mirrors of their archives; with everything held, no mirror is asked for."""
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    return _pull_all(here, [_request(here, found, package) for package in packages])


def pull(here: context.Context) -> fetch.Pulled:
    """Pull everything that is pulled: one list of work."""
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    packages = [_request(here, found, package) for package in here.locked.packages()]
    images = [request for image in here.locked.images for request in registry_client.requests(image, here.sites)]
    files = wheels.requests(here, here.locked.files)
    return _pull_all(here, [*packages, *images, *files, *here.image_sources])


def _pull_all(here: context.Context, requests: Sequence[fetch.Request]) -> fetch.Pulled:
    plan = fetch.plan(requests, here.store)
    _check_space(here, plan)
    with contextlib.closing(fetch.progress_on(sys.__stderr__ or sys.stderr)) as progress:
        pulled = fetch.pull(requests, here.store, here.fetch_options, progress)
    if pulled.count:
        sys.stdout.write(f"   {pulled}\n")
    return pulled


def _check_space(here: context.Context, plan: fetch.Plan) -> None:
    """Tell what will be needed, and refuse it now if a disk is too small; the ISO is about as large as its packages."""
    iso_bytes = plan.missing_bytes + plan.held_bytes
    sys.stdout.write(f"   {plan}; the ISO will take about {fetch.size_text(iso_bytes)}\n")
    if settings.device(here.store.root) == settings.device(here.build_root):
        fetch.check_space(plan, iso_bytes, here.build_root)
        return
    fetch.check_space(plan, 0, here.store.root)
    fetch.check_space(fetch.Plan(), iso_bytes, here.build_root)


def url(here: context.Context, found: mirrors.Mirrors, package: lock.Package) -> str:
    """Where a package stands on the mirror of its archive."""
    return mirrors.package_url(found, here.manifest.archives, package)


def _request(here: context.Context, found: mirrors.Mirrors, package: lock.Package) -> fetch.Request:
    return mirrors.request(found, here.manifest.archives, package, here.store)


def _pull(here: context.Context) -> dict[str, typing.Any]:
    pulled = pull(here)
    return {
        "bytes": pulled.received_bytes,
        "seconds": round(pulled.seconds, 3),
        "shared_bytes": pulled.shared_bytes,
        "times_floor": round(pulled.times_floor, 3),
    }
