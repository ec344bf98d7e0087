"""The registry's configuration for many images: static-container-registry's own benchmark."""

from collections.abc import Iterator

import bench_generator
from tests.bench import table


def rows(_large: bool) -> Iterator[table.Row]:
    """Seconds and megabytes for many repositories and for many tags."""
    for pattern in bench_generator.PATTERNS:
        for name, figure in bench_generator.measure(bench_generator.COUNT, pattern).items():
            what, _, unit = name.rpartition(", ")
            yield table.Row(f"{bench_generator.COUNT} images as {pattern}: {what}", figure, unit.split()[0])
