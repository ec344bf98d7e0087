"""What differs between two Solutions: images, layers, CRDs, roles, other files, sizes."""

import contextlib
import dataclasses
import json
import pathlib
import typing
from collections.abc import Iterator, Mapping

from buildchain import errors
from buildchain.document import strict_yaml
from buildchain.verify import folder, hashing, image, images, medium, solution

_CRDS = "operator/deploy/crds/"
_ROLE = "operator/deploy/role.yaml"
_SEAL = {medium.SUM_NAME, medium.SIGNATURE_NAME, medium.LISTING_NAME}
_HINT = "Name an ISO, or the folder of a mounted or staged one."
_MAX_FAULTS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class _Side:
    """One of the two: its contents, layers by image, objects by name, and all bytes."""

    title: str
    contents: medium.Contents
    layers: Mapping[str, Mapping[str, int]]
    manifests: Mapping[str, str]
    size: int


def compare(old: pathlib.Path, new: pathlib.Path) -> list[str]:
    """The differences, a line each; empty if there are none.

    Raises:
        BuildchainError: one of them cannot be read, is no Solution, or not intact.
    """
    one, other = _open(old), _open(new)
    objects = [*_manifests(one, other, _CRDS), *_manifests(one, other, _ROLE)]
    lines = [*_images(one, other), *objects, *_files(one, other)]
    if lines or one.title != other.title:
        lines = [f"{one.title} -> {other.title}: {one.size} -> {other.size} bytes ({other.size - one.size:+})", *lines]
    return lines


def _open(path: pathlib.Path) -> _Side:
    nodes = _nodes(path)
    unique = {node.content.identity: node.content for node in nodes.values() if node.content}
    digests = hashing.digests(list(unique.values()))
    by_path = {name: digests[node.content.identity] for name, node in nodes.items() if node.content}
    good = {name: digest for name, digest in by_path.items() if isinstance(digest, str)}
    contents = medium.Contents.of(nodes, good, medium.reader(nodes))
    if not contents.has_file(solution.MANIFEST_PATH):
        raise errors.BuildchainError(str(path), f"is no Solution: has no {solution.MANIFEST_PATH}", _HINT)
    found = images.judge(contents)[0]
    return _Side(
        solution.of(contents).title or str(path),
        contents,
        {f"{each.name}:{each.tag}": _layers(contents, each) for each in found},
        {f"{each.name}:{each.tag}": each.manifest for each in found},
        sum(content.size for content in unique.values()),
    )


def _nodes(path: pathlib.Path) -> dict[str, medium.Node]:
    """What stands on a medium; of a damaged ISO, half would seem to have been removed."""
    try:
        if path.is_dir():
            return folder.scan(path)[0]
        with contextlib.closing(image.Image(path)) as opened:
            nodes = image.scan(opened)
            faults = opened.faults
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), _HINT) from error
    if nodes and faults:
        why = "\n".join(["is not intact", *(f"  {fault}" for fault in faults[:_MAX_FAULTS])])
        raise errors.BuildchainError(str(path), why, f"See buildchain solution verify {path}")
    return nodes


def _layers(contents: medium.Contents, each: images.Image) -> dict[str, int]:
    """Digests (hex) and sizes of an image's layers, as its manifests have them."""
    root = f"{images.DIRECTORY}/{each.name}/{each.tag}"
    names = [images.MANIFEST_NAME, *(f"{child}.{images.MANIFEST_NAME}" for child, _ in each.children)]
    rows = [row for name in names for row in json.loads(contents.read(f"{root}/{name}")).get("layers", [])]
    return {row["digest"].removeprefix("sha256:"): row["size"] for row in rows}


def _images(one: _Side, other: _Side) -> Iterator[str]:
    was, now = _by_name(one), _by_name(other)
    for name in sorted({*was, *now}):
        moved = _moved(was.get(name, set()), now.get(name, set()))
        for old, new in moved:
            yield from _image(name, old, new, one, other)
    held = {digest for layers in one.layers.values() for digest in layers}
    wanted = {digest: size for layers in other.layers.values() for digest, size in layers.items()}
    fresh = {digest: size for digest, size in wanted.items() if digest not in held}
    if fresh:
        yield f"layers: {len(fresh)} of {len(wanted)} are new, {sum(fresh.values())} bytes"


def _by_name(side: _Side) -> dict[str, set[str]]:
    tags: dict[str, set[str]] = {}
    for image_name in side.layers:
        name, _, tag = image_name.rpartition(":")
        tags.setdefault(name, set()).add(tag)
    return tags


def _moved(was: set[str], now: set[str]) -> list[tuple[str, str]]:
    """Pairs of tags; the only one that went and the only one that came are taken for the same image."""
    gone, come = sorted(was - now), sorted(now - was)
    kept = [(tag, tag) for tag in sorted(was & now)]
    if len(gone) == len(come) == 1:
        return [*kept, (gone[0], come[0])]
    return [*kept, *((tag, "") for tag in gone), *(("", tag) for tag in come)]


def _image(name: str, old: str, new: str, one: _Side, other: _Side) -> Iterator[str]:
    was, now = one.layers.get(f"{name}:{old}"), other.layers.get(f"{name}:{new}")
    if was is None or now is None:
        verb = "added" if was is None else "removed"
        yield f"image {name}:{old or new}: {verb}, {sum((was or now or {}).values())} bytes"
        return
    kept = was.keys() & now.keys()
    sizes = f"{sum(was.values())} -> {sum(now.values())} bytes"
    tags = old if old == new else f"{old} -> {new}"
    if old != new or one.manifests[f"{name}:{old}"] != other.manifests[f"{name}:{new}"]:
        added, removed = len(now.keys() - kept), len(was.keys() - kept)
        yield f"image {name}: {tags}: {len(kept)} layers kept, {added} added, {removed} removed, {sizes}"


def _manifests(one: _Side, other: _Side, prefix: str) -> Iterator[str]:
    """Kubernetes objects below a path."""
    was, now = _objects(one, prefix), _objects(other, prefix)
    for name in sorted({*was, *now}):
        if name not in was or name not in now:
            yield f"{name}: {'added' if name not in was else 'removed'}"
        elif was[name] != now[name]:
            yield f"{name}: changed"
            yield from (f"  {line}" for line in _changes(was[name], now[name], ""))


def _objects(side: _Side, prefix: str) -> dict[str, typing.Any]:
    """Kubernetes objects by name; files that cannot be read are for `lint`."""
    found: dict[str, typing.Any] = {}
    for path in side.contents.files():
        if not path.startswith(prefix):
            continue
        try:
            documents = strict_yaml.read_all(side.contents.read(path))
        except (medium.DamagedError, strict_yaml.NotYamlError):
            continue
        for value, _ in documents:
            if isinstance(value, dict) and isinstance(value.get("metadata"), dict):
                found[f"{value.get('kind')} {value['metadata'].get('name')}"] = value
    return found


def _changes(was: typing.Any, now: typing.Any, place: str) -> Iterator[str]:
    """Places whose values differ; lists are compared by number."""
    if isinstance(was, list) and isinstance(now, list):
        was, now = dict(enumerate(was)), dict(enumerate(now))
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted({*was, *now}, key=str):
            where = f"{place}.{key}" if place else str(key)
            if key not in now or key not in was:
                yield f"{where}: {'added' if key not in was else 'removed'}"
            else:
                yield from _changes(was[key], now[key], where)
    elif was != now:
        yield f"{place}: {was!r:.80} -> {now!r:.80}"


def _files(one: _Side, other: _Side) -> Iterator[str]:
    told = ("images/", _CRDS)
    paths = {path for side in (one, other) for path in side.contents.files() if not path.startswith(told)}
    for path in sorted(paths - _SEAL - {_ROLE}):
        was, now = one.contents.digests.get(path), other.contents.digests.get(path)
        if was != now:
            yield f"file {path}: {'added' if was is None else 'removed' if now is None else 'changed'}"
