"""The packages that are built here: the same bytes wherever they are built, checked, installed and run."""

import concurrent.futures
import dataclasses
import io
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import tempfile
import typing
from collections.abc import Iterable

import pytest

from buildchain import (
    builder,
    command,
    deb,
    digest,
    errors,
    executor,
    lock,
    manifest,
    rpm,
    signing,
    stage,
    store,
    tree,
)
from buildchain.rootfs import package
from buildchain.tasks import building, context, pull
from scr_testing import docker, newer
from tests.support import openpgp, rpms

ROOT = pathlib.Path(__file__).parents[2]
RECIPES = pathlib.Path(__file__).parents[1] / "support" / "recipes"
EPOCH = 1_700_000_000
LINT = (ROOT / "packages/rpmlint.toml").read_bytes()

pytestmark = [pytest.mark.network, pytest.mark.tools("unshare", "tar")]


@dataclasses.dataclass(frozen=True)
class Workshop:
    """The room that recipes share, what it is made of, and who runs steps in it."""

    here: context.Context
    room: executor.Executor
    layer: digest.Descriptor
    held: tuple[lock.Package, ...]

    def steps(self, recipe: builder.recipe.Recipe) -> dict[str, executor.Action]:
        """The steps that start from sources."""
        kept = self.here.store
        own = {name: kept.add_bytes(content) for name, content in recipe.files.items()}
        own |= {name: kept.add_bytes(_made(self.here, name)) for name in recipe.made}
        sources = tree.build(tree.File(name, content) for name, content in own.items())
        return {
            "deb": builder.steps.deb(recipe, self.layer, sources, kept, epoch=EPOCH),
            "srpm": builder.steps.srpm(recipe, self.layer, sources, kept, epoch=EPOCH, held=self.held, lint=LINT),
        }

    def rpm_step(self, recipe: builder.recipe.Recipe, packed: executor.Result) -> executor.Action:
        """The step from SRPM to RPM."""
        inputs = builder.steps.packages(packed)
        return builder.steps.rpm(recipe, self.layer, inputs, self.here.store, epoch=EPOCH, held=self.held, lint=LINT)


def _made(here: context.Context, name: str) -> bytes:
    if name == "signing-key.asc":
        with signing.open_signer(here.signing_source) as signer:
            return signer.public_key()
    return building._texts(here)[name].encode()


@pytest.fixture(name="shop", scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    here = context.load()
    base = tmp_path_factory.mktemp("builder")
    held = here.locked.set("builder").packages
    pull.pull_packages(here, held)
    layer = builder.room.layer(held, here.tools, here.store)
    room = executor.choose("namespace", here.store, base / "rooms", base / "logs")
    return Workshop(here, room, layer, held)


RUN_ELSEWHERE = """\
import os, pathlib, pickle, sys
from buildchain import executor, store
os.umask(0o077)
base, builder = pathlib.Path(sys.argv[1]), sys.argv[2]
room = executor.choose(builder, store.Store(base / "store"), base / "rooms", base / "logs")
for action in pickle.loads((base / "actions").read_bytes()):
    for path, content in room.run(action).outputs.items():
        print(action.name, path, content.digest, content.size)
"""


def _elsewhere(prefix: list[str], way: str, actions: Iterable[executor.Action], kept: store.Store) -> list[str]:
    """What another process leaves, with another user, umask, folder and store."""
    with tempfile.TemporaryDirectory() as name:
        base = pathlib.Path(name)
        other = store.Store(base / "store")
        _share(actions, kept, other)
        (base / "actions").write_bytes(pickle.dumps(list(actions)))
        for path in [base, *(each for each in base.rglob("*") if each.is_dir())]:
            path.chmod(0o777)
        argv = [*prefix, sys.executable, "-B", "-c", RUN_ELSEWHERE, str(base), way]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(base)}
        done = subprocess.run(argv, capture_output=True, text=True, cwd=base, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


def _share(actions: Iterable[executor.Action], kept: store.Store, other: store.Store) -> None:
    """Give what steps need to another store, as links where the file system can: no result of theirs is in it."""
    for action in actions:
        for content in [*action.root, *(file.content for file in action.inputs.files())]:
            if not other.has(content):
                path = other.path(content.digest)
                path.parent.mkdir(parents=True, exist_ok=True)
                command.run(["sh", "-c", 'ln "$0" "$1" 2>/dev/null || cp "$0" "$1"', kept.path(content.digest), path])


def _lines(actions: Iterable[executor.Action], results: Iterable[executor.Result]) -> list[str]:
    return [
        f"{action.name} {path} {content.digest} {content.size}"
        for action, result in zip(actions, results, strict=True)
        for path, content in result.outputs.items()
    ]


def _packages(lines: Iterable[str]) -> list[str]:
    """Without what the checkers print, which may be how long they took."""
    return [line for line in lines if " out/" in line]


@pytest.mark.root
@pytest.mark.tools("setpriv", "dockerd", "docker", "ip")
def test_the_same_packages_whoever_builds_them(shop: Workshop, tmp_path: pathlib.Path) -> None:
    recipe = shop.here.recipes["metalk8s-sosreport"]
    actions = list(shop.steps(recipe).values())
    first = [shop.room.run(action) for action in actions]
    actions.append(shop.rpm_step(recipe, first[1]))
    first.append(shop.room.run(actions[2]))
    expected = _packages(_lines(actions, first))
    assert [line.split()[2].rpartition("/")[2] for line in expected] == [
        "metalk8s-sosreport_2.5.1~dev_all.deb",
        "metalk8s-sosreport-2.5.1~dev-1.el9.src.rpm",
        "metalk8s-sosreport-2.5.1~dev-1.el9.noarch.rpm",
    ]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    unable = ["setpriv", "--bounding-set=-sys_admin"]
    other = store.Store(tmp_path / "store")
    _share(actions, shop.here.store, other)
    with docker.dockerd() as client, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        room = executor.choose("docker", other, tmp_path / "rooms", tmp_path / "logs", client.argv)
        ways = [
            pool.submit(_elsewhere, nobody, "namespace", actions, shop.here.store),
            pool.submit(_elsewhere, unable, "auto", actions, shop.here.store),
            pool.submit(lambda: _lines(actions, map(room.run, actions))),
        ]
        for way in ways:
            assert _packages(way.result()) == expected


def test_what_a_recipe_requires_must_be_there(shop: Workshop) -> None:
    recipe = shop.here.recipes["metalk8s-sosreport"]
    spec = recipe.spec.replace(b"BuildRequires:  coreutils", b"BuildRequires:  coreutils > 99")
    demanding = dataclasses.replace(recipe, spec=spec)
    packed = shop.room.run(shop.steps(demanding)["srpm"])
    with pytest.raises(errors.ToolError, match=r"coreutils > 99 is needed by metalk8s-sosreport"):
        shop.room.run(shop.rpm_step(demanding, packed))
    control = recipe.debian["control"].replace(b"debhelper-compat (= 13)", b"debhelper-compat (= 13), absent")
    with pytest.raises(errors.ToolError, match=r"Unmet build dependencies: absent"):
        shop.room.run(shop.steps(dataclasses.replace(recipe, debian={**recipe.debian, "control": control}))["deb"])


@pytest.mark.parametrize("requirements", ["", "requirements/salt.txt"])
def test_what_the_checkers_call_an_error_fails_the_build(shop: Workshop, requirements: str) -> None:
    """Also of a recipe with a Python environment, which they judge without it."""
    recipe = dataclasses.replace(shop.here.recipes["metalk8s-sosreport"], requirements=requirements)
    debian = {path: text for path, text in recipe.debian.items() if path != "copyright"}
    with pytest.raises(errors.ToolError, match="E: metalk8s-sosreport: no-copyright-file"):
        shop.room.run(shop.steps(dataclasses.replace(recipe, debian=debian))["deb"])
    spec = recipe.spec.replace(
        b"Summary:        sos plugins for MetalK8s", b"Summary:        sos\tplugins " + b"x" * 99
    )
    with pytest.raises(errors.ToolError, match="E: summary-too-long"):
        shop.room.run(shop.steps(dataclasses.replace(recipe, spec=spec))["srpm"])
    spec = recipe.spec.replace(b"\n%{plugins}/metalk8s.py", b"\n%attr(0666, root, root) %{plugins}/metalk8s.py")
    writable = dataclasses.replace(recipe, spec=spec)
    packed = shop.room.run(shop.steps(writable)["srpm"])
    with pytest.raises(errors.ToolError, match="E: world-writable"):
        shop.room.run(shop.rpm_step(writable, packed))


def test_what_the_checkers_warn_of_is_shown(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = shop.here.recipes["metalk8s-sosreport"]
    spec = recipe.spec.replace(b"sos plugins for MetalK8s\n", b"sos plugins for MetalK8s.\n", 1)
    building._run(shop.here, shop.steps(dataclasses.replace(recipe, spec=spec))["srpm"])
    assert "metalk8s-sosreport.src: W: summary-ended-with-dot" in capsys.readouterr().out


BASE = {
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip", "libc-bin"),
    *("mawk", "perl-base", "sed", "tar", "util-linux"),
}

SOS = """\
mkdir -p /etc/metalk8s/pki /etc/metalk8s/salt /etc/kubernetes /etc/salt/pki/minion /etc/containerd
mkdir -p /srv/scality/metalk8s-2.5.1 /var/log/salt /var/tmp out
echo 'apiVersion: metalk8s.scality.com/v1alpha3' > /etc/metalk8s/bootstrap.yaml
echo 'proxies: {http: "http://user:SECRET@proxy.example:3128"}' >> /etc/metalk8s/bootstrap.yaml
echo SECRET > /etc/metalk8s/pki/ca.key
echo SECRET > /etc/metalk8s/salt/password
echo "$(printf %064d 0)  product.txt" > /srv/scality/metalk8s-2.5.1/SHA256SUM
echo SECRET > /etc/salt/pki/minion/minion.pem
echo SECRET > /etc/kubernetes/admin.conf
printf 'master: 10.0.0.1\\npassword: SECRET\\n' > /etc/salt/minion
echo 'version = 2' > /etc/containerd/config.toml
cat > /usr/bin/kubectl <<'EOF'
#!/bin/sh
case "$*" in *custom-columns*) echo kube-system etcd-1;; *) echo "said: $*";; esac
EOF
chmod 755 /usr/bin/kubectl
python3 - "$1" report --batch --quiet -o metalk8s,metalk8s_containerd,metalk8s_salt -k metalk8s.all=on \
    --name test --tmp-dir "$PWD/out" --compression-type gzip <<'EOF'
import sys
import sos.report.plugins
sos.report.plugins.__path__.append(sys.argv.pop(1))
from sos import SoS
SoS(sys.argv[1:]).execute()
EOF
mv out/sosreport-*.tar.gz report.tar.gz
"""
"""A node as far as the plugins know one; `$1` is a folder in which sos looks for more of them."""

PLUGINS = "usr/lib/python3.9/site-packages/sos/report/plugins"


def _check_report(content: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(content)) as report:
        members = {member.name.partition("/")[2]: member for member in report}
        texts = {
            name: typing.cast(typing.IO[bytes], report.extractfile(member)).read()
            for name, member in members.items()
            if member.isfile()
        }
    assert texts["etc/metalk8s/bootstrap.yaml"].startswith(b"apiVersion")
    assert b"http://user:********@proxy.example:3128" in texts["etc/metalk8s/bootstrap.yaml"]
    assert b"  /srv/scality/metalk8s-2.5.1/SHA256SUM\n" in b"".join(texts.values())
    assert texts["etc/containerd/config.toml"] == b"version = 2\n"
    assert texts["etc/salt/minion"] == b"master: 10.0.0.1\npassword: ********\n"
    assert not [name for name, text in texts.items() if b"SECRET" in text]
    cluster = {name: text for name, text in texts.items() if name.startswith("sos_commands/metalk8s/")}
    said = b"".join(cluster.values()).decode().splitlines()
    kubectl = "said: --kubeconfig=/etc/kubernetes/admin.conf"
    assert {f"{kubectl} get nodes -o yaml", f"{kubectl} get pods --all-namespaces -o wide"} <= set(said)
    assert f"{kubectl} describe pod --namespace=kube-system etcd-1" in said
    assert f"{kubectl} logs --all-containers --tail=500 --namespace=kube-system etcd-1" in said
    assert [name for name in cluster if "/cluster/" in name]
    assert [name for name in cluster if "/pods/" in name]
    ran = texts["sos_reports/sos.txt"].decode()
    for plugin in ("metalk8s", "metalk8s_containerd", "metalk8s_salt"):
        assert f"\n{plugin}\n" in ran


def _report(shop: Workshop, prepare: str, folder: str, inputs: tree.Tree) -> None:
    """A report by the sos of Debian 12, with the plugins of a folder among its own."""
    layer = builder.room.layer(_closure(shop.here, {"sosreport", "dpkg", *BASE}), shop.here.tools, shop.here.store)
    argv = ("sh", "-euc", f"{prepare}{SOS}", "sh", folder)
    step = executor.Action("sos report", argv, (layer,), inputs, ("report.tar.gz",))
    result = shop.room.run(step)
    _check_report(shop.here.store.read(result.outputs["report.tar.gz"].digest))


def test_sos_reports_with_the_plugins_of_the_deb(shop: Workshop) -> None:
    built = shop.room.run(shop.steps(shop.here.recipes["metalk8s-sosreport"])["deb"])
    _report(shop, "dpkg --force-depends --install ./*.deb\n", "/nonexistent", builder.steps.packages(built))


@pytest.fixture(name="installed", scope="module")
def _installed(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where dnf put the plugins of the RPM, on a host of which is known that it has EL's Python and may get sos."""
    kept, recipe = shop.here.store, shop.here.recipes["metalk8s-sosreport"]
    built = builder.steps.packages(shop.room.run(shop.rpm_step(recipe, shop.room.run(shop.steps(recipe)["srpm"]))))
    base = [rpms.Rpm("base", provides=["python(abi) = 3.9"]), rpms.Rpm("sos", "4.10.0-1.el9"), rpms.Rpm("sos", "3.9-1")]
    stubs = [kept.add_bytes(content) for content in rpms.build(*base).values()]
    folder = tmp_path_factory.mktemp("el")
    with signing.open_signer(shop.here.signing_source) as signer:
        packages = [rpm.package_of(each, kept) for each in [*(file.content for file in built.files()), *stubs]]
        signed = rpm.sign_all(packages, kept, signer=signer, epoch=EPOCH)
        made = rpm.index(signed, kept, name="x-el9", epoch=EPOCH, signer=signer)
    stage.stage(made.moved_to("x-el9"), kept, folder / "medium")
    old, new = (
        rpms.Client(folder / each, folder / "medium", ["x-el9"], ["RPM-GPG-KEY-metalk8s-x-el9"]) for each in "ab"
    )
    old.dnf("install", "sos-3.9")
    with pytest.raises(errors.ToolError, match=r"conflicts with sos < 4"):
        old.dnf("install", "metalk8s-sosreport", "sos-3.9")
    new.dnf("--setopt=install_weak_deps=1", "install", "metalk8s-sosreport")
    assert [name for name in new.installed() if name.startswith("sos-")] == ["sos-4.10.0-1.el9.noarch"]
    return new.root / "root" / PLUGINS


@pytest.mark.tools("dnf", "rpm", "rpmbuild")
def test_sos_reports_with_the_plugins_of_the_rpm(shop: Workshop, installed: pathlib.Path) -> None:
    files = {path.name: path.read_bytes() for path in installed.iterdir()}
    assert files == shop.here.recipes["metalk8s-sosreport"].files
    inputs = tree.build(
        tree.File(f"plugins/{name}", shop.here.store.add_bytes(content)) for name, content in files.items()
    )
    _report(shop, "", "/build/plugins", inputs)


@pytest.mark.root
@pytest.mark.tools("dnf", "rpm", "rpmbuild", "apt-get", "dpkg-deb", "chroot")
def test_a_newer_sos_reports_with_the_plugins_of_the_rpm(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Options of plugins have another form since sos 4.2, which EL 9 has, and Debian since 13."""
    suite = newer.unpack("stable", ["sos", "base-files", "dash", "coreutils"], tmp_path)
    assert tuple(map(int, suite.versions["sos"].split("-")[0].split(".")[:2])) >= (4, 2)
    shutil.copytree(installed, suite.root / PLUGINS)
    (suite.root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    script = f"mkdir -p /build; cd /build\n{SOS}"
    command.run(["unshare", "--net", "chroot", suite.root, "sh", "-euc", script, "sh", f"/{PLUGINS}"])
    _check_report((suite.root / "build/report.tar.gz").read_bytes())


def _closure(here: context.Context, names: set[str]) -> list[lock.Package]:
    """Locked packages of the medium with all that they depend on."""
    known = {each.name: each for each in here.locked.set("repository debian-12").packages}
    pull.pull_packages(here, sorted(known.values()))
    found: set[str] = set()
    while waiting := names - found:
        found |= waiting
        for each in waiting & known.keys():
            control = package.read_control(known[each], here.store)["control"].decode()
            names |= set(package.dependencies(control)) & known.keys()
    return sorted(known[name] for name in found & known.keys())


def test_the_release_package_holds_the_key_and_the_sources(shop: Workshop) -> None:
    here = shop.here
    result = shop.room.run(shop.steps(here.recipes["metalk8s-release"])["deb"])
    (file,) = builder.steps.packages(result).files()
    built = deb.own(file.path, file.content, here.store)
    assert (built.name, built.architecture) == ("metalk8s-release", "all")
    key = package.read_file(built, here.store, "etc/apt/keyrings/metalk8s.asc")
    sources = package.read_file(built, here.store, "etc/apt/sources.list.d/metalk8s.sources").decode()
    assert b"Pin-Priority: 990" in package.read_file(built, here.store, "etc/apt/preferences.d/metalk8s")
    with signing.open_signer(here.signing_source) as signer:
        assert key == signer.public_key()
    assert sources == builder.configuration.apt_sources(
        str(here.version), sorted(each.full_name for each in here.manifest.repositories if each.type == manifest.DEB)
    )
    assert "Signed-By: /etc/apt/keyrings/metalk8s.asc" in sources


def test_a_source_is_its_makers(tmp_path: pathlib.Path) -> None:
    kept = store.Store(tmp_path)
    recipe = builder.recipe.load(RECIPES, "tree", "0")
    with openpgp.home() as home:
        keys = {name: home.make(name) for name in ("maker", "other")}
        public = {name: home.public(key) for name, key in keys.items()}
        text = home.clearsign(b"Source: tree\nVersion: 2.1.0\n", keys["maker"])

    def check(content: bytes, key: str) -> None:
        sources = tuple(
            dataclasses.replace(each, content=kept.add_bytes(content))
            for each in recipe.pulled
            if each.name == recipe.dsc
        )
        builder.authorship.check(dataclasses.replace(recipe, pulled=sources, dsc_key=public[key]), kept)

    check(text, "maker")
    before = b"Source: tree\nVersion: 2.1.1\n\n" + text
    changed = text.replace(b"2.1.0", b"2.1.1", 1)
    for content, key in [(text, "other"), (changed, "maker"), (b"", "maker"), (before, "maker")]:
        with pytest.raises(errors.BuildchainError, match="is not signed by the recipe's `dsc-key`"):
            check(content, key)
