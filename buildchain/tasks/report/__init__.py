"""report.json and report.html: what a run made, from what, how large, how long, and how far from the fastest."""

import datetime
import hashlib
import json
import platform
import time
import typing
from collections.abc import Mapping

from buildchain import digest, licences, lock, product, tree
from buildchain.tasks import action, context, fragment

FILE_NAME = "report.json"
PAGE_NAME = "report.html"

_CALIBRATION_BYTES = 64 << 20

_ARTIFACTS = {
    "packaging:": ("repository", "repository-"),
    "images:": ("image", "image-"),
    "_registry": ("registry configuration", "registry"),
    "_product": ("product metadata", "product"),
    "_documentation": ("documentation", "documentation"),
}
"""By task: what kind of artefact it makes, and the name or the start of the name of its fragment."""

Rows = Mapping[str, Mapping[str, typing.Any]]


def write(here: context.Context, rows: Rows) -> None:
    """Write the report of a run that has built the ISO, as data and as a page.

    Arguments:
        rows: by task name, what the reporter noted: result, elapsed seconds, values.
    """
    # Imported here: a run that does nothing writes no page.
    from buildchain.tasks.report import page, space

    medium = fragment.load(here.fragment("medium"))
    tasks = {name: row for name, row in rows.items() if "result" in row}
    totals = _totals(medium, tasks)
    iso = tasks["_iso_build"]
    images = space.images(
        medium, here.store, {name: [each.name for each in chain] for name, chain in here.chains.items()}
    )
    report = {
        "product": {"name": here.settings.project_name, "version": str(here.version), "git": here.source.name},
        "built": {
            "host": platform.node(),
            "python": platform.python_version(),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "artifacts": [*_parts(here, tasks), _iso(here, iso)],
        "totals": totals,
        "floor": _floor(totals, tasks),
        "tasks": _timeline(tasks),
        "space": space.groups(medium, images),
        "images": images,
        "packages": _packages(here),
        "assumes": {each.name: list(each.assumes) for each in here.locked.sets if each.assumes},
    }
    action.write(here.build_root / FILE_NAME, (json.dumps(report, indent=1) + "\n").encode())
    action.write(here.build_root / PAGE_NAME, page.render(report).encode())


def _parts(here: context.Context, tasks: Rows) -> list[dict[str, typing.Any]]:
    found = []
    for task, row in sorted(tasks.items()):
        for start, (kind, stem) in _ARTIFACTS.items():
            if task.startswith(start) and task != start:
                name = stem + task.removeprefix(start)
                found.append(_artifact(name, kind, here, row))
            elif task == start:
                found.append(_artifact(stem, kind, here, row))
    return found


def _artifact(name: str, kind: str, here: context.Context, row: Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    content = here.fragment(name).read_bytes()
    size = sum(file.content.size for file in tree.load(content).files())
    return {"name": name, "kind": kind, "size": size, "digest": str(digest.Digest.of_bytes(content)), **_effort(row)}


def _iso(here: context.Context, row: Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    hex_digest = (here.build_root / product.DIGESTS).read_text().split()[0]
    size = here.iso_path.stat().st_size
    return {"name": "iso", "kind": "medium", "size": size, "digest": f"sha256:{hex_digest}", **_effort(row)}


def _timeline(tasks: Rows) -> list[dict[str, typing.Any]]:
    """The tasks that do something, in the order of their start, in seconds since the first one's."""
    begun = [row["started"] for row in tasks.values() if row["started"] is not None]
    first = min(begun, default=0)
    rows = [
        {
            "name": name,
            "started": round((row["started"] or first) - first, 3),
            "seconds": row["elapsed"] or 0,
            "result": row["result"],
        }
        for name, row in tasks.items()
        if not row["is_group"]
    ]
    return sorted(rows, key=lambda row: (row["started"], row["name"]))


def _packages(here: context.Context) -> list[dict[str, typing.Any]]:
    packages = here.shipped
    known = licences.known(packages, here.store)
    shippers: dict[lock.Package, list[str]] = {}
    for each in here.locked.sets:
        for package in set(each.packages).intersection(packages):
            shippers.setdefault(package, []).append(each.name)
    return [
        {
            "name": package.name,
            "version": package.version,
            "architecture": package.architecture,
            "source": package.source,
            "size": package.content.size,
            "licences": list(known.get(package, (licences.UNKNOWN,))),
            "shipped_by": shippers[package],
        }
        for package in packages
    ]


def _effort(row: Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    return {"seconds": row["elapsed"] or 0, "is_cached": row["result"] == "up-to-date"}


def _totals(medium: tree.Tree, tasks: Rows) -> dict[str, typing.Any]:
    sizes = [file.content.size for file in medium.files()]
    unique = {file.content.digest: file.content.size for file in medium.files()}
    pulled = tasks.get("_pull", {}).get("values") or {}
    return {
        "files": len(sizes),
        "bytes": sum(sizes),
        "unique_bytes": sum(unique.values()),
        "saved_bytes": sum(sizes) - sum(unique.values()),
        "pulled_bytes": pulled.get("bytes", 0),
        "pull_seconds": pulled.get("seconds", 0),
        "pull_times_floor": pulled.get("times_floor", 1),
        "shared_bytes": pulled.get("shared_bytes", 0),
        "seconds": round(max((row["started"] + row["seconds"] for row in _timeline(tasks)), default=0), 3),
    }


def _floor(totals: Mapping[str, typing.Any], tasks: Rows) -> dict[str, typing.Any]:
    """The time no build of this content could beat: the pull at its own rate, and one SHA-256 pass over all bytes."""
    rate = _hash_rate()
    hashing = totals["unique_bytes"] / rate
    floor = totals["pull_seconds"] + hashing
    slowest = max(tasks, key=lambda name: tasks[name]["elapsed"] or 0)
    return {
        "seconds": round(floor, 3),
        "pull_seconds": totals["pull_seconds"],
        "sha256_seconds": round(hashing, 3),
        "sha256_bytes_per_second": round(rate),
        "times_floor": round(totals["seconds"] / floor, 2),
        "slowest_task": slowest,
        "slowest_seconds": tasks[slowest]["elapsed"] or 0,
    }


def _hash_rate() -> float:
    block = bytes(1 << 20)
    hasher = hashlib.sha256()
    started = time.perf_counter()
    for _ in range(_CALIBRATION_BYTES // len(block)):
        hasher.update(block)
    return _CALIBRATION_BYTES / (time.perf_counter() - started)
