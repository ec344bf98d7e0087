"""Real clients pull from a real nginx, once with each output."""

import json
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

import pytest

import static_container_registry
from scr_testing import containerd, cri, docker, docker_registry, images, nginx, programs

PREFIX = "media-1.0"
PLACES = {
    "docker": ("app", "v1"),
    "oci": ("group/sub/app", "v2"),
    "index": ("multi", "v3"),
    "layout": ("layout", "v4"),
}


@pytest.fixture(scope="module")
def shipped() -> dict[str, images.Image]:
    oci = images.random_image((2, 3), media_type=images.OCI_MANIFEST)
    arm = images.random_image((2, 4), media_type=images.OCI_MANIFEST, platform="arm64")
    return {
        "docker": images.random_image((1, 2), size=500_000),
        "oci": oci,
        "index": images.index([oci, arm]),
        "layout": images.random_image((5,), media_type=images.OCI_MANIFEST),
    }


@pytest.fixture(scope="module", params=["classic", "constant"])
def server(
    request: pytest.FixtureRequest, shipped: dict[str, images.Image], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[nginx.Server]:
    top = tmp_path_factory.mktemp("clients")
    root = top / "images"
    for kind, (name, tag) in PLACES.items():
        if kind == "layout":
            images.write_layout(root / name, {tag: shipped[kind]})
        else:
            images.write_directory(root / name / tag, shipped[kind])
    found = static_container_registry.discover(root)
    assert found.skipped == ()
    if request.param == "classic":
        text = static_container_registry.render(found, static_container_registry.Options(str(root), PREFIX))
    else:
        static_container_registry.write_tree(found, root, top / "tree", PREFIX)
        text = static_container_registry.render_constant(str(top / "tree"))
    with nginx.serve(text) as running:
        yield running


def references(address: str) -> dict[str, str]:
    return {kind: f"{address}/{PREFIX}/{name}:{tag}" for kind, (name, tag) in PLACES.items()}


@pytest.mark.tools("nginx", "skopeo")
def test_skopeo(server: nginx.Server, shipped: dict[str, images.Image], tmp_path: pathlib.Path) -> None:
    for kind, reference in references(server.address).items():
        seen = json.loads(programs.run("skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"))
        assert seen["Digest"] == shipped[kind].digest
        target = tmp_path / kind
        programs.run(
            "skopeo",
            "copy",
            "--all",
            "--insecure-policy",
            "--src-tls-verify=false",
            f"docker://{reference}",
            f"dir:{target}",
        )
        assert {path.name: path.read_bytes() for path in target.iterdir()} == images.files_of(shipped[kind])
    repository = f"docker://{server.address}/{PREFIX}/multi"
    assert json.loads(programs.run("skopeo", "list-tags", "--tls-verify=false", repository))["Tags"] == ["v3"]


@pytest.mark.tools("nginx", "podman", "buildah")
@pytest.mark.parametrize("program", ["podman", "buildah"])
def test_podman_and_buildah(
    server: nginx.Server, shipped: dict[str, images.Image], tmp_path: pathlib.Path, program: str
) -> None:
    # podman wants a short path for what it keeps while it runs.
    run_root = tempfile.mkdtemp(prefix="run-")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    storage = ["--root", str(tmp_path / "root"), "--runroot", run_root, "--storage-driver", "vfs"]
    for kind, reference in references(server.address).items():
        pull = [program, *storage, "pull", "--signature-policy", str(policy), "--tls-verify=false", "-q", reference]
        got = programs.run(*pull).strip()
        wanted = shipped[kind].children[0] if shipped[kind].children else shipped[kind]
        # An image's id is the digest of its configuration.
        assert got == images.hex_of(wanted.blobs[0])
    shutil.rmtree(run_root)


@pytest.mark.tools("nginx", "containerd", "ctr")
def test_containerd(server: nginx.Server, shipped: dict[str, images.Image]) -> None:
    with containerd.containerd() as ctr:
        for kind, reference in references(server.address).items():
            ctr("image", "pull", "--plain-http", "--snapshotter", "native", "--platform", "linux/amd64", reference)
            assert images.hex_of(ctr("content", "get", shipped[kind].digest).encode()) == shipped[kind].hex


def mirror(directory: pathlib.Path, server: nginx.Server) -> str:
    """As MetalK8s has it: a name that resolves nowhere, and a mirror for it; the name."""
    name = "registry-from-config.invalid"
    (directory / name).mkdir()
    (directory / name / "hosts.toml").write_text(
        f'server = "{server.url}"\n[host."{server.url}"]\n  capabilities = ["pull", "resolve"]\n'
    )
    return name


@pytest.mark.tools("nginx", "containerd", "ctr")
def test_containerd_with_a_mirror(
    server: nginx.Server, shipped: dict[str, images.Image], tmp_path: pathlib.Path
) -> None:
    name = mirror(tmp_path, server)
    with containerd.containerd() as ctr:
        for kind, reference in references(name).items():
            platform = ["--snapshotter", "native", "--platform", "linux/amd64"]
            ctr("image", "pull", "--hosts-dir", str(tmp_path), *platform, reference)
            assert shipped[kind].digest in ctr("image", "ls")


@pytest.mark.tools("nginx", "containerd", "ctr", "curl")
def test_the_runtime_of_a_kubelet_with_a_mirror(
    server: nginx.Server, shipped: dict[str, images.Image], tmp_path: pathlib.Path
) -> None:
    name = mirror(tmp_path, server)
    text = f'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "{tmp_path}"\n'
    with containerd.containerd(text) as ctr:
        runtime = cri.Images(ctr.socket)
        for kind, reference in references(name).items():
            wanted = shipped[kind].children[0] if shipped[kind].children else shipped[kind]
            assert runtime.pull(reference) == f"sha256:{images.hex_of(wanted.blobs[0])}"
        with pytest.raises(AssertionError, match="not found"):
            runtime.pull(f"{name}/{PREFIX}/app:v9")


@pytest.mark.tools("nginx", "docker", "dockerd", "containerd", "ip")
def test_docker(server: nginx.Server, shipped: dict[str, images.Image]) -> None:
    with docker.dockerd() as client:
        for kind, reference in references(server.address).items():
            out = client("pull", reference)
            assert f"Digest: {shipped[kind].digest}" in out
            by_digest = re.sub(r":v\d$", f"@{shipped[kind].digest}", reference)
            client("pull", by_digest)
        client("pull", "--all-tags", references(server.address)["docker"].rpartition(":")[0])


@pytest.mark.tools("nginx", "skopeo", "docker-registry")
def test_a_pull_through_cache(server: nginx.Server, shipped: dict[str, images.Image], tmp_path: pathlib.Path) -> None:
    with docker_registry.docker_registry(tmp_path, proxy={"remoteurl": server.url}) as cache:
        for kind, reference in references(cache.address).items():
            for number in range(2):
                target = tmp_path / f"{kind}-{number}"
                copy = ["skopeo", "copy", "--all", "--insecure-policy", "--src-tls-verify=false"]
                programs.run(*copy, f"docker://{reference}", f"dir:{target}")
                assert (target / "manifest.json").read_bytes() == shipped[kind].manifest
