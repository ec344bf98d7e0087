"""What differs between an intent and a lock, and between two locks."""

import collections
import types
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest, errors
from buildchain.lock import _files
from buildchain.lock._values import FILE_NAME, HINT, Image, ImageRequest, Lock, Request

_NO_SUITES: Mapping[str, str] = types.MappingProxyType({})
_NO_IMAGES: Mapping[ImageRequest, str] = types.MappingProxyType({})


def differences(
    value: Lock,
    requests: Sequence[Request],
    suites: Mapping[str, str] = _NO_SUITES,
    images: Mapping[ImageRequest, str] = _NO_IMAGES,
) -> list[str]:
    """What the intent asks for and the lock does not hold, or the other way round; empty if the lock covers it.

    Arguments:
        suites: the suite by archive name.
        images: the images to pull, each with the digest that the intent pins it to, or "".
    """
    wanted = {each.name: _features(each.architecture, each.archives, each.words) for each in requests}
    held = {each.name: _features(each.architecture, each.archives, each.requested) for each in value.sets}
    found = [f"{name} is wanted but not locked" for name in sorted(wanted.keys() - held.keys())]
    found += [f"{name} is locked but not wanted" for name in sorted(held.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & held.keys()):
        found += [f"{name}: {word} is wanted but not locked" for word in wanted[name] if word not in held[name]]
        found += [f"{name}: {word} is locked but not wanted" for word in held[name] if word not in wanted[name]]
    found += _differences_of_images({each.request: each for each in value.images}, images)
    return found + [
        f"archive {index.archive}: suite {index.suite} is locked but {suites[index.archive]} is wanted"
        for index in value.indexes
        if suites.get(index.archive, index.suite) != index.suite
    ]


def check_covers(
    value: Lock,
    requests: Sequence[Request],
    suites: Mapping[str, str] = _NO_SUITES,
    images: Mapping[ImageRequest, str] = _NO_IMAGES,
) -> None:
    """Refuse a lock that was made for another intent.

    Arguments:
        suites: the suite by archive name.
        images: the images to pull, each with the digest that the intent pins it to, or "".

    Raises:
        BuildchainError: naming every difference.
    """
    found = differences(value, requests, suites, images)
    if found:
        why = "\n".join(["does not cover distribution.yaml and the recipes", *(f"  {line}" for line in found)])
        raise errors.BuildchainError(FILE_NAME, why, HINT)


def check_files(value: Lock, wanted: _files.Wanted) -> None:
    """Refuse a lock whose files are for other requirements.

    Raises:
        BuildchainError: naming every difference.
    """
    found = list(_files.differences(value.files, wanted))
    if found:
        why = "\n".join(["does not cover the requirements of own packages", *(f"  {line}" for line in found)])
        raise errors.BuildchainError(FILE_NAME, why, HINT)


def check_not_older(old: Lock, new: Lock) -> None:
    """Refuse indexes older than those locked before: a stale mirror, or an attacker who replays them.

    Raises:
        ResolveError: naming every such archive.
    """
    before = {(index.archive, index.suite): index.date for index in old.indexes}
    stale = [index.archive for index in new.indexes if index.date < before.get((index.archive, index.suite), 0)]
    if stale:
        why = f"their index is older than the one in {FILE_NAME}: a stale mirror, or a replay"
        mirrors = ", ".join(f"{name.upper().replace('-', '_')}_MIRROR" for name in stale)
        raise errors.ResolveError(f"archives {', '.join(stale)}", why, f"Use another mirror ({mirrors} in .env).")


def changes(old: Lock, new: Lock) -> list[str]:
    """What a new lock changes, one line a package or image, for a reviewer."""
    before, after = _versions(old), _versions(new)
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before[name], after[name]
        if was.keys() != now.keys():
            lines.append(f"{name}: {', '.join(sorted(was)) or 'absent'} -> {', '.join(sorted(now)) or 'absent'}")
        elif was != now:
            lines.append(f"{name}: {', '.join(sorted(now))} has other bytes under the same version")
    return lines + _changes_of_images(old, new) + _file_changes(old, new)


def _differences_of_images(held: Mapping[ImageRequest, Image], wanted: Mapping[ImageRequest, str]) -> list[str]:
    found = [f"image {_spell(each)} is wanted but not locked" for each in sorted(wanted.keys() - held.keys())]
    found += [f"image {_spell(each)} is locked but not wanted" for each in sorted(held.keys() - wanted.keys())]
    for each in sorted(wanted.keys() & held.keys()):
        locked = str(held[each].top.content.digest)
        if wanted[each] not in ("", locked):
            found.append(f"image {each.name}: {wanted[each]} is wanted but {locked} is locked")
    return found


def _spell(wanted: ImageRequest) -> str:
    signatures = " with signatures" if wanted.has_signatures else ""
    return f"{wanted.name} ({wanted.source}:{wanted.tag} for {', '.join(wanted.platforms)}{signatures})"


def _changes_of_images(old: Lock, new: Lock) -> list[str]:
    before, after = ({each.request.name: each for each in value.images} for value in (old, new))
    lines = []
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was and now and was != now and _head(was) == _head(now):
            lines.append(f"image {name}: {now.request.tag} has other parts under the same digest")
        elif was != now:
            lines.append(f"image {name}: {_head(was)} -> {_head(now)}")
    return lines


def _file_changes(old: Lock, new: Lock) -> list[str]:
    before, after = ({(each.environment, each.project): each.name for each in value.files} for value in (old, new))
    return [
        f"{name}: {before.get((name, project), 'absent')} -> {after.get((name, project), 'absent')}"
        for name, project in sorted(before.keys() | after.keys())
        if before.get((name, project)) != after.get((name, project))
    ]


def _head(image: Image | None) -> str:
    return f"{image.request.source}:{image.request.tag}@{image.top.content.digest}" if image else "absent"


def _versions(value: Lock) -> dict[str, dict[str, set[digest.Digest]]]:
    """By name and version, the contents."""
    versions: dict[str, dict[str, set[digest.Digest]]] = collections.defaultdict(dict)
    for package in value.packages():
        known = versions[f"{package.name}:{package.architecture}"]
        known.setdefault(package.version, set()).add(package.content.digest)
    return versions


def _features(architecture: str, archives: Iterable[str], words: Iterable[str]) -> list[str]:
    """What must be equal in a request and the set that was made of it."""
    return [f"architecture {architecture}", *(f"archive {name}" for name in archives), *words]
