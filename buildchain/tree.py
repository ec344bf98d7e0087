"""The whole medium as a value: which paths it has, and what stands at each.

A `Tree` is what the makers (packages, images, registry, product) meet in; staging and writing only carry it out.
It refuses every path that one of the medium's readers cannot carry, so that the Rock Ridge, Joliet and ISO-9660
views of the medium never differ in more than the mangled ISO-9660 names.
"""

import dataclasses
import json
import posixpath
import re
from collections.abc import Iterable, Iterator

from buildchain import digest, errors

FILE_MODE = 0o444
"""Mode of every plain file: a medium is read-only, and so are the store's files that are linked into the tree."""
PROGRAM_MODE = 0o555
DIRECTORY_MODE = 0o755

MAX_LEVELS = 8
"""ECMA-119 section 6.8.2.1: at most eight directory levels, the root being the first."""
MAX_NAME_BYTES = 240
"""Linux's isofs cuts names of 255 bytes; coreutils and tar carry this length everywhere."""
MAX_JOLIET_UNITS = 103
"""Joliet with long names: 206 bytes of UTF-16 in a directory record of 255 bytes."""

# Joliet specification, section "Allowed characters"; the backslash and control characters also upset sha256sum.
_FORBIDDEN_CHARACTERS = re.compile(r"[\x00-\x1f\x7f*:;?\\]")


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A regular file whose bytes are in the store."""

    path: str
    content: digest.Descriptor
    is_program: bool = False

    @property
    def mode(self) -> int:
        """Permission bits on the medium and in the staged tree."""
        return PROGRAM_MODE if self.is_program else FILE_MODE


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link; its target is relative, without detours, and stays inside the tree."""

    path: str
    target: str


Entry = File | Link


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """Entries sorted by path, in byte order of their UTF-8; directories are implied by the entries below them."""

    entries: tuple[Entry, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def files(self) -> Iterator[File]:
        """The regular files, in path order."""
        return (entry for entry in self.entries if isinstance(entry, File))

    def directories(self) -> list[str]:
        """Every implied directory but the root, parents before children, sorted."""
        found: set[str] = set()
        for entry in self.entries:
            parent = entry.path.rpartition("/")[0]
            while parent and parent not in found:
                found.add(parent)
                parent = parent.rpartition("/")[0]
        return sorted(found, key=_sort_key)

    def below(self, directory: str) -> "Tree":
        """The entries below one directory, with paths relative to it."""
        prefix = f"{directory}/"
        return Tree(
            tuple(
                dataclasses.replace(entry, path=entry.path.removeprefix(prefix))
                for entry in self.entries
                if entry.path.startswith(prefix)
            )
        )

    def moved_to(self, directory: str) -> "Tree":
        """The same entries below `directory`."""
        return Tree(tuple(dataclasses.replace(entry, path=f"{directory}/{entry.path}") for entry in self.entries))


def merge(*parts: Tree) -> Tree:
    """Join trees into one.

    Raises:
        TreeError: with every path that has two contents or that the medium cannot carry.
    """
    return build(entry for part in parts for entry in part)


def build(entries: Iterable[Entry]) -> Tree:
    """Make a tree of entries in any order; an entry given twice with the same content is one entry.

    Raises:
        TreeError: with every path that has two contents or that the medium cannot carry.
    """
    by_path: dict[str, Entry] = {}
    problems = [
        f"{entry.path!r} has two contents" for entry in entries if by_path.setdefault(entry.path, entry) != entry
    ]
    tree = Tree(tuple(by_path[path] for path in sorted(by_path, key=_sort_key)))
    problems += _problems_of_names(tree)
    if problems:
        raise errors.TreeError(
            "the medium's tree",
            "\n".join(["some paths cannot stand on it", *(f"  {problem}" for problem in problems)]),
            "Rename these files or drop one of the two contents.",
        )
    return tree


def dump(tree: Tree) -> bytes:
    """The tree as JSON, one entry a line: a function of the tree alone."""
    rows = (json.dumps(_to_dict(entry), ensure_ascii=False, sort_keys=True) for entry in tree)
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode()


def load(content: bytes) -> Tree:
    """Read back what `dump` wrote; anything else is a ValueError or a TreeError."""
    try:
        return build(_from_dict(row) for row in json.loads(content))
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a tree: {error!r}") from error


def _to_dict(entry: Entry) -> dict[str, str | int | bool]:
    if isinstance(entry, Link):
        return {"path": entry.path, "target": entry.target}
    row: dict[str, str | int | bool] = {
        "path": entry.path,
        "digest": str(entry.content.digest),
        "size": entry.content.size,
    }
    if entry.is_program:
        row["program"] = True
    return row


def _from_dict(row: dict[str, str | int | bool]) -> Entry:
    path = str(row["path"])
    if "target" in row:
        return Link(path, str(row["target"]))
    content = digest.Descriptor(digest.Digest.parse(str(row["digest"])), int(row["size"]))
    return File(path, content, bool(row.get("program", False)))


def _sort_key(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")


def _problems_of_names(tree: Tree) -> list[str]:
    directories = tree.directories()
    taken = set(directories)
    problems = [f"{entry.path!r} is both a file and a directory" for entry in tree if entry.path in taken]
    for entry in tree:
        problems += _problems_of_path(entry.path)
        if isinstance(entry, Link):
            problems += _problems_of_target(entry)
    return problems + [
        f"{path!r} lies deeper than {MAX_LEVELS} levels" for path in directories if _level(path) > MAX_LEVELS
    ]


def _level(directory: str) -> int:
    return directory.count("/") + 2


def _problems_of_path(path: str) -> list[str]:
    names = path.split("/")
    if "" in names or "." in names or ".." in names:
        return [f"{path!r} is not a plain relative path"]
    if path == "-":
        return ["'-' is what sha256sum calls its standard input"]
    return [f"{path!r}: {reason}" for name in names for reason in _problems_of_name(name)]


def _problems_of_name(name: str) -> list[str]:
    problems = []
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return ["a name is not UTF-8"]
    if _FORBIDDEN_CHARACTERS.search(name):
        problems.append("a name has a control character or one of * : ; ? \\")
    if name.endswith("."):
        problems.append("a name ends with a dot, which Linux and 7z drop from a Joliet name")
    if len(encoded) > MAX_NAME_BYTES:
        problems.append(f"a name is longer than {MAX_NAME_BYTES} bytes")
    if len(name.encode("utf-16-be")) > 2 * MAX_JOLIET_UNITS:
        problems.append(f"a name is longer than {MAX_JOLIET_UNITS} UTF-16 units (Joliet)")
    return problems


def _problems_of_target(link: Link) -> list[str]:
    """What is wrong with a target.

    `..` may stand at the beginning alone, where it counts real directories: after the name of another link it could
    lead anywhere.
    """
    ups = link.target.split("/").count("..")
    if link.target != posixpath.normpath(link.target) or link.target.startswith("/"):
        return [f"{link.path!r}: its link target {link.target!r} is not a plain relative path"]
    if ups > link.path.count("/"):
        return [f"{link.path!r}: its link target {link.target!r} leads out of the tree"]
    names = [name for name in link.target.split("/") if name not in (".", "..")]
    return [f"{link.path!r}: in its link target, {reason}" for name in names for reason in _problems_of_name(name)]
