"""Tasks that judge what was built, and clean the store."""

import contextlib
import sys
from collections.abc import Iterator

from buildchain import digest, errors, fetch, signing
from buildchain.tasks import action, context, fragment, pull


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


def task_prune() -> action.Task:
    """Delete what neither the lock nor the last build needs from the store; prune --dry-run only says how much."""
    here = context.load()
    return {
        "title": action.title("PRUNE", here.store.root),
        "actions": [action.run(_prune, here)],
        "params": [{"name": "is_dry", "long": "dry-run", "type": bool, "default": False, "help": "delete nothing"}],
        "uptodate": [False],
        "verbosity": 2,
    }


def _prune(here: context.Context, is_dry: bool) -> None:
    freed = fetch.size_text(here.store.prune(_needed(here), is_dry=is_dry))
    sys.stdout.write(f"   {freed} would be freed\n" if is_dry else f"   {freed} freed\n")


def _needed(here: context.Context) -> Iterator[digest.Digest]:
    """What the next build reads from the store instead of pulling or building it.

    Raises:
        BuildchainError: the lock does not cover the intent: what it will name is not known.
    """
    yield from (content.digest for content in pull.contents(here))
    for path in here.fragment("any").parent.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):  # to be built anew
            yield from (file.content.digest for file in fragment.load(path).files())


def _verify(here: context.Context) -> None:
    """Judge the ISO by the key it was to be signed with; the development key's own verdict is shown, not hidden."""
    # Imported here: no other task judges, and every run has to be quick.
    from buildchain import verify

    with signing.open_signer(here.signing_source) as signer:
        key = signer.public_key()
    trust = verify.Trust((key,), None, frozenset({signing.DEVELOPMENT_FINGERPRINT}))
    report = verify.judge(here.iso_path, trust)
    sys.stdout.write(str(report))
    if report.verdict not in (verify.Verdict.GOOD, verify.Verdict.DEVELOPMENT_KEY):
        raise errors.BuildchainError(str(here.iso_path), report.verdict.value, "Run ./doit.sh clean and build again.")


def _report_store(here: context.Context) -> None:
    files = [path for path in here.store.root.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    sys.stdout.write(f"   {here.store.root}: {len(files)} files, {fetch.size_text(size)}\n")
