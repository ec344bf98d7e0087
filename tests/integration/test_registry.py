"""Real clients on a real nginx with the two includes of the medium, as the formula of MetalK8s puts them together."""

import contextlib
import hashlib
import json
import pathlib
from collections.abc import Iterator

import pytest

from buildchain import command, registry, store, tree
from tests.support import containerd, images, nginx

pytestmark = pytest.mark.tools("nginx", "skopeo", "containerd", "ctr")

VERSION = "2.11.0"
PREFIX = f"metalk8s-{VERSION}"


@pytest.fixture(scope="module")
def shipped() -> dict[str, images.Image]:
    oci = images.random_image((2, 3), media_type=images.OCI_MANIFEST)
    arm = images.random_image((2, 4), media_type=images.OCI_MANIFEST, platform="arm64")
    return {
        "nginx/1.27": images.random_image((1, 2), size=300_000),
        "etcd/3.5": oci,
        "group/sub/multi/v1": images.index([oci, arm]),
    }


@pytest.fixture(scope="module")
def server(shipped: dict[str, images.Image], tmp_path_factory: pytest.TempPathFactory) -> Iterator[nginx.Server]:
    top = tmp_path_factory.mktemp("medium")
    source = store.Store(top / "store")
    files = tree.build(
        tree.File(f"images/{place}/{name}", source.add_bytes(content))
        for place, image in shipped.items()
        for name, content in images.files_of(image).items()
    )
    for file in files.files():
        target = top / "root" / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source.link(file, target)
    text = {
        file.path: source.read(file.content.digest).decode()
        for file in registry.index(files, source, version=VERSION).files()
    }
    root = f'set {registry.server_root(PREFIX)} "{top}/root/images/";'
    with nginx.serve(root, text[registry.IMAGES_PATH], text[registry.COMMON_PATH]) as running:
        yield running
        assert "[crit]" not in running.log()
        assert "[warn]" not in running.log()


def test_skopeo_inspects(server: nginx.Server, shipped: dict[str, images.Image]) -> None:
    for place, image in shipped.items():
        name, _, tag = place.rpartition("/")
        reference = f"docker://{server.address}/{PREFIX}/{name}:{tag}"
        seen = json.loads(command.run(["skopeo", "inspect", "--tls-verify=false", reference]))
        assert seen["Digest"] == image.digest
        assert seen["RepoTags"] == [tag]


def test_skopeo_copies_every_byte(
    server: nginx.Server, shipped: dict[str, images.Image], tmp_path: pathlib.Path
) -> None:
    for number, (place, image) in enumerate(shipped.items()):
        name, _, tag = place.rpartition("/")
        target = tmp_path / str(number)
        source = f"docker://{server.address}/{PREFIX}/{name}:{tag}"
        command.run(["skopeo", "copy", "--all", "--insecure-policy", "--src-tls-verify=false", source, f"dir:{target}"])
        copied = {path.name: path.read_bytes() for path in target.iterdir()}
        assert copied == images.files_of(image)


def test_skopeo_lists_tags(server: nginx.Server) -> None:
    reference = f"docker://{server.address}/{PREFIX}/group/sub/multi"
    seen = json.loads(command.run(["skopeo", "list-tags", "--tls-verify=false", reference]))
    assert seen["Tags"] == ["v1"]


def test_containerd_pulls(server: nginx.Server, shipped: dict[str, images.Image]) -> None:
    with containerd.containerd() as ctr:
        for place, image in shipped.items():
            name, _, tag = place.rpartition("/")
            reference = f"{server.address}/{PREFIX}/{name}:{tag}"
            ctr("image", "pull", "--plain-http", "--snapshotter", "native", "--platform", "linux/amd64", reference)
            line = next(line for line in ctr("image", "ls").splitlines() if line.startswith(reference))
            assert image.digest in line
            assert image.media_type in line
            held = ctr("content", "get", image.digest)
            assert hashlib.sha256(held.encode()).hexdigest() == image.hex


def test_containerd_does_not_pull_what_is_not_there(server: nginx.Server) -> None:
    with containerd.containerd() as ctr, contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(Exception, match="not found"))
        ctr("image", "pull", "--plain-http", "--snapshotter", "native", f"{server.address}/{PREFIX}/nginx:9")
