"""Recipes of own packages, their rooms, their steps, and how a host uses the repositories."""

import ast
import dataclasses
import io
import pathlib
import sys
import tarfile
import types

import jinja2
import pytest

from buildchain import builder, digest, errors, executor, lock, store, tree
from buildchain.rootfs import exclusions
from tests.support import packages

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "packages"
EPOCH = 1_700_000_000
ZEROS = f"'{'0' * 64}'"
ROOM = digest.Descriptor.of_bytes(b"room")

TOOLS = builder.recipe.Tools(
    packages=("debhelper", "dpkg-dev", "rpm"),
    without=("gcc-12",),
    exclude=(exclusions.Exclusion("/usr/share/doc", "nobody reads it"),),
    alternatives={"/usr/bin/awk": "/usr/bin/mawk", "/usr/bin/cc": "/usr/bin/gcc"},
)

SPEC = """\
Name: one
Version: @@VERSION
BuildRequires: make, python3-devel >= 3.9
BuildRequires:  gcc
"""

CONTROL = """\
Source: one
Build-Depends: debhelper-compat (= 13), make | gmake,
 libc6-dev (>= 2.36) [amd64]
Build-Depends-Indep: gettext

Package: one
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for path, text in {
        "one.yaml": "families: [debian, redhat]\nfiles: [a.py]\nprovides: {python3-devel: python3-dev}\n",
        "common/one/a.py": "@@VERSION\n",
        "debian/one/control": CONTROL,
        "debian/one/source/format": "3.0 (native)\n",
        "redhat/one.spec": SPEC,
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def _problem(folder: pathlib.Path, name: str = "one") -> str:
    with pytest.raises(errors.ConfigError) as caught:
        builder.recipe.load(folder, name, "1.2.3-dev")
    return str(caught.value)


def test_a_recipe_is_what_its_files_say(folder: pathlib.Path) -> None:
    recipe = builder.recipe.load(folder, "one", "1.2.3-dev")
    assert recipe.version == "1.2.3~dev"
    assert recipe.files == {"a.py": b"@@VERSION\n"}
    assert sorted(recipe.debian) == ["control", "source/format"]
    assert b"Version: 1.2.3~dev\n" in recipe.spec
    assert recipe.build_requires() == ("gcc", "make", "python3-devel")
    assert recipe.build_depends() == ("gettext", "libc6-dev", "make")


def test_what_a_room_wants(folder: pathlib.Path) -> None:
    recipe = builder.recipe.load(folder, "one", "1")
    request = recipe.request("redhat", TOOLS, ("debian",))
    assert request == lock.Request(
        "builder redhat one",
        "amd64",
        ("debian",),
        ("debhelper", "dpkg-dev", "gcc", "make", "python3-dev", "rpm"),
        without=("gcc-12",),
    )
    (folder / "redhat/one.spec").write_text("BuildRequires: rpm\n")
    recipe = builder.recipe.load(folder, "one", "1")
    assert recipe.request("redhat", TOOLS, ("debian",)).name == "builder"
    assert recipe.request("debian", TOOLS, ("debian",)).without == ("gcc-12",)
    (folder / "one.yaml").write_text("families: [debian]\ncompiles: true\n")
    request = builder.recipe.load(folder, "one", "1").request("debian", TOOLS, ("debian",))
    assert "build-essential" in request.packages
    assert request.without == ()


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("one.yaml", "families: [debian, redhat]\nfiles: [b.py]\n", "common/one/b.py: No such file"),
        ("one.yaml", "families: [debian]\nfiles: [../a.py]\n", "'../a.py' is not a file name"),
        ("one.yaml", "families: [suse]\n", "line 1, families.0"),
        ("one.yaml", "families: [debian]\nsources: []\n", "unknown key"),
        ("one.yaml", "families: [debian]\ndsc: one.dsc\n", "'dsc-key' is a dependency of 'dsc'"),
        (
            "one.yaml",
            "families: [debian]\ndsc: one.dsc\ndsc-key: keys/a\n",
            "'one.dsc' is not among the pulled sources",
        ),
        (
            "one.yaml",
            f"families: [debian]\npulled: {{a: {{path: pool/a, size: 1, sha256: {ZEROS}}}}}\n",
            "is no http or https URL",
        ),
        (
            "one.yaml",
            f"families: [debian]\nfiles: [a.py]\npulled: {{a.py: {{path: 'http://a', size: 1, sha256: {ZEROS}}}}}\n",
            "two sources are named a.py",
        ),
        ("redhat/one.spec", "Version: @@RELEASE\n", "there is no value for @@RELEASE"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(folder: pathlib.Path, path: str, text: str, problem: str) -> None:
    (folder / path).write_text(text)
    assert problem in _problem(folder)


def test_what_a_recipe_says_is_text(folder: pathlib.Path) -> None:
    (folder / "debian/one/control").write_bytes(b"Source: one\nBuild-Depends: \xff\n")
    (folder / "redhat/one.spec").write_bytes(b"BuildRequires: \xff\n")
    problem = _problem(folder)
    assert "debian/one/control: line 2 is not UTF-8" in problem
    assert "redhat/one.spec: line 1 is not UTF-8" in problem


def test_a_recipe_that_is_not_there(folder: pathlib.Path) -> None:
    assert "two.yaml" in _problem(folder, "two")
    (folder / "two.yaml").write_text("families: [debian, redhat]\n")
    assert "debian/two/ is missing or empty" in _problem(folder, "two")
    (folder / "debian/one/control").unlink()
    assert "debian/one/control is missing" in _problem(folder)
    (folder / "debian/two").mkdir()
    (folder / "debian/two/control").symlink_to("/etc/passwd")
    assert "debian/two/control is a link" in _problem(folder, "two")


def _package(source: store.Store, name: str, files: dict[str, bytes | packages.Member], **control: str) -> lock.Package:
    content = source.add_bytes(packages.make_deb({"Package": name, **control}, files))
    return lock.Package(name, "amd64", "1.0", name, "debian", f"{name}.deb", content)


def test_a_room_has_one_user_and_what_scripts_would_have_made(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path)
    held = [
        _package(source, "mawk", {"./usr/bin/mawk": packages.Member(b"awk", 0o4755)}),
        _package(source, "libone", {"./var/mail/": packages.directory(0o2775, 0, 8)}, **{"Multi-Arch": "same"}),
        _package(source, "doc", {"./usr/share/doc/doc/README": b"long", "./tmp/": packages.directory(0o1777)}),
    ]
    layer = builder.room.layer(held, TOOLS, source)
    with tarfile.open(fileobj=io.BytesIO(source.read(layer.digest))) as archive:
        members = {member.name: member for member in archive}
        status = archive.extractfile("var/lib/dpkg/status")
        assert status is not None
        assert status.read().decode().count("\nStatus: install ok installed\n") == 3
    assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
    assert [members[path].mode for path in ("usr/bin/mawk", "var/mail", "tmp")] == [0o755, 0o775, 0o1777]
    assert members["usr/bin/awk"].linkname == "/usr/bin/mawk"
    assert "usr/bin/cc" not in members
    assert {"var/lib/dpkg/info/libone:amd64.list", "var/lib/dpkg/info/mawk.list"} <= members.keys()
    assert not [path for path in members if path.startswith("usr/share/doc")]


def test_a_room_is_made_once(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path)
    held = [_package(source, name, {f"./usr/bin/{name}": name.encode()}) for name in ("one", "two")]
    layer = builder.room.layer(held, TOOLS, source)
    other = dataclasses.replace(TOOLS, alternatives={"/usr/bin/awk": "/usr/bin/one"})
    source.remove(held[0].content.digest)  # nothing of it is read again
    assert builder.room.layer(held[::-1], dataclasses.replace(TOOLS, packages=()), source) == layer
    (note,) = (tmp_path / "notes/rooms").iterdir()
    for harm in (
        lambda: note.write_bytes(b"x"),
        lambda: note.write_bytes(b"sha256:1 2"),
        lambda: source.remove(layer.digest),
    ):
        kept = note.read_bytes()
        harm()
        with pytest.raises(errors.BuildchainError, match=held[0].content.digest.hex):
            builder.room.layer(held, TOOLS, source)
        note.write_bytes(kept)
    for changed in ([held[0]], held):
        with pytest.raises(errors.BuildchainError, match=held[0].content.digest.hex):
            builder.room.layer(changed, other, source)


def test_the_code_of_a_room_is_all_that_it_imports() -> None:
    """But for what only carries values: these modules decide none of its bytes."""
    carriers = {"buildchain.digest", "buildchain.errors", "buildchain.lock", "buildchain.store"}
    carriers |= {"buildchain.builder.recipe", "buildchain.document"}
    counted = {builder.room.__name__, *(each.__name__ for each in builder.room.MAKERS)}
    for name in counted:
        imported = {
            value.__name__
            for value in vars(sys.modules[name]).values()
            if isinstance(value, types.ModuleType) and value.__name__.startswith("buildchain.")
        }
        assert imported <= counted | carriers, name


def test_the_steps_of_a_recipe(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path / "store")
    recipe = builder.recipe.load(folder, "one", "1.0-dev")
    sources = tree.build([tree.File("a.py", source.add_bytes(b"1"))])
    step = builder.steps.deb(recipe, ROOM, sources, source, epoch=EPOCH)
    files = {file.path: file for file in step.inputs.files()}
    assert sorted(files) == ["src/a.py", "src/debian/changelog", "src/debian/control", "src/debian/source/format"]
    changelog = source.read(files["src/debian/changelog"].content.digest).decode()
    assert changelog.startswith("one (1.0~dev) stable; urgency=medium\n")
    assert changelog.endswith("  Tue, 14 Nov 2023 22:13:20 +0000\n")
    assert (step.root, step.epoch, step.outputs) == ((ROOM,), EPOCH, ("out", "lint"))
    held = [lock.Package(name, "amd64", version, name, "d", name, ROOM) for name, version in VERSIONS.items()]
    step = builder.steps.srpm(recipe, ROOM, sources, source, epoch=EPOCH, held=held, lint=b"")
    assert "rpmbuild/SOURCES/a.py" in [file.path for file in step.inputs.files()]
    spec = builder.steps.room_spec(recipe, held).decode()
    for line in ("make = 4.3", "python3-dev = 3.11.2", "python3-devel = 3.11.2", "zlib1g = 1.2.13.dfsg"):
        assert f"Provides: {line}\n" in spec
    assert "--nodeps" not in " ".join(step.argv).replace("--justdb --nodeps room/RPMS", "")


VERSIONS = {"make": "4.3-4.1", "python3-dev": "3.11.2-1+b1", "zlib1g": "1:1.2.13.dfsg-1"}


def test_findings_and_packages_of_a_result(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path)
    text = b"== session ==\none.src: W: no-url\nE: one: bad [x]\n1 packages\n"
    outputs = {"lint": source.add_bytes(text), "out/a.deb": ROOM}
    result = executor.Result(outputs, ROOM)
    assert builder.steps.findings(result, source) == ["one.src: W: no-url", "E: one: bad [x]"]
    assert builder.steps.packages(result) == tree.build([tree.File("a.deb", ROOM)])


def _rendered(template: str) -> str:
    """A template of the formula metalk8s.repo, as Salt renders it for a mounted medium."""
    family = "redhat" if template.startswith("yum") else "debian"
    key = builder.configuration.REDHAT_KEY if family == "redhat" else builder.configuration.DEBIAN_KEY
    metalk8s = {"project": "MetalK8s", "repo": {"folder": family, "key": key, "local_mode": True}}
    versions = {"metalk8s": {"version": "2.5.1"}, "repositories": {family: ["a-1", "b-2"]}}
    files = ROOT / "salt/metalk8s"
    loader = jinja2.DictLoader(
        {
            "metalk8s/map.jinja": f"{{% set metalk8s = {metalk8s!r} %}}{{% set versions = {versions!r} %}}",
            "metalk8s/macro.sls": (files / "macro.sls").read_text(),
            template: (files / "repo/files" / template).read_text(),
        }
    )
    environment = jinja2.Environment(loader=loader, extensions=["jinja2.ext.do"], keep_trailing_newline=True)  # noqa: S701
    salt = {"metalk8s_archives.location": lambda version: f"/srv/scality/metalk8s-{version}"}
    environment.globals.update(salt=salt, grains=types.SimpleNamespace(os_family="Debian"))
    return environment.get_template(template).render()


def test_the_release_package_and_salt_write_the_same_files() -> None:
    names = ["a-1", "b-2"]
    assert _rendered("apt.sources.jinja").strip() == builder.configuration.apt_sources("2.5.1", names).strip()
    assert _rendered("apt.preferences.jinja").strip() == builder.configuration.apt_preferences("2.5.1").strip()
    assert _rendered("yum.repo.jinja").strip() == builder.configuration.yum_repo("2.5.1", names).strip()


def test_the_plugins_of_sos_are_python_3_9() -> None:
    """The Python that sos of EL 9 runs on."""
    plugins = sorted((FOLDER / "common/metalk8s-sosreport").glob("*.py"))
    assert len(plugins) == 3
    for path in plugins:
        ast.parse(path.read_text(), str(path), feature_version=(3, 9))


def test_the_recipes_of_this_repository_load() -> None:
    tools = builder.recipe.load_tools(FOLDER / builder.recipe.TOOLS)
    for name in ("metalk8s-release", "metalk8s-sosreport"):
        recipe = builder.recipe.load(FOLDER, name, "2.5.1")
        for family in recipe.families:
            assert recipe.request(family, tools, ("debian",)).name == "builder"
