"""A new project: small, commented, working."""

import pathlib
import re

import yaml

from buildchain import document, errors
from buildchain.solution import shipped

_TEMPLATE = pathlib.Path(__file__).parent / "template"
# NAME-VERSION is a label, too: 53 and those of -0.1.0-dev are 63 characters.
_RFC1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")
_MAX_TITLE = 22
"""With the version, it is a volume id: 32 characters."""
_SCHEMAS = ("solution.schema.json", "image.schema.json")
"""For editors, which know no other way to the installed ones."""
_KEYS = ("automatic", "stable", "security-automatic")


def init(name: str, target: pathlib.Path) -> list[str]:
    """Write a project into a folder, which must be empty or absent; returns the paths written.

    Raises:
        BuildchainError: the name is not one, or the folder holds something.
    """
    if not _RFC1123.fullmatch(name) or name.startswith("metalk8s-"):
        hint = "Take lower-case letters, digits and dashes, at most 53; metalk8s-… is MetalK8s' own."
        raise errors.BuildchainError(f"the name {name!r}", "cannot be a Solution's", hint)
    files = _files(name)
    try:
        if target.exists() and any(target.iterdir()):
            raise errors.BuildchainError(str(target), "is not empty", "Name a folder that is not there yet.")
        for path, content in files.items():
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (target / path).write_bytes(content)
    except OSError as error:
        hint = "Name a folder that you may write to."
        raise errors.BuildchainError(str(target), error.strerror or str(error), hint) from error
    return sorted(files)


def _files(name: str) -> dict[str, bytes]:
    is_text = yaml.safe_load(name) == name
    # A kind begins with a letter; and no word of these may be one that YAML takes for a number or a truth.
    words = [*(() if is_text and name[0].isalpha() else ("app",)), *filter(None, name.split("-"))]
    singular = "".join(words)
    values = {
        "NAME": name,
        "TEXT": name if is_text else f'"{name}"',
        "TITLE": " ".join(word.capitalize() for word in words)[:_MAX_TITLE].rstrip(),
        "KIND": "".join(word.capitalize() for word in words),
        "SINGULAR": singular,
        "PLURAL": f"{singular}s",
        "GROUP": f"{name}.example.com",
    }
    found = {
        _target(path.relative_to(_TEMPLATE).as_posix(), singular): _fill(path.read_text(encoding="utf-8"), values)
        for path in sorted(_TEMPLATE.rglob("*.in"))
    }
    found["images/base/image.yaml"] = (shipped.recipes() / "base" / "image.yaml").read_bytes()
    for schema in _SCHEMAS:
        found[f"schemas/{schema}"] = (document.SCHEMAS / schema).read_bytes()
    for kind in _KEYS:
        file = f"debian-archive-bookworm-{kind}.asc"
        found[f"keys/{file}"] = (shipped.keys() / file).read_bytes()
    return found


def _target(path: str, singular: str) -> str:
    plain = path.removesuffix(".in")
    return {
        "gitignore": ".gitignore",
        "operator/deploy/crds/crd.yaml": f"operator/deploy/crds/{singular}_crd.yaml",
    }.get(plain, plain)


def _fill(text: str, values: dict[str, str]) -> bytes:
    for word, value in values.items():
        text = text.replace(f"@@{word}", value)
    return text.encode()
