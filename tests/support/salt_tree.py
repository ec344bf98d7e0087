"""Media for tests: the Salt tree of this checkout, staged."""

import pathlib
from collections.abc import Mapping

from buildchain import product, salt, source, stage, store, tree, version

ROOT = pathlib.Path(__file__).parent.parent.parent
RELEASE = version.Version("2", "5", "1", "-dev")


def tracked_files() -> tuple[str, ...]:
    """The tracked files of this checkout."""
    return source.identify(ROOT, "git").files


def stage_medium(
    directory: pathlib.Path, versions: Mapping[str, object], *parts: tree.Tree, key: bytes = b"key\n"
) -> pathlib.Path:
    """Stage a medium with the Salt tree, a key, product.txt and more parts.

    Returns:
        the folder of the medium.
    """
    held = store.Store(directory / "store")
    origin = source.Source("0" * 40, 0, False, ())
    about = tree.build(
        [
            tree.File(product.KEY, held.add_bytes(key)),
            tree.File(product.PRODUCT, held.add_bytes(product.describe("MetalK8s", RELEASE, origin, 0))),
        ]
    )
    collected = salt.collect(ROOT, tracked_files(), held, release=RELEASE, versions=versions)
    stage.stage(tree.merge(collected, about, *parts), held, directory / "medium")
    return directory / "medium"
