"""The Salt tree of the medium: exactly the listed files, the rendered ones, and the versions they install.

What ships is the list in `salt/FILES`. It is a file and not a pattern, so that nothing ships by lying around, and it
is data and not code, so that whoever adds a formula edits no Python. A list that differs from the tracked files is an
error, so that nothing is forgotten either.

    salt/FILES ── checked against the tracked files ──▶ copied, or rendered if the name ends in .in
    lock + intent ── versions ──▶ salt/metalk8s/versions.json, read by map.jinja
"""

import collections
import dataclasses
import json
import pathlib
import re
import string
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from buildchain import errors, lock, manifest, store, tree, version

LIST = "salt/FILES"
VERSIONS = "salt/metalk8s/versions.json"
_KEYS = "salt/metalk8s/repo/files"
KEY = f"{_KEYS}/signing-key.asc"
"""A link to the medium's key, so that a minion gets it from the Salt master like any other file of a formula."""

_KEY_OF_MEDIUM = "signing-key.asc"
_FOLDERS = ("salt/", "pillar/")
_TEMPLATE_SUFFIX = ".in"
_IMAGE_USE = re.compile(r"""\bimage_name\(\s*["']([^"']+)["']""")
"""How a formula names an image: the macro of salt/metalk8s/macro.sls."""

Versions = Mapping[str, typing.Any]
"""`metalk8s.version`, `packages.<family>.<name>.version`, `images.<name>.version`, `repositories.<family>`; and `keys`
by repository, if there are any."""


class _Template(string.Template):
    """Placeholders as in MetalK8s 2.5.1; Jinja's own delimiters pass untouched."""

    delimiter = "@@"


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """A listed file as it is read: its path in the checkout, its bytes and whether it is a program."""

    path: str
    content: bytes
    is_program: bool

    @property
    def target(self) -> str:
        """Its path on the medium."""
        return self.path.removesuffix(_TEMPLATE_SUFFIX)


def saltenv(release: version.Version) -> str:
    """The name of the Salt environment of a version, and of its folder on a host."""
    return f"metalk8s-{release}"


def versions(
    release: version.Version,
    locked: lock.Lock,
    images: Iterable[manifest.ImageSpec],
    families: Mapping[str, Sequence[str]],
    keys: Mapping[str, Sequence[str]] | None = None,
    built: Mapping[str, Sequence[lock.Package]] | None = None,
) -> Versions:
    """The versions that the medium carries, as the formulas read them.

    Arguments:
        families: names of the repositories by family of operating systems (`debian`, `redhat`), which is also the
                  folder of these repositories in `packages/`.
        keys:     by repository, the paths on the medium of the keys, beside the medium's own, that sign its packages.
        built:    by family, the packages that no lock names, since they are built here.

    Raises:
        BuildchainError: repositories of one family hold one package in two versions.
    """
    own = built or {}
    signed_by_others = {name: list(paths) for name, paths in sorted((keys or {}).items()) if paths}
    return {
        **({"keys": signed_by_others} if signed_by_others else {}),
        "metalk8s": {"version": str(release)},
        "packages": {
            family: _package_versions(family, locked, names, own.get(family, ()))
            for family, names in sorted(families.items())
        },
        "images": {image.name: {"version": image.tag} for image in sorted(images, key=lambda image: image.name)},
        "repositories": {family: sorted(names) for family, names in sorted(families.items())},
    }


def collect(
    root: pathlib.Path, files: Sequence[str], source: store.Store, *, release: version.Version, versions: Versions
) -> tree.Tree:
    """Collect the Salt tree of a checkout.

    Arguments:
        root:     the checkout.
        files:    its tracked files.
        versions: what `versions` returned.

    Raises:
        TreeError: with every difference between list and tracked files, every placeholder that has no value, and
                   every image that a formula uses and the medium does not carry.
    """
    listed = _listed(root)
    tracked = {path for path in files if path.startswith(_FOLDERS) and path != LIST}
    problems = [*_problems_of_list(listed, tracked)]
    sources = [each for path in sorted(tracked.intersection(listed)) for each in _read(root, path, problems)]
    values = {"VERSION": str(release), "SHORT_VERSION": release.short, "SALTENV": saltenv(release)}
    rendered = [dataclasses.replace(each, content=_render(each, values, problems)) for each in sources]
    problems += _problems_of_images(rendered, versions)
    if problems:
        why = "\n".join(["cannot ship", *(f"  {problem}" for problem in problems)])
        raise errors.TreeError("the Salt tree", why, f"Mend these files, or their list {LIST}.")
    shipped = [tree.File(each.target, source.add_bytes(each.content), each.is_program) for each in rendered]
    return tree.build(
        [
            *shipped,
            tree.File(VERSIONS, source.add_bytes(_json(versions))),
            tree.Link(KEY, "../" * KEY.count("/") + _KEY_OF_MEDIUM),
            *(_key_link(path) for paths in versions.get("keys", {}).values() for path in paths),
        ]
    )


def _key_link(path: str) -> tree.Link:
    """Beside the medium's own key, a link to one of a repository."""
    return tree.Link(f"{_KEYS}/{pathlib.PurePosixPath(path).name}", "../" * (_KEYS.count("/") + 1) + path)


def _package_versions(
    family: str, locked: lock.Lock, names: Sequence[str], built: Sequence[lock.Package]
) -> dict[str, dict[str, str]]:
    """Versions of what was asked for by name; what came along as a dependency is the package manager's business."""
    found: dict[str, set[str]] = collections.defaultdict(set)
    for package in built:
        found[package.name].add(package.version)
    sets = {each.name: each for each in locked.sets}
    for name in names:
        chosen = sets.get(f"repository {name}", lock.PackageSet("", "", (), ()))  # none: it holds what is built here
        for package in chosen.packages:
            if package.name in chosen.requested:
                found[package.name].add(package.version)
    ambiguous = sorted(name for name, numbers in found.items() if len(numbers) > 1)
    if ambiguous:
        why = f"several versions of {', '.join(ambiguous)} in repositories of the family {family}"
        raise errors.BuildchainError("the Salt tree", why, "Ship one release of an operating system on a medium.")
    return {name: {"version": min(numbers)} for name, numbers in sorted(found.items())}


def _listed(root: pathlib.Path) -> list[str]:
    try:
        text = (root / LIST).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.TreeError("the Salt tree", f"{LIST}: {error}", "Restore the list from the repository.") from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def _problems_of_list(listed: Sequence[str], tracked: Set[str]) -> Iterator[str]:
    for path in sorted(tracked - set(listed)):
        yield f"{path}: tracked but not listed"
    for path in sorted(set(listed) - tracked):
        yield f"{path}: listed but not a tracked file below salt/ or pillar/"
    for path, count in sorted(collections.Counter(listed).items()):
        if count > 1:
            yield f"{path}: listed {count} times"
    targets = collections.Counter(path.removesuffix(_TEMPLATE_SUFFIX) for path in [*set(listed), VERSIONS, KEY])
    for path in sorted(path for path, count in targets.items() if count > 1):
        yield f"{path}: made twice: by the buildchain, or of another file"


def _read(root: pathlib.Path, path: str, problems: list[str]) -> Iterator[_Source]:
    file = root / path
    if file.is_symlink():
        problems.append(f"{path}: is a link; the list names plain files")
        return
    try:
        content = file.read_bytes()
        is_program = bool(file.stat().st_mode & 0o100)
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
        return
    yield _Source(path, content, is_program)


def _render(source: _Source, values: Mapping[str, str], problems: list[str]) -> bytes:
    """The bytes that ship: of a template with its placeholders replaced, of any other file as they are."""
    if not source.path.endswith(_TEMPLATE_SUFFIX):
        return source.content
    try:
        text = source.content.decode()
    except UnicodeDecodeError:
        problems.append(f"{source.path}: is not UTF-8")
        return b""
    lines = text.splitlines(keepends=True)
    return "".join(
        _render_line(line, values, f"{source.path}:{number}", problems) for number, line in enumerate(lines, 1)
    ).encode()


def _render_line(line: str, values: Mapping[str, str], place: str, problems: list[str]) -> str:
    try:
        return _Template(line).substitute(values)
    except KeyError as error:
        problems.append(f"{place}: no value for @@{error.args[0]}; known: {', '.join(sorted(values))}")
    except ValueError:
        problems.append(f"{place}: @@ without a name after it; write @@@@ for two at signs")
    return ""


def _problems_of_images(sources: Iterable[_Source], versions: Versions) -> Iterator[str]:
    for source in sources:
        for name in sorted(set(_IMAGE_USE.findall(source.content.decode(errors="replace")))):
            if name not in versions["images"]:
                yield f"{source.path}: uses the image {name}, which is not on the medium"


def _json(versions: Versions) -> bytes:
    return (json.dumps(versions, indent=2, sort_keys=True) + "\n").encode()
