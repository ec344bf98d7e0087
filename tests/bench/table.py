"""What a benchmark yields: rows of one table."""

import contextlib
import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import pytest


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A figure; what it is divided by, if by anything; and the most, or with `is_floor` the least, it may be.

    The goal is one of the ratio where there is a ratio, else of the figure itself.
    """

    what: str
    figure: float
    unit: str
    ratio: float | None = None
    beside: str = ""
    goal: float | None = None
    is_floor: bool = False

    @property
    def is_missed(self) -> bool:
        """Whether there is a goal, and it is not reached."""
        if self.goal is None:
            return False
        value = self.figure if self.ratio is None else self.ratio
        return value < self.goal if self.is_floor else value > self.goal

    def __str__(self) -> str:
        ratio = "" if self.ratio is None else f"{self.ratio:6.2f} x {self.beside}"
        if self.goal is None:
            return f"  {self.what:46} {self.figure:10.2f} {self.unit:5} {ratio}".rstrip()
        sign = "≥" if self.is_floor else "≤"
        return (
            f"  {self.what:46} {self.figure:10.2f} {self.unit:5} {ratio:32} "
            f"goal {sign} {self.goal:g}: {'MISSED' if self.is_missed else 'met'}"
        )


def measure(
    ways: Mapping[str, Callable[[], object]], turns: int, prepare: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Median seconds of each way. They run in turns: what slows the machine down slows them all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            prepare()
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


@contextlib.contextmanager
def not_synced() -> Iterator[None]:
    """While a store is filled: to wait for the disk at each of 100,000 files takes an hour, and is not measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        yield
