"""The house has rings: a module imports only what stands above it (design, section 3)."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

import buildchain

PACKAGE = pathlib.Path(buildchain.__file__).parent

RINGS = {
    "digest": 0,
    "errors": 0,
    "bases": 1,
    "document": 1,
    "lock": 1,
    "manifest": 1,
    "settings": 1,
    "tree": 1,
    "urls": 1,
    "version": 1,
    "atomic": 2,
    "command": 2,
    "compression": 2,
    "debfile": 2,
    "engine": 2,
    "executor": 2,
    "fetch": 2,
    "mirrors": 2,
    "private_apt": 2,
    "registry_client": 2,
    "signing": 2,
    "source": 2,
    "store": 2,
    "tar": 2,
    "templates": 2,
    "box": 3,
    "disk": 3,
    "builder": 3,
    "closure": 3,
    "deb": 3,
    "development": 3,
    "dockerfile": 3,
    "documentation": 3,
    "image": 3,
    "iso": 3,
    "licences": 3,
    "lint": 3,
    "oci": 3,
    "product": 3,
    "references": 3,
    "registry": 3,
    "rootfs": 3,
    "rpm": 3,
    "salt": 3,
    "solution": 3,
    "stage": 3,
    "verify": 3,
    "wheels": 3,
    "cli": 4,
    "cli_solution": 4,
    "tasks": 4,
}
"""What each may do.

    0  values, no I/O
    1  parse at the border: no process, network or clock
    2  own processes, the store, the network, keys, the one compressor
    3  formats and what is made of them; the judge
    4  doit's tasks and the command line
"""

FORMATS = {"deb", "rpm", "oci", "iso"}  # they meet only in a tree
JUDGE = "verify"  # shares no code with the makers, so that no mistake of theirs hides itself

OWNERS = {
    "doit": {"tasks"},
    "requests": {"fetch"},
    "subprocess": {"command"},
    "docker": {"engine"},
    # settings documents the variables; command, signing and fetch honour those of others; the rest start runs.
    "os.environ": {"engine", "fetch", "settings", "command", "signing", "tasks", "cli", "cli_solution"},
}


_ENVIRONMENT = ("environ", "getenv", "putenv")


def _module(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _names(path: pathlib.Path) -> Iterator[str]:
    """Dotted names of all that a file imports, wherever it does, and `os.environ` if it reads that."""
    text = path.read_text(encoding="utf-8")
    # Imports are statements: to look into expressions, too, takes five times as long.
    nodes = ast.walk if any(name in text for name in _ENVIRONMENT) else _statements
    for node in nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and node.attr in _ENVIRONMENT:
            yield "os.environ"


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every statement, and what of one holds others: handlers and cases."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(tree, block, ()):
            yield node
            yield from _statements(node)


def _uses() -> Iterator[tuple[str, str]]:
    """Pairs of a module of ours and a dotted name it imports."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            yield from ((_module(path), name) for name in _names(path))


def _problems(uses: list[tuple[str, str]]) -> list[str]:
    found = [f"{name} has no ring" for name in sorted({module for module, _ in uses} - RINGS.keys())]
    for module, name in uses:
        if name.startswith("buildchain.") and module in RINGS:
            found += _breaches(module, name.split(".")[1])
        found += [
            f"{module} uses {owned}, which is only for {', '.join(sorted(owners))}"
            for owned, owners in OWNERS.items()
            if f"{name}.".startswith(f"{owned}.") and module not in owners
        ]
    return found


def _breaches(module: str, other: str) -> Iterator[str]:
    if other == module:
        return
    ring = RINGS.get(other, 9)
    if ring > RINGS[module]:
        yield f"{module} imports {other}, which stands below it"
    if {module, other} <= FORMATS:
        yield f"{module} and {other} are formats, and must not know each other"
    if module == JUDGE and ring > 2:
        yield f"the judge imports the maker {other}"


def test_every_module_imports_only_what_stands_above() -> None:
    uses = list(_uses())
    assert len(uses) > 100
    assert _problems(uses) == []


@pytest.mark.parametrize(
    ("use", "problem"),
    [
        (("digest", "buildchain.lock"), "stands below"),
        (("deb", "buildchain.oci"), "formats"),
        (("verify", "buildchain.product"), "judge"),
        (("image", "subprocess"), "only for command"),
        (("store", "requests.adapters"), "only for fetch"),
        (("lock", "os.environ"), "only for"),
        (("utils", "os"), "no ring"),
    ],
)
def test_the_rule_bites(use: tuple[str, str], problem: str) -> None:
    assert problem in "\n".join(_problems([use]))
