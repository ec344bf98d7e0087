"""Tasks about the lock: choose versions, and tell what has moved since."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence

from buildchain import deb, errors, fetch, lock, manifest, mirrors, registry_client, rpm
from buildchain.tasks import action, context, pull, wheels


def task_lock() -> action.Task:
    """Choose all versions and digests: lock [NAME...] writes the lock, lock --check only tells what has moved."""
    here = context.load()
    return {
        "title": action.title("LOCK", here.lock_path),
        "actions": [action.run(_lock, here)],
        "params": [{"name": "check", "long": "check", "type": bool, "default": False, "help": "write nothing"}],
        "pos_arg": "names",
        "verbosity": 2,
        "uptodate": [False],
    }


def _lock(here: context.Context, check: bool, names: Sequence[str]) -> None:
    if check:
        _check(here)
    else:
        _write(here, names)


def _write(here: context.Context, names: Sequence[str]) -> None:
    """Resolve the intent, all of it or only what concerns some packages, and write the lock."""
    old = _old_lock(here)
    new = _resolve_again(here, old, names) if names else _resolve(here, [], ())
    new = dataclasses.replace(new, files=wheels.choose(here, old))
    lock.check_not_older(old, new)
    for line in [*(lock.changes(old, new) or ["nothing changes"]), *_assumptions(here, new)]:
        sys.stdout.write(f"   {line}\n")
    action.write(here.lock_path, lock.dump(new))


def _assumptions(here: context.Context, new: lock.Lock) -> list[str]:
    """What the hosts must hold beside the medium, a line for each repository that assumes anything."""
    named = {each.name: ", ".join(each.assumes) for each in new.sets if each.assumes}
    for repository in here.manifest.repositories:
        if repository.type == manifest.DEB and not repository.bootstraps:
            named[f"repository {repository.full_name}"] = "the Essential set"  # no package has to depend on it
    return [f"{name} needs of its hosts: {what}" for name, what in sorted(named.items())]


def _check(here: context.Context) -> None:
    """Tell which locked packages have a newer version or are gone from their mirror; either fails the task."""
    old = lock.load(here.lock_path)
    new = dataclasses.replace(_resolve(here, [], ()), files=old.files)
    lock.check_not_older(old, new)
    current = set(new.packages())
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    gone = [
        f"{package.name} {package.version}: gone from the mirror"
        for package in old.packages()
        if package not in current and not fetch.is_there(pull.url(here, found, package), here.fetch_options)
    ]
    moved = [f"{line} (newer)" for line in lock.changes(old, new)]
    if gone or moved:
        hint = "Run ./doit.sh lock to move to today's versions, or ./doit.sh lock NAME... for some packages and images."
        raise errors.BuildchainError(lock.FILE_NAME, "\n".join(["is behind", *map(_indented, gone + moved)]), hint)


def _indented(line: str) -> str:
    return f"  {line}"


def _resolve_again(here: context.Context, old: lock.Lock, names: Sequence[str]) -> lock.Lock:
    """Move only some packages and images, and what comes with them; other images stay if they are wanted as before."""
    images = {each.name for each in here.pulled_images}
    kept_images = [each for each in old.images if each.request.name not in names]
    kept = _kept(here, old, [name for name in names if name not in images])
    return _resolve(here, kept, kept_images)


def _resolve(here: context.Context, kept: Sequence[lock.Package], kept_images: Sequence[lock.Image]) -> lock.Lock:
    if here.settings.is_offline:
        why = "versions cannot be chosen offline"
        raise errors.BuildchainError(lock.FILE_NAME, why, "Unset OFFLINE and run the same command again.")
    images = _resolve_images(here, {each.request: each for each in kept_images})
    debs, rpms = _resolve_debs(here, kept), _resolve_rpms(here, kept)
    sets = sorted([*debs.sets, *rpms.sets], key=lambda each: each.name)
    return lock.Lock(tuple(sorted([*debs.indexes, *rpms.indexes])), tuple(sets), images)


def _resolve_debs(here: context.Context, kept: Sequence[lock.Package]) -> lock.Lock:
    rpms = {one.request for one in _rpms_wanted(here)}
    requests = [each for each in here.requests if each not in rpms]
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    return deb.resolve_all(
        requests,
        {each.name: deb.Source(each, found.address(each)) for each in _archives(here, manifest.DEB)},
        ca_bundle=here.settings.ca_bundle,
        timeout_s=here.settings.read_timeout_s,
        kept=_of_type(here, kept, manifest.DEB),
        packages=here.store,
    )


def _resolve_rpms(here: context.Context, kept: Sequence[lock.Package]) -> lock.Lock:
    """Choose RPMs, and pull them: only the packages themselves say who signed them."""
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    resolved = rpm.resolve_all(
        _rpms_wanted(here),
        {each.name: rpm.Source(each, found.url(each)) for each in _archives(here, manifest.RPM)},
        here.store,
        here.fetch_options,
        kept=_of_type(here, kept, manifest.RPM),
    )
    if resolved.packages():
        pull.pull_packages(here, resolved.packages())
        rpm.check(resolved.packages(), here.manifest.archives, here.store)
    return resolved


def _archives(here: context.Context, kind: str) -> list[manifest.Archive]:
    """The archives of one type that are used."""
    wanted = sorted({name for request in here.requests for name in request.archives})
    return [here.manifest.archives[name] for name in wanted if here.manifest.archives[name].type == kind]


def _of_type(here: context.Context, packages: Sequence[lock.Package], kind: str) -> list[lock.Package]:
    archives = here.manifest.archives
    return [each for each in packages if each.archive in archives and archives[each.archive].type == kind]


def _rpms_wanted(here: context.Context) -> list[rpm.Wanted]:
    by_name = {f"repository {each.full_name}": each for each in here.manifest.repositories}
    return [
        rpm.Wanted(request, by_name[request.name])
        for request in here.requests
        if request.name in by_name and by_name[request.name].type == manifest.RPM
    ]


def _resolve_images(here: context.Context, kept: Mapping[lock.ImageRequest, lock.Image]) -> tuple[lock.Image, ...]:
    client = registry_client.Client(here.sites, here.fetch_options)
    return registry_client.resolve_all(here.pulled_images, kept, client, here.store, jobs=here.settings.pull_jobs)


def _kept(here: context.Context, old: lock.Lock, names: Sequence[str]) -> list[lock.Package]:
    """What must not move when only `names` may: all but them and the packages of the same source."""
    sources = {package.source for package in old.packages() if package.name in names}
    unknown = set(names) - {package.name for package in old.packages()}
    if unknown:
        why = f"has no package {', '.join(sorted(unknown))}"
        raise errors.BuildchainError(
            lock.FILE_NAME, why, "Run ./doit.sh lock without names after a change of the intent."
        )
    kept = [package for package in old.packages() if package.source not in sources]
    pull.pull_packages(here, kept)
    return kept


def _old_lock(here: context.Context) -> lock.Lock:
    """The lock so far; one that cannot be read is as good as none, since a whole one is about to be made."""
    try:
        return lock.load(here.lock_path)
    except errors.BuildchainError:
        return lock.Lock()
