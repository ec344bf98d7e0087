"""Tasks that judge what was built, and clean the store."""

import sys

from buildchain import cli, errors
from buildchain.tasks import action, context


def task_verify() -> action.Task:
    """Verify the built ISO: signature, every digest, everything the medium says of itself."""
    here = context.load()
    return {
        "title": action.title("VERIFY", here.iso_path),
        "actions": [action.run(_verify, here)],
        "task_dep": ["iso"],
        "uptodate": [False],
        "verbosity": 2,
    }


def task_store() -> action.Task:
    """Tell how large the store is; `clean store` empties it."""
    here = context.load()
    return {
        "title": action.title("STORE", here.store.root),
        "actions": [action.run(_report_store, here)],
        "clean": action.removal(here.store.root),
        "uptodate": [False],
        "verbosity": 2,
    }
