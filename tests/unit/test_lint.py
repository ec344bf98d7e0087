"""Broken Solutions: each is caught by its own rule, in its file, on its line."""

import ast
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import typing
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import hypothesis
import pycdlib
import pytest
import yaml
from hypothesis import strategies as st

from buildchain import cli, cli_solution, digest, errors, lint, lock
from buildchain.solution import project
from tests.support import medium, solutions

ROOT = pathlib.Path(__file__).parents[2]
GROUP = solutions.GROUP
MANIFEST, CRD, ROLE, CONFIG = "manifest.yaml", solutions.CRD_PATH, solutions.ROLE_PATH, solutions.CONFIG_PATH
OPERATOR, SERVER = solutions.OPERATOR, solutions.SERVER
LONG = "a" * 60

Change = Callable[[solutions.Files], None]
Case = tuple[str, str, int, Change]


def edit(path: str, old: str, new: str) -> Change:
    def change(files: solutions.Files) -> None:
        text = files[path].decode()
        assert old in text, f"{old!r} is not in {path}"
        files[path] = text.replace(old, new, 1).encode()

    return change


def put(path: str, text: str | bytes) -> Change:
    content = text.encode() if isinstance(text, str) else text
    return lambda files: files.update({path: content})


def drop(*paths: str) -> Change:
    def change(files: solutions.Files) -> None:
        for path in paths:
            del files[path]

    return change


def drop_below(folder: str) -> Change:
    return lambda files: drop(*[path for path in files if path.startswith(f"{folder}/")])(files)


def both(*changes: Change) -> Change:
    def change(files: solutions.Files) -> None:
        for each in changes:
            each(files)

    return change


def regenerate(files: solutions.Files) -> None:
    files[CONFIG] = solutions.registry(files)


def blob(files: solutions.Files, root: str, number: int) -> str:
    """Path of an image's configuration (0) or layer (1)."""
    manifest = json.loads(files[f"{root}/manifest.json"])
    row = [manifest["config"], *manifest["layers"]][number]
    return f"{root}/{row['digest'][7:]}"


def on_blob(number: int, change: Callable[[bytes], bytes | None]) -> Change:
    def apply(files: solutions.Files) -> None:
        path = blob(files, SERVER, number)
        content = change(files.pop(path))
        if content is not None:
            files[path] = content

    return apply


def on_manifest(change: Callable[[dict[str, typing.Any]], None]) -> Change:
    def apply(files: solutions.Files) -> None:
        value = json.loads(files[f"{SERVER}/manifest.json"])
        change(value)
        files[f"{SERVER}/manifest.json"] = json.dumps(value).encode()

    return apply


def server(program: str = "usr/bin/server", root: str = SERVER, **config: object) -> Change:
    """Replace the server's image."""

    def change(files: solutions.Files) -> None:
        drop_below(SERVER)(files)
        files.update(solutions.image(root, program, **config))
        regenerate(files)

    return change


def config_of(value: bytes) -> Change:
    """Replace the server's configuration by another text of the right digest."""

    def change(files: solutions.Files) -> None:
        del files[blob(files, SERVER, 0)]
        name = hashlib.sha256(value).hexdigest()
        files[f"{SERVER}/{name}"] = value
        row = {"digest": f"sha256:{name}", "size": len(value)}
        on_manifest(lambda manifest: manifest.update(config=row))(files)
        regenerate(files)

    return change


def document(text: str) -> str:
    return f"---\n{text}"


def properties(text: str) -> Change:
    """Give the CRD's schema properties: `text` begins on line 19."""
    lines = "".join(f"          {line}\n" for line in text.splitlines())
    return edit(CRD, "          type: object\n", f"          type: object\n          properties:\n{lines}")


UI = "  ui:\n    image:\n      name: base-server\n      tag: '1.2'\n  version: 1.0.0"
ARM = json.dumps({"os": "linux", "architecture": "arm64", "config": {"User": "1", "Cmd": ["a"], "Labels": {"a": "b"}}})
CLOSED = "      served: true\n      storage: true\n"

# ruff: noqa: E501 — the table: one case a line
CASES: list[Case] = [
    # manifest.yaml
    ("manifest-missing", MANIFEST, 0, drop(MANIFEST)),
    ("manifest-yaml", MANIFEST, 3, edit(MANIFEST, "kind: Solution", "kind: Solution\nkind: Solution")),
    ("manifest-yaml", MANIFEST, 0, edit(MANIFEST, "kind: Solution", "kind: Solution\n---\na: b")),
    ("manifest-size", MANIFEST, 0, lambda files: put(MANIFEST, files[MANIFEST] + b"# " + b"x" * (64 << 10))(files)),
    ("manifest-schema", MANIFEST, 3, edit(MANIFEST, "metadata:", "display-name: x\nmetadata:")),
    ("manifest-schema", MANIFEST, 13, edit(MANIFEST, "  name: my-app\n", "  name: my-app\n  owner: me\n")),
    ("manifest-api-version", MANIFEST, 1, edit(MANIFEST, "v1alpha1", "v1")),
    ("manifest-kind", MANIFEST, 2, edit(MANIFEST, "kind: Solution", "kind: Solutions")),
    ("name-rfc1123", MANIFEST, 12, edit(MANIFEST, "name: my-app", "name: My_App")),
    ("name-rfc1123", MANIFEST, 12, edit(MANIFEST, "name: my-app", "name: -app")),
    ("name-length", MANIFEST, 12, edit(MANIFEST, "name: my-app", f"name: {LONG}")),
    ("name-reserved", MANIFEST, 12, edit(MANIFEST, "name: my-app", "name: metalk8s-app")),
    ("version-text", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", "version: 1.0")),
    ("version-volume-name", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", "version: 1.0.0+git")),
    ("version-volume-name", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", "version: 1.0.0_1")),
    ("version-volume-name", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", "version: 1.0.0-RC1")),
    ("version-repository", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", "version: 1..0")),
    ("id-length", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", f"version: 1.0.0-{LONG}")),
    ("version-order", MANIFEST, 23, edit(MANIFEST, "version: 1.0.0", "version: next")),
    ("volume-id-length", MANIFEST, 7, edit(MANIFEST, "My App", "An application with a very long name")),
    ("volume-id-length", MANIFEST, 7, edit(MANIFEST, "My App", "Größe")),
    ("volume-id-length", MANIFEST, 7, edit(MANIFEST, "My App", r'"My\tApp"')),
    ("display-name-missing", MANIFEST, 4, edit(MANIFEST, f"    {GROUP}/display-name: My App\n", "")),
    ("annotation-key", MANIFEST, 11, edit(MANIFEST, "team:", "team name:")),
    ("annotation-text", MANIFEST, 6, edit(MANIFEST, "'0'", "0")),
    ("label-value", MANIFEST, 11, edit(MANIFEST, "storage", "'storage team'")),
    ("build-annotations", MANIFEST, 0, edit(MANIFEST, f"    {GROUP}/git-revision: 0123456789abcdef\n", "")),
    ("build-timestamp", MANIFEST, 5, edit(MANIFEST, "2026-01-02T03:04:05Z", "yesterday")),
    ("git-dirty", MANIFEST, 8, edit(MANIFEST, "0123456789abcdef", "0123456789abcdef-dirty")),
    ("development-release", MANIFEST, 6, edit(MANIFEST, "'0'", "'1'")),
    ("operator-config", MANIFEST, 9, edit(MANIFEST, "--config", "--configuration")),
    ("base-missing", MANIFEST, 10, edit(MANIFEST, "--config", f"--config\n    {GROUP}/required-blobs: sha256:0")),
    ("image-list-missing", MANIFEST, 13, edit(MANIFEST, "  images:\n  - base-server:1.2\n  - my-app-operator:1.0.0\n", "")),
    ("image-entry", MANIFEST, 17, edit(MANIFEST, "base-server:1.2", "base-server: '1.2'")),
    ("image-list-duplicate", MANIFEST, 18, edit(MANIFEST, "- base-server:1.2", "- base-server:1.2\n  - base-server:1.2")),
    ("image-list-order", MANIFEST, 16, edit(MANIFEST, "- base-server:1.2\n", "- zzz:1\n  - base-server:1.2\n")),
    ("image-missing", MANIFEST, 17, edit(MANIFEST, "base-server:1.2", "base-server:1.3")),
    ("image-missing", MANIFEST, 17, both(drop_below(SERVER), regenerate)),
    ("image-unlisted", MANIFEST, 0, edit(MANIFEST, "  - base-server:1.2\n", "")),
    ("operator-image-nested", MANIFEST, 19, edit(MANIFEST, "    image:\n      name: my-app-operator\n      tag", "    name: my-app-operator\n    tag")),
    ("operator-image-missing", MANIFEST, 19, edit(MANIFEST, "      tag: 1.0.0", "      tag: 1.0.1")),
    ("ui-image-missing", MANIFEST, 23, edit(MANIFEST, "  version: 1.0.0", UI.replace("'1.2'", "'1.3'"))),
    ("ui-deprecated", MANIFEST, 23, edit(MANIFEST, "  version: 1.0.0", UI)),
    ("image-port", SERVER, 0, edit(MANIFEST, "  version: 1.0.0", UI)),
    ("api-group-unused", MANIFEST, 15, edit(MANIFEST, "- my-app.example.com", "- other.example.com")),
    ("api-group-unlisted", CRD, 6, edit(MANIFEST, "  customApiGroups:\n  - my-app.example.com\n", "")),
    # images/
    ("images-missing", "images", 0, drop_below("images")),
    ("image-manifest", f"{SERVER}/manifest.json", 0, put(f"{SERVER}/manifest.json", "{")),
    ("image-manifest", f"{SERVER}/manifest.json", 0, on_manifest(lambda value: value.update(mediaType="text/plain"))),
    ("image-schema1", f"{SERVER}/manifest.json", 0, on_manifest(lambda value: value.update(schemaVersion=1))),
    ("image-version-file", f"{SERVER}/version", 0, drop(f"{SERVER}/version")),
    ("image-version-file", f"{SERVER}/version", 0, put(f"{SERVER}/version", "1")),
    ("image-name", "images/Server/1.2", 0, server(root="images/Server/1.2")),
    ("image-tag", "images/base-server/-1", 0, server(root="images/base-server/-1")),
    ("image-tag-latest", "images/base-server/latest", 0, server(root="images/base-server/latest")),
    ("image-blob-missing", f"{SERVER}/manifest.json", 0, on_blob(1, lambda content: None)),
    ("image-blob-size", f"{SERVER}/*", 0, on_blob(1, lambda content: content + b"x")),
    ("image-blob-digest", f"{SERVER}/*", 0, on_blob(1, lambda content: content[:-1] + b"x")),
    ("image-stray-file", f"{SERVER}/notes", 0, put(f"{SERVER}/notes", "x")),
    ("image-foreign-layer", f"{SERVER}/manifest.json", 0, on_manifest(lambda value: value["layers"][0].update(urls=["a"]))),
    ("image-config", f"{SERVER}/*", 0, config_of(b"[]")),
    ("image-platform", f"{SERVER}/*", 0, config_of(ARM.encode())),
    ("image-labels", f"{SERVER}/*", 0, server(Labels=None)),
    ("image-entrypoint", f"{SERVER}/*", 0, server(Entrypoint=None)),
    ("image-root-user", f"{SERVER}/*", 0, server(User="root")),
    ("operator-program", OPERATOR, 0, lambda files: files.update(solutions.image(OPERATOR, "usr/bin/other"))),
    # registry-config.inc.j2
    ("registry-config-missing", CONFIG, 0, drop(CONFIG)),
    ("registry-config-name", "registry-config.inc", 0, lambda files: files.update({"registry-config.inc": files.pop(CONFIG)})),
    ("registry-config-prefix", CONFIG, 0, lambda files: put(CONFIG, files[CONFIG].replace(b"{{ repository }}", b"x"))(files)),
    ("registry-config-root", CONFIG, 0, lambda files: put(CONFIG, files[CONFIG].replace(b"{{ registry_root }}", b"/x"))(files)),
    ("registry-config-placeholder", CONFIG, 1, lambda files: put(CONFIG, b"# {{ other }}\n" + files[CONFIG])(files)),
    ("registry-config-constants", CONFIG, 1, lambda files: put(CONFIG, b"location = /v2/ { return 200; }\n" + files[CONFIG])(files)),
    ("registry-config-root", CONFIG, 1, lambda files: put(CONFIG, b"location /x { alias /etc/; }\n" + files[CONFIG])(files)),
    ("registry-config-directive", CONFIG, 1, lambda files: put(CONFIG, b"access_log /etc/passwd;\n" + files[CONFIG])(files)),
    ("registry-config-directive", CONFIG, 1, lambda files: put(CONFIG, b"location /x { proxy_pass http://x; }\n" + files[CONFIG])(files)),
    ("registry-config-directive", CONFIG, 1, lambda files: put(CONFIG, b'location "/v2/{{ repository }}/x" { try_files /a /b; }\n' + files[CONFIG])(files)),
    ("registry-config-reach", CONFIG, 1, lambda files: put(CONFIG, b"location /x { return 404; }\n" + files[CONFIG])(files)),
    ("registry-config-reach", CONFIG, 1, lambda files: put(CONFIG, b'location "/v2/{{ repository }}/x" { add_header a $host; }\n' + files[CONFIG])(files)),
    ("registry-config-syntax", CONFIG, 1, lambda files: put(CONFIG, b"} " + files[CONFIG])(files)),
    ("registry-config-syntax", CONFIG, 2, lambda files: put(CONFIG, b"\n# gr\xc3\xbc\xc3\x9fe\n" + files[CONFIG])(files)),
    ("registry-config-image", CONFIG, 0, both(lambda files: files.update(solutions.image("images/new/1", "bin/new")))),
    ("registry-config-extra", CONFIG, 0, drop_below(SERVER)),
    # CRDs
    ("crd-missing", "operator/deploy/crds", 0, drop(CRD)),
    ("crd-file-name", "operator/deploy/crds/app.yaml", 0, put("operator/deploy/crds/app.yaml", solutions.CRD)),
    ("crd-file-name", "operator/deploy/crds/a/b_crd.yaml", 0, put("operator/deploy/crds/a/b_crd.yaml", solutions.CRD)),
    ("crd-yaml", CRD, 4, edit(CRD, "name: apps", "name: &x apps: y")),
    ("crd-one-object", CRD, 19, lambda files: put(CRD, files[CRD] + b"---\n" + files[CRD])(files)),
    ("crd-one-object", CRD, 0, put(CRD, "# nothing\n")),
    ("crd-kind", CRD, 2, edit(CRD, "CustomResourceDefinition", "ConfigMap")),
    ("crd-api-version", CRD, 1, edit(CRD, "io/v1", "io/v2")),
    ("crd-v1beta1", CRD, 1, edit(CRD, "io/v1", "io/v1beta1")),
    ("crd-group", CRD, 6, edit(CRD, "group: my-app.example.com", "group: apps.k8s.io")),
    ("crd-names", CRD, 9, edit(CRD, "kind: App", "kind: app")),
    ("crd-names", CRD, 10, edit(CRD, "plural: apps", "plural: Apps")),
    ("crd-name", CRD, 4, edit(CRD, "name: apps.my-app.example.com", "name: apps")),
    ("crd-scope", CRD, 7, edit(CRD, "Namespaced", "namespaced")),
    ("crd-cluster-scope", CRD, 7, edit(CRD, "Namespaced", "Cluster")),
    ("crd-versions", CRD, 11, edit(CRD, "storage: true", "storage: false")),
    ("crd-versions", CRD, 11, edit(CRD, "served: true", "served: false")),
    ("crd-version-name", CRD, 12, edit(CRD, "name: v1alpha1", "name: one")),
    ("crd-schema", CRD, 17, edit(CRD, "type: object", "type: array")),
    ("crd-schema", CRD, 12, edit(CRD, "      schema:\n        openAPIV3Schema:\n          type: object\n", "")),
    ("crd-schema", CRD, 19, properties("  size: {type: int}")),
    ("crd-schema", CRD, 19, properties("  size: {minimum: 1}")),
    ("crd-schema", CRD, 19, properties("  spec:\n    properties: {a: {type: string}}")),
    ("crd-schema", CRD, 19, properties("  names: {type: array}")),
    ("crd-schema", CRD, 20, properties("  names:\n    items: {type: text}\n    type: array")),
    ("crd-schema", CRD, 20, properties("  a: {type: string}\nadditionalProperties: {type: string}")),
    ("crd-schema", CRD, 19, properties("  a: {type: object, $ref: b}")),
    ("crd-schema", CRD, 19, properties("  a: {type: [string]}")),
    ("crd-version-name", CRD, 12, edit(CRD, "    - name: v1alpha1", "    - v1\n    - name: v1alpha1")),
    ("crd-clash", "operator/deploy/crds/b_crd.yaml", 4, put("operator/deploy/crds/b_crd.yaml", solutions.CRD)),
    ("crd-kind-clash", "operator/deploy/crds/b_crd.yaml", 9, put("operator/deploy/crds/b_crd.yaml", solutions.CRD.replace("apps", "bpps"))),
    # role.yaml
    ("role-missing", ROLE, 0, drop(ROLE)),
    ("role-yaml", ROLE, 3, edit(ROLE, "kind: Role", "kind: Role\nkind: Role")),
    ("role-empty", ROLE, 0, put(ROLE, "# nothing\n")),
    ("role-kind", ROLE, 2, edit(ROLE, "kind: Role", "kind: RoleBinding")),
    ("role-kind", ROLE, 16, lambda files: put(ROLE, files[ROLE] + b"---\nkind: ServiceAccount\n")(files)),
    ("role-api-version", ROLE, 1, edit(ROLE, "io/v1", "io/v2")),
    ("role-name", ROLE, 3, edit(ROLE, "  name: my-app-operator", "  labels: {}")),
    ("role-namespace", ROLE, 5, edit(ROLE, "-operator\n", "-operator\n  namespace: default\n")),
    ("role-duplicate", ROLE, 19, lambda files: put(ROLE, files[ROLE] + document(solutions.ROLE).encode())(files)),
    ("role-rules", ROLE, 6, edit(ROLE, "verbs: [get]", "verbs: get")),
    ("role-wildcard", ROLE, 8, edit(ROLE, "verbs: [get]", "verbs: ['*']")),
    ("role-crd", ROLE, 0, edit(ROLE, "resources: [apps]", "resources: [others]")),
    ("role-monitoring", ROLE, 0, edit(ROLE, "servicemonitors", "podmonitors")),
    # other files
    ("file-unused", "operator/deploy/operator.yaml", 0, put("operator/deploy/operator.yaml", "kind: Deployment\n")),
    ("file-unused", "README", 0, put("README", "x")),
    ("file-name", "operator/a?b", 0, put("operator/a?b", "x")),
    ("reference-yaml", "operator/deploy/a.yaml", 2, put("operator/deploy/a.yaml", "a: b\na: c\n")),
    ("reference-unknown", "operator/deploy/a.yaml", 3, put("operator/deploy/a.yaml", "spec:\n  containers:\n    - image: nginx:1\n")),
    ("reference-unknown", "operator/a.json", 2, put("operator/a.json", '{"spec":\n  {"image": "nginx:1"}}\n')),
    ("reference-registry", "operator/deploy/a.yaml", 1, put("operator/deploy/a.yaml", "image: docker.io/base-server:1.2\n")),
    # the seal
    ("unsigned", "SHA256SUM.asc", 0, lambda files: files.update(_sums(files))),
    ("contents-differ", CRD, 0, lambda files: files.update({"SHA256SUM": b"0" * 64 + f"  {CRD}\n".encode()})),
]  # fmt: skip


def _sums(files: solutions.Files) -> solutions.Files:
    """A list that nobody signed."""
    sealed = solutions.seal(files)
    return {path: entry.content for path, entry in sealed.items() if isinstance(entry, medium.File) and "SHA" in path}


@pytest.mark.parametrize(
    ("rule", "path", "line", "change"), CASES, ids=[f"{case[0]}-{number}" for number, case in enumerate(CASES)]
)
def test_a_broken_solution_is_caught(tmp_path: pathlib.Path, rule: str, path: str, line: int, change: Change) -> None:
    files = solutions.good()
    change(files)
    root = solutions.stage(files, tmp_path / "solution")
    if rule == "unsigned":
        (root / "SHA256SUM.asc").unlink()
    found = [each for each in lint.check(root) if each.rule.id == rule]
    assert found
    places = [(each.path, each.line) for each in found]
    if path.endswith("/*"):
        assert all(place.startswith(path[:-1]) and number == line for place, number in places)
    else:
        assert (path, line) in places, places


def test_a_good_solution_breaks_no_rule(tmp_path: pathlib.Path) -> None:
    found = lint.check(solutions.stage(solutions.good(), tmp_path / "solution"))
    assert [each.rule.id for each in found] == ["size"]


def test_what_a_structural_schema_may_have_is_accepted(tmp_path: pathlib.Path) -> None:
    files = solutions.good()
    properties(
        "  port: {x-kubernetes-int-or-string: true, anyOf: [{type: integer}, {type: string}]}\n"
        "  any: {x-kubernetes-preserve-unknown-fields: true}\n"
        "  names: {type: array, uniqueItems: false, items: {type: string}}\n"
        "  labels: {type: object, additionalProperties: {type: string}}\n"
        "  annotations: {type: object, additionalProperties: true}"
    )(files)
    found = lint.check(solutions.stage(files, tmp_path / "solution"))
    assert [each.rule.id for each in found] == ["size"]


def test_a_reference_may_have_a_name_of_several_parts(tmp_path: pathlib.Path) -> None:
    files = solutions.good() | solutions.image("images/group/tool/2", "bin/tool")
    edit(MANIFEST, "- base-server:1.2\n", "- base-server:1.2\n  - group/tool:2\n")(files)
    text = "image: group/tool:2\n---\nimage: docker.io/group/tool:2\n---\nimage: tool:2\n"
    put("operator/deploy/a.yaml", text)(files)
    found = lint.check(solutions.stage(files, tmp_path / "solution"))
    places = [(each.rule.id, each.line) for each in found if each.rule.id.startswith("reference-")]
    assert places == [("reference-registry", 3), ("reference-unknown", 5)]


def test_links_are_refused(tmp_path: pathlib.Path) -> None:
    root = solutions.stage(solutions.good(), tmp_path / "solution")
    (root / "operator/link").symlink_to("/etc/passwd")
    assert ("file-kind", "operator/link") in {(each.rule.id, each.path) for each in lint.check(root)}


def test_equal_blobs_that_are_stored_twice_are_told(tmp_path: pathlib.Path) -> None:
    files = solutions.good() | {"images/a/1/big": bytes(5000), "images/a/2/big": bytes(5000)}
    root = solutions.stage(files, tmp_path / "solution")
    assert "image-blob-twice" not in {each.rule.id for each in lint.check(root)}
    (root / "images/a/2/big").unlink()
    (root / "images/a/2/big").write_bytes(bytes(5000))
    assert [each.path for each in lint.check(root) if each.rule.id == "image-blob-twice"] == ["images/a/2/big"]


def test_a_thin_solution_leaves_blobs_to_its_base(tmp_path: pathlib.Path) -> None:
    files = solutions.good()
    path = blob(files, SERVER, 1)
    del files[path]
    name = path.rpartition("/")[2]
    added = f"--config\n    {GROUP}/base: MetalK8s 2.5.1\n    {GROUP}/required-blobs: sha256:{name}"
    edit(MANIFEST, "--config", added)(files)
    found = lint.check(solutions.stage(files, tmp_path / "solution"))
    assert [each.rule.id for each in found] == ["size"]


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=2),
    max_leaves=3,
)


@hypothesis.settings(
    max_examples=20, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(data=st.data())
def test_no_value_of_any_kind_ends_in_a_traceback(tmp_path: pathlib.Path, data: st.DataObject) -> None:
    """One place of a file of a good Solution or project gets any other value, or goes."""
    path = data.draw(st.sampled_from([MANIFEST, CRD, ROLE, INTENT]))
    if not tmp_path.joinpath("project").exists():
        solutions.write_project(tmp_path / "project")
        solutions.stage(solutions.good(), tmp_path / "tree")
    root = tmp_path / ("project" if path == INTENT else "tree")
    original = (root / path).read_bytes()
    value = yaml.safe_load(original)
    places = list(_places(value))
    parent, key = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()):
        parent[key] = data.draw(_VALUES)
    else:
        del parent[key]
    (root / path).chmod(0o644)
    try:
        (root / path).write_text(yaml.safe_dump(value))
        assert lint.check(root) is not None
    finally:
        (root / path).write_bytes(original)


def _places(value: typing.Any) -> Iterator[tuple[typing.Any, typing.Any]]:
    """Every container with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from _places(value[key])


def test_without_a_name_no_program_is_looked_for(tmp_path: pathlib.Path) -> None:
    files = solutions.good()
    edit(MANIFEST, "  name: my-app\n", "")(files)
    found = {each.rule.id for each in lint.check(solutions.stage(files, tmp_path / "solution"))}
    assert found == {"manifest-schema", "name-rfc1123", "size"}


# Projects

INTENT = project.FILE_NAME
RECIPE = "images/operator/image.yaml"
PROJECTS: list[tuple[str, str, int, str, str, str]] = [
    ("project-yaml", INTENT, 11, INTENT, "# A version", "name: x\n# A version"),
    ("project-schema", INTENT, 10, INTENT, "name: my-app", "names: my-app"),
    ("project-schema", INTENT, 21, INTENT, "options: [--config]", "options: --config"),
    ("project-reference", INTENT, 19, INTENT, "  image: my-app-operator", "  image: other"),
    ("project-reference", INTENT, 25, INTENT, "{recipe: operator}", "{archive: nowhere.tar}"),
    ("project-reference", INTENT, 25, INTENT, "{recipe: operator}", "{}"),
    ("project-recipe", RECIPE, 9, RECIPE, "  - python3-yaml", "  - Python3"),
    ("project-recipe", RECIPE, 5, RECIPE, "base: base", "base: nobase"),
    ("project-lock", project.LOCK_NAME, 0, RECIPE, "  - python3-yaml", "  - python3-json"),
    ("archive-unpinned", INTENT, 25, INTENT, "{recipe: operator}", "{archive: README.md}"),
    ("pull-unpinned", INTENT, 26, INTENT, "{recipe: operator}", "{recipe: operator}\n  other: {pull: a.example/other}"),
    ("project-lock", project.LOCK_NAME, 0, INTENT, "{recipe: operator}", "{pull: a.example/other}"),
    ("project-reference", INTENT, 25, INTENT, "{recipe: operator}", "{dockerfile: operator}"),
    ("name-rfc1123", INTENT, 10, INTENT, "name: my-app", "name: My_App"),
    ("version-text", INTENT, 12, INTENT, "version: 0.1.0-dev", "version: 1.0"),
    ("version-volume-name", INTENT, 12, INTENT, "version: 0.1.0-dev", "version: 0.1.0+dev"),
    ("volume-id-length", INTENT, 14, INTENT, "display-name: My App", "display-name: My most wonderful application"),
    ("operator-config", INTENT, 21, INTENT, "options: [--config]", "options: [--verbose]"),
    ("annotation-text", INTENT, 3, INTENT, "# What this", "annotations: {a: 1}\n# What this"),
    ("crd-scope", "operator/deploy/crds/myapp_crd.yaml", 8, "operator/deploy/crds/myapp_crd.yaml", "Namespaced", "X"),
    ("role-kind", ROLE, 3, ROLE, "kind: Role", "kind: RoleBinding"),
]


@pytest.mark.parametrize(("rule", "path", "line", "file", "old", "new"), PROJECTS)
def test_a_broken_project_is_caught(
    tmp_path: pathlib.Path, rule: str, path: str, line: int, file: str, old: str, new: str
) -> None:
    root = solutions.write_project(tmp_path / "project")
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new, 1))
    found = lint.check(root)
    places = [(each.path, each.line) for each in found if each.rule.id == rule]
    assert (path, line) in places, found


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ("name: my-app", "name: 12", {"12 is not text; put it in quotes"}),
        ("name: my-app", "", {"'name' is a required property", "is not given"}),
        ("display-name: My App", "display-name: 7", {"display-name: 7 is not text; put it in quotes"}),
    ],
)
def test_a_name_that_is_no_text_is_told_as_it_stands(
    tmp_path: pathlib.Path, old: str, new: str, messages: set[str]
) -> None:
    root = solutions.write_project(tmp_path / "project")
    text = (root / INTENT).read_text()
    (root / INTENT).write_text(text.replace(f"\n{old}\n", f"\n{new}\n", 1))
    assert {each.message for each in lint.check(root)} == messages


def test_a_new_project_breaks_no_rule(tmp_path: pathlib.Path) -> None:
    assert lint.check(solutions.write_project(tmp_path / "project")) == ()


def test_a_broken_dockerfile_is_caught_on_its_line(tmp_path: pathlib.Path) -> None:
    root = solutions.write_project(tmp_path / "project")
    intent = root / INTENT
    intent.write_text(
        intent.read_text().replace("{recipe: operator}", "{recipe: operator}\n  tool: {dockerfile: tool}")
    )
    (root / "images/tool").mkdir()
    (root / "images/tool/Dockerfile").write_text("# tool\nFROM debian\nENV A=b\n")
    (found,) = lint.check(root)
    assert (found.rule.id, found.path, found.line) == ("project-recipe", "images/tool/Dockerfile", 2)
    assert "debian is not an image of the Solution; known: my-app-operator" in found.message


def test_what_is_locked_is_pinned(tmp_path: pathlib.Path) -> None:
    """Recipes and pulled images may stand side by side."""
    root = solutions.write_project(tmp_path / "project")
    intent = root / INTENT
    row = "{recipe: operator}\n  other: {pull: a.example/other, tag: '1'}"
    intent.write_text(intent.read_text().replace("{recipe: operator}", row))
    (request,) = project.load(root).pulled_images
    assert {each.rule.id for each in lint.check(root)} == {"project-lock", "pull-unpinned"}
    path = root / project.LOCK_NAME
    content = digest.Descriptor.of_bytes(b"manifest")
    image = lock.Image(request, (lock.ImageManifest(content, solutions.MANIFEST_TYPE, "1", "linux/amd64"),), ())
    path.write_bytes(lock.dump(dataclasses.replace(lock.load(path), images=(image,))))
    assert lint.check(root) == ()


def test_a_project_without_a_lock_is_told_the_command(tmp_path: pathlib.Path) -> None:
    root = solutions.write_project(tmp_path / "project")
    (root / project.LOCK_NAME).unlink()
    (found,) = lint.check(root)
    assert found.rule.id == "project-lock"
    assert "buildchain solution lock" in found.rule.mend


# ISOs


def write_iso(
    path: pathlib.Path, *, joliet: int | None = 3, rock_ridge: str | None = "1.09", volume_id: str = "My App 1.0.0"
) -> pathlib.Path:
    """An ISO with the manifest alone, as pycdlib writes it."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=joliet, rock_ridge=rock_ridge, vol_ident=volume_id)
    content = path.with_suffix(".yaml")
    content.write_text(solutions.MANIFEST)
    rr_name = "manifest.yaml" if rock_ridge else None
    joliet_path = "/manifest.yaml" if joliet else None
    iso.add_file(str(content), iso_path="/MANIFEST.YAML;1", rr_name=rr_name, joliet_path=joliet_path)
    iso.write(str(path))
    iso.close()
    content.unlink()
    return path


def rules_of(path: pathlib.Path) -> set[str]:
    return {each.rule.id for each in lint.check(path)}


def test_an_iso_is_held_against_its_format(tmp_path: pathlib.Path) -> None:
    good = rules_of(write_iso(tmp_path / "my-app-1.0.0.iso"))
    assert not {rule for rule in good if rule.startswith("iso-")} - {"iso-owner"}
    assert "iso-file-name" in rules_of(write_iso(tmp_path / "other.iso"))
    assert "iso-volume-id" in rules_of(write_iso(tmp_path / "my-app-1.0.0.iso", volume_id="CDROM"))
    assert "iso-joliet" in rules_of(write_iso(tmp_path / "my-app-1.0.0.iso", joliet=None))
    assert rules_of(write_iso(tmp_path / "x.iso", rock_ridge=None)) >= {"iso-rock-ridge"}


def test_another_file_is_no_iso(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.iso").write_bytes(bytes(40 * 2048))
    assert "iso-format" in rules_of(tmp_path / "a.iso")
    (tmp_path / "b.iso").write_bytes(b"")
    assert [each.rule.id for each in lint.check(tmp_path / "b.iso")] == ["iso-format"]
    with pytest.raises(errors.BuildchainError, match="No such file"):
        lint.check(tmp_path / "c.iso")


def test_a_damaged_record_of_an_iso_is_told(tmp_path: pathlib.Path) -> None:
    path = write_iso(tmp_path / "my-app-1.0.0.iso")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"MANIFEST.YAML;1", b"MANIFESX.YAML;1"))
    assert "iso-short-manifest" in rules_of(path)
    path.write_bytes(content[:-2048])
    assert "iso-damaged" in rules_of(path)
    path.write_bytes(content.replace(b"manifest.yaml", b"manifest\xffyaml"))
    assert "iso-charset" in rules_of(path)


def test_an_iso_that_was_not_copied_to_its_end_is_told(tmp_path: pathlib.Path) -> None:
    path = medium.write_iso(solutions.seal(solutions.good()), tmp_path / "my-app-1.0.0.iso")
    content = path.read_bytes()
    for size in range(40 * 2048, len(content), 2 * 2048):
        path.write_bytes(content[:size])
        assert "iso-damaged" in rules_of(path)


# Rules and formats


def test_every_rule_that_code_names_exists_and_the_other_way_round() -> None:
    words = set()
    for path in (ROOT / "buildchain/lint").glob("*.py"):
        tree = ast.parse(path.read_text())
        words |= {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
    assert set(lint.rules()) - words == set()
    calls = r'(?:found\.add|self\._add|add)\(\s*"([a-z0-9-]+)"'
    named = {name for path in (ROOT / "buildchain/lint").glob("*.py") for name in re.findall(calls, path.read_text())}
    assert len(named) > 80
    assert named - set(lint.rules()) == set()


def test_the_table_knows_nearly_every_rule() -> None:
    known = {case[0] for case in CASES} | {case[0] for case in PROJECTS}
    elsewhere = {"file-kind", "image-blob-twice", "size"}
    isos = {rule for rule in lint.rules() if rule.startswith("iso-")}
    assert set(lint.rules()) - known - elsewhere - isos == set()
    assert len(known) >= 60


def test_formats_say_the_same(tmp_path: pathlib.Path) -> None:
    files = solutions.good()
    edit(CRD, "Namespaced", "none")(files)
    found = lint.check(solutions.stage(files, tmp_path / "solution"))
    assert f"{CRD}:7: error: is 'none' [crd-scope]\n    Correct spec.scope.\n" in lint.FORMATS["text"](found)
    rows = json.loads(lint.FORMATS["json"](found))
    assert {"path": CRD, "line": 7, "rule": "crd-scope"}.items() <= rows[1].items()
    log = json.loads(lint.FORMATS["sarif"](found))["runs"][0]
    places = [each["locations"][0]["physicalLocation"] for each in log["results"]]
    assert {"artifactLocation": {"uri": CRD}, "region": {"startLine": 7}} in places
    assert {each["ruleId"] for each in log["results"]} == {each["id"] for each in log["tool"]["driver"]["rules"]}
    suite = ET.fromstring(lint.FORMATS["junit"](found))  # noqa: S314 — our own text
    assert suite.attrib["failures"] == "1"
    assert [each.attrib["name"] for each in suite if each.find("failure") is not None] == ["crd-scope"]


def test_the_command_offers_every_format() -> None:
    assert tuple(sorted(lint.FORMATS)) == cli_solution.FORMATS


def test_a_hostile_name_does_not_reach_the_terminal(tmp_path: pathlib.Path) -> None:
    """Nor does it break a format: every reader gets text."""
    files = solutions.good()
    files["operator/\x1b[2J a%"] = b""
    root = solutions.stage(files, tmp_path / "solution")
    (root / os.fsdecode(b"operator/\xff")).touch()
    found = lint.check(root)
    texts = {name: write(found) for name, write in lint.FORMATS.items()}
    assert "\\x1b[2J" in texts["text"]
    for text in texts.values():
        assert "\x1b" not in text
        assert text.encode()
    assert {row["path"] for row in json.loads(texts["json"])} >= {"operator/\x1b[2J a%", "operator/\udcff"}
    results = json.loads(texts["sarif"])["runs"][0]["results"]
    uris = {each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in results}
    assert "operator/%1B%5B2J%20a%25" in uris


def test_junit_counts_as_its_readers_do(tmp_path: pathlib.Path) -> None:
    """A rule is a test, however often it is broken."""
    files = solutions.good()
    edit(ROLE, "verbs: [get]", "verbs: get")(files)
    edit(ROLE, "verbs: [create]", "verbs: create")(files)
    suite = ET.fromstring(lint.FORMATS["junit"](lint.check(solutions.stage(files, tmp_path / "solution"))))  # noqa: S314 — our own text
    failed = [case for case in suite if case.find("failure") is not None]
    assert (suite.attrib["failures"], [case.attrib["name"] for case in failed]) == ("1", ["role-rules"])
    (failure,) = failed[0]
    assert failure.text is not None
    assert failure.text.count("role.yaml:") == 2


def test_the_command_tells_by_its_exit_code(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = solutions.good()
    good = solutions.stage(files, tmp_path / "good")
    files["README"] = b"x"
    warned = solutions.stage(files, tmp_path / "warned")
    del files[MANIFEST]
    bad = solutions.stage(files, tmp_path / "bad")
    codes = [cli.main(["solution", "lint", str(path)]) for path in (good, warned, bad)]
    assert codes == [0, 0, 1]
    assert cli.main(["solution", "lint", "--strict", str(warned)]) == 1
    assert cli.main(["solution", "rules", "crd-scope"]) == 0
    assert "Why: The API server" in capsys.readouterr().out
    assert cli.main(["solution", "rules", "no-rule"]) == 2
    assert cli.main(["solution", "rules"]) == 0
    assert capsys.readouterr().out.count("Mend: ") == len(lint.rules())
