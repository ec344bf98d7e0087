"""Maintainer scripts that are not run: each was read by somebody, who says why nothing is lost.

A script is known by its digest: a new or changed one stops the build until somebody has read it.
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping

from buildchain import document, errors, lock

FILE_NAME = "maintainer-scripts.yaml"

_TO_WRITE = "(say here why nothing is lost when it does not run)"


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """Digests of the scripts that were read, by package and script."""

    read: Mapping[tuple[str, str], frozenset[str]]


def load_policy(path: pathlib.Path) -> Policy:
    """Load the list of scripts that were read.

    Raises:
        ConfigError: with every problem in the file and its line.
    """
    loaded = document.load(path, "maintainer-scripts.schema.json")
    problems = [
        loaded.problem((name, script, "reason"), "the reason is still to be written")
        for name, rows in loaded.value.items()
        for script, row in rows.items()
        if row["reason"] == _TO_WRITE
    ]
    if problems:
        raise errors.ConfigError(str(path), problems)
    return Policy(
        {
            (name, script): frozenset([row["sha256"]] if isinstance(row["sha256"], str) else row["sha256"])
            for name, rows in loaded.value.items()
            for script, row in rows.items()
        }
    )


def check(name: str, packages: Iterable[tuple[lock.Package, Mapping[str, str]]], policy: Policy) -> None:
    """Refuse packages with scripts that nobody has read.

    Arguments:
        packages: packages with the digests of their scripts.

    Raises:
        BuildchainError: with all of them, as lines to paste.
    """
    listed = list(packages)
    unread = _unread(listed, policy)
    if not unread:
        return
    words = (f"{each.name} {script} ({state})" for each, script, _, state in unread)
    why = f"maintainer scripts that nobody has read: {', '.join(words)}"
    hint = f"Read them (dpkg-deb --ctrl-tarfile), then put this into images/{FILE_NAME}:\n{_paste(unread)}"
    raise errors.BuildchainError(name, why, hint)


_Unread = tuple[lock.Package, str, str, str]


def _unread(packages: Iterable[tuple[lock.Package, Mapping[str, str]]], policy: Policy) -> list[_Unread]:
    return sorted(_each_unread(packages, policy))


def _each_unread(packages: Iterable[tuple[lock.Package, Mapping[str, str]]], policy: Policy) -> Iterator[_Unread]:
    for each, digests in packages:
        for script, sha256 in digests.items():
            known = policy.read.get((each.name, script), frozenset())
            if sha256 not in known:
                yield each, script, sha256, "changed" if known else "new"


def _paste(unread: Iterable[_Unread]) -> str:
    lines: list[str] = []
    last = ""
    for each, script, sha256, _ in unread:
        if each.name != last:
            lines.append(f"{each.name}:")
            last = each.name
        lines += [f"  {script}:", f"    sha256: {sha256}", f'    reason: "{_TO_WRITE}"']
    return "".join(f"{line}\n" for line in lines)
