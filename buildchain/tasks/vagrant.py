"""Tasks for a machine to try the distribution on."""

import pathlib
import sys

from buildchain import box
from buildchain.tasks import action, context


def task_vagrant_box() -> action.Task:
    """Make the box, a minimal Debian of the medium's own packages, and give it to the docker daemon."""
    here = context.load()
    root = here.build_root / "box.tar"
    medium = here.fragment("medium")
    return {
        "title": action.title("BOX", root),
        "actions": [action.run(_box, here.staged_root, root, box.image_name(str(here.version)))],
        "file_dep": [medium],
        "targets": [root],
        "task_dep": ["populate_iso"],
        "clean": action.removal(root),
        "verbosity": 2,
    }


def _box(staged: pathlib.Path, root: pathlib.Path, name: str) -> None:
    box.build(staged, root)
    box.load(root, name)
    sys.stdout.write(f"   docker image {name}\n")
