"""The images of the medium from locked packages: started by containerd, built twice, judged by Debian's own tools."""

import contextlib
import dataclasses
import gzip
import http.client
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time
import typing
import urllib.request
from collections.abc import Callable, Iterator, Sequence

import pytest

from buildchain import command, errors, image, manifest, store
from buildchain.rootfs import exclusions
from buildchain.tasks import context, pull
from tests.support import containerd, daemons

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = ROOT / "images"
SHIPPED = [
    each.name
    for each in manifest.load(ROOT / manifest.FILE_NAME).images
    if not image.load(RECIPES / each.name / image.recipe.FILE_NAME).builds
]
"""Without those that hold packages which are built here: test_salt_packages.py."""

pytestmark = pytest.mark.network

T = typing.TypeVar("T")

MAX_MEMORY = 128 << 20
PROCESSORS = ("qemu64", "Nehalem", "Haswell", "max")


def _stages(here: context.Context, name: str) -> list[image.Stage]:
    chain = here.chains[name]
    requests = [image.request(chain[: index + 1], here.manifest.image_archives) for index in range(len(chain))]
    return [
        image.Stage(recipe, here.locked.set(request.name).packages)
        for recipe, request in zip(chain, requests, strict=True)
    ]


def _build(here: context.Context, source: store.Store, name: str) -> image.Image:
    policy = image.load_policy(RECIPES / "maintainer-scripts.yaml")
    return image.build(_stages(here, name), source, policy, exclusions.load(RECIPES / "exclusions.yaml"))


@pytest.fixture(name="here", scope="module")
def _here() -> context.Context:
    here = context.load()
    packages = {package for name in SHIPPED for stage in _stages(here, name) for package in stage.packages}
    pull.pull_packages(here, sorted(packages))
    return here


@pytest.fixture(name="images", scope="module")
def _images(here: context.Context) -> dict[str, image.Image]:
    return {name: _build(here, here.store, name) for name in SHIPPED}


@pytest.fixture(name="folder", scope="module")
def _folder(
    here: context.Context, images: dict[str, image.Image], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The images as they stand on the medium."""
    folder = tmp_path_factory.mktemp("medium")
    for name, built in images.items():
        for entry in image.tree(built, name, "test").files():
            path = folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            here.store.link(entry, path)
    return folder


@dataclasses.dataclass
class Container:
    """A running container."""

    client: containerd.Client
    name: str

    @property
    def uid(self) -> int:
        """The user its first process really runs as."""
        rows = (line.split() for line in self.client("task", "ls").splitlines()[1:])
        pid = next(row[1] for row in rows if row[0] == self.name)
        found = re.search(r"^Uid:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1])

    def execute(self, *argv: str) -> str:
        return self.client("task", "exec", "--exec-id", f"probe-{time.monotonic_ns()}", self.name, *argv)


@pytest.fixture(name="client", scope="module")
def _client(folder: pathlib.Path) -> Iterator[containerd.Client]:
    with containerd.containerd() as client:
        for name in SHIPPED:
            archive = folder / f"{name}.tar"
            command.run(["skopeo", "copy", f"dir:{folder}/images/{name}/test", f"oci-archive:{archive}:{name}:test"])
            client("image", "import", str(archive))
        yield client


@contextlib.contextmanager
def _running(
    client: containerd.Client, name: str, options: Sequence[str] = (), arguments: Sequence[str] = ()
) -> Iterator[Container]:
    """A container with a read-only root on the host's network."""
    container = Container(client, f"test-{name}")
    # Arguments replace those of the image as a whole, with the program.
    argv = [*image.load(RECIPES / name / "image.yaml").config.entrypoint, *arguments] if arguments else []
    client("run", "--detach", "--net-host", "--read-only", *options, f"{name}:test", container.name, *argv)
    try:
        yield container
    finally:
        with contextlib.suppress(AssertionError):
            client("task", "kill", "--signal", "SIGKILL", container.name)
        _until(lambda: client("task", "rm", container.name))
        client("container", "rm", container.name)


def _until(attempt: Callable[[], T]) -> T:
    """The first result that is no error, within half a minute."""
    for _ in range(150):
        with contextlib.suppress(AssertionError, OSError, http.client.HTTPException, errors.BuildchainError):
            return attempt()
        time.sleep(0.2)
    return attempt()


def _get(port: int, path: str = "/") -> str:
    def attempt() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            text: str = response.read().decode()
            return text

    return _until(attempt)


def _tmpfs(path: str, uid: int = 0, mode: str = "1777") -> list[str]:
    return ["--mount", f"type=tmpfs,src=tmpfs,dst={path},options=mode={mode}:uid={uid}:gid={uid}"]


def _check_nginx(client: containerd.Client, folder: pathlib.Path) -> None:
    port = daemons.free_port()
    configuration = folder / "conf.d"
    configuration.mkdir()
    (configuration / "test.conf").write_text(f"server {{ listen 127.0.0.1:{port}; root /usr/share/nginx/html; }}\n")
    mount = ["--mount", f"type=bind,src={configuration},dst=/etc/nginx/conf.d,options=rbind:ro"]
    with _running(client, "nginx", [*_tmpfs("/tmp"), *mount]) as container:  # noqa: S108
        assert "Welcome to nginx" in _get(port)
        assert container.uid == 33


def _check_etcd(client: containerd.Client, _: pathlib.Path) -> None:
    clients, peers = (f"http://127.0.0.1:{daemons.free_port()}" for _ in range(2))
    arguments = [
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
    ]
    with _running(client, "etcd", _tmpfs("/var/lib/etcd", 900, "0700"), arguments) as container:
        etcdctl = ("/usr/bin/etcdctl", f"--endpoints={clients}")
        _until(lambda: container.execute(*etcdctl, "endpoint", "health"))
        assert container.execute(*etcdctl, "put", "a", "b") == "OK\n"
        assert container.execute(*etcdctl, "get", "a") == "a\nb\n"
        assert container.uid == 900


def _check_prometheus(client: containerd.Client, _: pathlib.Path) -> None:
    port = daemons.free_port()
    arguments = [
        "--config.file=/etc/prometheus/prometheus.yml",
        "--storage.tsdb.path=/var/lib/prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with _running(client, "prometheus", _tmpfs("/var/lib/prometheus", 901), arguments) as container:
        assert "Ready" in _get(port, "/-/ready")
        assert "bootstrap" in _get(port, "/classic/graph")
        assert container.uid == 901


def _check_alertmanager(client: containerd.Client, _: pathlib.Path) -> None:
    port = daemons.free_port()
    state = "/var/lib/prometheus/alertmanager"
    arguments = [
        "--config.file=/etc/prometheus/alertmanager.yml",
        f"--storage.path={state}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with _running(client, "alertmanager", _tmpfs(state, 901), arguments) as container:
        assert _get(port, "/-/ready") == "OK"
        assert container.uid == 901


def _check_node_exporter(client: containerd.Client, _: pathlib.Path) -> None:
    port = daemons.free_port()
    with _running(client, "node-exporter", (), [f"--web.listen-address=127.0.0.1:{port}"]) as container:
        assert "node_memory_MemTotal_bytes" in _get(port, "/metrics")
        assert container.uid == 901


def _check_pause(client: containerd.Client, _: pathlib.Path) -> None:
    with _running(client, "pause") as container:
        assert container.uid == 65535
        client("task", "kill", "--signal", "SIGTERM", container.name)
        _until(lambda: _assert_stopped(client, container.name))


def _assert_stopped(client: containerd.Client, name: str) -> None:
    assert re.search(rf"^{name}\s+\d+\s+STOPPED", client("task", "ls"), re.MULTILINE)


_UTILITIES = """
set -eu
echo a b | awk '{print $2}'
nc -h 2>&1 | head -n 1
vi --version | head -n 1
curl --silent --fail --max-time 10 http://127.0.0.1:PORT/ | head -c 4
jq -n 1+1
ip -brief address show lo | cut -d ' ' -f 1
ss --help | head -n 1
tcpdump --version 2>&1 | head -n 1
drill -v | head -n 1
id -un
ps -o comm= -p $$
openssl version
"""


def _check_metalk8s_utils(client: containerd.Client, folder: pathlib.Path) -> None:
    (folder / "index.html").write_text("here")
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(folder)]
    port = daemons.free_port()
    with subprocess.Popen([*argv, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _get(port)
            script = _UTILITIES.replace("PORT", str(port))
            text = client(
                "run",
                "--rm",
                "--net-host",
                "--read-only",
                "metalk8s-utils:test",
                "test-utils",
                "/bin/bash",
                "-c",
                script,
            )
        finally:
            server.terminate()
    expected = (
        "b\nOpenBSD netcat .*\nVIM - .*\nhere2\nlo *\nUsage: ss .*\ntcpdump version .*\n"
        "drill version .*\nroot\nbash\nOpenSSL 3.*\n"
    )
    assert re.fullmatch(expected, text), text


CHECKS = {
    "alertmanager": _check_alertmanager,
    "etcd": _check_etcd,
    "metalk8s-utils": _check_metalk8s_utils,
    "nginx": _check_nginx,
    "node-exporter": _check_node_exporter,
    "pause": _check_pause,
    "prometheus": _check_prometheus,
}


@pytest.mark.root
@pytest.mark.tools("skopeo", "containerd", "ctr", "runc")
@pytest.mark.parametrize("name", SHIPPED)
def test_the_image_starts(name: str, client: containerd.Client, tmp_path: pathlib.Path) -> None:
    """As its own user, with a read-only root; a shipped image without a check here is a failure."""
    CHECKS[name](client, tmp_path)


@pytest.mark.tools("skopeo")
@pytest.mark.parametrize("name", SHIPPED)
def test_skopeo_reads_the_image_and_finds_our_digest(
    name: str, folder: pathlib.Path, images: dict[str, image.Image]
) -> None:
    found = json.loads(command.run(["skopeo", "inspect", f"dir:{folder}/images/{name}/test"]))
    assert found["Digest"] == str(images[name].manifest.digest)
    assert found["Labels"]["org.opencontainers.image.title"] == name


def test_images_share_their_base_and_carry_no_installer(images: dict[str, image.Image]) -> None:
    bases = {built.layers[0].blob for built in images.values() if len(built.layers) > 1}
    assert len(bases) == 1
    paths = {f"/{entry.path}" for built in images.values() for entry in built.entries}
    assert not {"/usr/bin/perl", "/usr/bin/dpkg", "/usr/sbin/adduser", "/usr/share/debconf/confmodule"} & paths


def test_all_files_are_traced_to_a_package_or_a_line(here: context.Context, images: dict[str, image.Image]) -> None:
    for name, built in images.items():
        keys = {package.key for stage in _stages(here, name) for package in stage.packages}
        for row in json.loads(image.origins_json(built)):
            origin = row["origin"].removeprefix("generated from ")
            assert origin in keys or origin.startswith("images/") or origin == "merged /usr", row


_BUILD = """
import json, os, pathlib, re, sys
os.umask(int(sys.argv[2], 8))
from buildchain import store
from buildchain.tasks import context
from tests.integration import test_image
here, source = context.load(), store.Store(pathlib.Path(sys.argv[1]))
digests = {name: str(test_image._build(here, source, name).manifest.digest) for name in test_image.SHIPPED}
# Not ru_maxrss, which starts with what the process that started this one had.
(peak,) = re.findall("VmHWM:\\s+([0-9]+) kB", pathlib.Path("/proc/self/status").read_text())
print(json.dumps([digests, int(peak) * 1024]))
"""


def test_bytes_depend_on_nothing_around_and_memory_stays_low(
    here: context.Context, images: dict[str, image.Image], tmp_path: pathlib.Path
) -> None:
    """Another folder, umask, time zone, locale and hash seed: the same digests, all images in one process."""
    other = store.Store(tmp_path / "another store")
    for name in SHIPPED:
        for package in _stages(here, name)[-1].packages:
            other.add_file(here.store.path(package.content.digest))
    path = os.pathsep.join(str(ROOT / folder) for folder in _PATH)
    environment = {**os.environ, "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "4711", "LC_ALL": "C", "PYTHONPATH": path}
    argv = [sys.executable, "-c", _BUILD, str(other.root), "077"]
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    digests, memory = json.loads(done.stdout.splitlines()[-1])
    assert digests == {name: str(built.manifest.digest) for name, built in images.items()}
    assert memory <= MAX_MEMORY


_PATH = ("", "static-container-registry", "static-container-registry/tests")
"""Where pytest finds modules (pyproject.toml), for a process of its own."""

_COMPRESS = """
import hashlib, pathlib, sys
from buildchain import compression
print(hashlib.sha256(compression.gzip_bytes(pathlib.Path(sys.argv[1]).read_bytes())).hexdigest())
"""


@pytest.mark.tools("qemu-x86_64")
def test_compressed_bytes_do_not_depend_on_the_processor(
    here: context.Context, images: dict[str, image.Image], tmp_path: pathlib.Path
) -> None:
    """A real layer, on processors from one without SSE 4 to one with all that is emulated."""
    layer = images["nginx"].layers[0].blob
    sample = tmp_path / "sample"
    sample.write_bytes(gzip.decompress(here.store.read(layer.digest)))
    digests = {processor: _compress_on(["qemu-x86_64", "-cpu", processor], sample) for processor in PROCESSORS}
    assert set(digests.values()) == {_compress_on([], sample)}, digests


def _compress_on(emulator: Sequence[str], sample: pathlib.Path) -> str:
    argv = [*emulator, sys.executable, "-c", _COMPRESS, str(sample)]
    return subprocess.run(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    ).stdout


@pytest.mark.tools("dpkg-deb", "openssl")
def test_the_bundle_is_that_of_debians_own_program(
    here: context.Context, images: dict[str, image.Image], tmp_path: pathlib.Path
) -> None:
    """What update-ca-certificates makes of the same package, byte for byte."""
    (package,) = (each for each in _stages(here, "nginx")[0].packages if each.name == "ca-certificates")
    command.run(["dpkg-deb", "-x", here.store.path(package.content.digest), tmp_path / "root"])
    certificates = tmp_path / "root/usr/share/ca-certificates"
    names = sorted(str(path.relative_to(certificates)) for path in certificates.rglob("*.crt"))
    (tmp_path / "conf").write_text("".join(f"{name}\n" for name in names))
    for folder in ("local", "hooks", "etc"):
        (tmp_path / folder).mkdir()
    argv: list[command.Argument] = ["sh", tmp_path / "root/usr/sbin/update-ca-certificates"]
    argv += ["--certsconf", tmp_path / "conf", "--certsdir", certificates, "--localcertsdir", tmp_path / "local"]
    command.run([*argv, "--etccertsdir", tmp_path / "etc", "--hooksdir", tmp_path / "hooks"])
    assert (
        _file(here.store, images["nginx"], "etc/ssl/certs/ca-certificates.crt")
        == (tmp_path / "etc/ca-certificates.crt").read_bytes()
    )


def _file(source: store.Store, built: image.Image, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(source.read(built.layers[0].blob.digest)))) as layer:
        stream = layer.extractfile(path)
        assert stream is not None
        return stream.read()
