"""Tasks that make the package repositories of the medium."""

import typing
from collections.abc import Iterator

from buildchain import deb, licences, lock, manifest, signing, tree
from buildchain.tasks import action, context, fragment


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


def _fragment_name(repository: manifest.Repository) -> str:
    return f"repository-{repository.name}"


def _repository_task(here: context.Context, repository: manifest.Repository) -> action.Task:
    folder = f"packages/debian/metalk8s-{repository.name}"
    task = fragment.task(
        here,
        _fragment_name(repository),
        lambda: _index(here, repository).moved_to(folder),
        identity=[here.key_identity, _locked(here, repository)],
        verb="INDEX DEB",
        subject=here.staged_root / folder,
        task_dep=["_pull"],
    )
    return {"name": repository.name, "doc": f"Index the repository {repository.name}.", **task}


def _read_licences(here: context.Context) -> dict[str, typing.Any]:
    return {"read": licences.read(here.locked.packages(), here.store)}


def _are_licences_known(here: context.Context) -> bool:
    packages = here.locked.packages() if here.is_locked else []
    return len(licences.known(packages, here.store)) == len(packages)


def _locked(here: context.Context, repository: manifest.Repository) -> object:
    if not here.is_locked:
        return None
    chosen = here.locked.set(f"repository {repository.name}")
    return chosen, here.locked.date_of(chosen.packages)


def _index(here: context.Context, repository: manifest.Repository) -> tree.Tree:
    chosen: lock.PackageSet = here.locked.set(f"repository {repository.name}")
    with signing.open_signer(here.signing_source) as signer:
        return deb.index(
            chosen.packages,
            here.store,
            name=repository.name,
            label="MetalK8s",
            epoch=here.locked.date_of(chosen.packages),
            signer=signer,
        )
