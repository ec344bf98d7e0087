"""Our repositories and signatures of RPMs, judged by dnf, rpm, rpmsign and createrepo_c."""

import gzip
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterator, Sequence

import pytest

from buildchain import command, errors, lock, rpm, signing, stage, store
from tests.support import openpgp, rpms
from tests.support.rpms import DATE, Rpm

pytestmark = pytest.mark.tools("dnf", "rpm", "rpmbuild", "rpmkeys", "rpmsign", "createrepo_c", "gpg", "unshare", "ip")

DEVELOPMENT = pathlib.Path(__file__).parents[2] / "packages/keys/development/secret.asc"
KEY = "RPM-GPG-KEY-metalk8s-tools-el9"
OWN = (
    Rpm("tool", "2.0~rc1-1.el9", "x86_64", requires=["tool-data >= 2:1", "/usr/bin/helper"], epoch=1),
    Rpm("tool-data", "1.0^git1-1.el9", requires=["(helper or nothing)"], epoch=2),
    Rpm("helper", files=["/usr/bin/helper"], extra=["Obsoletes: old-helper < 2"]),
)


@pytest.fixture(scope="module")
def signer() -> Iterator[signing.Signer]:
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as opened:
        yield opened


def _own(source: store.Store, signer: signing.Signer, packages: Sequence[Rpm] = OWN) -> list[lock.Package]:
    built = [rpm.package_of(source.add_bytes(content), source) for content in rpms.build(*packages).values()]
    return rpm.sign_all(built, source, signer=signer, epoch=DATE)


def _repository(directory: pathlib.Path, signer: signing.Signer, packages: Sequence[Rpm] = OWN) -> pathlib.Path:
    """Make a repository of own packages and lay it out below a folder."""
    source = store.Store(directory / "store")
    made = rpm.index(_own(source, signer, packages), source, name="tools-el9", epoch=DATE, signer=signer)
    stage.stage(made.moved_to("metalk8s-tools-el9"), source, directory / "root")
    return directory / "root" / "metalk8s-tools-el9"


def _client(directory: pathlib.Path, repository: pathlib.Path, *, is_http: bool = True) -> rpms.Client:
    return rpms.Client(directory / "client", repository.parent, [repository.name], [KEY], is_http)


@pytest.mark.parametrize("is_http", [True, False])
def test_dnf_installs_from_our_repository_alone(tmp_path: pathlib.Path, signer: signing.Signer, is_http: bool) -> None:
    machine = _client(tmp_path, _repository(tmp_path, signer), is_http=is_http)
    machine.dnf("install", "tool")
    expected = ["helper-1.0-1.el9.noarch", "tool-1:2.0~rc1-1.el9.x86_64", "tool-data-2:1.0^git1-1.el9.noarch"]
    assert machine.installed() == expected
    machine.dnf("repoclosure")


def test_own_packages_beside_those_of_others(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    """Each package is checked by its maker's key; one that neither key signed is refused."""
    pulled, foreign, source = Rpm("pulled", requires=["tool-data"]), Rpm("foreign"), store.Store(tmp_path / "store")
    with openpgp.home() as home:
        key, unknown = home.make("maker"), home.make("unknown")
        for each, by in ((pulled, key), (foreign, unknown)):
            (tmp_path / each.file_name).write_bytes(each.content())
            rpms.sign([tmp_path / each.file_name], home, by)
        public = home.public(key)
    others = [rpm.package_of(source.add_file(tmp_path / each.file_name), source) for each in (pulled, foreign)]
    packages = [*others, *_own(source, signer)]
    made = rpm.index(packages, source, name="tools-el9", epoch=DATE, signer=signer, keys=[public])
    stage.stage(made.moved_to("metalk8s-tools-el9"), source, tmp_path / "root")
    machine = rpms.Client(tmp_path / "client", tmp_path / "root", ["metalk8s-tools-el9"], [KEY, f"{KEY}-1"])
    machine.dnf("install", "pulled", "tool")
    assert [name.split("-")[0] for name in machine.installed()] == ["helper", "pulled", "tool", "tool"]
    with pytest.raises(errors.ToolError) as caught:
        machine.dnf("install", "foreign")
    assert "foreign" in caught.value.output
    assert "GPG" in caught.value.output


def test_repoclosure_names_a_hole(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    machine = _client(tmp_path, _repository(tmp_path, signer, OWN[:2]))
    with pytest.raises(errors.ToolError) as caught:
        machine.dnf("repoclosure")
    assert "package: tool-1:2.0~rc1-1.el9.x86_64" in caught.value.output
    assert "/usr/bin/helper" in caught.value.output


def _forged_repomd(repository: pathlib.Path) -> None:
    _change(repository / "repodata/repomd.xml", b"<revision>", b"<revision>1")


def _forged_primary(repository: pathlib.Path) -> None:
    (path,) = repository.glob("repodata/*-primary.xml.gz")
    _change(path, b"", b"", gzip.compress(gzip.decompress(path.read_bytes()).replace(b"helper", b"hepler")))


def _forged_package(repository: pathlib.Path) -> None:
    path = repository / "Packages/helper-1.0-1.el9.noarch.rpm"
    _change(path, b"Tester", b"Taster")


def _change(path: pathlib.Path, old: bytes, new: bytes, content: bytes | None = None) -> None:
    found = path.read_bytes()
    path.unlink()  # a link into the store
    path.write_bytes(content or found.replace(old, new))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_forged_repomd, "repomd.xml GPG signature verification error"),
        (_forged_primary, "primary.xml.gz - Cannot download"),
        (_forged_package, "helper-1.0-1.el9.noarch: Cannot download"),
    ],
)
def test_dnf_refuses_a_changed_repository(
    tmp_path: pathlib.Path, signer: signing.Signer, harm: object, words: str
) -> None:
    assert callable(harm)
    repository = _repository(tmp_path, signer)
    harm(repository)
    with pytest.raises(errors.ToolError) as caught:
        _client(tmp_path, repository).dnf("install", "tool")
    assert words in caught.value.output


def test_a_header_signature_is_that_of_rpmsign(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    """Byte for byte, with the same key at the same time; and rpm accepts it at level `all`, which refuses unsigned."""
    source = store.Store(tmp_path / "store")
    unsigned, theirs, ours = (tmp_path / f"{name}.rpm" for name in ("unsigned", "theirs", "ours"))
    unsigned.write_bytes(OWN[0].content())
    shutil.copy(unsigned, theirs)
    with openpgp.home() as home:
        home.run("--import", str(DEVELOPMENT))
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(max(DATE, signer.created)))
        rpms.sign([theirs], home, f"{signer.fingerprint}!", moment)
    signed = rpm.sign(source.add_file(unsigned), source, signer=signer, epoch=DATE)
    shutil.copy(source.path(signed.digest), ours)
    assert ours.read_bytes() == theirs.read_bytes()
    assert _rpmkeys(tmp_path, signer, ours) == ""
    assert "SIGNATURES NOT OK" in _rpmkeys(tmp_path, signer, unsigned)


def _rpmkeys(directory: pathlib.Path, signer: signing.Signer, path: pathlib.Path) -> str:
    """What rpmkeys has against a file, knowing one key."""
    key = directory / "key.asc"
    key.write_bytes(signer.public_key())
    options = [f"--dbpath={directory}/keys", "-D_pkgverify_level all"]
    command.run(["rpmkeys", *options, "--import", key])
    try:
        command.run(["rpmkeys", *options, "-K", path])
    except errors.ToolError as error:
        return error.output
    return ""


def test_signing_again_replaces_the_signature(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    source = store.Store(tmp_path / "store")
    first = rpm.sign(source.add_bytes(OWN[2].content()), source, signer=signer, epoch=DATE)
    later = rpm.sign(first, source, signer=signer, epoch=signer.created + 5)
    assert later != first
    assert later.size == first.size
    assert rpm.sign(later, source, signer=signer, epoch=DATE) == first


def test_what_is_no_rpm_cannot_be_signed(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    source = store.Store(tmp_path / "store")
    good = OWN[2].content()
    for content in (b"", b"rubbish" * 100, good[:50], good[:300], good[:4600]):
        with pytest.raises(errors.BuildchainError, match="package sha256:"):
            rpm.sign(source.add_bytes(content), source, signer=signer, epoch=DATE)


def test_createrepo_c_agrees(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    repository = _repository(tmp_path, signer)
    theirs = tmp_path / "theirs"
    shutil.copytree(repository / "Packages", theirs / "Packages")
    for path in theirs.rglob("*.rpm"):
        os.utime(path, (DATE, DATE))  # the time of the build, which is what we say
    command.run(["createrepo_c", "-q", "--no-database", "--compress-type=gz", theirs])
    for kind in ("primary", "filelists", "other"):
        (ours,), (other,) = (list(root.glob(f"repodata/*-{kind}.xml.gz")) for root in (repository, theirs))
        assert _elements(ours) == _elements(other)


def _elements(path: pathlib.Path) -> list[str]:
    text = gzip.decompress(path.read_bytes()).decode()
    return sorted(re.findall(r"<package .*?</package>", text, re.DOTALL))


def test_a_repository_depends_on_packages_key_and_date_alone(
    tmp_path: pathlib.Path, signer: signing.Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(root: pathlib.Path) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
            for path in root.rglob("*")
            if path.is_file()
        }

    first = snapshot(_repository(tmp_path / "first", signer))
    monkeypatch.setenv("TZ", "America/St_Johns")
    time.tzset()
    os.umask(0o077)
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as other:
        second = snapshot(_repository(tmp_path / "a longer path, with spaces", other, tuple(reversed(OWN))))
    monkeypatch.undo()
    time.tzset()
    assert second == first
    assert set(first) >= {KEY, "repodata/repomd.xml", "repodata/repomd.xml.asc"}


def test_what_a_package_is(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path / "store")
    package = rpm.package_of(source.add_bytes(OWN[0].content()), source)
    assert package.key == "tool:x86_64=1:2.0~rc1-1.el9"
    assert (package.source, package.path) == ("tool", "tool-2.0~rc1-1.el9.x86_64.rpm")
    assert rpm.licence_of(package.content, source) == "MIT"


def test_a_damaged_store_is_noticed(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    source = store.Store(tmp_path / "store")
    (package, *_) = _own(source, signer)
    path = source.path(package.content.digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(errors.IntegrityError, match=r"tool:x86_64"):
        rpm.index([package], source, name="x", epoch=DATE, signer=signer)
