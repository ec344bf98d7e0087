"""Images that formulas and manifests name, against those on the medium: what an offline node would look for in vain.

salt/, pillar/, operator/, other manifests ──spellings──▶ uses ─┐
images/NAME/TAG/manifest.json, salt/metalk8s/versions.json ─────┴─check──▶ Report
"""

import dataclasses
import json
import posixpath
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping

from buildchain import digest, errors, store, tree
from buildchain.references import spellings

VERSIONS = "salt/metalk8s/versions.json"

_ENDINGS = (".sls", ".yaml", ".yml", ".json", ".jinja", ".j2", ".toml", ".conf", ".service", ".inc")
_PROGRAMS = (".py", ".sh")
_PASSED_OVER = ("images/", "packages/", "documentation/", "bootstrap-images/")
"""Folders whose files no formula and no cluster reads as text."""

_MANIFEST = "manifest.json"

Read = Callable[[str], bytes]
"""Gives the bytes of a file by its path on the medium."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A reference that leads nowhere."""

    path: str
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}: {self.why}"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What was found: references that lead nowhere, those that no text tells, images that nothing refers to."""

    findings: tuple[Finding, ...]
    computed: tuple[Finding, ...]
    unused: tuple[str, ...]
    references: int

    def __str__(self) -> str:
        rows = [str(finding) for finding in self.findings]
        rows += [f"warning: {finding}" for finding in self.computed]
        rows += [f"warning: image {name}: nothing refers to it" for name in self.unused]
        counted = f"{self.references} references, {len(self.findings)} to an image that is not on the medium"
        return "\n".join([*rows, counted, ""])


class _Images:
    """The images on a medium, by name and tag, with the digest of the manifest."""

    def __init__(self, paths: Iterable[str], read: Read) -> None:
        self._read = read
        self._tags: dict[str, list[str]] = {}
        for path in paths:
            folder, name = posixpath.split(path)
            if path.startswith("images/") and name == _MANIFEST:
                image, _, tag = folder.removeprefix("images/").rpartition("/")
                self._tags.setdefault(image, []).append(tag)

    def all(self) -> list[str]:
        """Every image as `name:tag`, sorted."""
        return sorted(f"{name}:{tag}" for name, tags in self._tags.items() for tag in tags)

    def missing(self, name: str, tag: str, wanted: str) -> tuple[str, list[str]]:
        """Why an image is not there, or "" and which images it may be."""
        tags = sorted(self._tags.get(name, ()))
        if not tags:
            return "is not on the medium", []
        if wanted:
            tags = [each for each in tags if wanted == self._digest(name, each)]
            return ("" if tags else "no image of this digest is on the medium"), [f"{name}:{each}" for each in tags]
        if tag and tag not in tags:
            return f"is not on the medium, which has {name}:{', '.join(tags)}", []
        return "", [f"{name}:{tag}"] if tag else [f"{name}:{each}" for each in tags]

    def has(self, name: str) -> bool:
        return name in self._tags

    def _digest(self, name: str, tag: str) -> str:
        return str(digest.Digest.of_bytes(self._read(f"images/{name}/{tag}/{_MANIFEST}")))


def check(paths: Iterable[str], read: Read) -> Report:
    """Look through everything on a medium.

    Arguments:
        paths: all regular files, relative to the medium's root.
    """
    everything = sorted(paths)
    images = _Images(everything, read)
    versions = _versions(read) if VERSIONS in everything else {}
    findings = [
        Finding(VERSIONS, 1, f"{name}:{tag}", why)
        for name, tag in sorted(versions.items())
        if (why := images.missing(name, tag, "")[0])
    ]
    computed: list[Finding] = []
    used: set[str] = set()
    count = 0
    for path, use in _uses(everything, read):
        count += 1
        if not use.path:
            computed.append(Finding(path, use.line, use.text, "is computed on the node; it was not checked"))
            continue
        why, meant = _judge(use, images, versions)
        used.update(meant)
        if why:
            findings.append(Finding(path, use.line, use.text, why))
    unused = tuple(name for name in images.all() if name not in used)
    return Report(tuple(sorted(findings)), tuple(sorted(computed)), unused, count)


def require(contents: tree.Tree, source: store.Store) -> None:
    """Refuse a tree in which something names an image that is not in it.

    Raises:
        TreeError: with every reference that leads nowhere.
    """
    files = {file.path: file.content.digest for file in contents.files()}
    findings = check(files, lambda path: source.read(files[path])).findings
    if findings:
        why = "\n".join(["some images are named but not on it", *(f"  {finding}" for finding in findings)])
        hint = "Add the images to distribution.yaml, or mend what names them."
        raise errors.TreeError("the medium's tree", why, hint)


def _uses(paths: Iterable[str], read: Read) -> Iterator[tuple[str, spellings.Use]]:
    for path in paths:
        if not path.startswith(_PASSED_OVER) and path.endswith((*_ENDINGS, *_PROGRAMS)):
            text = read(path).decode("utf-8", "replace")
            for use in spellings.find(text, is_code=path.endswith(_PROGRAMS)):
                yield path, use


def _judge(use: spellings.Use, images: _Images, versions: Mapping[str, str]) -> tuple[str, list[str]]:
    if use.host:
        return f"would be pulled from {use.host}, which an offline site does not have", []
    name = use.path
    while use.is_prefixed and not images.has(name) and "/" in name:
        name = name.partition("/")[2]
    return images.missing(name, use.tag or ("" if use.digest else versions.get(name, "")), use.digest)


def _versions(read: Read) -> dict[str, str]:
    """The tags that `image_name` uses."""
    try:
        rows: dict[str, typing.Any] = json.loads(read(VERSIONS))["images"]
        return {name: str(row["version"]) for name, row in rows.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
