"""The path of a Solution's author, with the installed wheel, away from this repository and without root."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator, Mapping

import jinja2
import pytest
import yaml

from buildchain import lint
from tests.support import containerd, engines, nginx, openpgp, states
from tests.support import small as small_distribution
from tests.unit import test_salt_solutions

pytestmark = pytest.mark.tools("apt-get", "gpg", "nginx", "skopeo", "containerd", "ctr", "xorriso", "genisoimage")

ROOT = pathlib.Path(__file__).parents[2]
ORDINARY_USER = 65534
ID = "my-app-0.1.0-dev"
PUBLIC_KEY = ROOT / "packages/keys/development/public.asc"

RECIPE = """\
packages: [alpha]
files:
  /usr/bin/my-app-operator: {content: "program", mode: "0755"}
entrypoint: [/usr/bin/my-app-operator]
user: "1000"
labels: {a: b}
"""


@dataclasses.dataclass(frozen=True)
class Author:
    """Somebody with the wheel, a folder and a store of their own."""

    program: pathlib.Path
    home: pathlib.Path
    mirror: str
    umask: int = 0o022

    @property
    def project(self) -> pathlib.Path:
        return self.home / "work/my-app"

    @property
    def iso(self) -> pathlib.Path:
        return self.project / f"_build/{ID}.iso"

    def run(self, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        user = ORDINARY_USER if os.getuid() == 0 else None
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "DEBIAN_MIRROR": self.mirror,
            "NO_PROXY": "*",
            "STORE": str(self.home / "store"),
            **variables,
        }
        return subprocess.run(
            [self.program, "solution", *map(str, arguments)],
            cwd=self.home,
            env=environment,
            umask=self.umask,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def does(self, *arguments: object, **variables: str) -> str:
        """Run a command, which must succeed."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout


def author(directory: pathlib.Path, program: pathlib.Path, mirror: str, umask: int = 0o022) -> Author:
    (directory / "work").mkdir(parents=True)
    if os.getuid() == 0:
        for path in (directory, directory / "work"):
            os.chown(path, ORDINARY_USER, ORDINARY_USER)
    return Author(program, directory, mirror, umask)


@pytest.fixture(scope="module")
def folder() -> Iterator[pathlib.Path]:
    """Not below pytest's folder, which only root may enter."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="solution-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def program(folder: pathlib.Path) -> pathlib.Path:
    """The command of an installed wheel, in an environment that has nothing else but what it depends on."""
    source = folder / "source"
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], stdout=subprocess.PIPE, check=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    wheels = folder / "wheels"
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, source], check=True)
    shutil.rmtree(source)
    (wheel,) = wheels.glob("*.whl")
    _check_contents(wheel)
    environment = folder / "environment"
    subprocess.run([_anybodys_python(), "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    site = next(environment.glob("lib/python3.*/site-packages"))
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    found = subprocess.run(
        [python, "-c", "import buildchain; print(buildchain.__file__)"], cwd=folder, env={}, stdout=subprocess.PIPE
    )
    assert found.stdout.decode().startswith(str(environment))
    return environment / "bin/buildchain"


def _check_contents(wheel: pathlib.Path) -> None:
    """Every module but the tasks of doit, which work in a checkout alone."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "buildchain").rglob("*.py")}
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {path for path in modules if not path.startswith("buildchain/tasks/")} - held == set()
    shipped = {"recipes/base/image.yaml", "keys/development/secret.asc", "node/metalk8s_registry.py"}
    assert {f"buildchain/{path}" for path in shipped} <= held
    assert not {path for path in held if path.startswith("buildchain/node/")} - {"buildchain/node/metalk8s_registry.py"}


def _anybodys_python() -> str:
    """An interpreter that an ordinary user may start, too, for the same compiled dependencies."""
    asked = "import sys; print(*sys.version_info[:2])"
    candidates = ["/usr/bin/python3", sys.executable]
    for path in filter(os.path.exists, candidates):
        found = subprocess.run([path, "-c", asked], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        if found == [str(part) for part in sys.version_info[:2]]:
            return path
    return sys.executable


@pytest.fixture(scope="module")
def upstream(folder: pathlib.Path) -> Iterator[tuple[small_distribution.Upstream, bytes]]:
    """A mirror on the loopback with a few made-up packages, and the key that signs it."""
    with openpgp.home() as home, small_distribution.Upstream(folder / "archive", home) as running:
        yield running, home.public(running.key)


@pytest.fixture(scope="module")
def first(folder: pathlib.Path, program: pathlib.Path, upstream: tuple[small_distribution.Upstream, bytes]) -> Author:
    """Init, edit, lock, build."""
    mirror, key = upstream
    me = author(folder / "first", program, mirror.mirror.url)
    me.does("init", "my-app", me.project)
    intent = me.project / "solution.yaml"
    text = intent.read_text()
    archives = {"debian": {"origin": "Test", "suite": "bookworm", "components": ["main"], "keys": ["keys/test.asc"]}}
    text = text[: text.index("archives:")] + yaml.safe_dump({"archives": archives})
    intent.write_text(
        text.replace("{recipe: operator}", "{recipe: operator}\n  group/server: {recipe: operator, tag: '2'}")
    )
    (me.project / "keys/test.asc").write_bytes(key)
    (me.project / "images/operator/image.yaml").write_text(RECIPE)
    assert "[project-lock]" in me.run("lint", me.project).stdout
    assert "alpha:amd64: absent -> 1.0" in me.does("lock", me.project)
    assert me.does("lint", me.project) == "0 errors, 0 warnings, 0 notes\n"
    printed = me.does("build", me.project, TZ="Asia/Kolkata")
    assert "0 errors, 0 warnings" in printed
    return me


def digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack(iso: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    subprocess.run(
        ["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", target], check=True, capture_output=True
    )
    return target


def operator_configuration(manifest: Mapping[str, object], address: str) -> Iterator[str]:
    """Full references as an Operator makes them of the file that MetalK8s gives it."""
    spec = manifest["spec"]
    assert isinstance(spec, dict)
    for image in spec["images"]:
        yield f"{address}/{ID}/{image}"


def test_it_is_authentic_and_intact(first: Author) -> None:
    printed = first.does("verify", first.iso, "--key", PUBLIC_KEY)
    assert "my-app 0.1.0-dev" in printed
    assert first.run("verify", first.iso, "--fingerprint", "0" * 40).returncode == 1
    assert (first.iso.parent / "SHA256SUM").read_text() == f"{digest(first.iso)}  {first.iso.name}\n"


def constants() -> str:
    """What the server of every registry includes once."""
    argv = [sys.executable, "-m", "static_container_registry", "--only-constants"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "static-container-registry")}
    return subprocess.run(argv, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


def skopeo_copy(reference: str, target: pathlib.Path) -> dict[str, bytes]:
    """Pull an image; its files."""
    insecure = ["--insecure-policy", "--src-tls-verify=false"]
    subprocess.run(["skopeo", "copy", "--quiet", *insecure, f"docker://{reference}", f"dir:{target}"], check=True)
    return {path.name: path.read_bytes() for path in target.iterdir()}


def test_every_image_is_pulled_by_the_name_the_operator_is_given(first: Author, tmp_path: pathlib.Path) -> None:
    """The node fills in the configuration as its formula does, and 2.5.1, which renders it, has the same."""
    root = unpack(first.iso, tmp_path / "mounted")
    node = test_salt_solutions.module(root)
    assert node.judge(str(root)) == "my-app 0.1.0-dev"
    text = node.registry(str(root), ID)
    template = (root / "registry-config.inc.j2").read_text()
    assert jinja2.Template(template, keep_trailing_newline=True).render(
        repository=ID, registry_root=f"{root}/images"
    ) == (text)
    manifest = yaml.safe_load((root / "manifest.yaml").read_text())
    with nginx.serve(constants(), text) as server, containerd.containerd() as ctr:
        references = list(operator_configuration(manifest, server.address))
        assert len(references) == 2
        for number, reference in enumerate(references):
            copied = skopeo_copy(reference, tmp_path / str(number))
            image = reference.partition(f"{ID}/")[2].replace(":", "/")
            assert copied == {path.name: path.read_bytes() for path in (root / "images" / image).iterdir()}
            ctr("image", "pull", "--plain-http", "--snapshotter", "native", reference)


def test_a_second_build_has_the_same_digest(first: Author, folder: pathlib.Path) -> None:
    other = author(folder / "second with spaces", first.program, "http://127.0.0.1:1", umask=0o077)
    shutil.copytree(
        first.project, other.project, ignore=shutil.ignore_patterns("_build"), copy_function=shutil.copyfile
    )
    for path in [other.project, *other.project.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    # Another user's store, so that every step runs again; what was locked comes from the first one's.
    shutil.copytree(first.home / "store/sha256", other.home / "store/sha256")
    for path in [other.home / "store", *(other.home / "store").rglob("*")]:
        os.chown(path, ORDINARY_USER, ORDINARY_USER) if os.getuid() == 0 else None
    other.does("build", other.project, OFFLINE="1", TZ="America/St_Johns", LC_ALL="C", PYTHONHASHSEED="7")
    assert digest(other.iso) == digest(first.iso)


def test_a_build_without_its_packages_says_what_is_missing(first: Author, tmp_path: pathlib.Path) -> None:
    done = first.run("build", first.project, OFFLINE="1", STORE=str(first.home / "empty"))
    assert done.returncode == 1
    assert "alpha:amd64=1.0" in done.stdout
    assert "./doit.sh" not in done.stdout
    assert "Traceback" not in done.stdout


def test_a_release_is_not_signed_with_the_development_key(first: Author, folder: pathlib.Path) -> None:
    project = folder / "release"
    shutil.copytree(first.project, project, ignore=shutil.ignore_patterns("_build"))
    intent = project / "solution.yaml"
    intent.write_text(intent.read_text().replace("0.1.0-dev", "0.1.0"))
    done = first.run("build", project, BUILD_ROOT=str(first.home / "release"))
    assert done.returncode == 1
    assert "release my-app-0.1.0: the published development key must not sign a release" in done.stdout
    assert "IMAGE" not in done.stdout
    assert not list(first.home.glob("release/*.iso"))


def test_images_out_of_archives(first: Author, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """What skopeo writes as an OCI archive keeps its digest; what it writes as docker does keeps its layers."""
    root = unpack(first.iso, tmp_path / "mounted")
    project = folder / "archives"
    shutil.copytree(first.project, project, ignore=shutil.ignore_patterns("_build"))
    image = root / "images/group/server/2"
    for form in ("oci-archive", "docker-archive"):
        argv = [
            "skopeo",
            "copy",
            "--quiet",
            "--insecure-policy",
            f"dir:{image}",
            f"{form}:{project}/{form}.tar:server:2",
        ]
        subprocess.run(argv, check=True)
    wanted = digest(image / "manifest.json")
    intent = project / "solution.yaml"
    rows = (
        f"  server: {{archive: oci-archive.tar, tag: '2', digest: 'sha256:{wanted}'}}\n"
        "  other: {archive: docker-archive.tar, tag: '2', reference: 'server:2'}\n"
    )
    text = intent.read_text()
    intent.write_text(text.replace("  group/server: {recipe: operator, tag: '2'}\n", rows))
    for path in [project, *project.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    output = first.home / "archives"
    printed = first.does("build", project, BUILD_ROOT=str(output))
    assert [line for line in printed.splitlines() if "[archive-unpinned]" in line] == [
        "solution.yaml:27: warning: other has no digest [archive-unpinned]"
    ]
    built = unpack(output / f"{ID}.iso", tmp_path / "built")
    assert digest(built / "images/server/2/manifest.json") == wanted
    configs = [list((built / f"images/{name}/2").iterdir()) for name in ("server", "other")]
    assert all(len(paths) == 4 for paths in configs)
    assert first.does("verify", output / f"{ID}.iso", "--key", PUBLIC_KEY)


@pytest.mark.root
@pytest.mark.tools("docker", "dockerd", "ip", "podman", "runc")
def test_an_image_with_a_dockerfile(first: Author, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Either engine makes the same bytes; once made, none is needed; without one a line says so."""
    project = folder / "dockerfile"
    shutil.copytree(first.project, project, ignore=shutil.ignore_patterns("_build"))
    (project / "images/tool").mkdir()
    text = "FROM my-app-operator\nCOPY data /srv/data\nUSER 7\nLABEL a=b\n"
    (project / "images/tool/Dockerfile").write_text(text)
    (project / "images/tool/data").write_text("data\n")
    intent = project / "solution.yaml"
    row = "{recipe: operator}\n  a/tool: {dockerfile: tool, tag: '3'}"
    intent.write_text(intent.read_text().replace("{recipe: operator}", row, 1))
    for path in [project, *project.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    outputs = [first.home / name for name in ("no-engine", "dockerd", "podman")]
    nobody = f"unix://{tmp_path}/none"
    refused = first.run("build", project, BUILD_ROOT=str(outputs[0]), DOCKER_HOST=nobody)
    assert refused.returncode == 1
    (line,) = [line for line in refused.stdout.splitlines() if "container engine" in line]
    assert line.startswith(f"container engine: {nobody} does not answer")
    for start, output in ((engines.dockerd, outputs[1]), (engines.podman, outputs[2])):
        with start() as engine:
            socket = pathlib.Path(engine.host.removeprefix("unix://"))
            socket.parent.chmod(0o711)
            socket.chmod(0o666)
            printed = first.does("build", project, BUILD_ROOT=str(output), DOCKER_HOST=engine.host)
            assert engine.holds() == []
        assert "0 errors, 0 warnings" in printed
        assert printed.index("my-app-operator:0.1.0-dev") < printed.index("a/tool:3")
    assert digest(outputs[1] / f"{ID}.iso") == digest(outputs[2] / f"{ID}.iso")
    first.does("build", project, BUILD_ROOT=str(outputs[1]), DOCKER_HOST=nobody)
    root = unpack(outputs[1] / f"{ID}.iso", tmp_path / "mounted")
    tool, operator = (
        json.loads((root / f"images/{name}/manifest.json").read_bytes())
        for name in ("a/tool/3", "my-app-operator/0.1.0-dev")
    )
    assert tool["layers"][: len(operator["layers"])] == operator["layers"]
    assert len(tool["layers"]) == len(operator["layers"]) + 1
    first.does("verify", outputs[1] / f"{ID}.iso", "--key", PUBLIC_KEY)


def test_a_thin_solution_holds_what_its_base_lacks(first: Author) -> None:
    output = first.home / "thin"
    printed = first.does("build", first.project, "--base", first.iso, BUILD_ROOT=str(output))
    thin = output / f"{ID}.iso"
    assert f"bytes are left to {first.iso}" in printed
    assert thin.stat().st_size < first.iso.stat().st_size / 5
    judged = first.does("verify", thin, "--key", PUBLIC_KEY)
    assert "my-app 0.1.0-dev must have them" in judged
    assert not lint.has_errors(lint.check(thin))


def test_a_thin_solution_does_not_replace_its_base(first: Author) -> None:
    content = first.iso.read_bytes()
    done = first.run("build", first.project, "--base", first.iso)
    assert done.returncode == 1
    assert f"{first.iso}: would be replaced by the thin Solution that needs it" in done.stdout
    assert first.iso.read_bytes() == content


def test_a_base_that_has_nothing_is_told(first: Author) -> None:
    output = first.home / "thin"
    first.does("build", first.project, "--base", first.iso, BUILD_ROOT=str(output))
    thin = output / f"{ID}.iso"
    printed = first.does("build", first.project, "--base", thin, BUILD_ROOT=str(first.home / "whole"))
    assert f"   0 bytes are left to {thin}\n" in printed


def test_a_thin_solution_and_its_base_are_one_view(first: Author, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Under one nginx, skopeo and containerd pull the whole images by the thin Solution's names."""
    project = folder / "thin-next"
    shutil.copytree(first.project, project, ignore=shutil.ignore_patterns("_build"))
    intent = project / "solution.yaml"
    intent.write_text(intent.read_text().replace("0.1.0-dev", "0.2.0-dev"))
    for path in [project, *project.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    identifier, output = "my-app-0.2.0-dev", first.home / "thin-next"
    first.does("build", project, "--base", first.iso, BUILD_ROOT=str(output))
    thin = unpack(output / f"{identifier}.iso", tmp_path / "thin")
    base = unpack(first.iso, tmp_path / "base")
    with pytest.raises(states.CommandExecutionError, match="it is a thin Solution; nothing here has sha256:"):
        test_salt_solutions.module().judge(str(thin))
    node = test_salt_solutions.module(base, thin)
    assert node.judge(str(thin)) == "my-app 0.2.0-dev"
    texts = [node.registry(str(place), name) for place, name in ((base, ID), (thin, identifier))]
    assert texts[1].count("location = ") == 4
    blobs = {path.name: path.read_bytes() for path in base.rglob("images/**/*") if path.is_file()}
    with nginx.serve(constants(), *texts) as server, containerd.containerd() as ctr:
        for number, image in enumerate(("my-app-operator:0.2.0-dev", "group/server:2")):
            reference = f"{server.address}/{identifier}/{image}"
            copied = skopeo_copy(reference, tmp_path / str(number))
            own = {path.name: path.read_bytes() for path in (thin / "images" / image.replace(":", "/")).iterdir()}
            assert set(own) == {"manifest.json", "version"}
            assert copied == own | {name: blobs[name] for name in copied.keys() - own.keys()}
            ctr("image", "pull", "--plain-http", "--snapshotter", "native", reference)


def test_a_base_that_is_damaged_is_refused(first: Author, folder: pathlib.Path) -> None:
    content = first.iso.read_bytes()
    place = content.index(b"\x1f\x8b\x08") + 100
    damaged = folder / "damaged.iso"
    damaged.write_bytes(content[:place] + b"\0\0\0\0\0\0\0\0" + content[place + 8 :])
    done = first.run("build", first.project, "--base", damaged, BUILD_ROOT=str(first.home / "thin"))
    assert done.returncode == 1
    assert "its content is not that of its name" in done.stdout


def test_diff_tells_what_moved(first: Author, folder: pathlib.Path) -> None:
    assert first.does("diff", first.iso, first.iso) == ""
    project = folder / "next"
    shutil.copytree(first.project, project, ignore=shutil.ignore_patterns("_build"))
    intent = project / "solution.yaml"
    text = intent.read_text().replace("0.1.0-dev", "0.2.0-dev")
    intent.write_text(text.replace("  group/server: {recipe: operator, tag: '2'}\n", ""))
    crd = project / "operator/deploy/crds/myapp_crd.yaml"
    crd.write_text(crd.read_text().replace("minimum: 0", "minimum: 1"))
    for path in [project, *project.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    done = first.run("build", project, BUILD_ROOT=str(first.home / "next"))
    assert "images/group" not in done.stdout
    lines = first.does("diff", first.iso, first.home / "next/my-app-0.2.0-dev.iso").splitlines()
    assert lines[0].startswith("my-app 0.1.0-dev -> my-app 0.2.0-dev: ")
    assert any(line.startswith("image group/server:2: removed") for line in lines)
    assert any(line.startswith("image my-app-operator: 0.1.0-dev -> 0.2.0-dev: 1 layers kept") for line in lines)
    assert "  spec.versions.0.schema.openAPIV3Schema.properties.spec.properties.replicas.minimum: 0 -> 1" in lines


@pytest.mark.parametrize(
    ("options", "rules"),
    [
        (["-R", "-J", "-joliet-long"], set()),
        (["-J", "-joliet-long"], {"iso-rock-ridge"}),
        (["-R"], {"iso-joliet"}),
        (["-R", "-J", "-joliet-long", "-uid", "7", "-gid", "7"], {"iso-owner"}),
        (["-R", "-J", "-joliet-long", "-V", "CDROM"], {"iso-volume-id"}),
    ],
)
def test_what_others_write_is_judged_alike(
    first: Author, tmp_path: pathlib.Path, options: list[str], rules: set[str]
) -> None:
    """The command of the guide, with and without its options."""
    root = unpack(first.iso, tmp_path / "root")
    target = tmp_path / f"{ID}.iso"
    # Options about owners imply Rock Ridge.
    owner = ["-uid", "0", "-gid", "0"] if "-R" in options else []
    argv = ["genisoimage", "-quiet", "-input-charset", "utf-8", "-iso-level", "3", "-V", "My App 0.1.0-dev"]
    subprocess.run([*argv, *owner, *options, "-o", target, root], check=True, capture_output=True)
    found = {each.rule.id for each in lint.check(target, with_nginx=True)}
    # Where a tree is missing, the others do not agree with it either.
    follows = {"iso-damaged"} if rules & {"iso-rock-ridge", "iso-joliet"} else set()
    assert {rule for rule in found if rule.startswith("iso-")} - follows == rules


def test_nginx_itself_is_asked(first: Author, tmp_path: pathlib.Path) -> None:
    root = unpack(first.iso, tmp_path / "root")
    config = root / "registry-config.inc.j2"
    config.chmod(0o644)
    before, _, after = config.read_text().partition("etag off;")
    config.write_text(f"{before}etag perhaps;{after}")
    found = [each for each in lint.check(root, with_nginx=True) if each.rule.id == "registry-config-syntax"]
    assert 'invalid value "perhaps"' in found[0].message
    assert found[0].line == before.count("\n") + 1


def test_nginx_is_not_asked_to_open_anything(first: Author, tmp_path: pathlib.Path) -> None:
    root = unpack(first.iso, tmp_path / "root")
    config = root / "registry-config.inc.j2"
    config.chmod(0o644)
    config.write_text(config.read_text() + f"access_log {tmp_path}/opened;\n")
    assert "registry-config-directive" in {each.rule.id for each in lint.check(root, with_nginx=True)}
    assert not (tmp_path / "opened").exists()
