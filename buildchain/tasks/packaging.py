"""Tasks that make the package repositories of the medium."""

import pathlib
import typing
from collections.abc import Iterator

from buildchain import deb, licences, lock, manifest, rpm, signing, tree
from buildchain.tasks import action, building, context, fragment


def task_packaging() -> Iterator[action.Task]:
    """Pull the software packages and index their repositories."""
    here = context.load()
    yield {"name": None, "doc": "Pull the software packages and index their repositories.", "task_dep": ["_pull"]}
    for repository in here.manifest.repositories:
        yield _repository_task(here, repository)


def task__licences() -> action.Task:
    """Read under which licences the packages come, for the report; last, because it takes seconds the first time."""
    here = context.load()
    return {
        "title": action.title("LICENCES", "packages"),
        "actions": [action.run(_read_licences, here)],
        "task_dep": ["_pull", "_iso_digest"],
        "uptodate": [lambda: _are_licences_known(here)],
    }


def fragments(here: context.Context) -> list[str]:
    """Names of the fragments these tasks write."""
    return [_fragment_name(repository) for repository in here.manifest.repositories]


def foreign_keys(here: context.Context) -> dict[str, list[str]]:
    """By repository, where on the medium the keys stand that are not the medium's own."""
    return {
        each.full_name: [f"{each.folder}/{path}" for path in rpm.key_paths(each.full_name, len(_keys(here, each)))[1:]]
        for each in here.manifest.repositories
        if each.type == manifest.RPM
    }


def built_fragments(here: context.Context, repository: manifest.Repository) -> list[pathlib.Path]:
    """The fragments of the packages that are built for a repository."""
    part = building.deb_fragment if repository.type == manifest.DEB else building.rpm_fragment
    return [here.fragment(part(name)) for name in repository.builds]


def _fragment_name(repository: manifest.Repository) -> str:
    return f"repository-{repository.full_name}"


def _repository_task(here: context.Context, repository: manifest.Repository) -> action.Task:
    task = fragment.task(
        here,
        _fragment_name(repository),
        lambda: _index(here, repository).moved_to(repository.folder),
        identity=[here.key_identity, _identity(here, repository)],
        verb=f"INDEX {repository.type.upper()}",
        subject=here.staged_root / repository.folder,
        file_dep=[*_keys(here, repository), *built_fragments(here, repository)],
        task_dep=["_pull"],
    )
    return {"name": repository.full_name, "doc": f"Index the repository {repository.full_name}.", **task}


def _keys(here: context.Context, repository: manifest.Repository) -> list[pathlib.Path]:
    """The public keys of those who signed a repository's RPMs: clients need them beside ours."""
    if repository.type == manifest.DEB:
        return []
    return list(dict.fromkeys(key for name in repository.archives for key in here.manifest.archives[name].keys))


def _read_licences(here: context.Context) -> dict[str, typing.Any]:
    return {"read": licences.read(here.locked.packages(), here.store)}


def _are_licences_known(here: context.Context) -> bool:
    packages = here.locked.packages() if here.is_locked else []
    return len(licences.known(packages, here.store)) == len(packages)


def _identity(here: context.Context, repository: manifest.Repository) -> object:
    if not here.is_locked:
        return None
    return repository, _pulled(here, repository), _date(here, repository)


def _pulled(here: context.Context, repository: manifest.Repository) -> tuple[lock.Package, ...]:
    return here.locked.set(f"repository {repository.full_name}").packages if repository.packages else ()


def _date(here: context.Context, repository: manifest.Repository) -> int:
    """The newest index that a repository owes something to."""
    dates = [building.epoch(here, name, manifest.FAMILIES[repository.type]) for name in repository.builds]
    return max([here.locked.date_of(_pulled(here, repository)), *dates])


def _index(here: context.Context, repository: manifest.Repository) -> tree.Tree:
    pulled, epoch, name = _pulled(here, repository), _date(here, repository), repository.full_name
    with signing.open_signer(here.signing_source) as signer:
        if repository.type == manifest.RPM:
            keys = [path.read_bytes() for path in _keys(here, repository)]
            built = [each for made in repository.builds for each in building.built_rpms(here, made, signer)]
            return rpm.index([*pulled, *built], here.store, name=name, epoch=epoch, signer=signer, keys=keys)
        built = [
            each for made in repository.builds for each in building.built(here, made, manifest.FAMILIES[manifest.DEB])
        ]
        return deb.index([*pulled, *built], here.store, name=name, label="MetalK8s", epoch=epoch, signer=signer)
