"""The development tree: the medium as a folder of links, so that what is edited in the checkout is there at once.

Every link is relative and stays in the folder: the checkout and the staged tree are mounted below it on a machine.
"""

import os
import pathlib
import shutil
from collections.abc import Iterator

MARKER = "DEVELOPMENT_TREE"
"""`bootstrap.sh` takes a tree that holds this only if it is told to: nobody signed it."""
CHECKOUT = ".checkout"
STAGED = ".staged"

EDITED = ("salt", "pillar", "scripts")
"""The folders of the checkout that a machine sees."""
_SEAL = {"CONTENTS.mtree", "SHA256SUM", "SHA256SUM.asc"}
_SCRIPTS = "scripts"
_WARNING = "Not a medium: links to a checkout and to what was built from it. Nothing here is signed or verified.\n"


def build(checkout: pathlib.Path, staged: pathlib.Path, target: pathlib.Path) -> None:
    """Make the folder of links anew; the folder itself stays, since a machine may have it mounted.

    Arguments:
        checkout: where the files that are edited stand.
        staged:   the staged tree; a file that is rendered or generated, and all that is not Salt's, is taken from it.
    """
    target.mkdir(parents=True, exist_ok=True)
    mounts = {CHECKOUT, STAGED}
    for path in target.iterdir():
        if path.name not in mounts:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for mount in (STAGED, *(f"{CHECKOUT}/{folder}" for folder in EDITED)):
        (target / mount).mkdir(parents=True, exist_ok=True)
    for name, source in links(checkout, staged):
        link = target / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(source, pathlib.PurePath(name).parent))
    (target / MARKER).write_text(_WARNING)


def links(checkout: pathlib.Path, staged: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Each path of the development tree and where it leads, both below the tree."""
    for path in sorted(staged.iterdir()):
        if path.name in EDITED:
            yield from _edited(checkout, staged, path.name)
        elif path.name not in _SEAL:
            script = checkout / _SCRIPTS / path.name
            yield path.name, f"{CHECKOUT}/{_SCRIPTS}/{path.name}" if script.is_file() else f"{STAGED}/{path.name}"


def _edited(checkout: pathlib.Path, staged: pathlib.Path, folder: str) -> Iterator[tuple[str, str]]:
    """One link for a folder that is the checkout's alone: a file that is added to it is there at once, too."""
    if _is_checkouts(checkout, staged, folder):
        yield folder, f"{CHECKOUT}/{folder}"
        return
    for name in sorted({path.name for root in (checkout, staged) for path in _children(root / folder)}):
        path = f"{folder}/{name}"
        if (checkout / path).is_dir():
            yield from _edited(checkout, staged, path)
        else:
            yield path, f"{CHECKOUT}/{path}" if (checkout / path).is_file() else f"{STAGED}/{path}"


def _is_checkouts(checkout: pathlib.Path, staged: pathlib.Path, folder: str) -> bool:
    """Whether the staged tree has nothing below a folder that the checkout lacks."""
    return all(
        (checkout / folder / path.relative_to(staged / folder)).exists() for path in (staged / folder).rglob("*")
    )


def _children(folder: pathlib.Path) -> list[pathlib.Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
