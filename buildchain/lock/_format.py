"""The lock as JSON: one line for each thing, sorted, so that a review reads like a list of changes."""

import collections
import dataclasses
import datetime
import json
import typing
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest
from buildchain.lock import _files
from buildchain.lock._values import Blob, Image, ImageManifest, ImageRequest, Index, Lock, Package, PackageSet

FORMAT = 2
_DATE = "%Y-%m-%dT%H:%M:%SZ"


def parse(content: bytes) -> Lock:
    """Read back what `dump` wrote; anything else is a ValueError, KeyError, TypeError or RecursionError."""
    value = json.loads(content)
    if value["format"] != FORMAT:
        raise ValueError(f"format {value['format']!r}")
    packages = [_read_package(row) for row in value["packages"]]
    by_reference = dict(zip(_references(packages), packages, strict=True))
    sets = [_read_set(row, by_reference) for row in value["sets"]]
    if len({each.name for each in sets}) < len(sets):
        raise ValueError("two sets of one name")
    images = [_read_image(row) for row in value["images"]]
    if len({each.request.name for each in images}) < len(images):
        raise ValueError("two images of one name")
    indexes = tuple(sorted(_read_index(row) for row in value["indexes"]))
    return Lock(indexes, tuple(sets), tuple(images), _files.read(value.get("files", [])))


def dump(value: Lock) -> bytes:
    """The lock as JSON, a function of the lock alone."""
    packages = value.packages()
    references = dict(zip(packages, _references(packages), strict=True))
    sets = []
    for each in sorted(value.sets, key=lambda each: each.name):
        members = ",\n".join(f"    {json.dumps(references[package])}" for package in each.packages)
        head = {
            "name": each.name,
            "architecture": each.architecture,
            "archives": list(each.archives),
            "requested": list(each.requested),
        }
        if each.assumes:
            head["assumes"] = list(each.assumes)
        sets.append(f'{_row(head)[:-1]}, "packages": [\n{members}\n  ]}}')
    parts = [
        f'"format": {FORMAT}',
        _rows("indexes", [_row(_write_index(index)) for index in sorted(value.indexes)]),
        _rows("packages", [_row(_write_package(package)) for package in packages]),
        _rows("sets", sets),
        _rows("images", [_write_image(each) for each in sorted(value.images, key=lambda each: each.request)]),
    ]
    if value.files:
        parts.append(_rows("files", [_row(row) for row in _files.write(value.files)]))
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _references(packages: Iterable[Package]) -> list[str]:
    """How sets name packages: by no more than tells them apart, so that an update changes one line."""
    spellings = [
        (
            f"{package.name}:{package.architecture}",
            package.key,
            f"{package.key}@{package.archive}/{package.content.digest}",
        )
        for package in packages
    ]
    count = collections.Counter(spelling for each in spellings for spelling in each)
    if any(count[longest] > 1 for _, _, longest in spellings):
        raise ValueError("two entries for one package")
    return [next(spelling for spelling in each if count[spelling] == 1) for each in spellings]


def _rows(name: str, rows: Sequence[str]) -> str:
    lines = ",\n".join(f"  {row}" for row in rows)
    return f'"{name}": [\n{lines}\n]' if rows else f'"{name}": []'


def _row(value: dict[str, typing.Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _write_index(index: Index) -> dict[str, typing.Any]:
    date = datetime.datetime.fromtimestamp(index.date, datetime.UTC)
    return {
        "archive": index.archive,
        "suite": index.suite,
        "digest": str(index.content),
        "date": date.strftime(_DATE),
    }


def _read_index(row: dict[str, typing.Any]) -> Index:
    date = datetime.datetime.strptime(_text(row, "date"), _DATE).replace(tzinfo=datetime.UTC)
    content = digest.Digest.parse(_text(row, "digest"))
    return Index(_text(row, "archive"), _text(row, "suite"), content, int(date.timestamp()))


def _write_package(package: Package) -> dict[str, typing.Any]:
    row = {field.name: getattr(package, field.name) for field in dataclasses.fields(package) if field.name != "content"}
    return row | {"size": package.content.size, "digest": str(package.content.digest)}


def _read_package(row: dict[str, typing.Any]) -> Package:
    texts = {field.name: _text(row, field.name) for field in dataclasses.fields(Package) if field.name != "content"}
    return Package(**texts, content=_read_content(row))


def _read_set(row: dict[str, typing.Any], packages: Mapping[str, Package]) -> PackageSet:
    members = tuple(sorted(packages[reference] for reference in _texts(row, "packages")))
    archives, requested = _texts(row, "archives"), _texts(row, "requested")
    assumes = _texts(row, "assumes") if "assumes" in row else ()
    return PackageSet(_text(row, "name"), _text(row, "architecture"), requested, members, archives, assumes)


def _write_image(image: Image) -> str:
    wanted = image.request
    head: dict[str, typing.Any] = {
        "name": wanted.name,
        "source": wanted.source,
        "tag": wanted.tag,
        "platforms": list(wanted.platforms),
    }
    if wanted.has_signatures:
        head["signatures"] = True
    manifests = [
        _row(_write_content(each.content, each.media_type, tag=each.tag, platform=each.platform))
        for each in sorted(image.manifests)
    ]
    blobs = [_row(_write_content(each.content, each.media_type)) for each in sorted(image.blobs)]
    return f"{_row(head)[:-1]}, {_members('manifests', manifests)}, {_members('blobs', blobs)}}}"


def _members(name: str, rows: Sequence[str]) -> str:
    lines = ",\n".join(f"    {row}" for row in rows)
    return f'"{name}": [\n{lines}\n  ]' if rows else f'"{name}": []'


def _write_content(content: digest.Descriptor, media_type: str, **more: str) -> dict[str, typing.Any]:
    row = {"digest": str(content.digest), "size": content.size, "media_type": media_type}
    return row | {name: text for name, text in more.items() if text}


def _read_image(row: dict[str, typing.Any]) -> Image:
    has_signatures = row.get("signatures", False)
    if not isinstance(has_signatures, bool):
        raise TypeError(f"signatures is {has_signatures!r}")
    name, source, tag = (_text(row, key) for key in ("name", "source", "tag"))
    wanted = ImageRequest(name, source, tag, _texts(row, "platforms"), has_signatures)
    manifests = [
        ImageManifest(
            _read_content(each),
            _text(each, "media_type"),
            _text({"tag": "", **each}, "tag"),
            _text({"platform": "", **each}, "platform"),
        )
        for each in row["manifests"]
    ]
    if [each.tag for each in manifests].count(wanted.tag) != 1:
        raise ValueError(f"image {wanted.name} has not one manifest of its tag")
    blobs = [Blob(_read_content(each), _text(each, "media_type")) for each in row["blobs"]]
    return Image(wanted, tuple(sorted(manifests)), tuple(sorted(blobs)))


def _read_content(row: dict[str, typing.Any]) -> digest.Descriptor:
    if type(row["size"]) is not int:
        raise TypeError(f"size is {row['size']!r}")
    return digest.Descriptor(digest.Digest.parse(_text(row, "digest")), row["size"])


def _text(row: dict[str, typing.Any], name: str) -> str:
    if not isinstance(row[name], str):
        raise TypeError(f"{name} is {row[name]!r}")
    return str(row[name])


def _texts(row: dict[str, typing.Any], name: str) -> tuple[str, ...]:
    if not isinstance(row[name], list) or not all(isinstance(each, str) for each in row[name]):
        raise TypeError(f"{name} is {row[name]!r}")
    return tuple(row[name])
