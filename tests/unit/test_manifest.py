"""The intent: the committed one loads; references that lead nowhere are named with their line."""

import pathlib

import pytest

from buildchain import bases, errors, manifest

CHECKOUT = pathlib.Path(__file__).parents[2]

GOOD = """\
archives:
  debian: {origin: Debian, suite: bookworm, components: [main], keys: [keys/a.asc, keys/b.asc]}
  debian-security: {origin: Debian, suite: bookworm-security, components: [main, contrib], keys: [keys/a.asc]}
repositories:
  small: {archives: [debian], packages: [zsh, bash], architecture: arm64}
  debian-12: {archives: [debian, debian-security], packages: [bash], bootstraps: true}
images:
  archives: [debian]
  ship:
    nginx: {tag: 1.22.1, follows: nginx-light}
    etcd: {tag: v3}
"""


def _load(directory: pathlib.Path, text: str) -> manifest.Manifest:
    (directory / "keys").mkdir(exist_ok=True)
    (directory / "keys/a.asc").touch()
    (directory / "keys/b.asc").touch()
    path = directory / manifest.FILE_NAME
    path.write_text(text)
    return manifest.load(path)


def test_values(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, GOOD)
    keys = (tmp_path / "keys/a.asc", tmp_path / "keys/b.asc")
    assert loaded.archives["debian"] == manifest.Archive("debian", "Debian", "bookworm", ("main",), keys)
    assert loaded.archives["debian-security"].components == ("main", "contrib")
    assert loaded.repositories == (
        manifest.Repository("debian-12", ("debian", "debian-security"), "amd64", True, ("bash",)),
        manifest.Repository("small", ("debian",), "arm64", False, ("bash", "zsh")),
    )
    assert loaded.image_archives == ("debian",)
    assert loaded.images == (manifest.ImageSpec("etcd", "v3", ""), manifest.ImageSpec("nginx", "1.22.1", "nginx-light"))


def test_another_suite_is_only_data(tmp_path: pathlib.Path) -> None:
    loaded = _load(tmp_path, GOOD.replace("bookworm", "trixie").replace("debian-12", "debian-13"))
    assert loaded.archives["debian-security"].suite == "trixie-security"


def test_what_is_built_needs_tools(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, GOOD.replace("bootstraps: true", "builds: [one]", 1))
    ((place, message),) = caught.value.problems
    assert place == "line 6, repositories.debian-12.builds"
    assert message == "needs `builder`, from whose `archives` the tools come"


def test_dangling_references_are_all_named_with_their_lines(tmp_path: pathlib.Path) -> None:
    text = GOOD.replace("[debian]", "[debian, debain]").replace("keys/b.asc", "keys/c.asc")
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, text)
    assert caught.value.problems == (
        ("line 2, archives.debian.keys.1", "no file keys/c.asc"),
        ("line 5, repositories.small.archives.1", "no archive 'debain'; known: debian, debian-security"),
        ("line 8, images.archives.1", "no archive 'debain'; known: debian, debian-security"),
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("architecture: arm64", "architecture: riscv64", "'riscv64' is not one of ['amd64', 'arm64']"),
        ("bootstraps: true", "bootstraps: 1", "1 is not of type 'boolean'"),
        ("tag: v3", "tag: 3.4", "3.4 is not text; put it in quotes"),
        ("tag: v3", "tag: a/b", "is not a tag"),
        ("tag: v3", f"tag: {'a' * 129}", "is not a tag"),
        ("[bash]", "[bash, 'nginx=1.0']", "'nginx=1.0' is not a Debian package name"),
        ("[bash]", "[bash, '?essential']", "is not a Debian package name"),
        ("[bash]", "['--help']", "is not a Debian package name"),
        ("suite: bookworm,", "suite: 'bookworm main',", "is not a suite or code name"),
        ("keys/b.asc", "/etc/b.asc", "is not a relative path of an .asc file"),
        ("keys/b.asc", "../keys/b.asc", "is not a relative path of an .asc file"),
        ("keys/b.asc", "keys/../../b.asc", "is not a relative path of an .asc file"),
        ("origin: Debian, suite: bookworm,", 'origin: "a\\nb", suite: bookworm,', "is not a line of text"),
    ],
)
def test_wrong_values(tmp_path: pathlib.Path, old: str, new: str, message: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    ((_, what),) = caught.value.problems
    assert message in what


def test_the_committed_intent_loads() -> None:
    loaded = manifest.load(CHECKOUT / manifest.FILE_NAME)
    assert {"debian", "debian-security"} <= loaded.archives.keys()
    assert loaded.repositories
    assert loaded.images


RPMS = """\
archives:
  debian: {origin: Debian, suite: bookworm, components: [main], keys: [keys/a.asc]}
  epel: {type: rpm, url: "https://mirror.test/9/", keys: [keys/a.asc], modules: ["b:2", "a:1"]}
repositories:
  debian-12: {archives: [debian], packages: [bash]}
  tools:
    archives: [epel]
    architecture: x86_64
    distribution: el9
    packages: [Tool_x, glibc.i686]
    base: packages/bases/el-9.yaml
images: {archives: [debian], ship: {}}
"""


def _load_rpms(directory: pathlib.Path, text: str) -> manifest.Manifest:
    (directory / "packages/bases").mkdir(parents=True)
    base = "family: redhat\narchitecture: x86_64\npackages: {bash: {version: '1:5-1', provides: [/bin/sh]}}\n"
    (directory / "packages/bases/el-9.yaml").write_text(base)
    return _load(directory, text)


def test_rpms(tmp_path: pathlib.Path) -> None:
    loaded = _load_rpms(tmp_path, RPMS)
    archive = loaded.archives["epel"]
    assert (archive.type, archive.url, archive.modules) == ("rpm", "https://mirror.test/9", ("a:1", "b:2"))
    debian, tools = loaded.repositories
    assert (debian.type, debian.folder) == ("deb", "packages/debian/metalk8s-debian-12")
    assert (tools.type, tools.folder) == ("rpm", "packages/redhat/metalk8s-tools-el9")
    assert tools.packages == ("Tool_x", "glibc.i686")
    assert tools.base is not None
    assert tools.base.packages == (bases.Package("bash", "1:5-1", "x86_64", ("/bin/sh",)),)
    assert tools.base.word == f"base el-9 {tools.base.digest[:12]}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{type: rpm,", "{type: rpm, suite: x,", "archives.epel.suite: is only for DEB packages"),
        ("{origin: Debian,", '{url: "http://x.test", origin: Debian,', "archives.debian.url: is only for RPM packages"),
        ("type: rpm", "type: deb", "archives.epel: 'origin' is a required property"),
        ('"b:2"', "b", "archives.epel.modules.0: 'b' is not a module and its stream"),
        ("architecture: x86_64", "architecture: amd64", "'amd64' is not one of ['x86_64', 'aarch64']"),
        ("architecture: x86_64", "bootstraps: true", "repositories.tools.bootstraps: is only for DEB packages"),
        ("distribution: el9", "distribution: el-9", "'el-9' is not a distribution with its number"),
        ("[Tool_x,", "[Tool*,", "'Tool*' is not a name of an RPM"),
        ("packages: [bash]", "packages: [Bash]", "'Bash' is not a Debian package name"),
        ("archives: [epel]", "archives: [debian]", "archive 'debian' is not one of RPM packages"),
        ("images: {archives: [debian]", "images: {archives: [epel]", "archive 'epel' is not one of DEB packages"),
        ("el-9.yaml", "el-8.yaml", "repositories.tools.base: no file packages/bases/el-8.yaml"),
        ("packages/bases/", "/etc/", "'/etc/el-9.yaml' is not a file in packages/bases/"),
    ],
)
def test_wrong_values_of_rpms(tmp_path: pathlib.Path, old: str, new: str, message: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        _load_rpms(tmp_path, RPMS.replace(old, new))
    assert message in str(caught.value)


def test_an_image_may_be_pulled(tmp_path: pathlib.Path) -> None:
    pinned = f"sha256:{'0' * 64}"
    rows = (
        f'    pause: {{source: registry.example/pause, tag: "3.9", digest: "{pinned}", signatures: true}}\n'
        '    app: {source: "localhost:5000/a/b-c", tag: v1, platforms: [linux/arm64, linux/amd64], bootstraps: true}\n'
    )
    app, _, _, pause = _load(tmp_path, GOOD + rows).images
    assert pause == manifest.ImageSpec(
        "pause", "3.9", "", False, "registry.example/pause", pinned, ("linux/amd64",), has_signatures=True
    )
    assert (app.is_pulled, app.platforms, app.bootstraps) == (True, ("linux/amd64", "linux/arm64"), True)


@pytest.mark.parametrize(
    "source",
    [
        "pause", "library/pause", "https://registry.example/pause", "registry.example/", "registry.example/../etc",
        "registry.example/A", "registry.example/a:1", "registry.example/a@sha256:0", "registry.example/a b",
        "registry.example/a\\nb", "user:x@registry.example/a", "registry.example:port/a", "-x.example//a", "[::1]/a",
    ],
)  # fmt: skip
def test_what_is_no_source(tmp_path: pathlib.Path, source: str) -> None:
    with pytest.raises(errors.ConfigError, match="is not a registry and a repository"):
        _load(tmp_path, GOOD + f'    app: {{source: "{source}", tag: v1}}\n')


def test_an_address_is_a_source(tmp_path: pathlib.Path) -> None:
    for source in ("127.0.0.1:5000/a", "[::1]:5000/a", "registry.example/a__b/c.d", "host:80/a"):
        assert _load(tmp_path, GOOD + f'    app: {{source: "{source}", tag: v1}}\n').images[0].source == source


def test_short_names_of_docker_hub_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match=r"app\.source: is docker\.io/library/nginx in full: write that"):
        _load(tmp_path, GOOD + "    app: {source: docker.io/nginx, tag: v1}\n")
    assert _load(tmp_path, GOOD + "    app: {source: docker.io/library/nginx, tag: v1}\n")


def test_keys_that_contradict_each_other(tmp_path: pathlib.Path) -> None:
    rows = (
        "    a: {tag: v1, platform: linux/amd64, signatures: true}\n"
        "    b: {source: registry.example/b, tag: v1, follows: bash, platform: linux/amd64, platforms: [linux/arm64]}\n"
    )
    with pytest.raises(errors.ConfigError) as caught:
        _load(tmp_path, GOOD + rows)
    assert [(place.partition(", ")[2], message) for place, message in caught.value.problems] == [
        ("images.ship.a.platform", "is only for an image with a source"),
        ("images.ship.a.signatures", "is only for an image with a source"),
        ("images.ship.b.follows", "is only for an image without a source: this one is pulled"),
        ("images.ship.b.platforms", "stands beside platform: give one of them"),
    ]
