"""What is linted: a project's folder, a staged or mounted tree, or an ISO; all look the same to the rules."""

import contextlib
import dataclasses
import enum
import pathlib

from buildchain import errors
from buildchain.lint import findings
from buildchain.verify import folder, hashing, image, medium, solution

PROJECT_FILE = "solution.yaml"
_OPERATOR = "operator"


class Kind(enum.Enum):
    """What a path is."""

    PROJECT = "project"
    TREE = "tree"
    ISO = "iso"


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """Everything the rules look at; a project has only its own files below `operator/` as contents."""

    path: pathlib.Path
    kind: Kind
    contents: medium.Contents
    required: frozenset[str] = frozenset()
    """Blobs (hex) that a thin Solution leaves to its base."""

    def files(self, directory: str = "") -> list[str]:
        """Paths of all files below a directory, in full."""
        prefix = f"{directory}/" if directory else ""
        return [prefix + path for path in self.contents.files(directory)]


def open_path(path: pathlib.Path, found: findings.Findings) -> Subject:
    """Look at a path; what is wrong with a folder or an ISO as such is found at once.

    Raises:
        BuildchainError: it cannot be read.
    """
    try:
        if not path.is_dir():
            return _iso(path, found)
        if (path / PROJECT_FILE).is_file():
            return Subject(path, Kind.PROJECT, _contents(_project_nodes(path), with_digests=False))
        nodes, faults = folder.scan(path)
    except OSError as error:
        hint = "Name a project's folder, a staged tree or an ISO."
        raise errors.BuildchainError(str(path), error.strerror or str(error), hint) from error
    for fault in faults:
        found.add("file-name", fault.path, fault.what)
    return _medium(path, Kind.TREE, nodes)


def _iso(path: pathlib.Path, found: findings.Findings) -> Subject:
    with contextlib.closing(image.Image(path)) as opened:
        nodes = image.scan(opened)
        if sum(node.size for node in nodes.values()) > 100 * max(opened.size, 1):
            nodes = {}
            found.add("iso-damaged", path.name, "its files claim many times the bytes that it has")
        for fault in opened.faults:
            rule = "iso-charset" if "not Unicode" in fault.what else "iso-damaged"
            # Where there is no tree at all, `iso-format` says it of all places that a descriptor may stand at.
            is_told = _is_told_otherwise(fault.what) or (not nodes and fault.path.startswith("volume descriptor "))
            if not is_told:
                found.add(rule, path.name, str(fault))
    return _medium(path, Kind.ISO, nodes)


def _is_told_otherwise(what: str) -> bool:
    """Whether a rule of its own says it better."""
    return what in ("is missing", "does not say that it has Rock Ridge", "is no volume descriptor", "have no end")


def _medium(path: pathlib.Path, kind: Kind, nodes: dict[str, medium.Node]) -> Subject:
    contents = _contents(nodes, with_digests=True)
    return Subject(path, kind, contents, solution.of(contents).required)


def _contents(nodes: dict[str, medium.Node], *, with_digests: bool) -> medium.Contents:
    digests: dict[str, str] = {}
    if with_digests:
        unique = {node.content.identity: node.content for node in nodes.values() if node.content}
        computed = hashing.digests(list(unique.values()))
        for path, node in nodes.items():
            if node.content and isinstance(digest := computed[node.content.identity], str):
                digests[path] = digest
    return medium.Contents.of(nodes, digests, medium.reader(nodes))


def _project_nodes(root: pathlib.Path) -> dict[str, medium.Node]:
    if not (root / _OPERATOR).is_dir():
        return {}
    nodes, _ = folder.scan(root / _OPERATOR)
    return {f"{_OPERATOR}/{path}": node for path, node in nodes.items() if path != "."}
