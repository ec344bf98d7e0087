"""The Solutions on this host: ISO files or folders, listed in the pillar `metalk8s:solutions:config:archives`.

What a Solution says of itself is read before anything is mounted, and nothing that it ships is run or rendered.
"""

import json
import pathlib
import re
import typing
from collections.abc import Callable, Collection, Iterator, Mapping

import yaml
from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]
__pillar__: Mapping[str, typing.Any]

GROUP = "solutions.metalk8s.scality.com"
API_VERSION = f"{GROUP}/v1alpha1"
KIND = "Solution"
CONFIGURATION_KIND = "SolutionsConfiguration"
MANIFEST = "manifest.yaml"
REGISTRY_CONFIG = "registry-config.inc.j2"
_RESERVED = "metalk8s-"
_BASE = f"{GROUP}/base"
_REQUIRED_BLOBS = f"{GROUP}/required-blobs"
_IMAGES = "images"
_MOUNT_ROOT = "/srv/scality"
_MAX_REGISTRY_CONFIG = 4 << 20

# They become a mount point, a prefix of image names and names in Kubernetes: RFC 1123 in all of these.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VERSION = re.compile(r"[0-9a-z]+((\.|-+)[0-9a-z]+)*")
_MAX_ID = 63
_HEX = re.compile("[0-9a-f]{64}")
# OCI distribution-spec 1.1, "Pulling manifests".
_IMAGE_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_MAX_MANIFEST = 4 << 20
_SHOWN = 5
_MAX_DEPTH = 100
# libyaml's parser, where PyYAML has it, as in lint: the other one needs ten times as long.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_EMPTY = f"apiVersion: {API_VERSION}\nkind: {CONFIGURATION_KIND}\narchives: []\nactive: {{}}\n"


def info(path: str) -> dict[str, typing.Any]:
    """What a Solution is.

    CLI Example::

        salt-call metalk8s_solutions.info /root/my-app-1.0.0.iso

    Returns:
        `name` and `version`; `id`, the first part of its images' names; `location`, where its content stands once it is
        mounted; `iso`, the ISO file, or an empty text for a folder; `display_name`; `manifest`, all that it says.
    """
    is_folder, text = __salt__["metalk8s_archives.read"](path, MANIFEST)
    try:
        manifest = _manifest(text)
        name, version = _identity(manifest)
    except ValueError as error:
        raise CommandExecutionError(f"archive {path}: its {MANIFEST} {error}") from error
    identifier = f"{name}-{version}"
    root = __pillar__.get("metalk8s", {}).get("archives_mount_root", _MOUNT_ROOT)
    annotations = manifest["metadata"].get("annotations")
    display_name = annotations.get(f"{GROUP}/display-name") if isinstance(annotations, dict) else None
    return {
        "name": name,
        "version": version,
        "id": identifier,
        "location": path if is_folder else f"{root}/{identifier}",
        "iso": "" if is_folder else path,
        "display_name": display_name or name,
        "manifest": manifest,
    }


def known() -> list[dict[str, typing.Any]]:
    """Every Solution of this host, by id; all that is wrong is told at once.

    CLI Example::

        salt-call metalk8s_solutions.known
    """
    found: dict[str, dict[str, typing.Any]] = {}
    problems = []
    for path in dict.fromkeys(_configuration().get("archives") or []):
        try:
            solution = info(path)
        except CommandExecutionError as error:
            problems.append(str(error))
            continue
        other = found.setdefault(solution["id"], solution)
        if other is not solution:
            problems.append(f"archive {path}: is {solution['id']}, as is {other['iso'] or other['location']}")
    if problems:
        raise CommandExecutionError("; ".join(problems))
    return [found[identifier] for identifier in sorted(found)]


def _places() -> list[tuple[str, str]]:
    """All content that is served here: its folder, and the first part of the names of its images."""
    return [
        *((row["location"], row["environment"]) for row in __salt__["metalk8s_archives.known"]()),
        *((row["location"], row["id"]) for row in known()),
    ]


def _blobs(location: str) -> Iterator[tuple[str, str]]:
    """The blobs in a folder of images: the name of an image that has it, and its digest (hex)."""
    root = pathlib.Path(location) / _IMAGES
    for path in sorted(root.rglob("?" * 64)):
        name = path.relative_to(root).parent.parent.as_posix()
        if _HEX.fullmatch(path.name) and _IMAGE_NAME.fullmatch(name):
            yield name, path.name


def _served() -> dict[str, str]:
    """Where this host serves each blob (hex)."""
    found: dict[str, str] = {}
    for location, repository in _places():
        for name, blob in _blobs(location):
            found.setdefault(blob, f"/v2/{repository}/{name}/blobs/sha256:{blob}")
    return found


def _required(manifest: Mapping[str, typing.Any]) -> list[str]:
    """The blobs (hex) that a thin Solution leaves to its base; none of another one."""
    annotations = manifest["metadata"].get("annotations")
    text = annotations.get(_REQUIRED_BLOBS) if isinstance(annotations, dict) else None
    return [line.removeprefix("sha256:") for line in str(text or "").split()]


def _lacking(location: str, manifest: Mapping[str, typing.Any], held: Collection[str]) -> list[str]:
    required = _required(manifest)
    if strange := [blob for blob in required if not _HEX.fullmatch(blob)]:
        return [f"{location}: its required-blobs name {ascii(strange[0])[:80]}, which is no digest"]
    missing = [blob for blob in required if blob not in held]
    if not missing:
        return []
    base = ascii(manifest["metadata"]["annotations"].get(_BASE) or "its base")[1:80].rstrip("'")
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    blobs = ", ".join(f"sha256:{blob}" for blob in missing[:_SHOWN])
    return [f"{location}: it is a thin Solution; nothing here has {blobs}{more}, which {base} has: import that, too"]


def _borrowed(location: str, identifier: str) -> str:
    """Locations for what a thin Solution leaves to its base: the base answers, by its own name of the blob."""
    manifest = info(location)["manifest"]
    required = set(_required(manifest))
    if not required:
        return ""
    held = _served()
    if problems := _lacking(location, manifest, held):
        raise CommandExecutionError("; ".join(problems))
    lines = ["", "# Blobs of its base."]
    for name, blob in sorted(_named(pathlib.Path(location) / _IMAGES)):
        if blob in required:
            asked = f"/v2/{identifier}/{name}/blobs/sha256:{blob}"
            lines.append(f'location = "{asked}" {{ rewrite ^ "{held[blob]}" last; }}')
    return "\n".join([*lines, ""])


def _named(root: pathlib.Path) -> set[tuple[str, str]]:
    """What manifests name and does not stand beside them: the name of the image, and the blob (hex)."""
    found = set()
    for path in root.rglob("*manifest.json"):
        name = path.relative_to(root).parent.parent.as_posix()
        try:
            with path.open("rb") as stream:
                value = json.loads(stream.read(_MAX_MANIFEST))
            rows = [value["config"], *value["layers"]] if "config" in value else []
            blobs = {str(row["digest"]).removeprefix("sha256:") for row in rows}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CommandExecutionError(f"{path}: is no manifest of an image: {error}") from error
        if _IMAGE_NAME.fullmatch(name):
            found |= {(name, blob) for blob in blobs if not (path.parent / blob).exists()}
    return found


def registry(location: str, identifier: str) -> str:
    """The configuration of nginx for the images of a Solution that is in its place, and what it leaves to its base.

    CLI Example::

        salt-call metalk8s_solutions.registry /srv/scality/my-app-1.0.0 my-app-1.0.0
    """
    return _own_registry(location, identifier) + _borrowed(location, identifier)


def _own_registry(location: str, identifier: str) -> str:
    path = pathlib.Path(location) / REGISTRY_CONFIG
    try:
        with path.open("rb") as stream:
            template = stream.read(_MAX_REGISTRY_CONFIG + 1).decode()
    except (OSError, ValueError) as error:
        raise CommandExecutionError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    answer = __salt__["metalk8s_registry.render"](template, identifier, f"{location}/images")
    if answer["problems"]:
        rows = [f"{path}: line {row['line']}: {row['what']}" for row in answer["problems"]]
        raise CommandExecutionError("; ".join(rows))
    text: str = answer["text"]
    return text


def judge(folder: str, *bases: str) -> str:
    """Whether the content of a Solution, wherever it is mounted, could be served; all that is wrong at once.

    Arguments:
        bases: folders of others that are to be served with it; a thin Solution may stand on them.

    Returns:
        its name and its version.

    CLI Example::

        salt-call --local metalk8s_solutions.judge /mnt/solution
    """
    solution = info(folder)
    problems = []
    if not (pathlib.Path(folder) / _IMAGES).is_dir():
        problems.append(f"{folder}: it holds no images/")
    try:
        _own_registry(folder, solution["id"])
    except CommandExecutionError as error:
        problems += str(error).split("; ")
    if _required(solution["manifest"]):
        held = {*_served(), *(name for base in bases for _, name in _blobs(base))}
        problems += _lacking(folder, solution["manifest"], held)
    if problems:
        raise CommandExecutionError("\n".join(problems))
    return f"{solution['name']} {solution['version']}"


def check() -> str:
    """Hold solutions.yaml against this host; all that is wrong at once.

    CLI Example::

        salt-call --local metalk8s_solutions.check
    """
    # It says what is wrong with the files themselves.
    __salt__["metalk8s_bootstrap.minion"]()
    try:
        found = known()
    except CommandExecutionError as error:
        raise CommandExecutionError("\n".join(str(error).split("; "))) from error
    complete()
    return ", ".join(solution["id"] for solution in found) or "none"


def complete() -> None:
    """Refuse a set of archives without what a thin Solution leaves to its base.

    Before everything is mounted nobody can tell; then the configuration of the server will.

    CLI Example::

        salt-call --local metalk8s_solutions.complete
    """
    if not all((pathlib.Path(location) / _IMAGES).is_dir() for location, _ in _places()):
        return
    held = _served()
    problems = [each for row in known() for each in _lacking(row["location"], row["manifest"], held)]
    if problems:
        raise CommandExecutionError("\n".join(problems))


def add(file: str, *paths: str) -> None:
    """Name more archives in a file like solutions.yaml, which is made if there is none; one that is there is left.

    CLI Example::

        salt-call --local metalk8s_solutions.add /etc/metalk8s/solutions.yaml /root/my-app-1.0.0.iso
    """
    path = pathlib.Path(file)
    if not path.exists():
        path.write_text(_EMPTY)
    for each in paths:
        __salt__["metalk8s_bootstrap.add_archive"](file, each)


def remove(file: str, *paths: str) -> None:
    """Name some archives less in a file like solutions.yaml, also of those that are not there any more.

    CLI Example::

        salt-call --local metalk8s_solutions.remove /etc/metalk8s/solutions.yaml /root/my-app-1.0.0.iso
    """
    for path in paths:
        _refuse_active(path)
        __salt__["metalk8s_bootstrap.remove_archive"](file, path)


def _refuse_active(path: str) -> None:
    try:
        solution = info(path)
    except CommandExecutionError:
        return
    active = (_configuration().get("active") or {}).get(solution["name"])
    if active in (solution["version"], "latest"):
        raise CommandExecutionError(
            f"archive {path}: {solution['name']} is active in version {active}; "
            f"first: solutions.sh deactivate --name {solution['name']}"
        )


def _configuration() -> Mapping[str, typing.Any]:
    found: Mapping[str, typing.Any] = __pillar__.get("metalk8s", {}).get("solutions", {}).get("config", {})
    return found


def _manifest(text: str) -> dict[str, typing.Any]:
    """The manifest, with every scalar as it is written; YAML would read the version 1.10 as 1.1."""
    try:
        _refuse_bombs(text)
        manifest = yaml.load(text, _LOADER)  # noqa: S506 - it makes texts, lists and mappings only
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(manifest, dict):
        raise ValueError("is not a mapping")
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if manifest.get(key) != wanted:
            raise ValueError(f"has no {key}: {wanted}")
    for key in ("metadata", "spec"):
        if not isinstance(manifest.get(key), dict):
            raise ValueError(f"has no mapping {key}")
    return manifest


def _refuse_bombs(text: str) -> None:
    """Before anything is built: what a few aliases stand for fills any memory, deep nesting takes any time."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("has aliases")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise ValueError("is nested too deeply")


def _identity(manifest: Mapping[str, typing.Any]) -> tuple[str, str]:
    name, version = str(manifest["metadata"].get("name", "")), str(manifest["spec"].get("version", ""))
    if not _NAME.fullmatch(name):
        raise ValueError(f"has the name {name[:80]!r}, which is not one of RFC 1123")
    if name.startswith(_RESERVED):
        raise ValueError(f"has the name {name[:80]}; names that begin with {_RESERVED} are those of MetalK8s itself")
    if not _VERSION.fullmatch(version):
        raise ValueError(f"has the version {version[:80]!r}, which is not one of numbers and small letters")
    if len(f"{name}-{version}") > _MAX_ID:
        raise ValueError(f"has a name and a version of more than {_MAX_ID} characters together")
    return name, version
