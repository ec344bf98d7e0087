"""report.html: report.json as one page that needs nothing beside itself. Every number on it stands in the report."""

import typing
from collections.abc import Iterator, Mapping, Sequence

import markupsafe

from buildchain import fetch, templates
from buildchain.tasks.report import treemap

WIDTH = 1000
_MAP_HEIGHT = 560
_FRAME = 2
_TITLE = 18
_LETTER = 6.6
"""Width of a letter in labels, roughly: what is longer than its box is cut."""
_FEWEST_LETTERS = 4
_BOLD = 0.88
"""Titles are bold, and so wider."""
_LABEL_HEIGHT = 14
_ROW = 22
_MOST_LICENCES = 6
"""How many are shown; some packages name forty."""
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)

Report = Mapping[str, typing.Any]


def render(report: Report) -> str:
    """The page of a report."""
    return templates.render(
        "report.html",
        report=report,
        style=markupsafe.Markup(templates.style()),  # noqa: S704 — our own file
        map=list(_map(report["space"])),
        map_height=_MAP_HEIGHT,
        width=WIDTH,
        waterfall=_waterfall(report["tasks"]),
        floor=_bars(report),
        bytes_text=fetch.size_text,
        seconds_text=seconds_text,
        shippers_text=shippers_text,
        most_licences=_MOST_LICENCES,
    )


def shippers_text(names: Sequence[str]) -> str:
    """Who ships a package: repositories by name; images by name if there is one, else their number."""
    images = [name for name in names if name.startswith("image ")]
    others = [name for name in names if name not in images]
    return ", ".join([*others, *images] if len(images) == 1 else [*others, *[f"{len(images)} images"] * bool(images)])


def seconds_text(seconds: float) -> str:
    """A duration for people."""
    if seconds >= 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _map(groups: Sequence[Mapping[str, typing.Any]]) -> Iterator[dict[str, typing.Any]]:
    """The treemap: a box for each group, and in it one for each part."""
    boxes = treemap.squarify([group["bytes"] for group in groups], treemap.Box(0, 0, WIDTH, _MAP_HEIGHT))
    for group, box in zip(groups, boxes, strict=True):
        name = group["name"].rpartition("/")[2]
        title = f"{name} · {fetch.size_text(group['bytes'])}"
        top = _TITLE if box.height > 2 * _TITLE else _FRAME
        inner = box.inset(_FRAME, top)
        room = box.width * _BOLD if top == _TITLE else 0
        cells = treemap.squarify([part["bytes"] for part in group["parts"]], inner)
        yield {
            "kind": group["kind"],
            "box": box,
            "label": title if _fitting(title, room) == title else _fitting(name, room),
            "hint": f"{group['name']}: {group['bytes']} bytes",
            "cells": [_cell(part, cell) for part, cell in zip(group["parts"], cells, strict=True)],
        }


def _cell(part: Mapping[str, typing.Any], box: treemap.Box) -> dict[str, typing.Any]:
    shared = f", in {part['copies']} places" if part["copies"] > 1 else ""
    return {
        "box": box,
        "label": _fitting(part["name"], box.width) if box.height > _LABEL_HEIGHT else "",
        "hint": f"{part['name']}: {part['bytes']} bytes{shared}",
    }


def _fitting(text: str, width: float) -> str:
    """As much of a text as a box has room for; nothing if that would be no word."""
    letters = int((width - 8) / _LETTER)
    if len(text) <= letters:
        return text
    return f"{text[: letters - 1]}…" if letters > _FEWEST_LETTERS else ""


def _waterfall(tasks: Sequence[Mapping[str, typing.Any]]) -> dict[str, typing.Any]:
    rows = [task for task in tasks if task["result"] != "up-to-date"]
    end = max((task["started"] + task["seconds"] for task in rows), default=0) or 1
    names = _LETTER * max((len(task["name"]) for task in rows), default=0)
    scale = (WIDTH - names - 70) / end
    step = next((tick for tick in _TICKS if end / tick <= 8), _TICKS[-1])
    ticks = [index * step for index in range(int(end / step) + 1)]
    return {
        "rows": [
            {
                "name": task["name"],
                "x": names + task["started"] * scale,
                "width": max(task["seconds"] * scale, 1.5),
                "text": seconds_text(task["seconds"]),
                "has_failed": task["result"] == "fail",
            }
            for task in rows
        ],
        "ticks": [{"x": names + tick * scale, "text": seconds_text(tick) if tick else "0"} for tick in ticks],
        "row": _ROW,
        "height": len(rows) * _ROW,
        "left_out": len(tasks) - len(rows),
    }


def _bars(report: Report) -> list[dict[str, typing.Any]]:
    """The run beside the floor, in widths of percent."""
    floor, seconds = report["floor"], report["totals"]["seconds"]
    longest = max(seconds, floor["seconds"]) or 1
    rows = [("this run", "run", seconds), ("the floor", "floor", floor["seconds"])]
    rows += [("of it, the pull", "part", floor["pull_seconds"]), ("of it, SHA-256", "part", floor["sha256_seconds"])]
    return [
        {"name": name, "kind": kind, "percent": round(100 * value / longest, 2), "text": seconds_text(value)}
        for name, kind, value in rows
    ]
