"""Tasks that put the Salt tree on the medium."""

from buildchain import manifest, salt, tree
from buildchain.tasks import action, context, fragment, packaging

FRAGMENT = "salt"


def task_salt_tree() -> action.Task:
    """Deploy the Salt tree inside the ISO."""
    here = context.load()
    files = [path for path in here.source.files if path.startswith(("salt/", "pillar/"))]
    task = fragment.task(
        here,
        FRAGMENT,
        lambda: _collect(here),
        identity=[files, str(here.version), _versions(here) if here.is_locked else None],
        verb="CPTREE",
        subject=here.staged_root / "salt",
        file_dep=[here.settings.root / path for path in files],
    )
    return {"doc": "Deploy the Salt tree inside the ISO.", **task}


def _collect(here: context.Context) -> tree.Tree:
    return salt.collect(
        here.settings.root, here.source.files, here.store, release=here.version, versions=_versions(here)
    )


def _versions(here: context.Context) -> salt.Versions:
    families: dict[str, list[str]] = {family: [] for family in manifest.FAMILIES.values()}
    for repository in here.manifest.repositories:
        families[manifest.FAMILIES[repository.type]].append(repository.full_name)
    return salt.versions(here.version, here.locked, here.manifest.images, families, packaging.foreign_keys(here))
