"""What fills a medium: every distinct content once, under whom it belongs to."""

import itertools
import json
import typing
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest, store, tree

SHARED = "shared by images"
REST = "metadata and documentation"

Group = dict[str, typing.Any]


def images(medium: tree.Tree, source: store.Store, chains: Mapping[str, Sequence[str]]) -> list[dict[str, typing.Any]]:
    """The images of a medium with their layers, the lowest first; those of an index with the layers of all of them.

    Arguments:
        source: holds the manifests.
        chains: by image, the names of the recipes its layers were made from; a pulled image has none.
    """
    children: dict[str, list[tree.File]] = {}
    for file in medium.files():
        if file.path.startswith("images/") and file.path.endswith(".manifest.json"):
            children.setdefault(file.path.rpartition("/")[0], []).append(file)
    manifests = [file for file in medium.files() if _is_manifest(file.path)]
    found = [_image(file, children.get(file.path.rpartition("/")[0], ()), source, chains) for file in manifests]
    uses: dict[str, int] = {}
    for each in found:
        for layer in each["layers"]:
            uses[layer["digest"]] = uses.get(layer["digest"], 0) + 1
    for each in found:
        for layer in each["layers"]:
            layer["images"] = uses[layer["digest"]]
    return found


def _is_manifest(path: str) -> bool:
    return path.startswith("images/") and path.endswith("/manifest.json")


def _image(
    file: tree.File, children: Iterable[tree.File], source: store.Store, chains: Mapping[str, Sequence[str]]
) -> dict[str, typing.Any]:
    name, _, tag = file.path.removeprefix("images/").removesuffix("/manifest.json").rpartition("/")
    rows = [
        layer for each in (file, *children) for layer in json.loads(source.read(each.content.digest)).get("layers", [])
    ]
    layers = [
        {"name": recipe or layer["digest"][7:19], "digest": layer["digest"], "size": layer["size"]}
        for recipe, layer in itertools.zip_longest(chains.get(name, ())[: len(rows)], rows)
    ]
    return {"name": name, "tag": tag, "size": sum(layer["size"] for layer in layers), "layers": layers}


def groups(medium: tree.Tree, found: Iterable[Mapping[str, typing.Any]]) -> list[Group]:
    """Groups of unique bytes, the largest first, each with its parts; all together are the medium's unique bytes."""
    layers = {layer["digest"]: layer for image in found for layer in image["layers"]}
    owners: dict[digest.Descriptor, dict[str, str]] = {}
    for file in medium.files():
        owners.setdefault(file.content, {}).setdefault(_owner(file.path), file.path)
    parts: dict[str, list[dict[str, typing.Any]]] = {}
    for content, places in owners.items():
        group = next(iter(places)) if len(places) == 1 else SHARED
        name = _name(next(iter(places.values())), layers.get(str(content.digest)))
        parts.setdefault(group, []).append({"name": name, "bytes": content.size, "copies": len(places)})
    return sorted((_group(name, rows) for name, rows in parts.items()), key=lambda each: (-each["bytes"], each["name"]))


def _group(name: str, rows: list[dict[str, typing.Any]]) -> Group:
    rows.sort(key=lambda row: (-row["bytes"], row["name"]))
    return {"name": name, "kind": _kind(name), "bytes": sum(row["bytes"] for row in rows), "parts": rows}


def _kind(name: str) -> str:
    if name.startswith("packages/"):
        return "repository"
    if name == SHARED:
        return "shared"
    return "image" if name.startswith("images/") else "rest"


def _owner(path: str) -> str:
    names = path.split("/")
    if path.startswith("packages/") and len(names) > 3:
        return "/".join(names[:3])
    return "/".join(names[:2]) if path.startswith("images/") else REST


def _name(path: str, layer: Mapping[str, typing.Any] | None) -> str:
    if layer:
        return f"layer {layer['name']}"
    name = path.rpartition("/")[2]
    if name.endswith(".deb"):
        return name.partition("_")[0]
    if path.startswith("images/") and len(name) == 64:
        return "configuration"
    return path if _owner(path) == REST else name
