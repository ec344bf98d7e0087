"""Thin Solutions: blobs that a base medium has stay out, and the manifest says by digest which ones are needed."""

import contextlib
import dataclasses
import pathlib
import re

from buildchain import digest, errors, tree
from buildchain.solution import manifest
from buildchain.verify import hashing, image, medium, report

_BLOB = re.compile(r"images/.+/([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True, slots=True)
class Thinned:
    """What is left of the images, and what their base must have."""

    contents: tree.Tree
    base: str = ""
    required: tuple[digest.Descriptor, ...] = ()

    @property
    def size(self) -> int:
        """Bytes left out."""
        return sum(each.size for each in self.required)

    def annotations(self) -> dict[str, str]:
        """What the manifest says about the base; nothing where there is none."""
        if not self.required:
            return {}
        digests = "".join(f"{each.digest}\n" for each in self.required)
        return {manifest.BASE: self.base, manifest.REQUIRED_BLOBS: digests}


def leave_out(images: tree.Tree, base: pathlib.Path | None) -> Thinned:
    """Drop the blobs that the base has; manifests always stay.

    Raises:
        BuildchainError: the base cannot be read, or is damaged.
    """
    if base is None:
        return Thinned(images)
    name, held = blobs(base)
    is_left_out = {
        file.path: file.content
        for file in images.files()
        if file.path.endswith(f"/{file.content.digest.hex}") and file.content.digest.hex in held
    }
    kept = tree.Tree(tuple(entry for entry in images if entry.path not in is_left_out))
    return Thinned(kept, name, tuple(sorted(set(is_left_out.values()))))


def blobs(base: pathlib.Path) -> tuple[str, set[str]]:
    """What a medium calls itself, and the blobs (hex) that it really holds.

    Raises:
        BuildchainError: it cannot be read, or a blob has other bytes than its name says.
    """
    try:
        with contextlib.closing(image.Image(base)) as opened:
            nodes = image.scan(opened)
            faults = list(opened.faults)
        named = {path: match[1] for path in nodes if (match := _BLOB.fullmatch(path))}
        contents = {path: node.content for path in named if (node := nodes[path]).content}
        found = hashing.digests(list({each.identity: each for each in contents.values() if each}.values()))
    except OSError as error:
        raise errors.BuildchainError(str(base), error.strerror or str(error), "Name the ISO of the base.") from error
    faults += [
        report.Fault(path, "its content is not that of its name")
        for path, content in contents.items()
        if content and found[content.identity] != named[path]
    ]
    if faults:
        why = "\n".join(["is not intact", *(f"  {fault}" for fault in faults[:20])])
        raise errors.BuildchainError(str(base), why, f"See buildchain verify {base}")
    return _name(nodes, base), {named[path] for path in contents}


def _name(nodes: dict[str, medium.Node], base: pathlib.Path) -> str:
    """The id of a Solution, or name and version of a product."""
    read = medium.reader(nodes)
    for path, pattern in (
        (medium.PRODUCT_NAME, rb"^NAME=(.+)\n(?:.*\n)*?VERSION=(.+)$"),
        (manifest.FILE_NAME, rb"^  name: (.+)\n(?:.*\n)*?  version: (.+)$"),
    ):
        with contextlib.suppress(medium.DamagedError):
            if match := re.search(pattern, read(path), re.MULTILINE):
                return f"{match[1].decode()} {match[2].decode()}"
    return base.name
