"""Every spelling of an image's name is found, and judged by what the medium holds."""

import json
import pathlib

import pytest

from buildchain import cli, digest, errors, references, store, tree
from buildchain.references import spellings

OWN = "metalk8s-registry-from-config.invalid"
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{{ image_name("nginx") }}', ("", "nginx", "")),
        ("{{ build_image_name('nginx') }}", ("", "nginx", "")),
        ('image: {{ build_image_name("nginx", False) }}', ("", "nginx", "")),
        ("{{ image_name(name = 'nginx') }}", ("", "nginx", "")),
        ("{{ image_name( name ) }}", ("", "", "")),
        ("{%- set tag = versions.images.nginx.version %}", ("", "nginx", "")),
        ("{{ versions.images['metalk8s-ui'].version }}", ("", "metalk8s-ui", "")),
        ('{{ versions.images.get("nginx") }}', ("", "nginx", "")),
        ("image: nginx:1.2", ("", "nginx", "1.2")),
        ("image: nginx", ("", "nginx", "latest")),
        ("  - image: 'nginx:1.2' # why", ("", "nginx", "1.2")),
        ('    "image": "quay.io/a/nginx:1.2",', ("quay.io", "a/nginx", "1.2")),
        ('{"containers": [{"name": "a", "image": "nginx:1.2"}]}', ("", "nginx", "1.2")),
        ("image: localhost:5000/nginx:1.2", ("localhost:5000", "nginx", "1.2")),
        (f"image: nginx@{DIGEST}", ("", "nginx", "")),
        (f"image: nginx:1.2@{DIGEST}", ("", "nginx", "")),
        ("image: {{ repository }}/nginx:{{ version }}", ("", "nginx", "")),
        ("image: {{ repository }}/nginx:1.2", ("", "nginx", "1.2")),
        ("image: '@@REGISTRY/nginx:@@VERSION'", ("", "nginx", "")),
        ("image: @REPOSITORY@/base-server:@VERSION@", ("", "base-server", "")),
        ("image: ${REGISTRY}/nginx:1.2", ("", "nginx", "1.2")),
        (f"image: {OWN}/metalk8s-2.9/nginx:1.2", ("", "metalk8s-2.9/nginx", "1.2")),
        ("image: {name: nginx, tag: '1.2'}", ("", "nginx", "1.2")),
        ("image: {registry: quay.io, repository: a/nginx, tag: 1.2}", ("quay.io", "a/nginx", "1.2")),
        ("image:\n  repository: quay.io/a/nginx\n  tag: v1", ("quay.io", "a/nginx", "v1")),
        ("image:\n  tag: v1\n  pullPolicy: Always\n  repository: nginx", ("", "nginx", "v1")),
        ("image:\n  registry: quay.io\n  repository: a/nginx\n  tag: v1", ("quay.io", "a/nginx", "v1")),
        ("operator:\n  image:\n    name: nginx\n    tag: 1.0", ("", "nginx", "1.0")),
        ("ui:\n  name: nginx\n  tag: 1.0.0\nversion: 2", ("", "nginx", "1.0.0")),
        ("sidecars:\n- name: nginx\n  tag: 1.0.0", ("", "nginx", "1.0.0")),
        (f"image:\n  repository: nginx\n  digest: {DIGEST}", ("", "nginx", "")),
        ('  sandbox_image = "k8s.gcr.io/pause:3.2"', ("k8s.gcr.io", "pause", "3.2")),
        ("args: [--config-reloader-image=quay.io/a/reloader:v1]", ("quay.io", "a/reloader", "v1")),
        ("  - --reloader-image=reloader:v1", ("", "reloader", "v1")),
        ("baseImage: quay.io/a/b:1", ("quay.io", "a/b", "1")),
        ("- name: RELATED_IMAGE_UI\n  value: ui:1.0", ("", "ui", "1.0")),
        ("- name: UI_IMAGE\n  value: 'quay.io/ui:1.0'", ("quay.io", "ui", "1.0")),
        ("spec:\n  images:\n    - nginx:1.2\n  version: 1", ("", "nginx", "1.2")),
        ("images:\n- nginx:1.2", ("", "nginx", "1.2")),
        ("image: {{ registry }}/{{ image_path }}", None),
        ('image: "{{ image }}"', None),
        ("image: '{{ f(\"a\") }}'", None),
        ("image:\n  type: string", None),
        ("image: &own nginx:1.2", ("", "nginx", "1.2")),
        ("image: !!str &own 'nginx:1.2'", ("", "nginx", "1.2")),
        ("image: *own", None),
        ("image:\n  repository: &own nginx\n  tag: *version", ("", "nginx", "")),
        ("image: {name: *own, tag: 1}", None),
        ("image: /boot/initrd.img", None),
        ("disk_image: ../disks/root.img", None),
        ("image: null", None),
        ("# image: nginx:1.2", None),
        ("{# image: nginx:1.2\n image_name('x') #}", None),
        ("{%- macro image_name(name) -%}", None),
        ("{{ versions.images[name].version }}", None),
        ("{% for name in versions.images.keys() %}", None),
        ("hasImage: true", None),
        ("repository: https://example.com/apt\ntag: x", None),
        ("- name: a\n- tag: b", None),
        ("metalk8s_image.imported:", None),
        ("layouts:\n  - nginx:1.2", None),
    ],
)
def test_spellings(text: str, expected: tuple[str, str, str] | None) -> None:
    found = {(use.host, use.path, use.tag) for use in spellings.find(text)}
    assert found == ({expected} if expected else set())


def test_programs_are_asked_for_whole_names_only() -> None:
    text = f'image = "quay.io/a:1"\nNAME = "{OWN}/metalk8s-2.9/etcd:3.4"\n'
    assert [(use.line, use.path) for use in spellings.find(text, is_code=True)] == [(2, "metalk8s-2.9/etcd")]


FILES = {
    "images/nginx/1.2/manifest.json": "{}",
    "images/etcd/3.4/manifest.json": '{"a": 1}',
    "images/a/b/1/manifest.json": "[]",
    "images/forgotten/1/manifest.json": "1",
    "images/nginx/1.2/deploy.yaml": "image: no-manifest:1",
    "documentation/page.yaml": "image: an-example:1",
    "salt/metalk8s/versions.json": json.dumps(
        {"images": {"nginx": {"version": "1.2"}, "etcd": {"version": "3.4"}, "gone": {"version": "1"}}}
    ),
    "salt/good.sls": f"""
{{{{ image_name("nginx") }}}}
image: {OWN}/metalk8s-2.9/etcd:3.4
image: "{{{{ registry }}}}/a/b:1"
""",
}


def _check(**more: str) -> references.Report:
    files = {**FILES, **{name.replace("__", "/").replace("_yaml", ".yaml"): text for name, text in more.items()}}
    return references.check(files, lambda path: files[path].encode())


def test_what_leads_nowhere_is_named_with_its_line() -> None:
    known = digest.Digest.of_bytes(b"{}")
    report = _check(
        operator__deploy_yaml=f"\nimage: nginx:1.3\nimage: missing:1\nimage: quay.io/nginx:1.2\n"
        f"image: nginx@{DIGEST}\nimage: nginx@{known}\nimage: nginx\n",
        pillar__x_yaml="a: {{ image_name(name) }}\nb: {{ image_name('other') }}",
    )
    assert [str(finding) for finding in report.findings] == [
        "operator/deploy.yaml:2: nginx:1.3: is not on the medium, which has nginx:1.2",
        "operator/deploy.yaml:3: missing:1: is not on the medium",
        "operator/deploy.yaml:4: quay.io/nginx:1.2: would be pulled from quay.io, which an offline site does not have",
        f"operator/deploy.yaml:5: nginx@{DIGEST}: no image of this digest is on the medium",
        "operator/deploy.yaml:7: nginx: is not on the medium, which has nginx:1.2",
        "pillar/x.yaml:2: image_name('other'): is not on the medium",
        "salt/metalk8s/versions.json:1: gone:1: is not on the medium",
    ]
    assert [finding.line for finding in report.computed] == [1]
    assert report.unused == ("forgotten:1",)


def test_a_build_refuses_such_a_tree(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path)
    good = {path: text for path, text in FILES.items() if path != references.VERSIONS}
    references.require(_tree(good, source), source)
    with pytest.raises(
        errors.TreeError, match=r"  pillar/x\.sls:1: etcd:9: is not on the medium, which has etcd:3\.4\n"
    ):
        references.require(_tree({**good, "pillar/x.sls": "image: etcd:9"}, source), source)


def _tree(files: dict[str, str], source: store.Store) -> tree.Tree:
    return tree.build(tree.File(path, source.add_bytes(text.encode())) for path, text in files.items())


def test_the_command_ends_with_the_verdict(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text.replace(', "gone": {"version": "1"}', ""))
    assert cli.main(["images", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "warning: image forgotten:1: nothing refers to it",
        "3 references, 0 to an image that is not on the medium",
    ]
    (tmp_path / "salt/bad.sls").write_text("image: forgotten-by-all:1\n")
    assert cli.main(["images", "check", str(tmp_path)]) == 1
    assert "salt/bad.sls:1: forgotten-by-all:1: is not on the medium\n" in capsys.readouterr().out
    assert cli.main(["images", "check", str(tmp_path / "nowhere")]) == 2


def test_a_folder_that_is_no_medium_is_not_in_order(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["images", "check", str(tmp_path)]) == 2
    assert "holds no image and names none" in capsys.readouterr().err
