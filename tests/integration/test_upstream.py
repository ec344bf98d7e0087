"""The example of MetalK8s' own images and RPMs, all of it, with registries and archives on the loopback."""

import concurrent.futures
import contextlib
import json
import pathlib
import re
import shutil
import typing

import pytest

from buildchain import command, document, lock, manifest
from tests.support import checkouts, images, mirror, openpgp, registries, rpms, small
from tests.support.rpms import Rpm

pytestmark = pytest.mark.tools("docker-registry", "skopeo", "git", "apt-get")

FOLDER = checkouts.ROOT / "examples/upstream"


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.forget_settings(monkeypatch)


def _upstream(number: int, spec: manifest.ImageSpec) -> images.Image:
    """An index for two architectures, or, of every third, a manifest of Docker's."""
    if number % 3 == 0:
        return images.random_image((0, number), size=500)
    several = [
        images.random_image((0, number), size=500, platform=each, media_type=images.OCI_MANIFEST)
        for each in ("amd64", "arm64")
    ]
    return images.index(several)


def test_all_of_it_is_locked_and_pulled(tmp_path: pathlib.Path) -> None:
    intent = manifest.load(FOLDER / manifest.FILE_NAME)
    made = {spec.name: _upstream(number, spec) for number, spec in enumerate(intent.images)}
    with (
        openpgp.home() as home,
        small.Upstream(tmp_path / "archive", home) as archive,
        registries.docker_registry(tmp_path / "upstream") as registry,
    ):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda spec: registry.push(spec.source, spec.tag, made[spec.name]), intent.images))
        checkout = checkouts.clone(tmp_path, archive)
        hosts = sorted({spec.source.partition("/")[0] for spec in intent.images})
        rows = [f'{host}: {{mirrors: ["http://{registry.address}/{host}"], only-mirrors: true}}\n' for host in hosts]
        checkout.write("registries.yaml", "".join(rows))
        folder = "examples/upstream"

        # Our images are not those of the digests: every one is told.
        said = checkout.doit("lock", code=1, DISTRIBUTION=folder)
        pinned = [spec for spec in intent.images if spec.pinned]
        assert all(f"{spec.source}:{spec.tag} is {made[spec.name].digest}, but" in said for spec in pinned), said

        path = checkout.root / folder / manifest.FILE_NAME
        for spec in pinned:
            path.write_text(path.read_text().replace(spec.pinned, made[spec.name].digest))
        checkout.doit("lock", DISTRIBUTION=folder)
        locked = lock.load(path.parent / lock.FILE_NAME)
        assert {each.request.name: str(each.top.content.digest) for each in locked.images} == {
            name: image.digest for name, image in made.items()
        }
        before = len(registry.asked())
        shutil.rmtree(tmp_path / "store")
        checkout.doit("populate_iso", DISTRIBUTION=folder)
        asked = registry.asked()[before:]
        assert len(asked) == len(set(asked))
        assert all("sha256:" in line for line in asked if line != "GET /v2/")

    for spec in intent.images:
        staged = checkout.staged / "images" / spec.name / spec.tag
        assert images.hex_of((staged / "manifest.json").read_bytes()) == made[spec.name].hex
    for name in ("nginx", "pause", "kube-apiserver", "fluent-bit"):
        (staged,) = (checkout.staged / "images" / name).iterdir()
        raw = command.run(["skopeo", "inspect", "--raw", f"dir:{staged}"])
        assert f"sha256:{images.hex_of(raw)}" == made[name].digest
        config = json.loads(command.run(["skopeo", "inspect", "--config", "--override-arch=amd64", f"dir:{staged}"]))
        assert config["architecture"] == "amd64"
    bootstrap = json.loads((checkout.staged / "bootstrap-images/index.json").read_bytes())
    assert len(bootstrap["manifests"]) == 2


def test_digests_have_the_form_of_digests() -> None:
    text = (FOLDER / manifest.FILE_NAME).read_text()
    digests = re.findall(r"^      digest: (.*)$", text, re.MULTILINE)
    assert len(digests) == len(set(digests)) == 29
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in digests)


def test_the_repositories_of_rpms_fit_in(tmp_path: pathlib.Path) -> None:
    intent, rpms = (document.load(path, "distribution.schema.json") for path in _with_rpms(tmp_path))
    assert rpms.value["images"] == intent.value["images"]
    loaded = manifest.load(tmp_path / manifest.FILE_NAME)
    assert [each.full_name for each in loaded.repositories] == ["epel-el8", "kubernetes-el8", "saltstack-el8"]
    assert all(
        loaded.archives[name].url.startswith("https://") for each in loaded.repositories for name in each.archives
    )


ARCHIVES = {
    "kubernetes": [
        Rpm("cri-tools", "1.29.0-150500.1.1", "x86_64"),
        Rpm("kubectl", "1.29.15-150500.1.1", "x86_64"),
        Rpm("kubelet", "1.29.15-150500.1.1", "x86_64", requires=["kubernetes-cni >= 1.2.0", "conntrack", "socat"]),
        Rpm("kubelet", "1.29.8-150500.1.1", "x86_64", requires=["kubernetes-cni >= 1.2.0", "conntrack", "socat"]),
        Rpm("kubernetes-cni", "1.3.0-150500.1.1", "x86_64"),
    ],
    "saltstack": [
        Rpm("salt-minion", "3002.9-1.el8", requires=["salt = 3002.9-1.el8"]),
        Rpm("salt", "3002.9-1.el8", requires=["python3-pyyaml", "/bin/sh"]),
    ],
    "epel": [Rpm("python3-m2crypto", "0.38.0-1.el8", "x86_64"), Rpm("python3-boto3", requires=["python3-dateutil"])],
    "baseos": [
        Rpm("conntrack-tools", provides=["conntrack"]),
        Rpm("python3-dateutil", "2.6.1-6.el8", epoch=1),
        Rpm("python3-pyyaml"),
    ],
    "appstream": [Rpm("socat", architecture="x86_64"), Rpm("socat", architecture="i686")],
}
"""The packages that the example asks for, and some of what they depend on."""

BASH = Rpm("bash", "4.4.20-1.el8", "x86_64", provides=["/bin/sh"])
BASE = """\
family: redhat
architecture: x86_64
packages:
  bash: {version: 4.4.20-1.el8, provides: [/bin/sh]}
"""
"""What hosts hold: the example names no base, README.md says how."""

SHIPPED = {
    "kubernetes-el8": ["conntrack-tools", "cri-tools", "kubectl", "kubelet", "kubernetes-cni", "socat"],
    "saltstack-el8": ["python3-pyyaml", "salt", "salt-minion"],
    "epel-el8": ["python3-boto3", "python3-dateutil", "python3-m2crypto"],
}


@pytest.mark.tools("dnf", "rpm", "rpmbuild", "rpmkeys", "rpmsign", "createrepo_c", "unshare")
def test_the_repositories_of_rpms_are_locked_and_indexed(tmp_path: pathlib.Path) -> None:
    """As README.md says: keys saved, sections added, and EPEL from a copy that is signed, because EPEL is not."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(openpgp.home())
        debs = stack.enter_context(small.Upstream(tmp_path / "archive", home))
        checkout = checkouts.clone(tmp_path, debs)
        folder = checkout.root / "examples/upstream"
        intent = _with_rpms(folder)[1]
        text = intent.read_text().partition("    alertmanager:")[0].replace("origin: Debian", "origin: Test")
        text = text.replace(
            "  saltstack:\n    distribution: el8\n",
            "  saltstack:\n    distribution: el8\n    base: packages/bases/el-8.yaml\n",
        )
        intent.write_text(f"{text}    tool: {{tag: '1.0'}}\n")
        checkout.write("packages/bases/el-8.yaml", BASE)
        checkout.write("examples/upstream/packages/keys/debian-archive-bookworm-stable.asc", _public(home, debs.key))
        served = {}
        for name, archive in manifest.load(intent).archives.items():
            if archive.type == manifest.RPM:
                made = rpms.Archive(tmp_path / name, home, home.make(name))
                served[name] = stack.enter_context(made)
                made.add(*ARCHIVES[name])
                made.publish()
                with archive.keys[0].open("a") as stream:
                    stream.write(_public(home, made.key))
        mirrors = {f"{name.upper()}_MIRROR": each.url for name, each in served.items()}
        run: dict[str, typing.Any] = {"DISTRIBUTION": "examples/upstream", **mirrors}

        signature = served["epel"].repodata / "repomd.xml.asc"
        unsigned = signature.rename(tmp_path / "signature")
        assert "epel: its repomd.xml is not signed" in checkout.doit("lock", code=1, **run)
        unsigned.rename(signature)
        assert "repository saltstack-el8 needs of its hosts: bash\n" in checkout.doit("lock", **run)
        locked = lock.load(folder / lock.FILE_NAME)
        for name, expected in SHIPPED.items():
            assert [each.name for each in locked.set(f"repository {name}").packages] == expected
        checkout.doit("packaging", "populate_iso", **run)

    root = checkout.staged / "packages/redhat"
    known = rpms.base(tmp_path / "base", BASH)
    for name, expected in SHIPPED.items():
        keys = sorted(path.name for path in (root / f"metalk8s-{name}").glob("RPM-GPG-KEY-*"))
        machine = rpms.Client(tmp_path / f"client-{name}", root, [f"metalk8s-{name}"], keys)
        machine.dnf(*known, "install", *expected)
        assert [nevra.rsplit("-", 2)[0] for nevra in machine.installed() if not nevra.startswith("bash-")] == expected
        machine.dnf(*known, "repoclosure")


def _public(home: openpgp.Home, key: str) -> str:
    return home.public(key).decode()


def _with_rpms(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The intent, and a copy to which the RPMs are added as README.md says, with empty keys."""
    text, more = (FOLDER / manifest.FILE_NAME).read_text(), (FOLDER / "el-8.yaml").read_text()
    archives, _, repositories = more.partition("\narchives:\n")[2].partition("\nrepositories:\n")
    text = text.replace("\nrepositories: {}\n", f"{archives}\nrepositories:\n{repositories}")
    (folder / manifest.FILE_NAME).write_text(text)
    for key in re.findall(r"packages/keys/[a-z0-9-]+\.asc", text):
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).touch()
    return FOLDER / manifest.FILE_NAME, folder / manifest.FILE_NAME
