"""Real clients on a real nginx with the two includes of the medium, as the formula of MetalK8s puts them together."""

import contextlib
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator

import jinja2
import pytest

from buildchain import command, registry, store, tree
from tests.support import containerd, cri, images, nginx, salt_tree, states

pytestmark = pytest.mark.tools("nginx", "skopeo", "containerd", "ctr", "curl", "openssl")

VERSION = "2.11.0"
PREFIX = f"metalk8s-{VERSION}"
REGISTRY = "metalk8s-registry-from-config.invalid"


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
def includes(shipped: dict[str, images.Image], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What the formula puts into the server's block."""
    top = tmp_path_factory.mktemp("medium")
    source = store.Store(top / "store")
    files = staged(shipped, source, top / "root")
    text = texts(registry.index(files, source, version=VERSION), source)
    root = f'set {registry.server_root(PREFIX)} "{top}/root/images/";'
    return root, text[registry.IMAGES_PATH], text[registry.COMMON_PATH]


@pytest.fixture(scope="module")
def server(includes: tuple[str, ...]) -> Iterator[nginx.Server]:
    with nginx.serve(*includes) as running:
        yield running
        assert "[crit]" not in running.log()
        assert "[warn]" not in running.log()


def staged(shipped: dict[str, images.Image], source: store.Store, root: pathlib.Path) -> tree.Tree:
    """Put images into a store, and link them into a folder as a medium has them."""
    files = tree.build(
        tree.File(f"images/{place}/{name}", source.add_bytes(content))
        for place, image in shipped.items()
        for name, content in images.files_of(image).items()
    )
    for file in files.files():
        target = root / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source.link(file, target)
    return files


def texts(found: tree.Tree, source: store.Store) -> dict[str, str]:
    return {file.path: source.read(file.content.digest).decode() for file in found.files()}


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
    for place, image in shipped.items():
        assert copied(server, PREFIX, place, tmp_path) == images.files_of(image)


def copied(server: nginx.Server, prefix: str, place: str, directory: pathlib.Path) -> dict[str, bytes]:
    """What skopeo writes of an image."""
    name, _, tag = place.rpartition("/")
    target = directory / f"copy of {prefix} {name.replace('/', ' ')}"
    source = f"docker://{server.address}/{prefix}/{name}:{tag}"
    command.run(["skopeo", "copy", "--all", "--insecure-policy", "--src-tls-verify=false", source, f"dir:{target}"])
    return {path.name: path.read_bytes() for path in target.iterdir()}


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


@pytest.fixture(scope="module")
def mirror(includes: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """containerd's configuration as the formula writes it on a node, with other paths and the address of a server."""
    top = tmp_path_factory.mktemp("node")
    certificate, key = top / "ca.crt", top / "ca.key"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-keyout", str(key)]
    command.run([*new, "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate)])
    rendered = states.renderer(salt_tree.stage_medium(top, states.VERSIONS), "Debian", "node")
    folder = "salt/metalk8s/container-engine/containerd/files"
    hosts = rendered.text(f"{folder}/hosts.toml.jinja")
    address = f"{states.NODE['metalk8s']['repo']['ip']}:8080"
    authority = "/etc/metalk8s/pki/repositories/ca.crt"
    assert (hosts.count(address), hosts.count(authority)) == (2, 2)
    target = top / "certs.d" / REGISTRY / "hosts.toml"
    target.parent.mkdir(parents=True)
    text = rendered.text(f"{folder}/config.toml.jinja")
    assert text.count('"/etc/containerd/certs.d"') == 1
    with nginx.serve(*includes, tls=(certificate, key)) as server:
        target.write_text(hosts.replace(address, server.address).replace(authority, str(certificate)))
        yield text.replace("/etc/containerd/certs.d", str(top / "certs.d"))


def test_a_kubelet_pulls_through_the_mirror_of_the_formula(shipped: dict[str, images.Image], mirror: str) -> None:
    with containerd.containerd(mirror) as ctr:
        runtime = cri.Images(ctr.socket)
        for place, image in shipped.items():
            name, _, tag = place.rpartition("/")
            wanted = image.children[0] if image.children else image
            pulled = runtime.pull(f"{REGISTRY}/{PREFIX}/{name}:{tag}")
            assert pulled == f"sha256:{images.hex_of(wanted.blobs[0])}"
        with pytest.raises(AssertionError, match="not found"):
            runtime.pull(f"{REGISTRY}/{PREFIX}/nginx:9")


def test_containerd_pulls_through_the_mirror_of_the_formula(shipped: dict[str, images.Image], mirror: str) -> None:
    hosts = re.search(r'config_path = "(.*)"', mirror)
    assert hosts
    pull = ["image", "pull", "--hosts-dir", hosts[1], "--snapshotter", "native", "--platform", "linux/amd64"]
    with containerd.containerd() as ctr:
        for place, image in shipped.items():
            name, _, tag = place.rpartition("/")
            ctr(*pull, f"{REGISTRY}/{PREFIX}/{name}:{tag}")
            assert image.digest in ctr("image", "ls")


def test_solutions_are_served_beside_the_distribution(shipped: dict[str, images.Image], tmp_path: pathlib.Path) -> None:
    """Two versions of a Solution, filled in as MetalK8s' state `solutions.available` does, and one common include."""
    source = store.Store(tmp_path / "store")
    medium = texts(registry.index(staged(shipped, source, tmp_path / PREFIX), source, version=VERSION), source)
    includes = [f'set {registry.server_root(PREFIX)} "{tmp_path}/{PREFIX}/images/";', *medium.values()]
    solutions = {
        "example-solution-1.0.0": {"ui/1.0.0": images.random_image((5,)), "base/v1": images.random_image((6,))},
        "example-solution-1.1.0-dev": {"ui/1.1.0": images.random_image((5, 7)), "base/v1": images.random_image((6,))},
    }
    for identity, held in solutions.items():
        root = tmp_path / "srv" / identity
        text = texts(registry.template(staged(held, source, root), source), source)["registry-config.inc.j2"]
        filled = jinja2.Template(text, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        includes.append(filled.render(repository=identity, registry_root=f"{root}/images"))
    with nginx.serve(*includes) as server:
        for identity, held in {PREFIX: shipped, **solutions}.items():
            for place, image in held.items():
                assert copied(server, identity, place, tmp_path) == images.files_of(image)
        assert "[warn]" not in server.log()
