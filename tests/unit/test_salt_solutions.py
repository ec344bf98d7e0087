"""What the Salt tree knows of Solutions: modules and external pillar, with the functions Salt would give them."""

import json
import pathlib
import types
import typing

import pytest

from buildchain import lint
from tests.support import salt_tree, solutions, states
from tests.unit import test_salt_modules

TREE = salt_tree.ROOT / "salt"
REGISTRY = states.load_module(TREE / "_modules/metalk8s_registry.py")
TEMPLATE = solutions.registry(solutions.good()).decode()
ROOT = "/srv/scality/my-app-1.0.0/images"
refusal = test_salt_modules.refusal


def module(
    *archives: object, active: dict[str, str] | None = None, media: typing.Sequence[object] = ()
) -> types.ModuleType:
    """The module `metalk8s_solutions` on a host whose solutions.yaml lists these archives, beside MetalK8s' media."""
    config = {"archives": [str(path) for path in archives], "active": active or {}}
    bootstrap = states.load_module(TREE / "_modules/metalk8s_bootstrap.py", __salt__={}, __pillar__={})
    functions = {
        "metalk8s_archives.read": test_salt_modules.archives().read,
        "metalk8s_archives.known": lambda: [{"location": str(path), "environment": "metalk8s-2.5.1"} for path in media],
        "metalk8s_registry.render": REGISTRY.render,
        "metalk8s_bootstrap.minion": lambda: "bootstrap",
        "metalk8s_bootstrap.add_archive": bootstrap.add_archive,
        "metalk8s_bootstrap.remove_archive": bootstrap.remove_archive,
    }
    pillar = {"metalk8s": {"solutions": {"config": config}}}
    return states.load_module(TREE / "_modules/metalk8s_solutions.py", __salt__=functions, __pillar__=pillar)


def folder(path: pathlib.Path, *changes: tuple[str, str], without: str = "") -> pathlib.Path:
    """A good Solution, unpacked, with changes of its manifest."""
    files = solutions.good()
    text = files["manifest.yaml"].decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    files["manifest.yaml"] = text.encode()
    for name, content in files.items():
        if not without or not name.startswith(without):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


def test_a_solution_says_what_it_is(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path / "app")
    found = module().info(str(path))
    manifest = found.pop("manifest")
    assert manifest["spec"]["operator"] == {"image": {"name": "my-app-operator", "tag": "1.0.0"}}
    assert found == {
        "name": "my-app",
        "version": "1.0.0",
        "id": "my-app-1.0.0",
        "location": str(path),
        "iso": "",
        "display_name": "My App",
    }
    assert module().judge(str(path)) == "my-app 1.0.0"


def test_versions_stand_side_by_side_but_not_twice(tmp_path: pathlib.Path) -> None:
    first, again = folder(tmp_path / "a"), folder(tmp_path / "b")
    second = folder(tmp_path / "c", ("version: 1.0.0", "version: 1.10"))
    assert [each["id"] for each in module(second, first, first).known()] == ["my-app-1.0.0", "my-app-1.10"]
    assert module(first, second).check() == "my-app-1.0.0, my-app-1.10"
    assert module().check() == "none"
    text = refusal(module(first, again, tmp_path / "none").check)
    assert text.splitlines() == [
        f"archive {again}: is my-app-1.0.0, as is {first}",
        f"archive {tmp_path}/none: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("name: my-app\n", "name: metalk8s-app\n", "names that begin with metalk8s- are those of MetalK8s itself"),
        ("name: my-app\n", "name: ../app\n", "the name '../app', which is not one of RFC 1123"),
        ("name: my-app\n", "name: [a]\n", "which is not one of RFC 1123"),
        ("name: my-app\n", f"name: {'a' * 60}\n", "more than 63 characters together"),
        ("version: 1.0.0", "version: 1.0.0/..", "the version '1.0.0/..'"),
        ("version: 1.0.0", "version: 1..0", "the version '1..0'"),
        ("version: 1.0.0", 'version: "1\\n}"', "the version '1\\n}'"),
        ("kind: Solution", "kind: Pod", "has no kind: Solution"),
        ("v1alpha1", "v2", "has no apiVersion: solutions.metalk8s.scality.com/v1alpha1"),
        ("spec:", "other:", "has no mapping spec"),
        ("kind: Solution", "kind: &a Solution\nx: *a", "has aliases"),
        ("kind: Solution", "kind: ]", "is not YAML"),
        ("kind: Solution", "kind: " + "[" * 60_000, "is nested too deeply"),
    ],
)
def test_a_strange_manifest_is_refused(tmp_path: pathlib.Path, old: str, new: str, reason: str) -> None:
    path = folder(tmp_path / "app", (old, new))
    text = refusal(module().info, str(path))
    assert text.startswith(f"archive {path}: its manifest.yaml ")
    assert reason in text


def test_what_is_missing_is_told_by_name(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path / "a", without="manifest.yaml")
    assert refusal(module().judge, str(path)) == f"archive {path}: it holds no manifest.yaml"
    path = folder(tmp_path / "b", without="registry-config")
    assert refusal(module().judge, str(path)) == f"{path}/registry-config.inc.j2: No such file or directory"
    path = folder(tmp_path / "c", without="images")
    assert refusal(module().judge, str(path)) == f"{path}: it holds no images/"
    thin = ("  annotations:\n", "  annotations:\n    solutions.metalk8s.scality.com/required-blobs: sha256:0\n")
    assert "name '0', which is no digest" in refusal(module().judge, str(folder(tmp_path / "d", thin)))


def test_archives_are_added_once_and_removed(tmp_path: pathlib.Path) -> None:
    file, path = tmp_path / "solutions.yaml", folder(tmp_path / "app")
    for _ in range(2):
        module().add(str(file), str(path), "/b.iso")
    assert states.load_yaml(file.read_text()) == {
        "apiVersion": "solutions.metalk8s.scality.com/v1alpha1",
        "kind": "SolutionsConfiguration",
        "archives": [str(path), "/b.iso"],
        "active": {},
    }
    assert "/c.iso is not among" in refusal(module().remove, str(file), "/c.iso")
    module().remove(str(file), str(path), "/b.iso")
    assert states.load_yaml(file.read_text())["archives"] == []


@pytest.mark.parametrize("version", ["1.0.0", "latest"])
def test_an_active_solution_stays(tmp_path: pathlib.Path, version: str) -> None:
    path = folder(tmp_path / "app")
    text = refusal(module(path, active={"my-app": version}).remove, "/none", str(path))
    assert text.endswith("first: solutions.sh deactivate --name my-app")


def test_a_registry_configuration_is_filled_in_and_nothing_else(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path / "app")
    text = module().registry(str(path), "my-app-1.0.0")
    assert "{{" not in text
    assert f'alias "{path}/images/$static_registry_path";' in text
    assert 'location ^~ "/v2/my-app-1.0.0/base-server/" {' in text


ESCAPES = {
    'location "/v2/my-app-1.0.0/x/" { alias /etc/; }': "it serves /etc/, which is not below",
    'location "/v2/my-app-1.0.0/x/" { alias "{{ registry_root }}/../../"; }': "leads upwards",
    'location "/v2/my-app-1.0.0/x/" { alias "{{ registry_root }}$arg_n"; }': "which is not below",
    'location ~ "^/v2/my-app-1.0.0/x" { alias "{{ registry_root }}/$arg_n"; }': "where $arg_n may be anything",
    'location ~ "^/v2/my-app-1.0.0/x" { if ($arg_n ~ "(.*)") { } alias "{{ registry_root }}/$1"; }': "where $1 may be",
    'location "/v2/my-app-1.0.0/x/" { set $static_registry_path $arg_n; }': "where $static_registry_path may be",
    'location "/v2/my-app-1.0.0/x/" { if ($arg_n ~ "(?<static_registry_path>.*)") { } }': "where $static_registry_path",
    'location "/v2/my-app-1.0.0/x/" { set $metalk8s_2_5_1_images /; }': "it sets $metalk8s_2_5_1_images",
    'location "/v2/my-app-1.0.0/x/" { add_header a $ssl_server_name; }': "it reads $ssl_server_name",
    'location "/v2/my-app-1.0.0/x/" { proxy_pass http://other; }': "it has the directive `proxy_pass`",
    'location "/v2/my-app-1.0.0/x/" { return 302 http://other; }': "it sends clients elsewhere",
    'location "/v2/my-app-1.0.0/x/" { rewrite ^ http://other redirect; }': "it leads to http://other",
    'location "/v2/my-app-1.0.0/x/" { rewrite ^ /v2/metalk8s-2.5.1/etcd/ last; }': "it leads to /v2/metalk8s-2.5.1/",
    'location "/v2/metalk8s-2.5.1/" { return 404; }': "is not below /v2/my-app-1.0.0/",
    'location ~ "^/v2/my-app-1.0.0/x|/v2" { return 404; }': "is not below /v2/my-app-1.0.0/",
    'location ~ "/v2/my-app-1.0.0/x" { return 404; }': "is not below /v2/my-app-1.0.0/",
    # Of these parentheses none begins or ends a group.
    r'location ~ "^/v2/my-app-1.0.0/\\(|/v2/|\\)" { return 404; }': "is not below /v2/my-app-1.0.0/",
    r"location ~ ^/v2/my-app-1.0.0/\\(|/v2/|\\) { return 404; }": "is not below /v2/my-app-1.0.0/",
    'location ~ "^/v2/my-app-1.0.0/[(]|/v2/|[)]" { return 404; }': "is not below /v2/my-app-1.0.0/",
    r'location ~ "^\Q/v2/my-app-1.0.0/(\E|/v2/|\Q)" { return 404; }': "is not below /v2/my-app-1.0.0/",
    'location ~ "^/v2/my-app-1.0.0/(?#()|/v2/|(?#))" { return 404; }': "is not below /v2/my-app-1.0.0/",
    'location ~ "^/v2/my-app-1.0.0/?" { return 404; }': "is not below /v2/my-app-1.0.0/",
    r'location ~ "^\Q/v2/my-app-1.0.0/\E?" { return 404; }': "is not below /v2/my-app-1.0.0/",
    'location "/v2/my-app-1.0.0/x/" { types { a/b ${c;} add_header a b; } }': "is no word of it",
    # A client may ask for /v2/my-app-1.0.0/x../y../etc.
    'location ~ "^/v2/my-app-1.0.0/x(.*)/y(.*)/(.*)" { alias "{{ registry_root }}/$1/$2/$3"; }': "where $1 may be",
    'location ~ "^/v2/my-app-1.0.0/([a-z]*)" { alias "{{ registry_root }}/.$1./"; }': "leads upwards",
    'location ~ "^/v2/my-app-1.0.0/([--9]+)" { alias "{{ registry_root }}/$1"; }': "where $1 may be anything",
    'location ~ "^/v2/my-app-1.0.0/(?<static_registry_a>.*)x" { alias "{{ registry_root }}/$static_registry_a"; }': (
        "where $static_registry_a may be anything"
    ),
    'location ~ "^/v2/my-app-1.0.0/x" { alias "{{ registry_root }}/$static_registry_hex"; }': (
        "where $static_registry_hex may be anything"
    ),
    'location "/v2/my-app-1.0.0/x" { rewrite x(.*)/y(.*) /.static-registry:my-app-1.0.0/:GET/blob/$1/$2 last; }': (
        "/:GET/blob/$1/$2, where $1 may be anything"
    ),
    'location "/v2/my-app-1.0.0/x" { rewrite x(.*) /.static-registry:my-app-1.0.0/:$1 last; }': (
        "/:$1, where $1 may be anything"
    ),
    'location "/v2/my-app-1.0.0/x" { rewrite x(.*) /.static-registry:my-app-1.0.0/:GET/.$1. last; }': "it leads to",
    "listen 80;": "it has the directive `listen`",
    "return 404;": "it has `return 404` outside of its locations",
    "include /etc/passwd;": "it has the directive `include`",
    "if ($uri = /v2/) { return 404; }": "outside of its locations",
    "} server {": "has a } too much",
    "location / {": "it ends within a directive",
    "return '\N{SNOWMAN}';": "other than printable ASCII",
    "set $a '": "is no word of it",
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_registry_configuration_cannot_reach_beyond_its_solution(escape: str) -> None:
    rows = REGISTRY.render(f"{TEMPLATE}\n{escape}\n", "my-app-1.0.0", ROOT)["problems"]
    assert ESCAPES[escape] in "; ".join(row["what"] for row in rows)
    line = TEMPLATE.count("\n") + 2
    # A variable is set at one place and used at another one.
    assert line in {row["line"] for row in rows} or "static_registry_path" in escape or rows[0]["line"] == line + 1


@pytest.mark.parametrize("escape", ESCAPES)
def test_lint_tells_an_author_what_the_node_refuses(tmp_path: pathlib.Path, escape: str) -> None:
    """On the same lines; so a Solution without findings is not refused."""
    files = solutions.good()
    files[solutions.CONFIG_PATH] = f"{TEMPLATE}\n{escape}\n".encode()
    found = lint.check(solutions.stage(files, tmp_path / "app"))
    refused = refusal(module().judge, str(tmp_path / "app"))
    told = {
        f"{each.path}: line {each.line}: {each.message.split()[0]}"
        for each in found
        if each.rule.severity is lint.Severity.ERROR
    }
    places = [problem.removeprefix(f"{tmp_path}/app/").split()[:4] for problem in refused.splitlines()]
    assert {" ".join(place) for place in places} <= told


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: my-app\n", "name: metalk8s-app\n"),
        ("name: my-app\n", "name: My-App\n"),
        ("name: my-app\n", "name: my--app\n"),
        ("name: my-app\n", f"name: {'a' * 54}\n"),
        ("version: 1.0.0", "version: 1..0"),
        ("version: 1.0.0", "version: 1.0."),
        ("version: 1.0.0", "version: 1.-0"),
        ("version: 1.0.0", "version: 1.0.0--a"),
        ("version: 1.0.0", "version: v1.0.0"),
        ("version: 1.0.0", "version: 1.0.0+a"),
        ("version: 1.0.0", "version: 1.0.0_a"),
        ("version: 1.0.0", "version: 1.0.0-RC1"),
        ("version: 1.0.0", "version: next"),
        ("kind: Solution", "kind: Pod"),
        ("v1alpha1", "v1"),
    ],
)
def test_lint_and_the_node_agree_on_a_manifest(tmp_path: pathlib.Path, old: str, new: str) -> None:
    path = folder(tmp_path / "app", (old, new))
    rules = {each.rule.id for each in lint.check(path) if each.rule.severity is lint.Severity.ERROR}
    is_refused = bool({rule for rule in rules if rule.partition("-")[0] in ("name", "version", "id", "manifest")})
    try:
        module().info(str(path))
    except states.CommandExecutionError:
        assert is_refused
    else:
        assert not is_refused


def test_a_template_is_not_rendered() -> None:
    for hostile in ("{{ salt['cmd.run']('id') }}", "{% import 'x' as y %}", "{# #}"):
        (row,) = REGISTRY.render(TEMPLATE + hostile, "my-app-1.0.0", ROOT)["problems"]
        assert row["about"] == "syntax"


def test_a_registry_configuration_has_an_end() -> None:
    (row,) = REGISTRY.render("# " + "x" * (4 << 20), "my-app-1.0.0", ROOT)["problems"]
    assert "more than 4194304 characters" in row["what"]


def test_a_configuration_of_another_generator_is_understood() -> None:
    older = """
        location = "/v2/{{ repository }}/a/manifests/1" {
            alias "{{registry_root}}/a/1/manifest.json"; types { } default_type "application/json";
        }
        location ~* "^/v2/{{ repository }}/a/blobs/sha256:([a-f0-9]{64})$" { alias "{{ registry_root }}/a/1/$1"; }
        """
    answer = REGISTRY.render(older, "my-app-1.0.0", ROOT)
    assert f'alias "{ROOT}/a/1/$1"' in answer["text"]
    assert answer["problems"] == []


def thin(path: pathlib.Path, version: str = "2.0.0") -> tuple[pathlib.Path, str]:
    """A Solution whose layer of base-server is its base's; and the digest (hex) of that layer."""
    layer = json.loads(solutions.good()[f"{solutions.SERVER}/manifest.json"])["layers"][0]["digest"]
    key = f"    {solutions.GROUP}"
    rows = f"{key}/base: my-app 1.0.0\n{key}/required-blobs: |\n      {layer}\n"
    made = folder(path, ("  annotations:\n", f"  annotations:\n{rows}"), ("version: 1.0.0", f"version: {version}"))
    blob: str = layer.removeprefix("sha256:")
    (made / solutions.SERVER / blob).unlink()
    return made, blob


def test_a_thin_solution_is_refused_without_its_base(tmp_path: pathlib.Path) -> None:
    path, blob = thin(tmp_path / "thin")
    whole = folder(tmp_path / "whole")
    text = refusal(module().judge, str(path))
    assert text == (
        f"{path}: it is a thin Solution; nothing here has sha256:{blob}, which my-app 1.0.0 has: import that, too"
    )
    assert module(whole).judge(str(path)) == "my-app 2.0.0"
    assert module(media=[whole]).judge(str(path)) == "my-app 2.0.0"
    assert module().judge(str(path), str(whole)) == "my-app 2.0.0"
    # Nor is the base taken away from it; before all is mounted nobody can tell.
    assert module(whole, path).check() == "my-app-1.0.0, my-app-2.0.0"
    assert "nothing here has" in refusal(module(path).check)
    module(path, media=[tmp_path / "not-mounted"]).complete()
    other, _ = thin(tmp_path / "other", "3.0.0")
    assert len(refusal(module(path, other).complete).splitlines()) == 2


def test_a_thin_solution_is_served_by_its_base(tmp_path: pathlib.Path) -> None:
    path, blob = thin(tmp_path / "thin")
    whole = folder(tmp_path / "whole")
    for host, repository in ((module(whole, path), "my-app-1.0.0"), (module(path, media=[whole]), "metalk8s-2.5.1")):
        asked, answered = (f"/v2/{name}/base-server/blobs/sha256:{blob}" for name in ("my-app-2.0.0", repository))
        rows = [
            line for line in host.registry(str(path), "my-app-2.0.0").splitlines() if line.startswith("location = ")
        ]
        assert rows == [f'location = "{asked}" {{ rewrite ^ "{answered}" last; }}']
        assert "location = " not in module(whole).registry(str(whole), "my-app-1.0.0")
    assert "nothing here has" in refusal(module(path).registry, str(path), "my-app-2.0.0")


def test_a_strange_requirement_does_not_reach_the_server(tmp_path: pathlib.Path) -> None:
    path, blob = thin(tmp_path / "thin")
    manifest = path / "manifest.yaml"
    text = manifest.read_text()
    manifest.write_text(text.replace(blob, '0"; }'))
    assert "which is no digest" in refusal(module(path).registry, str(path), "my-app-2.0.0")
    manifest.write_text(text)
    (path / solutions.SERVER / "manifest.json").write_text('{"config": 7}')
    assert "is no manifest of an image" in refusal(
        module(folder(tmp_path / "whole"), path).registry, str(path), "my-app-2.0.0"
    )
    hostile = tmp_path / 'hostile/images/a"; }/1'
    hostile.mkdir(parents=True)
    (hostile / blob).touch()
    assert "nothing here has" in refusal(module(path, media=[tmp_path / "hostile"]).judge, str(path))


def pillar(tmp_path: pathlib.Path, text: str | None, minion: str = "bootstrap") -> typing.Any:
    path = tmp_path / "solutions.yaml"
    if text is not None:
        path.write_text(text)
    loaded = states.load_module(
        TREE / "_pillar/metalk8s_solutions.py", __salt__={"metalk8s_solutions.info": module().info}
    )
    return loaded.ext_pillar(minion, {"metalk8s": {"ca": {"minion": "bootstrap"}}}, str(path))


HEAD = "apiVersion: solutions.metalk8s.scality.com/v1alpha1\nkind: SolutionsConfiguration\n"


def test_the_pillar_holds_what_is_there(tmp_path: pathlib.Path) -> None:
    path = folder(tmp_path / "app")
    text = f"{HEAD}archives: [{path}, /gone.iso]\nactive: {{my-app: 1.0.0}}\n"
    found = pillar(tmp_path, text)["metalk8s"]["solutions"]
    (row,) = found["available"].pop("my-app")
    assert row.pop("manifest")["kind"] == "Solution"
    assert row == {
        "active": True,
        "archive": str(path),
        "id": "my-app-1.0.0",
        "mountpoint": str(path),
        "name": "My App",
        "version": "1.0.0",
    }
    assert found == {"available": {}, "config": states.load_yaml(text), "environments": {}}


def test_other_minions_and_hosts_without_solutions_learn_nothing(tmp_path: pathlib.Path) -> None:
    assert pillar(tmp_path, None) == {}
    assert pillar(tmp_path, "no", "node1") == {}
    assert pillar(tmp_path, HEAD)["metalk8s"]["solutions"]["config"]["archives"] == []


def test_a_wrong_file_is_told_at_once(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"solutions\.yaml: ") as caught:
        pillar(tmp_path, "kind: Other\narchives: 7\nactive: {a: 1.0}\nmore: 1\n")
    problems = [problem.partition(".yaml: ")[2] for problem in str(caught.value).split("; ")]
    assert [problem.partition(":")[0] for problem in problems] == ["more", "apiVersion", "kind", "archives", "active"]
    for text in ("[]", ": :"):
        with pytest.raises(ValueError, match=r"solutions\.yaml: "):
            pillar(tmp_path, text)
