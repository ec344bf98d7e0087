"""Tasks that put the Salt tree on the medium."""

import collections
from collections.abc import Mapping, Sequence

from buildchain import lock, manifest, salt, tree
from buildchain.tasks import action, building, context, fragment, packaging

FRAGMENT = "salt"


def task_salt_tree() -> action.Task:
    """Deploy the Salt tree inside the ISO."""
    here = context.load()
    files = [path for path in here.source.files if path.startswith(("salt/", "pillar/"))]
    task = fragment.task(
        here,
        FRAGMENT,
        lambda: _collect(here),
        identity=[files, str(here.version), _versions(here, {}) if here.is_locked else None],
        verb="CPTREE",
        subject=here.staged_root / "salt",
        file_dep=[
            *(here.settings.root / path for path in files),
            *(
                path
                for repository in here.manifest.repositories
                for path in packaging.built_fragments(here, repository)
            ),
        ],
    )
    return {"doc": "Deploy the Salt tree inside the ISO.", **task}


def _collect(here: context.Context) -> tree.Tree:
    built: dict[str, list[lock.Package]] = collections.defaultdict(list)
    for repository in here.manifest.repositories:
        family = manifest.FAMILIES[repository.type]
        built[family] += [package for name in repository.builds for package in building.built(here, name, family)]
    return salt.collect(
        here.settings.root, here.source.files, here.store, release=here.version, versions=_versions(here, built)
    )


def _versions(here: context.Context, built: Mapping[str, Sequence[lock.Package]]) -> salt.Versions:
    families: dict[str, list[str]] = {family: [] for family in manifest.FAMILIES.values()}
    for repository in here.manifest.repositories:
        families[manifest.FAMILIES[repository.type]].append(repository.full_name)
    keys = packaging.foreign_keys(here)
    return salt.versions(here.version, here.locked, here.manifest.images, families, keys, built)
