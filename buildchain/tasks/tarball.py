"""The task that packs the source for those who build without git."""

import pathlib

from buildchain import compression, errors, source
from buildchain.tasks import action, context


def task_tarball() -> action.Task:
    """Pack the source as a release tarball, which builds the same ISO without git."""
    here = context.load()
    name = f"{here.settings.project_name.lower()}-{here.version}-source"
    path = here.build_root / f"{name}.tar.gz"
    return {
        "title": action.title("TARBALL", path),
        "actions": [action.run(_write, here, path, name)],
        "task_dep": ["_build_root"],
        "clean": action.removal(path),
    }


def _write(here: context.Context, path: pathlib.Path, name: str) -> None:
    if here.source.is_dirty:
        raise errors.BuildchainError(str(here.settings.root), "has uncommitted changes", "Commit or stash them first.")
    action.write(path, compression.gzip_bytes(source.tarball(here.settings.root, here.source, name)))
