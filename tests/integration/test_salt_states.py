"""The formulas under real Salt: compiled for every family of operating systems, and applied to a Debian host.

The host has no network but its own loopback; the medium is the only source of packages and images.
"""

import concurrent.futures
import dataclasses
import pathlib
import shutil
import subprocess
import time
import tomllib
import typing
from collections.abc import Iterator

import pytest

from buildchain import command, deb, lock, oci, registry, salt, signing, store, tree
from tests.support import containerd, images, keys, node, salt_tree, solutions, states
from tests.unit import test_salt_modules, test_salt_solutions

pytestmark = [
    pytest.mark.tools("containerd", "ctr", "dpkg-deb", "gpg", "mmdebstrap", "nsenter", "runc", "unshare", node.PYTHON),
    pytest.mark.root,
    pytest.mark.network,
]

VERSIONS: salt.Versions = {
    **states.VERSIONS,
    "packages": {
        "debian": {name: {"version": "1.2-3"} for name in ("containerd", "runc", "salt-minion")},
        "redhat": {},
    },
}
BOOTSTRAP = f"""\
apiVersion: metalk8s.scality.com/v1alpha2
kind: BootstrapConfiguration
networks: {{controlPlane: {node.IP}/32, workloadPlane: {node.IP}/32}}
ca: {{minion: bootstrap}}
archives: [/srv/medium]
proxies: {{http: "http://me:a%40b@proxy:3128", no_proxy: [localhost]}}
"""
SOLUTIONS = """\
apiVersion: solutions.metalk8s.scality.com/v1alpha1
kind: SolutionsConfiguration
archives: [/srv/my-app-1, /srv/my-app-2, /srv/thin-app]
active: {my-app: 1.1.0}
"""
ROLES = ("metalk8s.roles.node", "metalk8s.roles.bootstrap")
APPLIED = "metalk8s.roles.node,metalk8s.container-engine.containerd.imported,metalk8s.repo.server"
"""All but what waits for a service to answer: in a chroot systemd starts none. tests/end_to_end/test_node.py does."""
GRAINS: dict[str, dict[str, object]] = {
    "Debian": {"os_family": "Debian", "os": "Debian"},
    "RedHat": {"os_family": "RedHat", "os": "Rocky", "osmajorrelease": 9},
}
UNITS = {"containerd": "/usr/bin/containerd", "salt-minion": "/bin/true"}
KEYWORDS = {
    # What they pass on, as their documentation says: to file.managed, and into the certificate.
    "x509.private_key_managed": {"user", "group", "mode", "makedirs"},
    "x509.certificate_managed": {
        *("user", "group", "mode", "days_valid", "private_key", "signing_private_key", "signing_cert"),
        *("CN", "basicConstraints", "keyUsage", "extendedKeyUsage", "subjectAltName"),
        *("subjectKeyIdentifier", "authorityKeyIdentifier"),
    },
}
_IMAGES_OF_SOLUTIONS = tuple(
    f"my-app-{version}/{image}"
    # The thin one first: what containerd holds of its base, it would not ask for again.
    for version in ("2.0.0", "1.0.0", "1.1.0")
    for image in ("base-server:1.2", "my-app-operator:1.0.0")
)
EPOCH = 1_700_000_000


@dataclasses.dataclass(frozen=True)
class Site:
    """A bootstrap node, the containerd that serves it, and what can be applied to it."""

    host: node.Node
    ctr: containerd.Client
    names: list[str]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    medium = _medium(directory)
    with containerd.containerd() as ctr, node.node(medium, ctr.directory, states.ENVIRONMENT) as host:
        (host.root / "etc/metalk8s/bootstrap.yaml").write_text(BOOTSTRAP)
        (host.root / "etc/metalk8s/solutions.yaml").write_text(SOLUTIONS)
        _solutions(host.root)
        # A dnf and an rpm that know no package: enough for Salt to load what it does on that family.
        for program in ("dnf", "rpm"):
            path = host.root / "usr/local/bin" / program
            path.write_text("#!/bin/sh\nexit 0\n")
            path.chmod(0o755)
        yield Site(host, ctr, states.state_names(medium))


@pytest.fixture(scope="module")
def reports(site: Site) -> dict[str, dict[str, typing.Any]]:
    """What Salt says of every SLS on a host of each family that nothing was applied to."""
    folders = {family: site.host.configure("bootstrap", **grains) for family, grains in GRAINS.items()}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = {
            family: pool.submit(site.host.probe, folder, site.names, ROLES) for family, folder in folders.items()
        }
    return {family: each.result() for family, each in running.items()}


@pytest.fixture(params=sorted(GRAINS))
def report(reports: dict[str, dict[str, typing.Any]], request: pytest.FixtureRequest) -> dict[str, typing.Any]:
    """The report of one family."""
    return reports[request.param]


@pytest.fixture(scope="module")
def applied(site: Site) -> Site:
    """The bootstrap node after its first run."""
    folder = site.host.configure("bootstrap")
    site.host.salt(folder, "saltutil.sync_all", f"saltenv={states.ENVIRONMENT}")
    done = site.host.salt(folder, "state.apply", APPLIED)
    assert failures(done) == []
    assert len(changed(done)) > 12
    return site


def _solutions(root: pathlib.Path) -> None:
    """Two versions of a Solution and a thin one that stands on them, unpacked where they are listed."""
    for place, version in (("srv/my-app-1", b"1.0.0"), ("srv/my-app-2", b"1.1.0")):
        files = solutions.good()
        files["manifest.yaml"] = files["manifest.yaml"].replace(b"version: 1.0.0", b"version: " + version)
        solutions.stage(files, root / place)
    test_salt_solutions.thin(root / "srv/thin-app")


def failures(done: object) -> list[str]:
    """What went wrong in a run, or is left out because of it."""
    if not isinstance(done, dict):
        return [str(done)]
    return [f"{row.get('__id__')}: {row['comment']}" for row in done.values() if row["result"] is False]


def changed(done: dict[str, typing.Any]) -> list[str]:
    """The IDs of the states that changed something."""
    return [row["__id__"] for row in done.values() if row["changes"]]


def test_every_state_compiles(report: dict[str, typing.Any], site: Site) -> None:
    assert set(report["low"]) == set(site.names)
    for name, rows in report["low"].items():
        assert rows, name
        assert [row for row in rows if not isinstance(row, dict)] == [], name


def test_every_function_takes_its_arguments(report: dict[str, typing.Any]) -> None:
    """Salt passes over arguments that a function with `**kwargs` does not know."""
    known = set(report["keywords"])
    wrong = set()
    for row in (row for rows in report["low"].values() for row in rows if isinstance(row, dict)):
        function = f"{row['state']}.{row['fun']}"
        arguments = report["arguments"][function]
        if arguments is None:
            wrong.add(f"{function} does not exist")
        else:
            taken = known | set(arguments["args"]) | KEYWORDS.get(function, set())
            wrong |= {f"{function} has no argument {name}" for name in row.keys() - taken}
    assert wrong == set()
    assert {"file.managed", "pkg.installed", "service.running", "metalk8s_image.imported"} <= report["arguments"].keys()


def test_a_test_run_finds_no_fault(report: dict[str, typing.Any]) -> None:
    for name in ROLES:
        assert failures(report["tests"][name]) == [], name
    assert len(report["tests"]["metalk8s.roles.bootstrap"]) > 18


def test_top_file_and_pillar_give_the_bootstrap_node_its_roles(report: dict[str, typing.Any]) -> None:
    assert report["top"] == {states.ENVIRONMENT: ["metalk8s.roles.node", "metalk8s.roles.bootstrap"]}
    assert report["pillar"]["metalk8s"]["repo"] == {"local_mode": True}
    assert report["pillar"]["mine_functions"].keys() == {"control_plane_ip", "repositories_authority"}


def test_the_pillar_holds_the_solutions_of_the_bootstrap_node(report: dict[str, typing.Any]) -> None:
    found = report["pillar"]["metalk8s"]["solutions"]
    rows = [(row["id"], row["mountpoint"], row["active"]) for row in found["available"]["my-app"]]
    assert rows == [
        ("my-app-1.0.0", "/srv/my-app-1", False),
        ("my-app-1.1.0", "/srv/my-app-2", True),
        ("my-app-2.0.0", "/srv/thin-app", False),
    ]
    assert found["config"]["archives"] == ["/srv/my-app-1", "/srv/my-app-2", "/srv/thin-app"]


def test_a_second_run_changes_nothing(applied: Site) -> None:
    done = applied.host.salt("/etc/salt-of-bootstrap-own", "state.apply", APPLIED)
    assert (failures(done), changed(done)) == ([], [])


def test_a_dry_run_mounts_no_medium_and_misses_none(applied: Site) -> None:
    """As `iso-manager.sh --dry-run` asks about an ISO that is to be added."""
    test_salt_modules.iso(applied.host.root / "root/next.iso", b"NAME=MetalK8s\nVERSION=2.6.0\n")
    configuration = applied.host.root / "etc/metalk8s/bootstrap.yaml"
    configuration.write_text(BOOTSTRAP.replace("/srv/medium", "/srv/medium, /root/next.iso"))
    try:
        done = applied.host.salt("/etc/salt-of-bootstrap-own", "state.apply", "metalk8s.archives.served", "test=True")
    finally:
        configuration.write_text(BOOTSTRAP)
    assert failures(done) == []
    assert [row["result"] for row in done.values() if row["__id__"] == "Mount metalk8s-2.6.0"] == [None]


def test_packages_come_from_the_medium_alone(applied: Site) -> None:
    policy = applied.host.run("apt-cache", "policy", "containerd")
    assert "Installed: 1.2-3" in policy
    assert "990 file:/srv/medium/packages/debian/metalk8s-debian-12 ./" in policy
    assert applied.host.run("dpkg-query", "-W", "-f", "${Status}", "salt-minion") == "install ok installed"


def test_apt_refuses_another_key(applied: Site) -> None:
    path = applied.host.root / "etc/apt/keyrings/metalk8s.asc"
    with keys.generate() as other:
        path.write_bytes(other.public)
        with pytest.raises(Exception, match="NO_PUBKEY"):
            applied.host.run("apt-get", "update", "--error-on=any")
    done = applied.host.salt("/etc/salt-of-bootstrap-own", "state.apply", "metalk8s.repo.configured")
    assert changed(done) == ["Install the key of the repositories"]
    applied.host.run("apt-get", "update", "--error-on=any")


def test_images_of_the_bootstrap_archive_are_where_they_run(applied: Site) -> None:
    prefix = f"metalk8s-registry-from-config.invalid/{states.ENVIRONMENT}"
    assert applied.ctr("--namespace=metalk8s", "images", "list", "--quiet").split() == [f"{prefix}/nginx:1.22.1"]
    assert applied.ctr("--namespace=k8s.io", "images", "list", "--quiet").split() == [f"{prefix}/pause:3.6"]


def test_containerd_understands_its_configuration(applied: Site) -> None:
    path = applied.host.root / "etc/containerd/config.toml"
    dumped = command.run(["containerd", "--config", path, "config", "dump"]).decode()
    cri = tomllib.loads(dumped)["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == f"metalk8s-registry-from-config.invalid/{states.ENVIRONMENT}/pause:3.6"
    assert cri["registry"]["config_path"] == "/etc/containerd/certs.d"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True


def test_systemd_understands_the_units(applied: Site) -> None:
    applied.host.run("systemd-analyze", "verify", "--man=no", "metalk8s-repositories.service", "containerd.service")


def test_a_node_installs_and_pulls_from_the_bootstrap_node(applied: Site) -> None:
    """Under nginx with the image's own configuration: packages by apt, an image by containerd's client."""
    host = applied.host
    shutil.copy(salt_tree.ROOT / "images/nginx/nginx.conf", host.root / "etc/nginx/nginx.conf")
    command.run(["cp", host.root / "var/lib/metalk8s/repositories/conf.d/default.conf", host.root / "etc/nginx/conf.d"])
    with subprocess.Popen(host.argv("nginx", "-g", "daemon off;")) as server:
        try:
            _wait_for(host, 8080)
            folder = host.configure("node1")
            done = host.salt(folder, "state.apply", "metalk8s.roles.node")
            assert failures(done) == []
            assert changed(done) == [
                "Configure /etc/apt/sources.list.d/metalk8s.sources",
                "Read the indexes of the repositories",
                "Configure the Salt minion",
                "Run the Salt minion",
            ]
            host.run("apt-get", "update", "--error-on=any")
            policy = host.run("apt-cache", "policy", "containerd")
            assert f"990 https://{node.IP}:8080/{states.ENVIRONMENT}/debian/metalk8s-debian-12 ./" in policy
            host.run("apt-get", "install", "--reinstall", "--yes", "runc")
            name = f"metalk8s-registry-from-config.invalid/{states.ENVIRONMENT}/pause:3.6"
            pull = ["ctr", "--namespace=pulled", "images", "pull", "--hosts-dir=/etc/containerd/certs.d", name]
            assert "done" in host.run(*pull)
            for place in _IMAGES_OF_SOLUTIONS:
                name = f"metalk8s-registry-from-config.invalid/{place}"
                fetch = ["ctr", "--namespace=pulled", "content", "fetch", "--hosts-dir=/etc/containerd/certs.d", name]
                # It prints nothing of what is there already.
                host.run(*fetch)
        finally:
            server.terminate()
            server.wait(20)


def _wait_for(host: node.Node, port: int) -> None:
    for _ in range(100):
        if f"{node.IP}:{port}" in host.run("ss", "--listening", "--tcp", "--numeric"):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


def _medium(directory: pathlib.Path) -> pathlib.Path:
    """A small medium: a signed repository of four packages, two images, and a view of them to bootstrap from."""
    held = store.Store(directory / "store")
    packages = [
        _package(directory, held, name) for name in ("containerd", "containernetworking-plugins", "nftables", "runc")
    ]
    packages.append(_package(directory, held, "salt-minion"))
    with signing.open_signer(signing.Source(str(keys.DEVELOPMENT / "secret.asc"))) as signer:
        repository = deb.index(packages, held, name="debian-12", label="MetalK8s", epoch=EPOCH, signer=signer)
        key = signer.public_key()
    pictures = {
        "etcd/3.4.23": images.random_image((1, 3), media_type=images.OCI_MANIFEST),
        "nginx/1.22.1": images.random_image((1, 2), media_type=images.OCI_MANIFEST),
        "pause/3.6": images.random_image((2, 3), media_type=images.OCI_MANIFEST),
    }
    shipped = tree.build(
        tree.File(f"images/{place}/{name}", held.add_bytes(content))
        for place, picture in pictures.items()
        for name, content in images.files_of(picture).items()
    )
    prefix = f"metalk8s-registry-from-config.invalid/{states.ENVIRONMENT}"
    folders = {f"{prefix}/{place.replace('/', ':')}": shipped.below(f"images/{place}") for place in pictures}
    return salt_tree.stage_medium(
        directory,
        VERSIONS,
        repository.moved_to("packages/debian/metalk8s-debian-12"),
        shipped,
        oci.layout(folders, held).moved_to("bootstrap-images"),
        registry.index(shipped, held, version=states.VERSION),
        key=key,
    )


def _package(directory: pathlib.Path, held: store.Store, name: str) -> lock.Package:
    """A package of the right name with little in it: a unit, and for containerd its real client."""
    root = directory / "packages" / name
    (root / "DEBIAN").mkdir(parents=True)
    lines = [f"Package: {name}", "Version: 1.2-3", "Architecture: amd64", "Maintainer: nobody", "Description: test"]
    (root / "DEBIAN/control").write_text("\n".join([*lines, ""]))
    # dpkg takes a package for replaced when it has no file of its own.
    (root / f"usr/share/doc/{name}").mkdir(parents=True)
    (root / f"usr/share/doc/{name}/copyright").write_text("nobody's\n")
    (root / "usr/bin").mkdir(parents=True)
    if name in UNITS:
        unit = root / f"lib/systemd/system/{name}.service"
        unit.parent.mkdir(parents=True)
        unit.write_text(f"[Service]\nExecStart={UNITS[name]}\n[Install]\nWantedBy=multi-user.target\n")
    if name == "containerd":
        shutil.copy(str(shutil.which("ctr")), root / "usr/bin/ctr")
        shutil.copy("/bin/true", root / "usr/bin/containerd")
    path = directory / f"{name}.deb"
    command.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, path])
    content = held.add_file(path)
    return lock.Package(name, "amd64", "1.2-3", name, "debian", f"pool/{name}_1.2-3_amd64.deb", content)
