"""The configurations of the README run as they are written there, with other paths and ports."""

import base64
import pathlib
import re
import ssl

import pytest

import static_container_registry
from scr_testing import daemons, images, nginx, programs
from static_container_registry import replay

README = pathlib.Path(static_container_registry.__file__).parents[1] / "README.md"
CONFIGURATIONS = {
    match[1]: match[2] for match in re.finditer(r"```nginx\n# ([^\n]*)\n(.*?)```", README.read_text(), re.DOTALL)
}


@pytest.fixture
def top(tmp_path: pathlib.Path) -> pathlib.Path:
    """The folders of the README below a temporary one, and the includes that its commands write."""
    etc = tmp_path / "etc" / "nginx"
    etc.mkdir(parents=True)
    for number, medium in enumerate(("media-1.0", "media-1.1")):
        root = tmp_path / "srv" / medium / "images"
        images.write_directory(root / "nginx" / "1.27", images.random_image((number,)))
    return tmp_path


def written(top: pathlib.Path, *, has_common: bool) -> None:
    for medium in ("media-1.0", "media-1.1"):
        root = top / "srv" / medium / "images"
        options = static_container_registry.Options(str(root), medium, has_constants=not has_common)
        text = static_container_registry.render(static_container_registry.discover(root), options)
        (top / "etc" / "nginx" / f"{medium}.inc").write_text(text)
    only = static_container_registry.Options("/", has_images=False)
    text = static_container_registry.render(static_container_registry.Listing(), only)
    (top / "etc" / "nginx" / "registry-common.inc").write_text(text)


def block(name: str, top: pathlib.Path, port: int) -> str:
    text = re.sub(r"listen \d+", f"listen 127.0.0.1:{port}", CONFIGURATIONS[name])
    return text.replace("/etc/nginx/", f"{top}/etc/nginx/")


def judge(registry: replay.Registry, top: pathlib.Path, medium: str) -> None:
    root = top / "srv" / medium / "images"
    results = list(replay.checks(registry, static_container_registry.discover(root), root, f"{medium}/"))
    assert len(results) > 50
    assert [check for check in results if check.problem] == []


def test_every_configuration_has_a_test() -> None:
    assert set(CONFIGURATIONS) == {"plain", "several media", "tls", "password for one prefix", "tree"}


@pytest.mark.tools("nginx")
def test_plain(top: pathlib.Path) -> None:
    written(top, has_common=False)
    port = daemons.free_port()
    with nginx.serve(http=block("plain", top, port)):
        judge(replay.Registry(f"http://127.0.0.1:{port}"), top, "media-1.0")


@pytest.mark.tools("nginx")
def test_several_media(top: pathlib.Path) -> None:
    written(top, has_common=True)
    port = daemons.free_port()
    with nginx.serve(http=block("several media", top, port)):
        registry = replay.Registry(f"http://127.0.0.1:{port}")
        assert registry.get("/v2/_catalog").json() == {"repositories": ["media-1.0/nginx", "media-1.1/nginx"]}
        judge(registry, top, "media-1.0")
        judge(registry, top, "media-1.1")


@pytest.mark.tools("nginx", "openssl", "skopeo")
def test_tls(top: pathlib.Path) -> None:
    written(top, has_common=True)
    certificate, key = top / "etc" / "nginx" / "registry.crt", top / "etc" / "nginx" / "registry.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    programs.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files)
    port = daemons.free_port()
    with nginx.serve(http=block("tls", top, port)):
        context = ssl.create_default_context(cafile=str(certificate))
        judge(replay.Registry(f"https://127.0.0.1:{port}", context), top, "media-1.0")
        (top / "trusted").mkdir()
        (top / "trusted" / "ca.crt").write_bytes(certificate.read_bytes())
        reference = f"docker://127.0.0.1:{port}/media-1.0/nginx:1.27"
        assert "sha256:" in programs.run("skopeo", "inspect", "--cert-dir", str(top / "trusted"), reference)


@pytest.mark.tools("nginx", "openssl")
def test_password_for_one_prefix(top: pathlib.Path) -> None:
    written(top, has_common=True)
    users = top / "etc" / "nginx" / "users"
    users.write_text("reader:" + programs.run("openssl", "passwd", "-apr1", "secret"))
    password = {"Authorization": "Basic " + base64.b64encode(b"reader:secret").decode()}
    port = daemons.free_port()
    with nginx.serve(http=block("password for one prefix", top, port)):
        registry = replay.Registry(f"http://127.0.0.1:{port}")
        judge(registry, top, "media-1.0")
        place = "/v2/media-1.1/nginx/manifests/1.27"
        ways = (place, "/v2/media-1.0/../media-1.1/nginx/manifests/1.27", "/v2//%6dedia-1.1/nginx/manifests/1.27")
        for way in ways:
            assert registry.ask("GET", way).status == 401
            assert registry.ask("GET", way, password).status == 200


@pytest.mark.tools("nginx")
def test_tree(top: pathlib.Path) -> None:
    root, destination = top / "srv" / "media-1.0" / "images", top / "var" / "lib" / "registry"
    static_container_registry.write_tree(static_container_registry.discover(root), root, destination, "media-1.0")
    text = static_container_registry.render_constant(str(destination))
    (top / "etc" / "nginx" / "tree.inc").write_text(text)
    port = daemons.free_port()
    with nginx.serve(http=block("tree", top, port)):
        registry = replay.Registry(f"http://127.0.0.1:{port}")
        assert registry.get("/v2/media-1.0/nginx/manifests/1.27").status == 200
        assert registry.get("/v2/media-1.1/nginx/manifests/1.27").status == 404
