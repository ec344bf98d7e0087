"""What an operator relies on: everything installs, pulls and runs from the medium alone, without network."""

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from buildchain import bases, closure, command, registry
from tests.end_to_end import conftest
from tests.support import containerd, nginx, offline, rpms

pytestmark = pytest.mark.tools("mmdebstrap", "unshare", "bsdtar", "ctr", "containerd", "skopeo", "nginx", "runc")

_REPOSITORY = "packages/debian/metalk8s-debian-12"


@pytest.fixture(scope="module")
def extracted(first: conftest.Checkout, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The ISO's files, read back by a reader that is not ours."""
    folder = tmp_path_factory.mktemp("extracted")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    subprocess.run(["bsdtar", "-xf", first.iso, "-C", folder], check=True)
    return folder


def _bootstrap(medium: pathlib.Path, target: pathlib.Path, base: str = "") -> str:
    """Install a whole Debian and what a node needs, with no other source and no network; returns what dpkg says.

    `base` is where apt finds the medium, by default its files.
    """
    key = medium / "signing-key.asc"
    source = f"deb [signed-by={key}] {base or f'copy:{medium}'}/{_REPOSITORY} ./"
    include = "apt,ca-certificates,containerd,conntrack,ethtool,ipset,iptables,python3,runc,socat,xfsprogs,gnupg"
    argv = [*offline.argv(medium, is_root=True), "mmdebstrap", "--quiet"]
    argv += ["--variant=essential", f"--include={include}"]
    done = subprocess.run(
        [*argv, "", str(target), source], capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        ["chroot", target, "dpkg", "--list"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/sbin:/usr/bin"},
    )
    return listed.stdout


_APT = """\
mkdir -p "$1/srv/scality/metalk8s-$3"
mount --bind "$2" "$1/srv/scality/metalk8s-$3"
rm -f "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*
chroot "$1" sh -euc "dpkg --install /srv/scality/*/packages/debian/*/pool/metalk8s-release_*.deb
apt-get update
apt-get install --yes --no-install-recommends metalk8s-sosreport
apt-cache policy metalk8s-sosreport
dpkg --list metalk8s-release metalk8s-sosreport"
"""


def _own_debs(medium: pathlib.Path, target: str) -> str:
    """Install own packages by the sources that one of them brings, from the mounted medium alone; what apt says."""
    argv = ["unshare", "--net", "--mount", "sh", "-euc", _APT, "sh", target, str(medium), _version(medium)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("medium", ["staged", "iso"])
def test_debian_installs_offline(first: conftest.Checkout, extracted: pathlib.Path, medium: str) -> None:
    """From the staged tree over HTTP, and from the files of the ISO."""
    root = first.root / "_build/root" if medium == "staged" else extracted
    with tempfile.TemporaryDirectory(prefix="debian-") as target:
        listed = _bootstrap(root, pathlib.Path(target), offline.URL if medium == "staged" else "")
        for program in ("containerd", "runc", "iptables", "ipset", "conntrack", "socat", "python3"):
            subprocess.run(["chroot", target, "which", program], check=True, capture_output=True)
        said = _own_debs(root, target)
        plugin = "usr/lib/python3/dist-packages/sos/report/plugins/metalk8s.py"
        assert (pathlib.Path(target) / plugin).is_file()
    for name in ("metalk8s-release", "metalk8s-sosreport"):
        assert f"\nii  {name} " in said
    assert f" 990 file:/srv/scality/metalk8s-{_version(root)}/packages/debian/metalk8s-scality-debian-12 ./" in said
    assert "W:" not in said
    assert "\nii  containerd " in listed
    assert "\niU" not in listed


_DNF = """\
mount -t tmpfs tmpfs /srv
mkdir -p "/srv/scality/metalk8s-$3"
mount --bind "$2" "/srv/scality/metalk8s-$3"
root=$1/root; shift 3
exec "$@" --setopt=reposdir="$root/etc/yum.repos.d" \\
    --setopt=metalk8s-scality-el9.gpgkey="file://$root/etc/pki/rpm-gpg/RPM-GPG-KEY-metalk8s" install metalk8s-sosreport
"""
# dnf reads the key of an installroot's repository from the host, where it is not.


@pytest.mark.root
@pytest.mark.tools("dnf", "rpm", "rpmbuild")
def test_el_installs_own_packages_offline(first: conftest.Checkout, tmp_path: pathlib.Path) -> None:
    medium, name = first.root / "_build/root", "metalk8s-scality-el9"
    machine = rpms.Client(tmp_path, medium / "packages/redhat", [name], [f"RPM-GPG-KEY-{name}"], is_http=False)
    base = rpms.Rpm("base", provides=["python(abi) = 3.9"])
    (tmp_path / base.file_name).write_bytes(base.content())
    (tmp_path / "root").mkdir()
    command.run(["rpm", f"--root={tmp_path}/root", "--nosignature", "--install", tmp_path / base.file_name])
    machine.dnf("install", "metalk8s-release")
    stanza = (tmp_path / "root/etc/yum.repos.d/metalk8s.repo").read_text()
    assert "\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-metalk8s\n" in stanza
    argv: list[command.Argument] = ["unshare", "--net", "--mount", "sh", "-euc", _DNF, "sh", tmp_path, medium]
    dnf = [_version(medium)]
    dnf += ["dnf", "-q", "-y", f"--config={tmp_path}/dnf.conf", f"--installroot={tmp_path}/root", "--releasever=9"]
    dnf += ["--forcearch=x86_64", "--disableplugin=local", f"--setopt=cachedir={tmp_path}/fresh"]
    command.run([*argv, *dnf, f"--setopt=persistdir={tmp_path}/persist", f"--setopt=logdir={tmp_path}/log"])
    version = _version(medium).replace("-", "~")
    names = [f"{each}-{version}-1.el9.noarch" for each in ("metalk8s-release", "metalk8s-sosreport")]
    assert machine.installed() == ["base-1.0-1.el9.noarch", *names]
    plugins = tmp_path / "root/usr/lib/python3.9/site-packages/sos/report/plugins"
    assert sorted(path.name for path in plugins.iterdir()) == [
        "metalk8s.py",
        "metalk8s_containerd.py",
        "metalk8s_salt.py",
    ]


@pytest.mark.tools("apt-get", "dnf")
def test_all_packages_can_be_installed_on_minimal_hosts(extracted: pathlib.Path) -> None:
    hosts = [bases.load(conftest.ROOT / f"packages/bases/{name}-minimal.yaml") for name in ("debian-12", "el-9")]
    answers = closure.check(extracted, hosts)
    assert [answer.host for answer in answers] == ["debian on debian-12-minimal", "redhat el9 on el-9-minimal"]
    debian, el = answers
    assert debian.holes == {}
    # What Salt runs on is in no repository that can ship here: an EL host has it from its AppStream.
    assert {why.partition(" needed by ")[0] for why, *_ in el.holes.values()} == {"nothing provides python3.11"}
    python = bases.Package("python3.11", "3.11.2-2.el9", "x86_64", ("/usr/bin/python3.11",))
    _, answer = closure.check(extracted, [dataclasses.replace(hosts[1], packages=(*hosts[1].packages, python))])
    assert answer.holes == {}


def test_tampered_repository_is_refused(extracted: pathlib.Path, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "medium"
    subprocess.run(["cp", "-a", extracted, copy], check=True)
    index = copy / _REPOSITORY / "Packages"
    for path in [index, *(copy / _REPOSITORY / "by-hash/SHA256").iterdir(), copy / _REPOSITORY / "Packages.gz"]:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-20] + b"X" * 20)
    with (
        tempfile.TemporaryDirectory(prefix="debian-") as target,
        pytest.raises(AssertionError, match=r"apt-get update .*failed"),
    ):
        _bootstrap(copy, pathlib.Path(target))


def _version(medium: pathlib.Path) -> str:
    return dict(line.split("=", 1) for line in (medium / "product.txt").read_text().splitlines())["VERSION"]


@pytest.fixture(scope="module")
def server(extracted: pathlib.Path) -> Iterator[nginx.Server]:
    """nginx serving the images of the extracted medium, configured by the medium's own files."""
    root = f'set {registry.server_root(f"metalk8s-{_version(extracted)}")} "{extracted}/images/";'
    texts = [(extracted / path).read_text() for path in (registry.IMAGES_PATH, registry.COMMON_PATH)]
    with nginx.serve(root, *texts) as running:
        yield running


def _references(medium: pathlib.Path, server: nginx.Server) -> dict[str, str]:
    """Reference by image name, of everything below images/."""
    tags = [path.parent.relative_to(medium / "images") for path in (medium / "images").rglob("manifest.json")]
    return {str(tag.parent): f"{server.address}/metalk8s-{_version(medium)}/{tag.parent}:{tag.name}" for tag in tags}


def test_skopeo_pulls_every_image(extracted: pathlib.Path, server: nginx.Server, tmp_path: pathlib.Path) -> None:
    for name, reference in _references(extracted, server).items():
        target = tmp_path / name
        command.run(["skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", f"dir:{target}"])
        shipped = next((extracted / "images" / name).iterdir())
        assert {path.name for path in target.iterdir()} == {path.name for path in shipped.iterdir()}
        assert (target / "manifest.json").read_bytes() == (shipped / "manifest.json").read_bytes()


def test_containerd_pulls_and_runs_the_images(extracted: pathlib.Path, server: nginx.Server) -> None:
    references = _references(extracted, server)
    assert {"nginx", "etcd", "salt-master"} <= references.keys()
    with containerd.containerd() as client:
        for reference in references.values():
            client("image", "pull", "--plain-http", reference)
        client("run", "--rm", references["nginx"], "nginx-test", "nginx", "-t")
        assert "etcd Version" in client("run", "--rm", references["etcd"], "etcd-version", "etcd", "--version")
        argv = ("/usr/bin/salt-master", "--version")
        assert client("run", "--rm", references["salt-master"], "salt-version", *argv).startswith("salt-master 3008")


def test_containerd_imports_the_bootstrap_images_without_a_registry(
    extracted: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = extracted / "bootstrap-images"
    command.run(["tar", "--create", "--file", tmp_path / "images.tar", "--directory", folder, "."])
    with containerd.containerd() as client:
        index = json.loads((folder / "index.json").read_text())
        names = [each["annotations"]["org.opencontainers.image.ref.name"] for each in index["manifests"]]
        for name in names:
            client("image", "import", "--base-name", name.rpartition(":")[0], str(tmp_path / "images.tar"))
        assert client("image", "list", "--quiet").split() == sorted(names)
    assert [name.rpartition("/")[2].partition(":")[0] for name in names] == ["nginx", "pause"]
    for blob in (folder / "blobs/sha256").iterdir():
        twins = [path for path in (extracted / "images").rglob(blob.name)]
        assert all(path.samefile(blob) for path in twins)
