"""Packages all the way: locked, pulled, built, indexed and signed by ./doit.sh, installed without a network.

RPMs of an archive, and one program in C that is built as DEB and RPM from its signed source package.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from buildchain import bases, closure, command, signing, verify
from tests.end_to_end import conftest
from tests.support import archive, openpgp, rpms, small, toolchain
from tests.support.rpms import Rpm

pytestmark = [
    pytest.mark.tools("dnf", "rpm", "rpmbuild", "rpmkeys", "rpmsign", "createrepo_c", "unshare", "bsdtar"),
    pytest.mark.tools("apt-get", "dpkg-deb", "gpg"),
    pytest.mark.root,
    pytest.mark.network,
]

NAME = "metalk8s-tools-el9"
FOLDER = f"packages/redhat/{NAME}"
KEYS = [f"RPM-GPG-KEY-{NAME}", f"RPM-GPG-KEY-{NAME}-1"]
INTENT = f"""\
archives:
  debian: {{origin: Test, suite: {small.SUITE}, components: [main], keys: [packages/keys/test.asc]}}
  tools: {{type: rpm, keys: [packages/keys/tools.asc]}}
repositories:
  small: {{archives: [debian], packages: [alpha], builds: [tree]}}
  tools: {{archives: [tools], architecture: x86_64, distribution: el9, packages: [hello], builds: [tree]}}
builder: {{archives: [debian]}}
images: {{archives: [debian], ship: {{tool: {{tag: "1.0"}}}}}}
"""
TREE = {
    "debian": ["tree-dbgsym_2.1.0-1_amd64.deb", "tree_2.1.0-1_amd64.deb"],
    "redhat": ["tree-2.1.0-1.el9.src.rpm", "tree-2.1.0-1.el9.x86_64.rpm"],
}
C_LIBRARY = [
    "libc.so.6()(64bit)",
    *(f"libc.so.6(GLIBC_{each})(64bit)" for each in ("2.2.5", "2.2.6", "2.3", "2.3.2", "2.3.3", "2.3.4")),
    *(f"libc.so.6(GLIBC_2.{each})(64bit)" for each in range(4, 35)),
    "rtld(GNU_HASH)",
]
"""What a program may ask of the C library of EL 9, and nothing newer."""

INSTALLED = ["glibc-2.34-1.el9.x86_64", "hello-1.0-1.el9.x86_64", "lib-2:1.0-1.el9.noarch", "tree-2.1.0-1.el9.x86_64"]


@dataclasses.dataclass(frozen=True)
class Site:
    first: conftest.Checkout
    second: conftest.Checkout


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One commit with archives of both families, built by an ordinary user, and by root, elsewhere, without rpm."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rpms-"))
    directory.chmod(0o755)
    user = conftest.ORDINARY_USER
    with (
        openpgp.home() as home,
        archive.Archive(directory / "archive", home, home.make("archive")) as upstream,
        rpms.Archive(directory / "rpms", home, home.make("tools")) as tools,
    ):
        tools.add(Rpm("hello", architecture="x86_64", requires=["lib"]), Rpm("lib", epoch=2), Rpm("unused"))
        tools.publish()
        toolchain.add(upstream, small.SUITE)
        upstream.add(small.SUITE, small.ALPHA, small.LIBALPHA)
        upstream.publish(small.SUITE)
        first = conftest.clone(
            directory / "first", user=user, DEBIAN_MIRROR=upstream.url, TOOLS_MIRROR=tools.url, NO_PROXY="*"
        )
        conftest.lend_environment(first)
        _write(first, home, upstream.key, tools)
        said = first.doit("lock")
        assert "lib:noarch: absent -> 2:1.0-1.el9" in said
        assert "gcc-12:amd64: absent -> " in said
        assert "repository small needs of its hosts: the Essential set\n" in said
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        for argv in (["add", "--all"], ["commit", "--quiet", "--message=rpms: ship some"]):
            done = first.run("git", *author, *argv)
            assert done.returncode == 0, done.stdout
        second = _other(first, directory / "a longer path, with spaces")
        conftest.lend_environment(second)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for running in [pool.submit(each.doit) for each in (first, second)]:
                running.result()
        yield Site(first, second)
    shutil.rmtree(directory, ignore_errors=True)


def _write(checkout: conftest.Checkout, home: openpgp.Home, debian_key: str, tools: rpms.Archive) -> None:
    texts = {
        "distribution.yaml": INTENT,
        "packages/keys/test.asc": home.public(debian_key).decode(),
        "packages/keys/tools.asc": tools.key_file().read_text(),
        "images/tool/image.yaml": small.RECIPE,
        "salt/FILES": "pillar/top.sls.in\nsalt/top.sls.in\n",
        **{f"packages/{each}": (toolchain.RECIPES / each).read_text() for each in toolchain.FILES},
    }
    for folder in ("salt", "pillar"):
        for below in [each for each in (checkout.root / folder).iterdir() if each.is_dir()]:
            shutil.rmtree(below)
    for path, text in texts.items():
        (checkout.root / path).parent.mkdir(exist_ok=True)
        (checkout.root / path).write_text(text)
    (checkout.root / "distribution.lock.json").unlink()
    conftest._give([checkout.root / "images/tool", *(checkout.root / path for path in texts)], checkout.user)


def _other(first: conftest.Checkout, directory: pathlib.Path) -> conftest.Checkout:
    """The same commit for root, on a machine whose dnf and rpm only fail."""
    programs = directory / "bin"
    programs.mkdir(parents=True)
    for name in ("dnf", "rpm", "rpmkeys", "rpmsign", "createrepo_c"):
        (programs / name).write_text("#!/bin/sh\nexit 99\n")
        (programs / name).chmod(0o755)
    (directory / "home").mkdir()
    conftest._give([directory], first.user)  # git reads no repository of another user
    done = first.run("git", "clone", "--quiet", f"file://{first.root}", str(directory / "checkout"))
    assert done.returncode == 0, done.stdout
    conftest._give([directory, *(directory / "checkout").rglob("*"), directory / "checkout"], 0)
    changed = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(directory / "home"),
        "STORE": str(directory / "store"),
        "TZ": "America/St_Johns",
    }
    return conftest.Checkout(directory / "checkout", {**first.environment, **changed}, umask=0o077)


def _files(checkout: conftest.Checkout, folder: str) -> dict[str, bytes]:
    root = checkout.root / "_build" / folder
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_users_in_two_folders_get_the_same_bytes(site: Site) -> None:
    files = _files(site.first, f"root/{FOLDER}")
    hello = Rpm("hello", architecture="x86_64").file_name
    assert {f"Packages/{hello}", f"Packages/{TREE['redhat'][1]}", "repodata/repomd.xml.asc", *KEYS} <= set(files)
    assert {f"pool/{name}" for name in TREE["debian"]} <= set(_files(site.first, "root/packages/debian/metalk8s-small"))
    for family, names in TREE.items():
        built = _files(site.first, f"packages/{family}/tree")
        assert sorted(built) == names
        assert _files(site.second, f"packages/{family}/tree") == built
    assert _files(site.second, "root/packages") == _files(site.first, "root/packages")
    assert site.second.iso_digest() == site.first.iso_digest()


def test_the_judge_finds_no_fault_and_finds_a_forged_one(site: Site, tmp_path: pathlib.Path) -> None:
    trust = verify.Trust((), signing.DEVELOPMENT_FINGERPRINT, frozenset({signing.DEVELOPMENT_FINGERPRINT}))
    assert verify.judge(site.first.iso, trust).faults == ()
    root = tmp_path / "root"
    shutil.copytree(site.first.root / "_build/root", root, symlinks=True)
    path = root / FOLDER / "repodata/repomd.xml"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"<revision>", b"<revision>1"))
    assert f"{FOLDER}/repodata/repomd.xml.asc" in {fault.path for fault in verify.judge(root, trust).faults}


def _install_by_dnf(machine: rpms.Client) -> None:
    """A pulled closure and what was built here, on a host that has a C library; nothing is left to wish for."""
    known = rpms.base(machine.root / "base", Rpm("glibc", "2.34-1.el9", "x86_64", provides=C_LIBRARY))
    machine.dnf(*known, "install", "hello", "tree")
    assert machine.installed() == INSTALLED
    machine.dnf(*known, "repoclosure")
    _check_runs(machine.root / "root/usr/bin/tree")


def _check_runs(program: pathlib.Path) -> None:
    assert command.run([program, "--version"]).startswith(b"tree v2.1.0")


@pytest.fixture(scope="module")
def extracted(site: Site, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The files of the ISO, read back by another program."""
    folder = tmp_path_factory.mktemp("iso")
    # All of it: a file that stands in several places is a hard link to the first of them.
    command.run(["bsdtar", "-x", "-f", site.first.iso, "-C", folder])
    return folder


def test_dnf_installs_from_the_staged_tree_over_http(site: Site, tmp_path: pathlib.Path) -> None:
    served = site.first.root / "_build/root/packages/redhat"
    _install_by_dnf(rpms.Client(tmp_path, served, [NAME], KEYS))


def test_dnf_installs_from_what_is_read_back_of_the_iso(extracted: pathlib.Path, tmp_path: pathlib.Path) -> None:
    _install_by_dnf(rpms.Client(tmp_path, extracted / "packages/redhat", [NAME], KEYS, is_http=False))


def test_the_program_that_was_built_runs(extracted: pathlib.Path, tmp_path: pathlib.Path) -> None:
    command.run(["dpkg-deb", "-x", extracted / "packages/debian/metalk8s-small/pool" / TREE["debian"][1], tmp_path])
    _check_runs(tmp_path / "usr/bin/tree")


def test_all_packages_can_be_installed_on_minimal_hosts(extracted: pathlib.Path) -> None:
    hosts = [bases.load(conftest.ROOT / f"packages/bases/{name}-minimal.yaml") for name in ("debian-12", "el-9")]
    said = "".join(map(str, closure.check(extracted, hosts)))
    assert said == (
        "debian on debian-12-minimal: all 4 packages can be installed\n"
        "redhat el9 on el-9-minimal: all 3 packages can be installed\n"
    )


def test_nothing_to_do_is_no_work(site: Site) -> None:
    said = site.first.doit()
    assert "-- INDEX RPM" in said
    assert "-- PULL" in said


def _titles(said: str) -> set[str]:
    return {" ".join(line.removeprefix("-- ").split()[:-1]) for line in said.splitlines() if line.startswith("-- ")}


def test_wildcards_choose_the_steps_of_packages(site: Site) -> None:
    """Section 24.4.5 of MetalK8s 2.5.1: all steps of a package, and one step of all packages."""
    steps = {"MKDIR", "GET_SRC", "BUILD SRPM", "BUILD RPM"}
    assert steps <= _titles(site.first.doit("_build_rpm_packages:tree/*"))
    assert {"MKDIR", "GET_SRC"} == _titles(site.first.doit("_build_rpm_packages:*/get_source")) & (
        steps | {"BUILD DEB"}
    )
    assert {"MKDIR", "GET_SRC", "BUILD DEB"} == _titles(site.first.doit("_build_deb_packages:tr*/*")) & (
        steps | {"BUILD DEB"}
    )


@pytest.mark.parametrize(
    ("builder", "line"),
    [
        ("auto", "BUILDER=auto: this machine refuses user namespaces, and we are not root"),
        ("namespace", "BUILDER=namespace: this machine refuses user namespaces"),
        ("chroot", "BUILDER=chroot: needs root"),
        ("docker", "BUILDER=docker: no engine answers `docker --host unix:///nonexistent version`"),
    ],
)
def test_a_machine_without_a_room_is_told_before_anything_is_pulled(site: Site, builder: str, line: str) -> None:
    programs = site.first.root.parent / f"programs-{builder}"
    programs.mkdir()
    (programs / "unshare").write_text("#!/bin/sh\nexit 1\n")
    for each in (programs, programs / "unshare"):
        each.chmod(0o755)
    variables = {"BUILDER": builder, "DOCKER_HOST": "unix:///nonexistent", "BUILD_ROOT": f"_build/{builder}"}
    path = f"{programs}:{site.first.environment['PATH']}"
    done = site.first.run("./doit.sh", PATH=path, **variables)
    assert done.returncode == 1
    assert line in done.stdout.splitlines()
    assert "PULL" not in done.stdout
