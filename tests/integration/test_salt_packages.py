"""Salt's own packages: installed by the real apt and dnf, and run: alone, as master and minion, over HTTPS."""

import contextlib
import dataclasses
import functools
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import tarfile
import time
import typing
import zipfile
from collections.abc import Callable, Iterator, Mapping

import pytest

from buildchain import builder, command, deb, digest, errors, executor, image, lock, rpm, signing, stage, tree, wheels
from buildchain.rootfs import exclusions
from buildchain.tasks import context, pull
from tests.support import containerd, daemons, node, rpms
from tests.support.packages import make_elf

ROOT = pathlib.Path(__file__).parents[2]
NAME = "salt"
VERSION = "3008.3"
SECRET = "of-the-test"
EPOCH = 1_700_000_000
LINT = ROOT / "packages/rpmlint.toml"

pytestmark = [pytest.mark.network, pytest.mark.tools("unshare", "tar")]


@dataclasses.dataclass(frozen=True)
class Workshop:
    """The rooms of the packages, and who runs steps in them."""

    here: context.Context
    room: executor.Executor
    layers: Mapping[str, digest.Descriptor]
    """The rooms, by family."""

    @property
    def recipe(self) -> builder.recipe.Recipe:
        return self.here.recipes[NAME]

    def held(self, family: str) -> tuple[lock.Package, ...]:
        return self.here.locked.set(self.here.rooms[NAME, family].name).packages

    def epoch(self, family: str) -> int:
        return self.here.locked.date_of(self.held(family))

    def environment(self) -> executor.Action:
        files = [each for each in self.here.locked.files if each.environment == NAME]
        return wheels.steps.environment(
            NAME,
            files,
            self.recipe.left_out,
            self.layers["debian"],
            self.here.store,
            epoch=self.epoch("debian"),
        )

    def sources(self) -> tree.Tree:
        (made,) = self.room.run(self.environment()).outputs.values()
        own = {name: self.here.store.add_bytes(content) for name, content in self.recipe.files.items()}
        own |= {each.name: each.content for each in self.here.locked.files if not each.is_wheel}
        own["environment.tar.gz"] = made
        return tree.build(tree.File(name, content) for name, content in own.items())

    def deb(self) -> executor.Action:
        return builder.steps.deb(
            self.recipe, self.layers["debian"], self.sources(), self.here.store, epoch=self.epoch("debian")
        )

    def srpm(self) -> executor.Action:
        return self._rpm_step(builder.steps.srpm, self.sources())

    def rpm(self) -> executor.Action:
        return self._rpm_step(builder.steps.rpm, builder.steps.packages(self.room.run(self.srpm())))

    def _rpm_step(self, make: Callable[..., executor.Action], inputs: tree.Tree) -> executor.Action:
        held, room = self.held("redhat"), self.layers["redhat"]
        return make(
            self.recipe, room, inputs, self.here.store, epoch=self.epoch("redhat"), held=held, lint=LINT.read_bytes()
        )


@pytest.fixture(name="shop", scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    here = context.load()
    base = tmp_path_factory.mktemp("builder")
    pull.pull(here)
    sets = {family: here.locked.set(here.rooms[NAME, family].name) for family in ("debian", "redhat")}
    layers = {family: builder.room.layer(each.packages, here.tools, here.store) for family, each in sets.items()}
    return Workshop(here, executor.choose("auto", here.store, base / "rooms", base / "logs"), layers)


@pytest.fixture(name="debs", scope="module")
def _debs(shop: Workshop) -> dict[str, lock.Package]:
    """The built packages, by name."""
    built = builder.steps.packages(shop.room.run(shop.deb()))
    found = [deb.own(each.path, each.content, shop.here.store) for each in built.files()]
    return {each.name: each for each in found}


_SETUP = """\
set -eu
read -r pid _ < /proc/self/stat
mount -t tmpfs tmpfs "$ROOT"
mkdir "$ROOT/upper" "$ROOT/work" "$ROOT/root"
mount -t overlay -o "lowerdir=$BASE,upperdir=$ROOT/upper,workdir=$ROOT/work" overlay "$ROOT/root"
ROOT=$ROOT/root
rm -f "$ROOT/etc/apt/sources.list" "$ROOT"/etc/apt/sources.list.d/*
mkdir -p "$ROOT/srv/repository" "$ROOT/srv/salt" "$ROOT/run"
mount --bind "$REPOSITORY" "$ROOT/srv/repository"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/dev"
mkdir "$ROOT/dev/shm"
for name in null zero full random urandom tty; do
    : > "$ROOT/dev/$name"
    mount --bind "/dev/$name" "$ROOT/dev/$name"
done
ln -s /proc/self/fd "$ROOT/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/dev/shm"
chroot "$ROOT" ip link set lo up
echo "$pid"
read -r _
"""


@pytest.fixture(name="repository", scope="module")
def _repository(
    shop: Workshop, debs: dict[str, lock.Package], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A signed repository of the packages, as the medium has it."""
    folder = tmp_path_factory.mktemp("repository")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    with signing.open_signer(shop.here.signing_source) as signer:
        indexed = deb.index(
            list(debs.values()), shop.here.store, name="own", label="MetalK8s", epoch=EPOCH, signer=signer
        )
        (folder / "key.asc").write_bytes(signer.public_key())
    for file in indexed.files():
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shop.here.store.read(file.content.digest))
    return folder


@contextlib.contextmanager
def _started(base: pathlib.Path, repository: pathlib.Path, *lower: pathlib.Path) -> Iterator[node.Node]:
    """A host with a network that leads nowhere; what is written into its root leaves the folders below as they are."""
    layers = ":".join(map(str, [*lower, node.debian_root()]))
    given = {"BASE": layers, "ROOT": str(base), "REPOSITORY": str(repository)}
    argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", _SETUP]
    with subprocess.Popen(argv, env={**os.environ, **given}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            yield node.Node(base / "root", int(holder.stdout.readline()), "base")
        finally:
            holder.stdin.close()
            holder.wait(30)


@pytest.fixture(name="host", scope="module")
def _host(repository: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[node.Node]:
    """A Debian on which apt has installed the packages."""
    with _started(tmp_path_factory.mktemp("host"), repository) as host:
        _install(host)
        yield host


def _install(host: node.Node) -> None:
    sources = "Types: deb\nURIs: file:/srv/repository\nSuites: ./\nSigned-By: /srv/repository/key.asc\n"
    (host.root / "etc/apt/sources.list.d/own.sources").write_text(sources)
    host.run("apt-get", "--quiet", "update")
    host.run("apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *("salt-api", "salt-minion"))


_EL_BASE = ("/bin/sh", "glibc = 2.34", "libgcc", "libstdc++", "openssl-libs", "python3.11", "systemd")
"""What the packages ask of the host, in a package without files."""


@pytest.fixture(name="el", scope="module")
def _el(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> rpms.Client:
    """An installroot in which dnf has installed the packages, signatures on."""
    folder, source = tmp_path_factory.mktemp("el"), shop.here.store
    built = builder.steps.packages(shop.room.run(shop.rpm())).files()
    packages = [rpm.package_of(file.content, source) for file in built]
    with signing.open_signer(shop.here.signing_source) as signer:
        signed = rpm.sign_all(packages, source, signer=signer, epoch=EPOCH)
        made = rpm.index(signed, source, name="own", epoch=EPOCH, signer=signer)
    stage.stage(made.moved_to("own"), source, folder / "served")
    base = rpms.Rpm("base", provides=list(_EL_BASE))
    (folder / "client/root").mkdir(parents=True)
    (folder / base.file_name).write_bytes(base.content())
    command.run(["rpm", f"--root={folder}/client/root", "--nosignature", "--install", folder / base.file_name])
    machine = rpms.Client(folder / "client", folder / "served", ["own"], ["RPM-GPG-KEY-metalk8s-own"], is_http=False)
    machine.dnf("install", "salt-api", "salt-minion")
    return machine


@pytest.fixture(name="el_host", scope="module")
def _el_host(
    el: rpms.Client, repository: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[node.Node]:
    """What dnf installed, on a Debian that stands in for the rest of EL; systemd has read its declarations."""
    with _started(tmp_path_factory.mktemp("el-host"), repository, el.root / "root") as host:
        host.run("systemd-sysusers")
        host.run("systemd-tmpfiles", "--create", "--prefix=/etc/salt", "--prefix=/run/salt", "--prefix=/var")
        yield host


def _call(host: node.Node, program: str, *arguments: str) -> typing.Any:
    return json.loads(host.run(program, "--out=json", "--log-level=error", *arguments))


def _until(attempt: Callable[[], typing.Any]) -> typing.Any:
    """The first true result, within a minute: a master that imports everything on a busy machine takes its time."""
    for _ in range(120):
        with contextlib.suppress(Exception):
            if found := attempt():
                return found
        time.sleep(0.5)
    return attempt()


_HOST_TOOLS = pytest.mark.tools("unshare", "nsenter", "mmdebstrap", "gpg")


@pytest.mark.root
@_HOST_TOOLS
@pytest.mark.tools("dnf", "rpm", "rpmbuild")
@pytest.mark.parametrize("family", ["host", "el_host"])
def test_every_program_runs_on_both_families(family: str, request: pytest.FixtureRequest) -> None:
    host = request.getfixturevalue(family)
    for program in ("salt-minion", "salt-master", "salt-api"):
        assert host.run(program, "--version").split()[:2] == [program, VERSION]
    assert "Python: 3.11" in " ".join(host.run("salt-call", "--versions").split())
    assert _call(host, "salt-call", "--local", "test.ping") == {"local": True}


@pytest.mark.root
@_HOST_TOOLS
@pytest.mark.tools("dnf", "rpm", "rpmbuild")
def test_rpms_have_units_configuration_and_user(el: rpms.Client, el_host: node.Node) -> None:
    release = f"{VERSION}-1.el9"
    names = [f"salt-api-{release}.noarch", f"salt-master-{release}.noarch", f"salt-minion-{release}.noarch"]
    assert el.installed() == ["base-1.0-1.el9.noarch", f"salt-{release}.x86_64", *names]
    root = f"--root={el.root}/root"
    kept = command.run(["rpm", root, "--query", "--configfiles", "salt", "salt-master", "salt-minion"]).decode()
    assert kept.split() == ["/etc/logrotate.d/salt", "/etc/salt/master", "/etc/salt/minion"]
    assert command.run(["rpm", root, "--verify", "salt", "salt-api", "salt-master", "salt-minion"]) == b""
    for name in ("salt-api", "salt-master", "salt-minion"):
        assert "Type=notify" in (el_host.root / f"usr/lib/systemd/system/{name}.service").read_text()
    assert "/var/lib/salt" in el_host.run("getent", "passwd", "salt")
    paths = {"/etc/salt/pki/master": "700 salt salt", "/etc/salt/pki/minion": "700 root root"}
    assert el_host.run("stat", "--format=%n %a %U %G", *paths).splitlines() == [
        f"{path} {owner}" for path, owner in paths.items()
    ]


@pytest.mark.root
@_HOST_TOOLS
def test_salt_call_renders_and_applies_without_a_master(host: node.Node) -> None:
    state = "/srv/made:\n  file.managed:\n    - contents: {{ grains.os }} {{ salt['cmd.run']('id -un') }}\n"
    (host.root / "srv/salt/made.sls").write_text(state)
    (result,) = _call(host, "salt-call", "--local", "state.apply", "made")["local"].values()
    assert result["result"] is True
    assert (host.root / "srv/made").read_text() == "Debian root\n"
    (again,) = _call(host, "salt-call", "--local", "state.apply", "made")["local"].values()
    assert again["changes"] == {}


@pytest.mark.root
@_HOST_TOOLS
def test_files_users_and_units_are_those_of_the_upstream_packages(host: node.Node) -> None:
    assert "salt" in host.run("getent", "passwd", "salt")
    paths = {
        "/etc/salt/master": "644 root root",
        "/etc/salt/minion": "644 root root",
        "/etc/salt/pki/master": "700 salt salt",
        "/etc/salt/pki/master/minions": "750 salt salt",
        "/etc/salt/pki/minion": "700 root root",
        "/var/cache/salt/master/jobs": "750 salt salt",
        "/var/log/salt/master": "640 salt salt",
        "/opt/saltstack/salt": "755 root root",
    }
    found = host.run("stat", "--format=%n %a %U %G", *paths).splitlines()
    assert found == [f"{path} {owner}" for path, owner in paths.items()]
    conffiles = host.run("dpkg-query", "--show", "--showformat=${Conffiles}\n", "salt-master", "salt-minion")
    assert {"/etc/salt/master", "/etc/salt/minion"} <= {line.split()[0] for line in conffiles.splitlines() if line}
    assert "\nuser: salt\n" in (host.root / "etc/salt/master").read_text()
    for name in ("salt-api", "salt-master", "salt-minion"):
        assert host.run("systemctl", "is-enabled", name).strip() == "enabled"
        assert "Type=notify" in (host.root / f"usr/lib/systemd/system/{name}.service").read_text()
    assert host.run("dpkg", "--verify") == ""


@contextlib.contextmanager
def _daemon(host: node.Node, program: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(host.argv(program), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield running
        finally:
            running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(20)
            running.kill()


_OWNERS = """\
import pathlib, sys
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    words = (folder / "cmdline").read_bytes()
    if b"/usr/bin/" + sys.argv[1].encode() in words and b"_OWNERS" not in words and b"python3\\0-c" not in words:
        print(folder.owner())
"""

_LOGIN = """\
import json, sys, urllib.request
import ssl
context = ssl.create_default_context(cafile=sys.argv[3]) if sys.argv[3:] else None
def ask(path, value, **headers):
    headers = {"Accept": "application/json", "Content-Type": "application/json", **headers}
    return json.load(urllib.request.urlopen(
        urllib.request.Request(sys.argv[2] + path, json.dumps(value).encode(), headers), timeout=60, context=context))
(login,) = ask("/login", {"username": "tester", "password": sys.argv[1], "eauth": "sharedsecret"})["return"]
call = [{"client": "local", "tgt": "*", "fun": "test.ping"}]
print(json.dumps([login, ask("/", call, **{"X-Auth-Token": login["token"]})["return"]]))
"""


_SETTINGS = {
    "auto_accept": True,
    "interface": "127.0.0.1",
    "sharedsecret": SECRET,
    "external_auth": {"sharedsecret": {"tester": [".*", "@runner"]}},
    "netapi_enable_clients": ["local", "runner"],
}

_RUNNER = (
    _LOGIN.replace('"local", "tgt": "*", "fun": "test.ping"', '"runner", "fun": "salt.cmd", "arg": ["test.version"]')
    .replace("print(json.dumps([login, ", "print(json.dumps(")
    .replace('["return"]]))', '["return"]))')
)


@pytest.mark.root
@_HOST_TOOLS
def test_a_minion_joins_its_master_and_answers_over_http(host: node.Node) -> None:
    settings = {
        **_SETTINGS,
        "rest_cherrypy": {"port": 4507, "host": "127.0.0.1", "disable_ssl": True},
    }
    (host.root / "etc/salt/master.d/test.conf").write_text(json.dumps(settings))
    minion = {"id": "joined", "master": "127.0.0.1"}
    (host.root / "etc/salt/minion.d/test.conf").write_text(json.dumps(minion))
    with _daemon(host, "salt-master"), _daemon(host, "salt-minion"), _daemon(host, "salt-api"):
        _until(lambda: "joined" in _call(host, "salt-key", "--list=accepted")["minions"])
        assert _until(lambda: _call(host, "salt", "--static", "--timeout=20", "*", "test.ping")) == {"joined": True}
        assert set(host.run("python3", "-c", _OWNERS, "salt-master").split()) == {"salt"}
        login, answer = _until(lambda: json.loads(host.run("python3", "-c", _LOGIN, SECRET, "http://127.0.0.1:4507")))
        assert login["user"] == "tester"
        assert answer == [{"joined": True}]


@pytest.fixture(name="built_image", scope="module")
def _built_image(shop: Workshop, debs: dict[str, lock.Package]) -> image.Image:
    """The image salt-master, of locked packages and our own."""
    here, recipes = shop.here, ROOT / "images"
    chain = here.chains["salt-master"]
    requests = [image.request(chain[: index + 1], here.manifest.image_archives) for index in range(len(chain))]
    stages = [
        image.Stage(
            recipe,
            here.locked.set(request.name).packages,
            tuple(sorted(debs[name] for names in recipe.builds.values() for name in names)),
        )
        for recipe, request in zip(chain, requests, strict=True)
    ]
    policy = image.load_policy(recipes / "maintainer-scripts.yaml")
    return image.build(stages, here.store, policy, exclusions.load(recipes / "exclusions.yaml"))


_CERTIFICATE: list[command.Argument] = [
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"),
    *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
]


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def _removed(client: containerd.Client, name: str) -> bool:
    client("task", "rm", name)
    return True


@pytest.mark.root
@pytest.mark.tools("containerd", "ctr", "openssl", "runc", "skopeo")
def test_the_image_runs_the_master_and_the_api(
    shop: Workshop, built_image: image.Image, tmp_path: pathlib.Path
) -> None:
    ports = {"publish_port": daemons.free_port(), "ret_port": daemons.free_port()}
    api = daemons.free_port()
    configuration, state = tmp_path / "master.d", tmp_path / "state"
    configuration.mkdir()
    command.run([*_CERTIFICATE, "-keyout", configuration / "tls.key", "-out", configuration / "tls.crt"])
    (configuration / "tls.key").chmod(0o644)
    tls = {"ssl_crt": "/etc/salt/master.d/tls.crt", "ssl_key": "/etc/salt/master.d/tls.key"}
    settings = {**_SETTINGS, **ports, "rest_cherrypy": {"port": api, "host": "127.0.0.1", **tls}}
    (configuration / "test.conf").write_text(json.dumps(settings))
    mounts = [f"--mount=type=bind,src={configuration},dst=/etc/salt/master.d,options=rbind:ro"]
    for path in ("/etc/salt/pki/master", "/run/salt", "/var/cache/salt", "/var/log/salt"):
        folder = state / path.replace("/", "-")
        folder.mkdir(parents=True)
        os.chown(folder, 903, 903)
        mounts.append(f"--mount=type=bind,src={folder},dst={path},options=rbind:rw")
    mounts.append("--mount=type=tmpfs,src=tmpfs,dst=/tmp,options=mode=1777")
    # As Debian's kernel has it, whatever it runs on: Salt looks closer then.
    (tmp_path / "bus" / "xen").mkdir(parents=True)
    mounts.append(f"--mount=type=bind,src={tmp_path / 'bus'},dst=/sys/bus,options=rbind:ro")
    for entry in image.tree(built_image, "salt-master", "test").files():
        place = tmp_path / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shop.here.store.link(entry, place)
    archive = tmp_path / "image.tar"
    command.run(
        ["skopeo", "copy", f"dir:{tmp_path}/images/salt-master/test", f"oci-archive:{archive}:salt-master:test"]
    )
    with containerd.containerd() as client:
        client("image", "import", str(archive))
        run = ("run", "--detach", "--net-host", "--read-only", *mounts, "salt-master:test")
        client(*run, "test-master")
        client(*run, "test-api", "/usr/bin/salt-api")
        try:
            for port in ports.values():
                _until(functools.partial(_listens, port))
            argv = [sys.executable, "-c", _RUNNER, SECRET, f"https://127.0.0.1:{api}", str(configuration / "tls.crt")]
            (versions,) = _until(lambda: json.loads(command.run(argv)))
            assert VERSION in versions
            rows = [line.split() for line in client("task", "ls").splitlines()[1:]]
            assert {row[0]: row[2] for row in rows} == {"test-master": "RUNNING", "test-api": "RUNNING"}
            assert {pathlib.Path(f"/proc/{row[1]}").stat().st_uid for row in rows} == {903}
        finally:
            for name in ("test-api", "test-master"):
                with contextlib.suppress(AssertionError):
                    client("task", "kill", "--signal", "SIGKILL", name)
                _until(functools.partial(_removed, client, name))
                client("container", "rm", name)


def test_the_environment_holds_no_path_of_its_room(shop: Workshop) -> None:
    (made,) = shop.room.run(shop.environment()).outputs.values()
    found = []
    with shop.here.store.open(made.digest) as file, tarfile.open(fileobj=file, mode="r:gz") as archive:
        for member in archive:
            assert member.name.startswith("lib")
            assert (member.uid, member.gid, member.mtime) == (0, 0, shop.epoch("debian"))
            stream = archive.extractfile(member)
            if stream is not None and b"/build/root" in stream.read():
                found.append(member.name)
    ours = [name for name in found if "/salt/" in name or name.endswith(".pyc")]
    assert ours == []


@pytest.mark.parametrize(("runpath", "is_refused"), [("/usr/lib/demo", True), ("$ORIGIN/../demo.libs", False)])
def test_a_library_that_looks_in_a_fixed_folder_is_refused(shop: Workshop, runpath: str, is_refused: bool) -> None:
    members = {
        "demo.so": make_elf(["libdemo.so.1"], runpath=runpath),
        "demo-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "demo-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members["demo-1.0.dist-info/RECORD"] = "".join(f"{name},,\n" for name in members).encode()
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as wheel:
            for name, text in members.items():
                wheel.writestr(zipfile.ZipInfo(name), text)
        content = shop.here.store.add_bytes(buffer.getvalue())
    file = lock.File(NAME, "demo", "1.0", "demo-1.0-py3-none-any.whl", content)
    layer = shop.layers["debian"]
    action = wheels.steps.environment("demo", [file], [], layer, shop.here.store, epoch=shop.epoch("debian"))
    if is_refused:
        with pytest.raises(errors.ToolError, match=r"\[/usr/lib/demo\]\n  these libraries look for others in a fixed"):
            shop.room.run(action)
    else:
        assert list(shop.room.run(action).outputs) == ["out/environment.tar.gz"]
