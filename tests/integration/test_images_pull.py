"""Images through real programs: from a docker-registry into the lock, the store, the tree, and out of nginx again."""

import base64
import contextlib
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator

import pytest

from buildchain import command, errors, fetch, lock, oci, registry, registry_client, store, verify
from tests.support import checkouts, containerd, images, mirror, nginx, openpgp, proxies, registries, small

pytestmark = pytest.mark.tools(
    "docker-registry", "skopeo", "nginx", "htpasswd", "openssl", "git", "apt-get", "containerd", "ctr"
)

IMAGES = """\
    copied: {{source: "{address}/group/tool", tag: "1.0"}}
    signed: {{source: "{address}/group/tool", tag: "1.0", signatures: true}}
    several: {{source: "{address}/several", tag: v1, platforms: [linux/amd64, linux/arm64]}}
    sparse: {{source: "{address}/several", tag: v1, bootstraps: true}}
    docker: {{source: "{address}/docker", tag: "2", digest: "{docker}"}}
"""


@dataclasses.dataclass(frozen=True)
class Site:
    """A checkout that was locked and staged, and where its images came from."""

    checkout: checkouts.Checkout
    upstream: registries.Real
    digests: dict[str, str]
    """Upstream's, by reference on the medium."""
    before: int
    """Requests that the registry had before the first lock."""
    output: str


def _read(folder: pathlib.Path) -> images.Image:
    """An image that our own maker has built, as something to push."""
    manifest = (folder / "manifest.json").read_bytes()
    row = json.loads(manifest)
    names = [each["digest"].removeprefix("sha256:") for each in (row["config"], *row["layers"])]
    return images.Image(manifest, row["mediaType"], tuple((folder / name).read_bytes() for name in names))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    top = tmp_path_factory.mktemp("site")
    with (
        openpgp.home() as home,
        small.Upstream(top / "archive", home) as archive,
        registries.docker_registry(top / "upstream") as upstream,
    ):
        checkout = checkouts.clone(top, archive)
        checkout.doit("lock")
        checkout.doit("populate_iso")
        tool = _read(checkout.staged / "images/tool/1.0")
        signature = images.random_image((7,), size=500, media_type=images.OCI_MANIFEST)
        sbom = images.artifact(tool, "application/spdx+json")
        index = images.index([tool, images.random_image((3,), platform="arm64", media_type=images.OCI_MANIFEST)])
        docker = images.random_image((1, 2), size=2_000_000)
        upstream.push("group/tool", "1.0", tool)
        upstream.push("group/tool", f"sha256-{tool.hex}.sig", signature)
        upstream.push("group/tool", f"sha256-{tool.hex}", images.index([sbom]))
        upstream.push("several", "v1", index)
        upstream.push("docker", "2", docker)
        before = len(upstream.asked())
        checkout.write(
            "distribution.yaml", small.INTENT + IMAGES.format(address=upstream.address, docker=docker.digest)
        )
        checkout.write("registries.yaml", f'"{upstream.address}": {{plain-http: true}}\n')
        output = checkout.doit("lock")
        shutil.rmtree(top / "store")
        output += checkout.doit("populate_iso")
        digests = {
            "tool:1.0": tool.digest,
            "copied:1.0": tool.digest,
            "signed:1.0": tool.digest,
            f"signed:sha256-{tool.hex}.sig": signature.digest,
            f"signed@{sbom.digest}": sbom.digest,
            "several:v1": index.digest,
            f"several@{index.children[1].digest}": index.children[1].digest,
            "sparse:v1": index.digest,
            "docker:2": docker.digest,
        }
        yield Site(checkout, upstream, digests, before, output)


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[nginx.Server]:
    """The staged tree, behind nginx with the two includes of the medium."""
    version = (site.checkout.staged / "product.txt").read_text().partition("VERSION=")[2].partition("\n")[0]
    root = f'set {registry.server_root(f"metalk8s-{version}")} "{site.checkout.staged}/images/";'
    texts = [(site.checkout.staged / path).read_text() for path in (registry.IMAGES_PATH, registry.COMMON_PATH)]
    with nginx.serve(root, *texts) as running:
        yield running


def _prefix(site: Site) -> str:
    text = (site.checkout.staged / registry.IMAGES_PATH).read_text()
    return "metalk8s-" + text.partition("/v2/metalk8s-")[2].partition("/")[0]


def test_skopeo_finds_every_upstream_digest(site: Site, served: nginx.Server) -> None:
    for reference, expected in site.digests.items():
        name = f"docker://{served.address}/{_prefix(site)}/{reference}"
        raw = command.run(["skopeo", "inspect", "--raw", "--tls-verify=false", name])
        assert f"sha256:{images.hex_of(raw)}" == expected, reference


def test_skopeo_copies_what_was_pulled(site: Site, served: nginx.Server, tmp_path: pathlib.Path) -> None:
    for number, (reference, options) in enumerate([("several:v1", ["--all"]), ("sparse:v1", []), ("docker:2", [])]):
        source = f"docker://{served.address}/{_prefix(site)}/{reference}"
        target = tmp_path / str(number)
        command.run(
            ["skopeo", "copy", *options, "--insecure-policy", "--src-tls-verify=false", source, f"dir:{target}"]
        )
        manifest = (target / "manifest.json").read_bytes()
        assert options == [] or f"sha256:{images.hex_of(manifest)}" == site.digests[reference]


def test_referrers_are_listed(site: Site, served: nginx.Server) -> None:
    subject = site.digests["signed:1.0"]
    url = f"{served.url}/v2/{_prefix(site)}/signed/referrers/{subject}"
    listed = json.loads(fetch.get(url, fetch.Options(), max_bytes=100_000))["manifests"]
    assert [f"signed@{each['digest']}" in site.digests for each in listed] == [True]


def test_no_blob_is_asked_for_twice_and_no_tag_after_the_lock(site: Site) -> None:
    asked = site.upstream.asked()[site.before :]
    blobs = [line for line in asked if "/blobs/" in line]
    configurations = 3  # asked for by the lock, and again by a store that has lost them
    assert len(blobs) <= len(set(blobs)) + configurations
    assert all(line.startswith("GET ") for line in asked)
    last_tag = max(number for number, line in enumerate(asked) if "/manifests/" in line and "sha256:" not in line)
    assert last_tag < min(number for number, line in enumerate(asked) if f"/blobs/{_layer(site)}" in line)


def _layer(site: Site) -> str:
    locked = lock.load(site.checkout.root / lock.FILE_NAME).image("docker")
    return str(max(each.content.size for each in locked.blobs) and locked.blobs[-1].content.digest)


def test_the_medium_is_in_order(site: Site) -> None:
    key = site.checkout.root / "packages/keys/development/public.asc"
    trust = verify.Trust((key.read_bytes(),))
    report = verify.judge(site.checkout.staged, trust)
    assert report.faults == ()
    assert "1 of 2 images of the index are not here" in str(report)


@pytest.mark.root
def test_containerd_imports_a_sparse_index_before_any_registry_runs(site: Site, tmp_path: pathlib.Path) -> None:
    folder = site.checkout.staged / "bootstrap-images"
    (row,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    name = row["annotations"]["org.opencontainers.image.ref.name"]
    command.run(["tar", "--create", "--file", str(tmp_path / "a.tar"), "--directory", str(folder), "."])
    with containerd.containerd() as ctr:
        # As the formula does (salt/_modules/metalk8s_image.py).
        base = name.rpartition(":")[0]
        ctr("images", "import", "--snapshotter", "native", "--base-name", base, str(tmp_path / "a.tar"))
        line = next(line for line in ctr("images", "list").splitlines() if line.startswith(name))
        assert site.digests["sparse:v1"] in line


def test_the_run_says_what_came(site: Site) -> None:
    assert "image copied: absent -> " in site.output
    assert " shared" in site.output
    assert "x the link's floor" in site.output


def test_nothing_is_asked_when_nothing_changed(site: Site) -> None:
    before = len(site.upstream.asked())
    output = site.checkout.doit("images")
    assert all(line.startswith("-- ") for line in output.splitlines() if "IMAGE" in line or "PULL" in line), output
    assert site.checkout.doit("images", OFFLINE="1")
    assert len(site.upstream.asked()) == before


def test_a_moved_tag_is_told(site: Site) -> None:
    site.upstream.push("several", "v1", images.random_image((9,)))
    assert "image several: " in site.checkout.doit("lock", "--check", code=1)
    output = site.checkout.doit("lock", "sparse")
    assert "image sparse: " in output
    assert "image several: " not in output
    site.checkout.doit("images:several")


# Registries that ask who is there.


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a registry that holds an image; others are started on it, each with its own kind of door."""
    top = tmp_path_factory.mktemp("stocked")
    with registries.docker_registry(top) as open_to_all:
        open_to_all.push("app", "1.0", IMAGE)
    return top


IMAGE = images.random_image((1, 2, 3), size=100_000)


@dataclasses.dataclass(frozen=True)
class Client:
    """A user with a store, a file of credentials and a file of sites."""

    folder: pathlib.Path
    address: str
    site: str = "{plain-http: true}"
    user: str = ""

    def pull(self) -> dict[str, bytes]:
        """Resolve and pull the image; returns its files on the medium."""
        (self.folder / "registries.yaml").write_text(f'"{self.address}": {self.site}\n')
        secret = base64.b64encode(self.user.encode()).decode()
        auths = {self.address: {"auth": secret}} if self.user else {}
        (self.folder / "config.json").write_text(json.dumps({"auths": auths}))
        sites = registry_client.load_sites(self.folder / "registries.yaml")
        source, held = f"{self.address}/app", store.Store(self.folder / "store")
        plain = fetch.Options(jobs=4, attempts=2, first_wait_s=0.01)
        access = registry_client.access(sites, [source], [self.folder / "config.json"], plain)
        options = dataclasses.replace(plain, access=access)
        wanted = lock.ImageRequest("app", source, "1.0", ("linux/amd64",))
        locked = registry_client.resolve(wanted, "", registry_client.Client(sites, options), held)
        fetch.pull(registry_client.requests(locked, sites), held, options, fetch.NullProgress())
        files = oci.pulled(locked, held).below("images/app/1.0").files()
        return {file.path: held.read(file.content.digest) for file in files}


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.forget_settings(monkeypatch)


def test_a_registry_with_htpasswd(stocked: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (stocked / "htpasswd").write_bytes(command.run(["htpasswd", "-Bbn", "me", "secret"]))
    auth = {"htpasswd": {"realm": "test", "path": str(stocked / "htpasswd")}}
    with registries.docker_registry(stocked, auth=auth) as guarded:
        assert Client(tmp_path, guarded.address, user="me:secret").pull() == images.files_of(IMAGE)
        with pytest.raises(errors.TransportError, match=r"refuses the credentials from .*config\.json"):
            Client(tmp_path, guarded.address, user="me:wrong").pull()
        with pytest.raises(errors.TransportError, match="asks for a user name and password"):
            Client(tmp_path, guarded.address).pull()


def test_a_registry_with_a_token_server(stocked: pathlib.Path, tmp_path: pathlib.Path) -> None:
    authority = _certificate(tmp_path, "token", "/CN=token", "-x509")
    with registries.token_server(*authority, {"me": "secret"}) as realm:
        auth = {"token": {"realm": realm, "service": "test", "issuer": "test", "rootcertbundle": str(authority[1])}}
        with registries.docker_registry(stocked, auth=auth) as guarded:
            assert Client(tmp_path, guarded.address, user="me:secret").pull() == images.files_of(IMAGE)
            with pytest.raises(errors.TransportError, match=r"its token server .* refuses anonymous users"):
                Client(tmp_path, guarded.address).pull()


def test_a_registry_that_wants_a_certificate(stocked: pathlib.Path, tmp_path: pathlib.Path) -> None:
    ca_key, ca = _certificate(tmp_path, "ca", "/CN=Test CA", "-x509")
    pairs = {}
    for name, extension in (("server", "subjectAltName=DNS:localhost"), ("client", "extendedKeyUsage=clientAuth")):
        key, asked = _certificate(tmp_path, name, f"/CN={name}")
        (tmp_path / "extension").write_text(extension)
        sign = ["openssl", "x509", "-req", "-in", str(asked), "-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial"]
        signed = tmp_path / f"{name}.crt"
        command.run([*sign, "-days", "1", "-extfile", str(tmp_path / "extension"), "-out", str(signed)])
        pairs[name] = key, signed
    tls = {"certificate": str(pairs["server"][1]), "key": str(pairs["server"][0]), "clientcas": [str(ca)]}
    shown = f"client-certificate: {pairs['client'][1]}, client-key: {pairs['client'][0]}"
    with registries.docker_registry(stocked, tls=tls) as guarded:
        assert Client(tmp_path, guarded.address, f"{{ca: {ca}, {shown}}}").pull() == images.files_of(IMAGE)
        with pytest.raises(errors.TransportError, match="certificate is not trusted"):
            Client(tmp_path, guarded.address, f"{{{shown}}}").pull()
        with pytest.raises(errors.TransportError, match="certificate"):
            Client(tmp_path, guarded.address, f"{{ca: {ca}}}").pull()
        with pytest.raises(errors.TransportError, match="HTTP 400"):
            Client(tmp_path, guarded.address).pull()


def test_a_registry_behind_a_proxy(
    stocked: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registries.docker_registry(stocked) as real, _behind(monkeypatch, "http_proxy", real.address, 80) as proxy:
        assert Client(tmp_path, "registry.invalid").pull() == images.files_of(IMAGE)
        assert "GET http://registry.invalid/v2/app/manifests/1.0" in proxy.log
        monkeypatch.setenv("http_proxy", f"http://{proxy.address}")
        with pytest.raises(errors.TransportError, match="HTTP 407") as caught:
            Client(tmp_path, "registry.invalid").pull()
        assert "The proxy asks for a user name" in str(caught.value)


def test_a_registry_with_tls_behind_a_proxy(
    stocked: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ["-addext", "subjectAltName=DNS:registry.invalid"]
    key, certificate = _certificate(tmp_path, "server", "/CN=server", "-x509", *name)
    tls = {"certificate": str(certificate), "key": str(key)}
    with (
        registries.docker_registry(stocked, tls=tls) as real,
        _behind(monkeypatch, "https_proxy", real.address, 443) as proxy,
    ):
        assert Client(tmp_path, "registry.invalid", f"{{ca: {certificate}}}").pull() == images.files_of(IMAGE)
        assert set(proxy.log) == {"CONNECT registry.invalid:443"}
        with pytest.raises(errors.TransportError, match="certificate is not trusted"):
            Client(tmp_path, "registry.invalid", "{}").pull()
        monkeypatch.setenv("no_proxy", "registry.invalid")
        with pytest.raises(errors.TransportError):
            Client(tmp_path, "registry.invalid", f"{{ca: {certificate}}}").pull()


@contextlib.contextmanager
def _behind(monkeypatch: pytest.MonkeyPatch, setting: str, address: str, port: int) -> Iterator[proxies.Proxy]:
    """A proxy that wants a password and knows one registry, by a name that nobody else knows."""
    with proxies.Proxy({f"registry.invalid:{port}": address}, "me:secret") as proxy:
        monkeypatch.setenv(setting, proxy.url)
        yield proxy


def _certificate(folder: pathlib.Path, name: str, subject: str, *options: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A key, and a certificate of its own or the request for one."""
    key, made = folder / f"{name}.key", folder / f"{name}.pem"
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", str(key), "-out", str(made)]
    command.run([*new, *options])
    return key, made
