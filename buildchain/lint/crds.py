"""Rules about `operator/deploy/crds`: what MetalK8s applies when a Solution is activated."""

import re
import typing
from collections.abc import Iterator

from buildchain.lint import declared, findings, subject, yaml_file

DIRECTORY = "operator/deploy/crds"
SUFFIX = "_crd.yaml"
_API = "apiextensions.k8s.io/"
_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+")
_PLURAL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_VERSION = re.compile(r"v\d+((alpha|beta)\d+)?")
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_UNTYPED = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
_FORBIDDEN = {"$ref", "definitions", "dependencies", "id", "patternProperties", "uniqueItems"}


def check(of: subject.Subject, found: findings.Findings) -> list[yaml_file.Object]:
    """Check every CRD; returns those that could be read."""
    files = of.files(DIRECTORY)
    good = [path for path in files if path.endswith(SUFFIX) and path.count("/") == DIRECTORY.count("/") + 1]
    for path in sorted(set(files) - set(good)):
        found.add("crd-file-name", path, f"does not end in {SUFFIX}, or stands in a folder of its own")
    if not good:
        found.add("crd-missing", DIRECTORY, f"holds no file *{SUFFIX}")
    crds = [crd for path in good for crd in _load(path, of, found)]
    for crd in crds:
        _check_names(crd, found)
        _check_versions(crd, found)
    _check_clashes(crds, found)
    return crds


def _load(path: str, of: subject.Subject, found: findings.Findings) -> list[yaml_file.Object]:
    objects = yaml_file.load(path, of.contents.read, "crd-yaml", found)
    if objects is None:
        return []
    if len(objects) != 1:
        line = objects[1].line() if objects else 0
        found.add("crd-one-object", path, f"holds {len(objects)} objects", line)
    crds = []
    for each in objects:
        version = each.text("apiVersion")
        if each.get("kind") != "CustomResourceDefinition":
            found.add("crd-kind", path, f"holds a {each.get('kind')}", each.line("kind"))
            continue
        if version not in (f"{_API}v1", f"{_API}v1beta1"):
            found.add("crd-api-version", path, f"is {version!r}", each.line("apiVersion"))
        if version == f"{_API}v1beta1":
            found.add("crd-v1beta1", path, "is of v1beta1", each.line("apiVersion"))
        crds.append(each)
    return crds


def _check_names(crd: yaml_file.Object, found: findings.Findings) -> None:
    group, plural = crd.text("spec", "group"), crd.text("spec", "names", "plural")
    if not _GROUP.fullmatch(group) or group.endswith((".k8s.io", ".kubernetes.io")):
        found.add("crd-group", crd.path, f"{group!r} cannot be its group", crd.line("spec", "group"))
    for key, pattern in (("plural", _PLURAL), ("kind", _KIND), ("singular", _PLURAL), ("listKind", _KIND)):
        value = crd.get("spec", "names", key)
        is_left_out = value is None and key in ("singular", "listKind")
        if not is_left_out and not pattern.fullmatch(str(value)):
            found.add("crd-names", crd.path, f"{value!r} cannot be its {key}", crd.line("spec", "names", key))
    if crd.text("metadata", "name") != f"{plural}.{group}":
        message = f"is {crd.text('metadata', 'name')!r}, not {plural}.{group}"
        found.add("crd-name", crd.path, message, crd.line("metadata", "name"))
    scope = crd.get("spec", "scope")
    if scope not in ("Namespaced", "Cluster"):
        found.add("crd-scope", crd.path, f"is {scope!r}", crd.line("spec", "scope"))
    elif scope == "Cluster":
        found.add("crd-cluster-scope", crd.path, "is for the whole cluster", crd.line("spec", "scope"))


def _check_versions(crd: yaml_file.Object, found: findings.Findings) -> None:
    is_v1 = crd.text("apiVersion") == f"{_API}v1"
    if not is_v1 and "versions" not in crd.mapping("spec"):
        if not _VERSION.fullmatch(crd.text("spec", "version")):
            found.add("crd-version-name", crd.path, "has no version", crd.line("spec"))
        return
    rows = [row if isinstance(row, dict) else {} for row in crd.items("spec", "versions")]
    stored = sum(row.get("storage") is True for row in rows)
    if stored != 1 or not any(row.get("served") is True for row in rows):
        message = f"{stored} versions are stored, {sum(row.get('served') is True for row in rows)} are served"
        found.add("crd-versions", crd.path, message, crd.line("spec", "versions"))
    names = [str(row.get("name")) for row in rows]
    for index, name in enumerate(names):
        if not _VERSION.fullmatch(name) or name in names[:index]:
            line = crd.line("spec", "versions", index, "name")
            found.add("crd-version-name", crd.path, f"{name!r} is no name of a version, or stands twice", line)
        if is_v1:
            _check_schema(crd, ("spec", "versions", index, "schema", "openAPIV3Schema"), name, found)


def _check_schema(crd: yaml_file.Object, place: yaml_file.Place, version: str, found: findings.Findings) -> None:
    value = crd.get(*place)
    if not isinstance(value, dict) or value.get("type") != "object":
        message = f"version {version} has no schema of an object"
        found.add("crd-schema", crd.path, message, crd.line(*place, "type"))
        return
    for where, message in _problems_of_schema(value, ()):
        found.add("crd-schema", crd.path, f"version {version}: {message}", crd.line(*place, *where))


def _problems_of_schema(value: typing.Any, place: yaml_file.Place) -> Iterator[tuple[yaml_file.Place, str]]:
    """What makes a schema not structural: Kubernetes, "Specifying a structural schema"."""
    name = ".".join(str(part) for part in place) or "the schema"
    if not isinstance(value, dict):
        yield place, f"{name} is no schema"
        return
    yield from (((*place, key), f"{name} {what}") for key, what in _own_problems(value))
    properties = value.get("properties")
    for key, each in properties.items() if isinstance(properties, dict) else ():
        yield from _problems_of_schema(each, (*place, "properties", key))
    for key in ("items", "additionalProperties"):
        if key in value and value[key] is not True:
            yield from _problems_of_schema(value[key], (*place, key))


def _own_problems(value: dict[str, typing.Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with a schema but for those below it, by key."""
    kind = value.get("type")
    if kind is None and not any(value.get(key) is True for key in _UNTYPED):
        yield "type", "has no type"
    elif kind is not None and kind not in _TYPES:
        yield "type", f"is of the type {kind!r}; known: {', '.join(_TYPES)}"
    elif kind == "array" and "items" not in value:
        yield "items", "is an array without items"
    if value.get("properties") and "additionalProperties" in value:
        yield "additionalProperties", "has both properties and additionalProperties"
    yield from ((key, f"has {key}, which Kubernetes forbids") for key in _FORBIDDEN if value.get(key))


def _check_clashes(crds: list[yaml_file.Object], found: findings.Findings) -> None:
    names: dict[str, str] = {}
    kinds: dict[tuple[str, str], str] = {}
    for crd in crds:
        name, kind = crd.text("metadata", "name"), (crd.text("spec", "group"), crd.text("spec", "names", "kind"))
        if name in names:
            found.add("crd-clash", crd.path, f"{name} stands in {names[name]} already", crd.line("metadata", "name"))
        elif kind in kinds:
            line = crd.line("spec", "names", "kind")
            found.add("crd-kind-clash", crd.path, f"{kind[1]} stands in {kinds[kind]} already", line)
        names.setdefault(name, crd.path)
        kinds.setdefault(kind, crd.path)


def check_groups(said: declared.Declared, crds: list[yaml_file.Object], found: findings.Findings) -> None:
    """Hold the groups that the manifest lists against those of the CRDs."""
    groups = {crd.text("spec", "group"): crd for crd in crds}
    for group, line in said.api_groups.items():
        if group not in groups:
            found.add("api-group-unused", said.path, f"{group} has no CRD", line)
    for group, crd in groups.items():
        if group not in said.api_groups:
            found.add("api-group-unlisted", crd.path, f"{group} is not listed", crd.line("spec", "group"))
