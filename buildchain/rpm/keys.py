"""Are pulled packages signed by the keys that the intent declares? rpm's own judgement, at level `all`.

dnf does not ask when it only downloads, and rpmkeys is content with an unsigned package unless it is told otherwise.
"""

import collections
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence

from buildchain import command, errors, lock, manifest, store

_HINT = "Declare the right key in distribution.yaml, or do without these packages."


def check(packages: Sequence[lock.Package], archives: Mapping[str, manifest.Archive], source: store.Store) -> None:
    """Judge packages that the store holds, each by the keys of its archive.

    Raises:
        ResolveError: naming every package that is unsigned, or wrongly signed, or by another key.
        ToolError:    rpm is missing.
    """
    by_archive: dict[str, list[lock.Package]] = collections.defaultdict(list)
    for package in packages:
        by_archive[package.archive].append(package)
    problems = [line for name in sorted(by_archive) for line in _judge(by_archive[name], archives[name], source)]
    if problems:
        why = "\n".join(["not signed by a declared key", *(f"  {line}" for line in problems)])
        raise errors.ResolveError(f"{len(problems)} packages" if len(problems) > 1 else "a package", why, _HINT)


def _judge(packages: Sequence[lock.Package], archive: manifest.Archive, source: store.Store) -> list[str]:
    """What is wrong with packages of one archive."""
    with tempfile.TemporaryDirectory(prefix="rpmkeys-") as directory:
        root = pathlib.Path(directory)
        rpmkeys: list[command.Argument] = ["rpmkeys", f"--dbpath={root}/keys", "-D_pkgverify_level all"]
        command.run([*rpmkeys, "--import", *archive.keys], hint=_HINT)
        # In a folder of their own, under names that lead back to them.
        for number, package in enumerate(packages):
            (root / f"{number}.rpm").symlink_to(source.path(package.content.digest).resolve())
        try:
            command.run(
                [*rpmkeys, "--checksig", "--verbose", *(f"{number}.rpm" for number in range(len(packages)))],
                directory=root,
            )
        except errors.ToolError as error:
            if error.exit_code is None:
                raise
            return _findings(packages, error.output)
    return []


def _findings(packages: Sequence[lock.Package], said: str) -> list[str]:
    found = []
    for number, text in re.findall(r"^(\d+)\.rpm:\n((?:    .*\n)*)", said, re.MULTILINE):
        lines = [line.strip() for line in text.splitlines()]
        signatures = [line for line in lines if "ignature" in line]
        if all(line.endswith(": OK") for line in lines) and signatures:
            continue
        reasons = [line for line in lines if not line.endswith((": OK", ": NOTFOUND"))] or ["it has no signature"]
        package = packages[int(number)]
        found.append(f"{package.key} of archive {package.archive}: {'; '.join(reasons)}")
    return found or [said.strip()]
