"""RPMs all the way: locked, pulled, indexed and signed by ./doit.sh, installed by dnf without a network."""

import dataclasses
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest

from buildchain import command, signing, verify
from tests.end_to_end import conftest
from tests.support import openpgp, rpms, small
from tests.support.rpms import Rpm

pytestmark = [
    pytest.mark.tools("dnf", "rpm", "rpmbuild", "rpmkeys", "rpmsign", "createrepo_c", "unshare", "bsdtar"),
    pytest.mark.root,
]

NAME = "metalk8s-tools-el9"
FOLDER = f"packages/redhat/{NAME}"
KEYS = [f"RPM-GPG-KEY-{NAME}", f"RPM-GPG-KEY-{NAME}-1"]
INTENT = f"""\
archives:
  debian: {{origin: Test, suite: {small.SUITE}, components: [main], keys: [packages/keys/test.asc]}}
  tools: {{type: rpm, keys: [packages/keys/tools.asc]}}
repositories:
  small: {{archives: [debian], packages: [alpha]}}
  tools: {{archives: [tools], architecture: x86_64, distribution: el9, packages: [hello]}}
images: {{archives: [debian], ship: {{tool: {{tag: "1.0"}}}}}}
"""
INSTALLED = ["hello-1.0-1.el9.x86_64", "lib-2:1.0-1.el9.noarch"]


@dataclasses.dataclass(frozen=True)
class Site:
    first: conftest.Checkout
    second: conftest.Checkout


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One commit with an archive of RPMs, built by an ordinary user, and by root, elsewhere, without dnf and rpm."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rpms-"))
    directory.chmod(0o755)
    user = conftest.ORDINARY_USER
    with (
        openpgp.home() as home,
        small.Upstream(directory / "archive", home) as upstream,
        rpms.Archive(directory / "rpms", home, home.make("tools")) as tools,
    ):
        tools.add(Rpm("hello", architecture="x86_64", requires=["lib"]), Rpm("lib", epoch=2), Rpm("unused"))
        tools.publish()
        first = conftest.clone(
            directory / "first", user=user, DEBIAN_MIRROR=upstream.mirror.url, TOOLS_MIRROR=tools.url, NO_PROXY="*"
        )
        _write(first, home, upstream.key, tools)
        assert "lib:noarch: absent -> 2:1.0-1.el9" in first.doit("lock")
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        for argv in (["add", "--all"], ["commit", "--quiet", "--message=rpms: ship some"]):
            done = first.run("git", *author, *argv)
            assert done.returncode == 0, done.stdout
        first.doit()
        second = _other(first, directory / "a longer path, with spaces")
        second.doit()
        yield Site(first, second)
    shutil.rmtree(directory, ignore_errors=True)


def _write(checkout: conftest.Checkout, home: openpgp.Home, debian_key: str, tools: rpms.Archive) -> None:
    texts = {
        "distribution.yaml": INTENT,
        "packages/keys/test.asc": home.public(debian_key).decode(),
        "packages/keys/tools.asc": tools.key_file().read_text(),
        "images/tool/image.yaml": small.RECIPE,
        "salt/FILES": "pillar/top.sls.in\nsalt/top.sls.in\n",
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


def _files(checkout: conftest.Checkout) -> dict[str, bytes]:
    root = checkout.root / "_build/root" / FOLDER
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_users_in_two_folders_get_the_same_bytes(site: Site) -> None:
    files = _files(site.first)
    assert {f"Packages/{Rpm('hello', architecture='x86_64').file_name}", "repodata/repomd.xml.asc", *KEYS} <= set(files)
    assert _files(site.second) == files
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


def test_dnf_installs_from_the_staged_tree_over_http(site: Site, tmp_path: pathlib.Path) -> None:
    served = site.first.root / "_build/root/packages/redhat"
    machine = rpms.Client(tmp_path, served, [NAME], KEYS)
    machine.dnf("install", "hello")
    assert machine.installed() == INSTALLED
    machine.dnf("repoclosure")


def test_dnf_installs_from_what_is_read_back_of_the_iso(site: Site, tmp_path: pathlib.Path) -> None:
    # All of it: a file that stands in several places is a hard link to the first of them.
    command.run(["bsdtar", "-x", "-f", site.first.iso, "-C", tmp_path])
    machine = rpms.Client(tmp_path / "client", tmp_path / "packages/redhat", [NAME], KEYS, is_http=False)
    machine.dnf("install", "hello")
    assert machine.installed() == INSTALLED


def test_nothing_to_do_is_no_work(site: Site) -> None:
    said = site.first.doit()
    assert "-- INDEX RPM" in said
    assert "-- PULL" in said
