"""Solutions: the intent, images out of archives, the manifest, new projects."""

import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile
import tomllib
from collections.abc import Mapping

import pytest
import yaml

from buildchain import cli, document, errors, lint, oci, solution, store
from buildchain.document import strict_yaml
from buildchain.solution import archive, checkout, diff, kinds, manifest, project, scaffold, shipped
from tests.support import medium, solutions

LAYER = b"layer" * 2000
CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(LAYER).hexdigest()}"]},
    }
).encode()
SPEC = project.ImageSpec("other", "1.0", "archive", "other.tar")


def tar(path: pathlib.Path, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> pathlib.Path:
    with tarfile.open(path, "w") as opened:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            opened.addfile(member)
    return path


def descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }


def layout(names: Mapping[str, str], *, is_nested: bool = False) -> dict[str, bytes]:
    """An OCI layout with one image under several names, perhaps below an index of platforms."""
    packed = gzip.compress(LAYER, mtime=0)
    layer = descriptor(oci.LAYER_TYPE, packed)
    value = {"schemaVersion": 2, "config": descriptor(oci.CONFIG_TYPE, CONFIG), "layers": [layer]}
    text = json.dumps(value, indent=3).encode()
    blobs = [packed, CONFIG, text]
    row = descriptor(oci.MANIFEST_TYPE, text)
    if is_nested:
        arm = {**row, "digest": f"sha256:{'0' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
        amd = {**row, "platform": {"os": "linux", "architecture": "amd64"}}
        index = json.dumps({"schemaVersion": 2, "manifests": [arm, amd]}).encode()
        blobs.append(index)
        row = descriptor(oci.INDEX_TYPE, index)
    rows = [{**row, "annotations": {key: name}} for name, key in names.items()]
    files = {"oci-layout": b"{}", "index.json": json.dumps({"manifests": rows}).encode()}
    return files | {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in blobs}


REF = "org.opencontainers.image.ref.name"


@pytest.mark.parametrize("is_nested", [False, True])
def test_an_oci_archive_keeps_its_manifest(tmp_path: pathlib.Path, is_nested: bool) -> None:
    files = layout({"1.0": REF}, is_nested=is_nested)
    into = store.Store(tmp_path / "store")
    taken = archive.take(tar(tmp_path / "a.tar", files), SPEC, into)
    by_path = {file.path: file.content for file in taken.files()}
    text = into.read(by_path["images/other/1.0/manifest.json"].digest)
    assert text in files.values()
    blobs = {path.rpartition("/")[2] for path in by_path if path.endswith(tuple("0123456789abcdef"))}
    assert blobs == {
        json.loads(text)["config"]["digest"][7:],
        json.loads(text)["layers"][0]["digest"][7:],
    }


def test_of_several_images_the_one_with_the_name(tmp_path: pathlib.Path) -> None:
    files = layout({"docker.io/library/other:1.0": "io.containerd.image.name", "b:2": REF})
    into = store.Store(tmp_path / "store")
    path = tar(tmp_path / "a.tar", files)
    assert archive.take(path, SPEC, into)
    assert archive.take(path, dataclasses.replace(SPEC, tag="9", reference="b:2"), into)
    with pytest.raises(errors.BuildchainError, match=r"has no image c:1; it has b:2, docker.io/library/other:1.0"):
        archive.take(path, dataclasses.replace(SPEC, reference="c:1"), into)


def docker(layer: bytes = LAYER, links: Mapping[str, str] | None = None) -> dict[str, bytes]:
    rows = [{"Config": "c.json", "RepoTags": ["other:1.0"], "Layers": [next(iter(links or {}), "l/layer.tar")]}]
    return {"manifest.json": json.dumps(rows).encode(), "c.json": CONFIG, "l/layer.tar": layer}


def test_docker_save_gets_a_manifest_and_keeps_its_configuration(tmp_path: pathlib.Path) -> None:
    into = store.Store(tmp_path / "store")
    first = archive.take(tar(tmp_path / "a.tar", docker()), SPEC, into)
    links = {"m/layer.tar": "../l/layer.tar"}
    assert archive.take(tar(tmp_path / "b.tar", docker(links=links), links), SPEC, into) == first
    names = {file.path.rpartition("/")[2] for file in first.files()}
    assert hashlib.sha256(CONFIG).hexdigest() in names


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a": b"b"}, "is not an archive of images"),
        ({"index.json": b"[]"}, "is not an archive of images"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:0", "size": 1}]}'}, "is not an archive of images"),
        ({"index.json": b'{"manifests": []}'}, "has no image other:1.0"),
        (docker(b"tampered"), "expected sha256:"),
        ({**docker(), "manifest.json": b"null"}, "is not an archive of images"),
    ],
)
def test_other_files_are_refused(tmp_path: pathlib.Path, files: Mapping[str, bytes], why: str) -> None:
    with pytest.raises(errors.BuildchainError, match=why):
        archive.take(tar(tmp_path / "a.tar", files), SPEC, store.Store(tmp_path / "store"))


def test_a_damaged_blob_is_named(tmp_path: pathlib.Path) -> None:
    files = layout({"1.0": REF})
    path = next(path for path, content in files.items() if content == CONFIG)
    damaged = tar(tmp_path / "a.tar", {**files, path: b"{}"})
    with pytest.raises(errors.IntegrityError, match=path.rpartition("/")[2]):
        archive.take(damaged, SPEC, store.Store(tmp_path / "store"))


def test_a_digest_of_the_intent_is_held_against_the_archive(tmp_path: pathlib.Path) -> None:
    wanted = dataclasses.replace(SPEC, digest=f"sha256:{'1' * 64}")
    with pytest.raises(errors.IntegrityError, match=r"image other:1\.0"):
        archive.take(tar(tmp_path / "a.tar", layout({"1.0": REF})), wanted, store.Store(tmp_path / "store"))


def test_the_manifest_has_the_seeds_format() -> None:
    value = manifest.Manifest(
        "solution-name",
        "1.0.0",
        [("some-extra-image", "2.0.0")],
        ("solution-name-operator", "1.0.0"),
        ("solution-name-ui", "1.0.0"),
        {manifest.DISPLAY_NAME: "Solution Name"},
    )
    assert yaml.safe_load(manifest.dump(value)) == {
        "apiVersion": "solutions.metalk8s.scality.com/v1alpha1",
        "kind": "Solution",
        "metadata": {
            "annotations": {"solutions.metalk8s.scality.com/display-name": "Solution Name"},
            "labels": {},
            "name": "solution-name",
        },
        "spec": {
            "images": ["solution-name-operator:1.0.0", "solution-name-ui:1.0.0", "some-extra-image:2.0.0"],
            "operator": {"image": {"name": "solution-name-operator", "tag": "1.0.0"}},
            "ui": {"image": {"name": "solution-name-ui", "tag": "1.0.0"}},
            "version": "1.0.0",
        },
    }
    bare = yaml.safe_load(manifest.dump(manifest.Manifest("a", "1.0")))
    assert bare["spec"] == {"images": [], "version": "1.0"}


def test_the_command_takes_the_options_of_manifest_py(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--name", "example-solution", "--version", "0.1.0-dev", "--extra-image", "base-server", "0.1.0-dev"]
    argv += ["--operator-image", "example-solution-operator", "0.1.0-dev", "--annotation", "k", "v", "-a", "x", "1"]
    argv += ["-u", "example-solution-ui", "0.1.0-dev", "-l", "a", "b"]
    assert cli.main(["solution", "manifest", *argv]) == 0
    value, _ = strict_yaml.read(capsys.readouterr().out.encode())
    assert isinstance(value, dict)
    assert value["metadata"]["annotations"] == {"k": "v", "x": "1"}
    assert value["spec"]["images"][0] == "base-server:0.1.0-dev"


def test_a_new_project_is_one(tmp_path: pathlib.Path) -> None:
    scaffold.init("my-app", tmp_path / "p")
    loaded = project.load(tmp_path / "p")
    assert (loaded.id, loaded.volume_id, loaded.is_release) == ("my-app-0.1.0-dev", "My App 0.1.0-dev", False)
    assert "@@" not in "".join(path.read_text() for path in (tmp_path / "p").rglob("*") if path.is_file())
    assert (tmp_path / "p/operator/deploy/crds/myapp_crd.yaml").is_file()


@pytest.mark.parametrize("name", ["a", "a--b", "3scale", "12", "no", "2001-01-01", "null", "a" * 53, "ab-" * 17 + "ab"])
def test_a_new_project_of_any_name_works(tmp_path: pathlib.Path, name: str) -> None:
    scaffold.init(name, tmp_path / "p")
    assert project.load(tmp_path / "p").name == name
    assert [each.rule.id for each in lint.check(tmp_path / "p")] == ["project-lock"]


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 54, "metalk8s-x", "../x"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(errors.BuildchainError, match="cannot be a Solution's"):
        scaffold.init(name, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(errors.BuildchainError, match="is not empty"):
        scaffold.init("app", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  image: my-app-operator", "  image: other", "operator.image: no image 'other'"),
        ("{recipe: operator}", "{}", "needs one of recipe, dockerfile, archive, pull"),
        ("{recipe: operator}", "{archive: a.tar}", "no file a.tar"),
        (
            "{recipe: operator}",
            "{recipe: operator, digest: sha256:" + "0" * 64 + "}",
            "is only for an `archive` or a `pull`",
        ),
        ("{recipe: operator}", "{dockerfile: operator}", "no file images/operator/Dockerfile"),
        ("{recipe: operator}", "{dockerfile: ../operator}", "images.my-app-operator.dockerfile"),
        ("{recipe: operator}", "{recipe: operator, dockerfile: operator}", "needs one of recipe, dockerfile, archive"),
        ("{recipe: operator}", "{pull: a.example/b, reference: c}", "is only for an `archive`"),
        ("{recipe: operator}", "{pull: operator}", "images.my-app-operator.pull"),
        ("stable.asc]", "x.asc]", "no file keys/debian-archive-bookworm-x.asc"),
        ("name: my-app", "name: My_App", "is not a name of lower-case letters"),
        ("options: [--config]", "options: [config]", "is not an option"),
    ],
)
def test_what_is_wrong_in_the_intent_is_named(tmp_path: pathlib.Path, old: str, new: str, problem: str) -> None:
    scaffold.init("my-app", tmp_path / "p")
    path = tmp_path / "p" / project.FILE_NAME
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(errors.ConfigError, match="line ") as caught:
        project.load(tmp_path / "p")
    assert problem in str(caught.value)


def test_every_kind_of_image_is_a_row_and_a_key() -> None:
    schema = json.loads((document.SCHEMAS / project.SCHEMA).read_bytes())
    keys = schema["properties"]["images"]["additionalProperties"]["properties"]
    assert set(kinds.KINDS) == set(project.KINDS) == set(keys) - {"tag", "reference", "digest"}


def with_dockerfile(root: pathlib.Path, text: str) -> project.Project:
    """A new project with one more image, group/tool, which an engine builds."""
    scaffold.init("my-app", root)
    path = root / project.FILE_NAME
    row = '{recipe: operator}\n  group/tool: {dockerfile: tool, tag: "2"}'
    path.write_text(path.read_text().replace("{recipe: operator}", row, 1))
    (root / "images/tool").mkdir()
    (root / "images/tool/Dockerfile").write_text(text)
    (root / "images/tool/run.sh").write_text("true\n")
    return project.load(root)


def test_a_dockerfile_stands_on_images_of_its_solution(tmp_path: pathlib.Path) -> None:
    wanted = with_dockerfile(tmp_path / "p", "FROM my-app-operator:0.1.0-dev\nCOPY run.sh /\n")
    (found,) = checkout.dockerfiles(wanted, "git").values()
    assert (found.name, found.source, found.bases) == ("group/tool", "images/tool/Dockerfile", ("my-app-operator",))
    assert [file.path for file in found.context] == ["run.sh"]


def test_of_a_project_in_git_only_tracked_files_are_sent_to_an_engine(tmp_path: pathlib.Path) -> None:
    wanted = with_dockerfile(tmp_path / "a/p", "FROM my-app-operator\nENV A=b\n")
    (wanted.root / "images/tool/secret").write_text("x")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@a.example"]
    for words in (["init", "-q"], ["add", "a/p/solution.yaml", "a/p/images/tool/run.sh"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], check=True)
    (found,) = checkout.dockerfiles(wanted, "git").values()
    assert [file.path for file in found.context] == ["run.sh"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("FROM base\nENV A=b\n", "base is not an image of the Solution; known: my-app-operator"),
        ("FROM group/tool\nENV A=b\n", "group/tool is not an image of the Solution"),
        ("FROM my-app-operator:1\nENV A=b\n", "my-app-operator:1: its tag is 0.1.0-dev"),
        ("FROM docker.io/debian\nENV A=b\n", "an image may stand only on images of the Solution"),
        ("FROM my-app-operator\nCOPY nothing /\n", "nothing is not in the context"),
    ],
)
def test_what_is_wrong_in_a_dockerfile_is_named(tmp_path: pathlib.Path, text: str, why: str) -> None:
    wanted = with_dockerfile(tmp_path / "p", text)
    with pytest.raises(errors.ConfigError, match="line ") as caught:
        checkout.dockerfiles(wanted, "git")
    assert why in solution.in_own_words(caught.value)


def test_what_is_no_solution_is_not_compared(tmp_path: pathlib.Path) -> None:
    """Else everything would seem to have been removed."""
    good = solutions.stage(solutions.good(), tmp_path / "good")
    assert diff.compare(good, good) == []
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.iso").write_bytes(bytes(40 * 2048))
    for path in (tmp_path / "empty", tmp_path / "x.iso"):
        with pytest.raises(errors.BuildchainError, match=r"is no Solution: has no manifest\.yaml"):
            diff.compare(good, path)
    cut = medium.write_iso(solutions.seal(solutions.good()), tmp_path / "cut.iso")
    cut.write_bytes(cut.read_bytes()[:-2048])
    with pytest.raises(errors.BuildchainError, match=r"is not intact\n  .*the image has"):
        diff.compare(good, cut)


@pytest.mark.parametrize("name", ["lock", "build"])
def test_what_is_no_project_is_not_taken_for_a_medium(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for path in (tmp_path, tmp_path / "absent", solutions.stage(solutions.good(), tmp_path / "tree")):
        assert cli.main(["solution", name, str(path)]) == 1
        assert f"{path}: has no file solution.yaml\nName the folder of a project" in capsys.readouterr().err


def test_the_wheel_asks_for_all_that_a_build_needs() -> None:
    root = pathlib.Path(__file__).parents[2]
    asked = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    needed = [line.split()[0] for line in (root / "requirements/build.in").read_text().splitlines() if line[:1] != "#"]
    assert asked == sorted(needed, key=str.lower)


def test_errors_speak_of_this_command() -> None:
    error = errors.BuildchainError("distribution.lock.json", "x", "Run ./doit.sh lock, and set STORE in .env.")
    assert solution.in_own_words(error) == (
        "solution.lock.json: x\nRun buildchain solution lock, and set STORE in the environment."
    )


def test_what_ships_is_there() -> None:
    assert shipped.development_key().is_file()
    assert document.load(shipped.recipes() / "exclusions.yaml", "exclusions.schema.json")
