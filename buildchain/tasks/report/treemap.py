"""Rectangles whose areas are sizes: squarified treemaps (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000)."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; lengths are in units of the drawing."""

    x: float
    y: float
    width: float
    height: float

    def inset(self, sides: float, top: float) -> "Box":
        """The box within a frame and below a title; never of a negative size."""
        width, height = max(self.width - 2 * sides, 0), max(self.height - sides - top, 0)
        return Box(self.x + sides, self.y + top, width, height)


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """One box for each size, in their order; sizes are positive and descend, and fill the whole box."""
    scale = box.width * box.height / (sum(sizes) or 1)
    areas = [size * scale for size in sizes]
    found: list[Box] = []
    while len(found) < len(areas):
        row = _row(areas[len(found) :], min(box.width, box.height))
        boxes, box = _place(row, box)
        found += boxes
    return found


def _row(areas: Sequence[float], side: float) -> Sequence[float]:
    """As many areas as make a row along `side` whose worst rectangle is nearest to a square."""
    best = _worst(areas[:1], side)
    for count in range(2, len(areas) + 1):
        ratio = _worst(areas[:count], side)
        if ratio > best:
            return areas[: count - 1]
        best = ratio
    return areas


def _worst(areas: Sequence[float], side: float) -> float:
    depth = sum(areas) / side if side else 0
    if not depth or not areas[-1]:
        return float("inf")
    return max(max(depth * depth / area, area / (depth * depth)) for area in (areas[0], areas[-1]))


def _place(areas: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """Lay a row along the shorter side; returns its boxes and the box that is left."""
    total = sum(areas)
    is_wide = box.width >= box.height
    side = box.height if is_wide else box.width
    depth = total / side if side else 0
    boxes, offset = [], 0.0
    for area in areas:
        length = side * area / total if total else 0
        if is_wide:
            boxes.append(Box(box.x, box.y + offset, depth, length))
        else:
            boxes.append(Box(box.x + offset, box.y, length, depth))
        offset += length
    if is_wide:
        return boxes, Box(box.x + depth, box.y, max(box.width - depth, 0), box.height)
    return boxes, Box(box.x, box.y + depth, box.width, max(box.height - depth, 0))
