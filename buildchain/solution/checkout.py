"""Which of a project's files count: those that git tracks; all of them, where git does not track the project."""

import pathlib
from collections.abc import Mapping

from buildchain import dockerfile, source
from buildchain.solution import project


def find(root: pathlib.Path, git: str) -> tuple[source.Source | None, str]:
    """The commit, where git tracks the project, and what stands before the project's paths in it."""
    for folder in (root, *root.parents):
        if (folder / ".git").exists():
            found = source.identify(folder, git)
            intent = (root / project.FILE_NAME).relative_to(folder).as_posix()
            return (found, intent.removesuffix(project.FILE_NAME)) if intent in found.files else (None, "")
    return None, ""


def dockerfiles(wanted: project.Project, git: str) -> Mapping[str, dockerfile.Recipe]:
    """By name of each image that a container engine builds: its recipe.

    Raises:
        ConfigError: a recipe is wrong, or stands on an image that is not the Solution's.
    """
    specs = [each for each in wanted.images if each.kind == "dockerfile"]
    if not specs:
        return {}
    files = _files(wanted.root, git)
    folder = wanted.root / project.IMAGES
    found = {each.name: dockerfile.load(folder / each.origin, files, each.name) for each in specs}
    dockerfile.check_all(found, {each.name: each.tag for each in wanted.images})
    return found


def _files(root: pathlib.Path, git: str) -> list[str]:
    commit, prefix = find(root, git)
    if commit is not None:
        return [path.removeprefix(prefix) for path in commit.files if path.startswith(prefix)]
    paths = (root / project.IMAGES).rglob("*")
    return sorted(path.relative_to(root).as_posix() for path in paths if path.is_symlink() or not path.is_dir())
