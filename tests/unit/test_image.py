"""Recipes and what they build: layers, accounts, scripts, checks, and bytes that depend on nothing else."""

import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

import buildchain
from buildchain import errors, image, lock, store
from buildchain.dockerfile import assembly as dockerfile
from buildchain.image import assembly
from buildchain.rootfs import exclusions
from buildchain.solution import archive, kinds
from tests.support import packages, workshops

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(name="workshop")
def _workshop(tmp_path: pathlib.Path) -> workshops.Workshop:
    return workshops.Workshop(tmp_path / "images", store.Store(tmp_path / "store"))


@pytest.mark.parametrize(
    ("maker", "makers"), [(assembly, assembly.MAKERS), (dockerfile, dockerfile.MAKERS), (archive, kinds.MAKERS)]
)
def test_an_image_is_made_anew_after_a_change_of_its_makers(maker: types.ModuleType, makers: tuple[str, ...]) -> None:
    """But for what only carries values: these modules decide none of its bytes."""
    carriers = {"digest", "document", "errors", "lock", "store", "tree", "registry_client", "solution.project"}
    package = pathlib.Path(buildchain.__file__).parent
    matched = [list(package.glob(pattern)) for pattern in makers]
    assert all(matched)
    counted = {
        path.relative_to(package).with_suffix("").as_posix().replace("/", ".") for each in matched for path in each
    }
    waiting, seen = [maker.__name__.removeprefix("buildchain.")], set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        imported = {
            value.__name__.removeprefix("buildchain.")
            for value in vars(sys.modules[f"buildchain.{name}"]).values()
            if isinstance(value, types.ModuleType) and value.__name__.startswith("buildchain.")
        }
        waiting += imported - carriers - seen
    assert {f"{name}.__init__" if f"{name}.__init__" in counted else name for name in seen} <= counted


def test_a_recipe_says_all_it_can_say(workshop: workshops.Workshop) -> None:
    path = workshop.write(
        "app",
        """
packages: [app, abc]
without: {perl: only scripts need it}
base: base
files:
  /etc/a: {content: "a", mode: "0600", owner: "app:app"}
  /etc/b: {source: b.conf}
directories: {/var/lib/app: {mode: "0700", owner: app}}
users: {app: {uid: 900}}
groups: {app: 900}
alternatives: {/usr/bin/awk: mawk}
exclude: [{path: /usr/share/x, reason: nobody reads it}]
may-lack: [{file: /usr/bin/x, needs: libx.so, reason: nobody starts it}]
environment: {A: "1"}
entrypoint: [/usr/bin/app]
command: [--help]
ports: [8080, 53/udp]
volumes: [/var/lib/app]
user: app:app
working-directory: /var/lib/app
stop-signal: SIGTERM
labels: {org.example.a: b}
architecture: arm64
""",
    )
    (path.parent / "b.conf").write_bytes(b"b")
    recipe = image.load(path)
    assert recipe.name == "app"
    assert recipe.packages == ("abc", "app")
    assert [(file.path, file.content, file.mode, file.owner) for file in recipe.files] == [
        ("etc/a", b"a", 0o600, "app:app"),
        ("etc/b", b"b", 0o644, "root"),
    ]
    assert recipe.config.ports == ("53/udp", "8080/tcp")
    assert recipe.config.labels == {"org.opencontainers.image.title": "app", "org.example.a": "b"}
    assert recipe.config.architecture == "arm64"


@pytest.mark.parametrize(
    ("recipe", "problem"),
    [
        ("packages: []", "line 1, packages: [] should be non-empty"),
        ("files: {}", "'packages' is a required property"),
        ("packages: [a b]", "'a b' is not a Debian package name"),
        ("packages: [app]\nentry: x", "line 2, entry: unknown key"),
        ("packages: [app]\nwithout: {app: not wanted at all}", "line 2, without.app: is also asked for"),
        ("packages: [app]\nwithout: {b: why}", "line 2, without.b: 'why' is too short"),
        ("packages: [app]\nfiles: {/a: {}}", "line 2, files./a: needs either `content` or `source`"),
        ("packages: [app]\nfiles: {/a: {source: b}}", "line 2, files./a.source: there is no such file"),
        ("packages: [app]\nfiles: {/a: {source: ../../x}}", "leads out of the recipe's folder"),
        ("packages: [app]\nfiles: {/a/../b: {content: x}}", "'a/../b' is not a plain relative path"),
        ("packages: [app]\nfiles: {a: {content: x}}", "'a' is not an absolute path"),
        ("packages: [app]\nfiles: {/a: {content: x, mode: 0644}}", "420 is not text; put it in quotes"),
        ("packages: [app]\nusers: {app: {uid: 900}}", "the group 'app' is not listed"),
        ("packages: [app]\nports: [70000]", "line 2, ports.0"),
        ("packages: [app]\npackages: [b]", "the key is given twice"),
        ("- a", "must be a mapping"),
    ],
)
def test_mistakes_in_a_recipe_are_named_with_their_line(
    workshop: workshops.Workshop, recipe: str, problem: str
) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        image.load(workshop.write("app", recipe))
    assert problem in str(caught.value)


def test_a_chain_is_checked(workshop: workshops.Workshop) -> None:
    workshop.write("app", "packages: [app]\nbase: base")
    with pytest.raises(errors.ConfigError, match="line 2, base: there is no recipe 'base'"):
        image.load_chain(workshop.root, "app")
    workshop.write("base", "packages: [a1]\nbase: app")
    with pytest.raises(errors.ConfigError, match="line 2, base: 'app' stands on this recipe already"):
        image.load_chain(workshop.root, "app")
    workshop.write("base", "packages: [a1]\narchitecture: arm64")
    with pytest.raises(errors.ConfigError, match="line 2, base: 'base' is for arm64, this recipe for amd64"):
        image.load_chain(workshop.root, "app")


def test_what_to_resolve_is_that_of_the_whole_chain(workshop: workshops.Workshop) -> None:
    workshop.write("base", "packages: [base-files]\nwithout: {debconf: asks questions, libpcre2-8-0: not needed}")
    workshop.write("app", "packages: [app, libpcre2-8-0]\nbase: base\nwithout: {perl: only for scripts}")
    found = image.request(image.load_chain(workshop.root, "app"), ["debian"])
    assert found == lock.Request(
        "image app", "amd64", ("debian",), ("app", "base-files", "libpcre2-8-0"), ("debconf", "perl")
    )


def test_an_image_is_made_of_packages_and_lines(workshop: workshops.Workshop) -> None:
    built = workshop.build(
        """
packages: [app]
files:
  /etc/app.conf: {content: "mine", owner: "app:www-data", mode: "0640"}
directories: {/var/lib/app: {mode: "0700", owner: app}}
users: {app: {uid: 900, home: /var/lib/app}}
groups: {app: 901}
alternatives: {/usr/bin/editor: app, /dev/log: /run/log}
user: app
entrypoint: [/usr/bin/app]
""",
        workshops.ALL,
    )
    (layer,) = built.layers
    members = workshop.layer(layer)
    assert workshop.file(built, "etc/passwd") == workshops.PASSWD + b"app:*:900:901::/var/lib/app:/usr/sbin/nologin\n"
    assert workshop.file(built, "etc/group") == workshops.GROUP + b"app:*:901:\n"
    assert workshop.file(built, "etc/ssl/certs/ca-certificates.crt") == b"first\nsecond\n"
    assert workshop.file(built, "etc/app.conf") == b"mine"
    conf, state, link = members["etc/app.conf"], members["var/lib/app"], members["usr/bin/editor"]
    assert (conf.mode, conf.uid, conf.gid, conf.mtime) == (0o640, 900, 33, 3000)
    assert (state.mode, state.uid, state.gid) == (0o700, 900, 901)
    assert link.linkname == "app"
    assert members["usr/bin/app"].mtime == packages.BUILT
    assert {(member.uname, member.gname) for member in members.values()} == {("", "")}
    config = json.loads(workshop.source.read(built.config.digest))
    assert config["created"] == "1970-01-01T00:50:00Z"
    assert config["config"]["User"] == "app"
    assert config["config"]["Env"] == ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    assert config["rootfs"]["diff_ids"] == [str(layer.diff_id)]
    assert "app:amd64=1.0" in config["history"][0]["created_by"]
    assert config["history"][0]["comment"].startswith("gzip: deflate ")


def test_scanners_find_the_packages(workshop: workshops.Workshop) -> None:
    excluded = (exclusions.Exclusion("/usr/share/doc", "a reason here", ("/usr/share/doc/*/copyright",)),)
    built = workshop.build("packages: [app]", workshops.ALL, excluded=excluded)
    status = workshop.file(built, "var/lib/dpkg/status.d/app").decode().splitlines()
    assert status[:3] == ["Package: app", "Status: install ok installed", "Version: 1.0"]
    assert workshop.file(built, "var/lib/dpkg/status.d/app.md5sums") == b"0" * 32 + b"  usr/bin/app\n"
    assert workshop.file(built, "usr/share/doc/app/copyright") == b"free\n"


def test_every_file_has_an_origin(workshop: workshops.Workshop) -> None:
    built = workshop.build("packages: [app]\nfiles: {/etc/app.conf: {content: mine}}", workshops.ALL)
    rows = {row["path"]: row for row in json.loads(image.origins_json(built))}
    assert rows["/usr/bin/app"]["origin"] == "app:amd64=1.0"
    replaced = "images/app/image.yaml: files./etc/app.conf, instead of that of app:amd64=1.0"
    assert rows["/etc/app.conf"]["origin"] == replaced
    assert rows["/etc/passwd"]["origin"] == "generated from base-passwd:amd64=1.0"
    assert rows["/bin"]["origin"] == "merged /usr"
    assert set(workshop.layer(built.layers[0])) == {path[1:] for path in rows}
    assert all(row["origin"] for row in rows.values())


def test_layers_of_a_base_are_shared(workshop: workshops.Workshop) -> None:
    workshop.write("base", "packages: [base-passwd]\nenvironment: {A: base, B: base}")
    workshop.write("app", "packages: [app]\nbase: base\nenvironment: {A: app}")
    policy = image.Policy({})
    base = image.build(workshop.stages("base", workshops.BASE), workshop.source, policy, ())
    app = image.build(workshop.stages("app", workshops.BASE, workshops.ALL), workshop.source, policy, ())
    assert app.layers[0] == base.layers[0]
    assert not set(workshop.layer(app.layers[1])) & {"etc/passwd", "etc/ssl/certs/ca-certificates.crt", "bin"}
    assert {"usr", "usr/bin", "usr/bin/app", "var/lib/dpkg/status.d/app"} <= set(workshop.layer(app.layers[1]))
    assert "A=app" in json.loads(workshop.source.read(app.config.digest))["config"]["Env"]
    assert "B=base" in json.loads(workshop.source.read(app.config.digest))["config"]["Env"]
    shared = {entry.path.split("/")[-1] for entry in image.tree(app, "app", "1.0").files()}
    assert base.layers[0].blob.digest.hex in shared
    assert {"manifest.json", "version"} <= shared


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("files: {/etc/a: {content: x, owner: nobody}}", "/etc/a: there is no owner 'nobody'"),
        ("files: {/usr/bin: {content: x}}", "usr/bin: app:amd64=1.0 has something else there"),
        ("files: {/bin/x: {content: x}, /usr/bin/app/y: {content: x}}", "/usr/bin/app/y of images/app/image.yaml"),
        ("alternatives: {/usr/bin/awk: mawk}", "alternatives./usr/bin/awk: mawk is not in the image"),
        ("alternatives: {/etc: /usr}", "etc: app:amd64=1.0 has something else there"),
        ("user: nobody", "user: there is no 'nobody' in /etc/passwd"),
        ("users: {www-data: {uid: 900, group: root}}", "users.www-data: is there already, with id 33"),
        ("users: {app: {uid: 33, group: root}}", "users.app: id 33 is that of www-data"),
        ("groups: {app: 33}", "groups.app: id 33 is that of www-data"),
    ],
)
def test_lines_that_do_not_fit_the_packages_are_named(workshop: workshops.Workshop, lines: str, problem: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        workshop.build(f"packages: [app]\n{lines}", workshops.ALL)
    assert caught.value.what == "images/app/image.yaml"
    assert problem in str(caught.value)


def test_an_empty_directory_gives_way_to_a_link(workshop: workshops.Workshop) -> None:
    base_files = packages.make_deb({"Package": "base-files"}, {"./var/run/": packages.directory()})
    built = workshop.build(
        "packages: [app]\nalternatives: {/var/run: /run}", {**workshops.ALL, "base-files": base_files}
    )
    assert workshop.layer(built.layers[0])["var/run"].linkname == "/run"


def test_a_missing_library_names_the_dropped_package(workshop: workshops.Workshop) -> None:
    with pytest.raises(errors.BuildchainError) as caught:
        workshop.build(
            "packages: [app]\nwithout: {libapp1: thought to be useless}",
            {**workshops.BASE, "app": workshops.APP["app"]},
        )
    assert str(caught.value) == (
        "image app: not all that it ships can start\n"
        "  /usr/bin/app needs libapp.so.1, which is not shipped; "
        "app:amd64=1.0 depends on libapp1, which `without` drops\n"
        "Ship what is missing, exclude what needs it, or name it under `may-lack` in images/app/image.yaml."
    )


def test_what_may_lack_something_ships_and_an_exception_without_use_is_refused(workshop: workshops.Workshop) -> None:
    recipe = "packages: [app]\nmay-lack: [{file: /usr/bin/*, needs: libapp.so.1, reason: nobody starts it}]"
    assert workshop.build(recipe, {**workshops.BASE, "app": workshops.APP["app"]}).layers
    with pytest.raises(errors.BuildchainError, match=r"nothing lacks libapp\.so\.1"):
        workshop.build(recipe, workshops.ALL)


def test_an_interpreter_that_a_recipe_excludes_with_its_script_is_not_missed(workshop: workshops.Workshop) -> None:
    tool = packages.make_deb({"Package": "tool"}, {"./usr/bin/t": packages.Member(b"#!/bin/sh\n", 0o755)})
    with pytest.raises(errors.BuildchainError, match="/usr/bin/t needs /bin/sh"):
        workshop.build("packages: [tool]", {**workshops.BASE, "tool": tool})
    recipe = "packages: [tool]\nexclude: [{path: /usr/bin/t, reason: nobody calls it}]"
    assert workshop.build(recipe, {**workshops.BASE, "tool": tool}).layers


SCRIPTS = {"postinst": "#!/bin/sh\nadduser x\n", "config": "#!/bin/sh\nask\n"}


def test_scripts_that_nobody_has_read_stop_the_build(workshop: workshops.Workshop, tmp_path: pathlib.Path) -> None:
    debs = {**workshops.BASE, "tool": packages.make_deb({"Package": "tool"}, scripts=SCRIPTS)}
    with pytest.raises(errors.BuildchainError) as caught:
        workshop.build("packages: [tool]", debs)
    assert caught.value.why == "maintainer scripts that nobody has read: tool config (new), tool postinst (new)"
    pasted = caught.value.hint.partition("\n")[2]
    listed = tmp_path / "maintainer-scripts.yaml"
    listed.write_text(pasted)
    with pytest.raises(errors.ConfigError, match="the reason is still to be written"):
        image.load_policy(listed)
    listed.write_text(pasted.replace("(say here why nothing is lost when it does not run)", "the recipe does it"))
    policy = image.load_policy(listed)
    assert workshop.build("packages: [tool]", debs, policy).layers
    changed = {
        **workshops.BASE,
        "tool": packages.make_deb({"Package": "tool"}, scripts={**SCRIPTS, "postinst": "rm -rf /\n"}),
    }
    with pytest.raises(errors.BuildchainError, match=r"nobody has read: tool postinst \(changed\)"):
        workshop.build("packages: [tool]", changed, policy)


def test_a_lock_that_does_not_fit_is_refused(workshop: workshops.Workshop) -> None:
    workshop.write("base", "packages: [base-passwd]")
    workshop.write("app", "packages: [app, other]\nbase: base\nwithout: {libapp1: is useless here}")
    newer = {"base-passwd": packages.make_deb({"Package": "base-passwd", "Version": "1.0"}, built=5)}
    with pytest.raises(errors.BuildchainError) as caught:
        image.build(
            workshop.stages("app", workshops.BASE, {**newer, **workshops.APP}), workshop.source, image.Policy({}), ()
        )
    assert caught.value.why.splitlines() == [
        "the lock does not fit images/app/image.yaml",
        "  other is not locked",
        "  base-passwd:amd64=1.0 is base-passwd:amd64=1.0 in the layer below",
        "  libapp1:amd64=1.0 is locked, but the recipe drops it",
    ]


def test_a_full_disk_is_an_error_not_a_crash(workshop: workshops.Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    workshop.write("app", "packages: [app]")
    stages = workshop.stages("app", workshops.ALL)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(errors.BuildchainError, match=r"No space left on device\)\nFree some space"):
        image.build(stages, workshop.source, image.Policy({}), ())
    assert list((workshop.source.root / "partial").iterdir()) == []


def test_the_identity_is_that_of_all_inputs(workshop: workshops.Workshop) -> None:
    path = workshop.write("app", "packages: [app]\nfiles: {/etc/a: {source: a}}")
    (path.parent / "a").write_bytes(b"one")
    rules = (exclusions.Exclusion("/usr/share/man", "a reason here"),)
    first = image.identity(workshop.stages("app", workshops.ALL), rules)
    assert first == image.identity(workshop.stages("app", workshops.ALL), rules)
    (path.parent / "a").write_bytes(b"two")
    others = {
        image.identity(workshop.stages("app", workshops.ALL), rules),
        image.identity(workshop.stages("app", workshops.BASE), rules),
        image.identity(workshop.stages("app", workshops.ALL), ()),
    }
    assert len(others | {first}) == 4


_BUILD = """
import os, pathlib, sys
os.umask(int(sys.argv[3], 8))
from buildchain import image, store
from tests.support import workshops
workshop = workshops.Workshop(pathlib.Path(sys.argv[1]), store.Store(pathlib.Path(sys.argv[2])))
built = workshop.build("packages: [app]\\nfiles: {/etc/a: {content: x}}", workshops.ALL)
print(built.manifest.digest, image.identity(workshop.stages("app", workshops.ALL), ()))
"""


def test_bytes_depend_on_nothing_around(tmp_path: pathlib.Path) -> None:
    """Another folder, umask, time zone, locale, hash seed: the same digests."""
    running = []
    for number, (umask, zone, seed) in enumerate([("022", "UTC", "0"), ("077", "Asia/Kathmandu", "4711")]):
        folder = tmp_path / f"folder {number}"
        environment = {
            "PATH": os.environ["PATH"],
            "TZ": zone,
            "PYTHONHASHSEED": seed,
            "LC_ALL": "C",
            "HOME": str(folder),
        }
        arguments = [sys.executable, "-c", _BUILD, str(folder / "images"), str(folder / "store"), umask]
        running.append(subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True))
    outputs = {child.communicate()[0] for child in running}
    assert [child.returncode for child in running] == [0, 0]
    assert len(outputs) == 1
    assert "sha256:" in outputs.pop()


@pytest.mark.parametrize("path", sorted(ROOT.glob("images/*/image.yaml")), ids=lambda path: path.parent.name)
def test_our_own_recipes_load(path: pathlib.Path) -> None:
    chain = image.load_chain(ROOT / "images", path.parent.name)
    assert chain[-1].name == path.parent.name
    assert path.read_text().startswith("# yaml-language-server: $schema=../../buildchain/schemas/image.schema.json\n")


def test_our_own_lists_load() -> None:
    assert exclusions.load(ROOT / "images" / "exclusions.yaml")
    assert image.load_policy(ROOT / "images" / "maintainer-scripts.yaml").read
