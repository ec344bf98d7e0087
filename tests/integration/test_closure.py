"""Can everything on a medium be installed? apt and dnf say so, or name the hole."""

import pathlib
from collections.abc import Iterator, Sequence

import pytest

from buildchain import bases, cli, closure, deb, errors, lock, rpm, signing, stage, store, tree
from tests.support import packages, rpms
from tests.support.rpms import DATE, Rpm

pytestmark = pytest.mark.tools("apt-get", "dnf", "rpmbuild", "gpg")

ROOT = pathlib.Path(__file__).parents[2]
DEVELOPMENT = ROOT / "packages/keys/development/secret.asc"


@pytest.fixture(scope="module")
def signer() -> Iterator[signing.Signer]:
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as opened:
        yield opened


def _medium(
    directory: pathlib.Path, signer: signing.Signer, debs: Sequence[str], rpm_files: Sequence[Rpm]
) -> pathlib.Path:
    """A staged tree with one repository of each family; a DEB is written NAME or NAME: DEPENDS."""
    source = store.Store(directory / "store")
    key = tree.build([tree.File("signing-key.asc", source.add_bytes(signer.public_key()))])
    parts = [key]
    if debs:
        made = [_deb(source, each) for each in debs]
        one = deb.index(made, source, name="x", label="MetalK8s", epoch=DATE, signer=signer)
        parts.append(one.moved_to("packages/debian/metalk8s-x"))
    if rpm_files:
        built = [rpm.package_of(source.add_bytes(content), source) for content in rpms.build(*rpm_files).values()]
        other = rpm.index(built, source, name="tools-el9", epoch=DATE, signer=signer)
        parts.append(other.moved_to("packages/redhat/metalk8s-tools-el9"))
    root = directory / "a medium, staged"
    stage.stage(tree.merge(*parts), source, root)
    return root


def _deb(source: store.Store, text: str) -> lock.Package:
    name, _, depends = text.partition(": ")
    control = {"Package": name, "Architecture": "all", "Maintainer": "T <t@example.test>", "Description": "x"}
    return packages.add(source, packages.make_deb({**control, "Depends": depends or "apt"}), name, architecture="all")


def _base(directory: pathlib.Path, family: str, rows: str) -> bases.Base:
    path = directory / f"{family}.yaml"
    architecture = "amd64" if family == "debian" else "x86_64"
    path.write_text(f"family: {family}\narchitecture: {architecture}\npackages:\n{rows}")
    return bases.load(path)


def test_a_medium_without_holes(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    """The bases are those of this repository."""
    debs = ["hello: libc6 (>= 2.36), awk, hello-data", "hello-data"]
    files = [
        Rpm("hello", requires=["/bin/sh", "libc.so.6(GLIBC_2.34)(64bit)", "data", "openssl-libs >= 1:3"]),
        Rpm("data"),
    ]
    root = _medium(tmp_path, signer, debs, files)
    hosts = [bases.load(ROOT / f"packages/bases/{name}-minimal.yaml") for name in ("debian-12", "el-9")]
    assert "".join(map(str, closure.check(root, hosts))) == (
        "debian on debian-12-minimal: all 2 packages can be installed\n"
        "redhat el9 on el-9-minimal: all 2 packages can be installed\n"
    )


def test_holes_are_named(tmp_path: pathlib.Path, signer: signing.Signer, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        Rpm("hello", requires=["/bin/sh", "nowhere > 1"]),
        Rpm("good", requires=["bash >= 1:4"]),
        Rpm("foe", extra=["Conflicts: bash"]),
    ]
    root = _medium(tmp_path, signer, ["hello: libc6 (>= 9)", "good: libc6"], files)
    _base(tmp_path, "debian", "  libc6: {version: 2.36-9}\n  apt: {version: '2.6'}\n")
    _base(tmp_path, "redhat", "  bash: {version: '1:5-1', provides: [/bin/sh]}\n")
    argv = ["packages", "check", str(root), "--base", f"{tmp_path}/debian.yaml", "--base", f"{tmp_path}/redhat.yaml"]
    assert cli.main(argv) == 1
    said = capsys.readouterr().out
    assert said.startswith("debian on debian: 1 of 2 packages cannot be installed\n  hello=1.0: ")
    assert "libc6 (>= 9)" in said
    assert "redhat el9 on redhat: 2 of 3 packages cannot be installed\n" in said
    assert "  foe-1.0-1.el9.noarch: takes the place of bash\n" in said
    assert "  hello-1.0-1.el9.noarch: nothing provides nowhere > 1 needed by hello-1.0-1.el9.noarch\n" in said


def test_without_a_base_the_assumptions_are_named(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    root = _medium(tmp_path, signer, [], [Rpm("hello", requires=["/bin/sh"])])
    (answer,) = closure.check(root, [])
    assert answer.host == "redhat el9 on nothing"
    assert answer.holes == {
        "hello-1.0-1.el9.noarch": ["nothing provides /bin/sh needed by hello-1.0-1.el9.noarch"],
    }


def test_a_base_is_held_against_its_own_distribution(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    root = _medium(tmp_path, signer, [], [Rpm("hello", requires=["/bin/sh"])])
    rows = "  bash: {version: '1:5-1', provides: [/bin/sh]}\n"
    hosts = [_base(tmp_path, "redhat", rows + f"distribution: {name}\n") for name in ("el8", "el9")]
    assert [str(each) for each in closure.check(root, hosts)] == [
        "redhat el9 on redhat: all 1 packages can be installed\n"
    ]
    assert [each.host for each in closure.check(root, hosts[:1])] == ["redhat el9 on nothing"]


def test_what_is_no_medium(tmp_path: pathlib.Path, signer: signing.Signer) -> None:
    root = _medium(tmp_path, signer, ["hello"], [])
    (root / "signing-key.asc").unlink()
    with pytest.raises(errors.BuildchainError, match=r"signing-key\.asc: No such file"):
        closure.check(root, [])
    with pytest.raises(errors.BuildchainError, match=r"has no packages/debian or packages/redhat"):
        closure.check(tmp_path, [])
