"""Dockerfiles and what they become, with an engine of our own making: no daemon is needed here."""

import contextlib
import dataclasses
import gzip
import http.client
import io
import json
import pathlib
import tarfile
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest, dockerfile, engine, errors, store
from buildchain.dockerfile import assembly, syntax
from buildchain.engine import loopback
from tests.support import packages
from tests.support.dockerfiles import Workshop

NOW = 1_900_000_000
BUILT = packages.BUILT

Files = Mapping[str, bytes | packages.Member]


@pytest.fixture(name="workshop")
def _workshop(tmp_path: pathlib.Path) -> Workshop:
    return Workshop(tmp_path / "images", store.Store(tmp_path / "store"))


# --- Dockerfiles ------------------------------------------------------------------------------------------------------


def test_stages_bases_and_lines() -> None:
    text = """\
# escape=\\

ARG VERSION=1.2
FROM nginx:$VERSION AS one
RUN first \\
  # a comment in the middle

  && second
from one
COPY --from=one --chown=1:2 /a /b
COPY --from=etcd:${OTHER:-3} ["/c d", "/e"]
COPY --from=0 /a /
"""
    parsed, problems = syntax.parse(text, {})
    assert problems == []
    assert [(str(each), each.line) for each in parsed.references()] == [("nginx:1.2", 4), ("etcd:3", 11)]
    assert parsed.rendered({"nginx": "N", "etcd": "E"}).splitlines() == [
        "ARG VERSION=1.2",
        "FROM N AS stage-0",
        "RUN first   && second",
        "FROM stage-0 AS stage-1",
        "COPY --from=stage-0 --chown=1:2 /a /b",
        'COPY --from=E ["/c d", "/e"]',
        "COPY --from=stage-0 /a /",
    ]
    base, instructions = parsed.history()
    assert str(base) == "nginx:1.2"
    assert [each.line for each in instructions] == [5, 10, 11, 12]
    assert instructions[2].sources() == ["/c d"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("RUN true", 1, "RUN before the first FROM"),
        ("# nothing", 1, "has no FROM"),
        ("FROM base", 1, "nothing follows the last FROM"),
        ("FROM docker.io/library/debian:12\nRUN a", 1, "docker.io/library/debian:12 is on the internet"),
        ("FROM localhost:5000/a\nRUN a", 1, "is on the internet"),
        ("FROM localhost/a\nRUN a", 1, "is on the internet"),
        (f"FROM a@sha256:{'0' * 64}\nRUN a", 1, "leave it out"),
        ("FROM $BASE\nRUN a", 1, "may use only ARG"),
        ("FROM Debian\nRUN a", 1, "'Debian' is not the name of an image"),
        ("FROM a b c\nRUN a", 1, "not an image, or an image AS a name"),
        ("FROM --platform=linux/arm64 a\nRUN a", 1, "FROM --platform: not every engine has it"),
        ("FROM a AS x\nRUN a\nFROM b AS X\nRUN b", 3, "there is a stage x already"),
        ("FROM a\nCOPY --from=quay.io/b /c /d", 2, "quay.io/b is on the internet"),
        ("FROM a\nADD https://example.com/x /x", 2, "ADD from the internet"),
        ("FROM a\nADD git@example.com:x.git /x", 2, "ADD from the internet"),
        ("FROM a\nARG U=https://example.com/x\nADD $U /x", 3, "write ./$U for a file"),
        ('FROM a\nARG U\nADD ["a", "HTT${U}", "/x"]', 3, "may hold an address"),
        ("FROM a\nRUN --mount=type=cache,target=/x true", 2, "RUN --mount: not every engine has it"),
        ("FROM a\nRUN --network=host true", 2, "RUN --network: not every engine has it"),
        ("FROM a\nRUN cat <<EOF\nx\nEOF", 2, "here-documents need BuildKit"),
        ("FROM a\nONBUILD RUN x", 2, "ONBUILD acts in later builds"),
        ("FROM a\nMAINTAINER x", 2, "MAINTAINER is obsolete"),
        ("FROM a\nRUNN x", 2, "RUNN is no instruction"),
        ("FROM a\nRUN", 2, "RUN without anything after it"),
        ("# syntax=docker/dockerfile:1\nFROM a\nRUN b", 1, "a syntax is a program from the internet"),
        ("# escape=`\nFROM a\nRUN b", 1, "only a backslash continues a line"),
    ],
)
def test_what_is_refused_in_a_dockerfile(text: str, line: int, problem: str) -> None:
    _, problems = syntax.parse(text, {})
    assert any(number == line and problem in why for number, why in problems), problems


def test_a_variable_in_the_name_of_a_file_is_no_address() -> None:
    text = "FROM a\nARG V=1\nADD tool-$V.tar.gz ./$V a$V /x/\nCOPY $V /\n"
    assert syntax.parse(text, {})[1] == []


_WORDS = [
    "FROM",
    "from",
    "a",
    "AS x",
    "COPY",
    "--from=x",
    "--from=0",
    "RUN",
    "ARG",
    "$A",
    "${A:-b}",
    "[",
    '"',
    "\\",
    "\n",
    " ",
    "#",
]


@hypothesis.given(strategies.lists(strategies.sampled_from(_WORDS)).map(" ".join))
@hypothesis.settings(max_examples=100, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    parsed, problems = syntax.parse(text, {})
    if not problems:
        known = {reference.name: "known" for reference in parsed.references()}
        again, found = syntax.parse(parsed.rendered(known), {})
        assert found == []
        assert len(again.stages) == len(parsed.stages)


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_the_context_is_what_is_tracked_or_listed(workshop: Workshop) -> None:
    files = {"a": "A", "b/c": "C", "b/d": "D", ".dockerignore": "a"}
    (workshop.root / "app/b").mkdir(parents=True)
    (workshop.root / "app/b/untracked").write_text("no")
    (workshop.root / "app/a").write_text("A")
    (workshop.root / "app/a").chmod(0o700)
    recipe = workshop.recipe("FROM base\nCOPY . /\n", files)
    assert [(file.path, file.content, file.mode) for file in recipe.context] == [
        ("a", b"A", 0o755),
        ("b/c", b"C", 0o644),
        ("b/d", b"D", 0o644),
    ]
    recipe = workshop.recipe("FROM base\nCOPY b/* /\n", files, "context: [b]\n")
    assert [file.path for file in recipe.context] == ["b/c", "b/d"]
    assert (recipe.bases, recipe.has_network, recipe.source) == (("base",), False, "images/app/Dockerfile")


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("FROM base\nCOPY gone /\n", "", r"Dockerfile: 1 problem\n  line 2: gone is not in the context"),
        ("FROM base\nCOPY a* x? /\n", "", r"line 2: x\? is not in the context"),
        ("FROM base\nCOPY a /\n", "context: [gone]\n", r"build.yaml.*\n  line 1, context.0: there is no file gone"),
        ("FROM base\nCOPY a /\n", "context: [../x]\n", "is not a plain relative path"),
        ("FROM base\nCOPY a /\n", "context: [/etc/passwd]\n", "is not a plain relative path"),
        ("FROM base\nCOPY out /\n", "context: [out]\n", "out leads out of the recipe's folder"),
        ("FROM base\nCOPY o/passwd /\n", "context: [o/passwd]\n", "o/passwd leads out of the recipe's folder"),
        ("FROM base\nCOPY abs /\n", "context: [abs]\n", "abs is a link to an absolute path"),
        ("FROM base\nARG A\nRUN x\n", "", "line 2: ARG A has no value; give it one under `arguments` in build.yaml"),
        ("FROM base\nRUN x\n", "arguments: {B: b}\n", "no ARG B, but build.yaml has a value for it"),
        ("FROM base\nRUN x\n", "arguments: {B: 1}\n", "1 is not text"),
        ("FROM base\nRUN x\n", "network: host\n", "network"),
        (
            "FROM base\nCOPY a /\n",
            f"sources: {{a: {{url: 'https://x/a', sha256: '{'0' * 64}', size: 1}}}}\n",
            "a: is a file of the context already",
        ),
        ("FROM base\nRUN x\n", "sources: {s: {url: 'ftp://x', sha256: x, size: -1}}\n", "3 problems"),
    ],
)
def test_mistakes_in_a_recipe_are_named_with_their_line(
    workshop: Workshop, text: str, options: str, problem: str
) -> None:
    folder = workshop.root / "app"
    folder.mkdir(parents=True)
    (folder / "out").symlink_to("../../secret")
    (folder / "o").symlink_to("/etc")
    (folder / "abs").symlink_to(folder.resolve() / "a")
    with pytest.raises(errors.ConfigError, match=problem):
        workshop.recipe(text, {"a": "A"}, options)


def test_only_images_of_the_distribution_are_stood_on(workshop: Workshop) -> None:
    recipe = workshop.recipe("FROM debian:12 AS x\nRUN a\nFROM base:2\nCOPY --from=app /a /\nCOPY --from=x /b /\n")
    with pytest.raises(errors.ConfigError) as caught:
        dockerfile.check_bases(recipe, {"base": "1", "app": "1"})
    assert caught.value.problems == (
        ("line 1", "debian:12 is not an image of the distribution; known: base"),
        ("line 3", "base:2: its tag is 1"),
        ("line 4", "app is not an image of the distribution; known: base"),
    )


def test_no_image_stands_on_itself(workshop: Workshop) -> None:
    lines = {"a": "FROM b\nENV A=1\n", "b": "FROM c\nENV A=1\n", "c": "FROM base\nENV A=1\n"}
    recipes = {name: workshop.recipe(text, name=name) for name, text in lines.items()}
    known = dict.fromkeys(["base", *recipes], "1")
    dockerfile.check_all(recipes, known)
    recipes["c"] = workshop.recipe("FROM base AS x\nENV A=1\nFROM a\nENV A=1\n", name="c")
    with pytest.raises(
        errors.ConfigError, match=r"stands on itself: (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"
    ):
        dockerfile.check_all(recipes, known)


# --- builds -----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class FakeEngine:
    """Saves what it is told to: the layers of the base, and those of a test."""

    source: store.Store
    steps: Sequence[Files | None]
    config: Mapping[str, typing.Any] = dataclasses.field(default_factory=dict)
    seen: dict[str, typing.Any] = dataclasses.field(default_factory=dict)
    below: list[bytes] = dataclasses.field(default_factory=list)

    @contextlib.contextmanager
    def session(self) -> Iterator[engine.Engine]:
        yield typing.cast(engine.Engine, self)

    def pull(self, reference: str) -> None:
        manifest = json.loads(self.source.read(digest.Digest.parse(reference.partition("@")[2])))
        blobs = [self.source.read(digest.Digest.parse(row["digest"])) for row in manifest["layers"]]
        self.below = [gzip.decompress(blob) for blob in blobs]

    def build(self, context: typing.BinaryIO, arguments: Mapping[str, str], **_: object) -> str:
        with tarfile.open(fileobj=context) as archive:
            members = {member.name: member for member in archive}
            stream = archive.extractfile("Dockerfile")
            assert stream
            self.seen = {"members": members, "text": stream.read().decode(), "arguments": dict(arguments)}
        return "id"

    def save(self, _: str, sink: typing.BinaryIO) -> None:
        made = [packages.make_tar(files, tarfile.PAX_FORMAT) for files in self.steps if files is not None]
        tars = [*self.below, *made]
        history = [*({} for _ in self.below), *({"empty_layer": True} if files is None else {} for files in self.steps)]
        config = {
            "architecture": "amd64",
            "container": "chance",
            "config": {"Hostname": "chance", **self.config},
            "history": history,
            "rootfs": {"diff_ids": [str(digest.Digest.of_bytes(each)) for each in tars]},
        }
        row = {"Config": "config", "Layers": [f"{number}.tar" for number, _ in enumerate(tars)]}
        layers = {f"{number}.tar": content for number, content in enumerate(tars)}
        sink.write(
            packages.make_tar(
                {"manifest.json": json.dumps([row]).encode(), "config": json.dumps(config).encode(), **layers}
            )
        )


Build = Callable[..., tuple[dockerfile.Image, FakeEngine]]


@pytest.fixture(name="build")
def _build(workshop: Workshop) -> Build:
    def build(
        text: str, *steps: Files | None, config: Mapping[str, typing.Any] | None = None, **options: typing.Any
    ) -> tuple[dockerfile.Image, FakeEngine]:
        recipe = workshop.recipe(text, **options)
        bases = {"base": workshop.base()} if recipe.bases else {}
        fake = FakeEngine(workshop.source, steps, config or {})
        return dockerfile.build(recipe, bases, workshop.source, fake.session), fake

    return build


def _members(workshop: Workshop, layer: assembly.Layer) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(workshop.source.read(layer.blob.digest)))) as archive:
        return archive.getmembers()


def test_layers_hold_what_changed_and_nothing_else(workshop: Workshop, build: Build) -> None:
    built, _ = build(
        "FROM base\nRUN change\nENV A=b\nRUN nothing\n",
        {
            "usr": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW),
            "usr/z": packages.Member(b"z", mtime=5, uid=33, gid=44),
            "usr/a": packages.Member(b"new", 0o4755, mtime=NOW),
            "usr/b": packages.Member(kind=tarfile.LNKTYPE, target="usr/a", mtime=NOW),
            "srv": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW),
            "srv/.wh.old": packages.Member(mtime=NOW),
            "srv/folder": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW),
            "srv/folder/.wh..wh..opq": packages.Member(mtime=NOW),
            "etc": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW),
            "etc/hosts": packages.Member(mode=0o755, mtime=NOW),
            "etc/group": packages.Member(b"root:x:0:\n"),
            "run": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW),
            "proc": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW),
        },
        None,
        {"usr": packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW + 1)},
    )
    (layer,) = built.layers
    found = _members(workshop, layer)
    assert [(each.name, each.mtime, each.linkname) for each in found] == [
        ("srv", BUILT, ""),
        ("srv/.wh.old", BUILT, ""),
        ("srv/folder", BUILT, ""),
        ("srv/folder/.wh.file", BUILT, ""),
        ("usr", BUILT, ""),
        ("usr/a", BUILT, ""),
        ("usr/b", BUILT, "usr/a"),
        ("usr/z", 5, ""),
    ]
    z = found[-1]
    assert (z.uid, z.gid, z.uname, z.gname, found[5].mode) == (33, 44, "", "", 0o4755)


def test_what_engines_disagree_about_does_not_count(build: Build) -> None:
    """One lists all parents, makes the directory of WORKDIR at once, and no layer of a step without a change."""
    text = "FROM base\nWORKDIR /data\nRUN a\nRUN b\nWORKDIR /last/one\n"
    folder = packages.Member(kind=tarfile.DIRTYPE, mode=0o755, mtime=NOW)
    first, _ = build(
        text,
        {"data": folder},
        {"usr": folder, "usr/lib": folder, "data": folder, "data/x": b"x"},
        None,
        {"last": folder, "last/one": folder},
        config={"WorkingDir": "/last/one", "Labels": {}, "Volumes": None},
    )
    second, _ = build(
        text,
        None,
        {"data": dataclasses.replace(folder, mtime=NOW + 1), "data/x": b"x", "dev": folder, "etc/hostname": b""},
        {},
        None,
        config={"WorkingDir": "/last/one", "Labels": {"io.buildah.version": "1.28"}, "Hostname": "other"},
    )
    assert dockerfile.compare(first, second) == []
    assert first.manifest == second.manifest


def test_the_configuration_says_how_to_start_and_nothing_of_the_build(workshop: Workshop, build: Build) -> None:
    base = json.loads(workshop.source.read(workshop.base().manifest.digest))
    built, fake = build(
        "FROM base\nARG SOURCE_DATE_EPOCH\nARG A=1\nRUN x\n",
        None,
        None,
        {"x": b"x"},
        config={"Env": ["B=1", "A=2"], "Labels": {"org.opencontainers.image.title": "base"}, "WorkingDir": "/"},
        options="arguments: {A: '2'}\n",
    )
    config = json.loads(workshop.source.read(built.config.digest))
    assert config["config"] == {"Env": ["B=1", "A=2"], "Labels": {"org.opencontainers.image.title": "app"}}
    assert set(config) == {"architecture", "os", "created", "config", "rootfs", "history"}
    assert [row["created_by"] for row in config["history"][1:]] == [
        "images/app/Dockerfile: ARG SOURCE_DATE_EPOCH",
        "images/app/Dockerfile: ARG A=1",
        "images/app/Dockerfile: RUN x",
    ]
    assert fake.seen["arguments"] == {"A": "2", "SOURCE_DATE_EPOCH": str(BUILT)}
    manifest = json.loads(workshop.source.read(built.manifest.digest))
    assert manifest["layers"][:1] == base["layers"]
    paths = {file.path for file in dockerfile.tree(built, "app", "1").files()}
    assert {f"images/app/1/{row['digest'].removeprefix('sha256:')}" for row in manifest["layers"]} < paths


def test_the_engine_sees_the_context_and_nothing_else(workshop: Workshop, build: Build) -> None:
    content = workshop.source.add_bytes(b"pulled")
    options = f"sources: {{big/file: {{url: 'https://x/y', sha256: '{content.digest.hex}', size: 6}}}}\n"
    _, fake = build("FROM scratch\nCOPY . /\n", {"a": b"A"}, files={"a": "A"}, options=options)
    members = fake.seen["members"]
    assert list(members) == ["big", "Dockerfile", ".dockerignore", "a", "big/file"]
    assert {member.mtime for member in members.values()} == {assembly.EARLIEST}
    assert fake.seen["text"] == "FROM scratch AS stage-0\nCOPY . /\n"


def test_extended_attributes_are_kept_but_not_those_of_the_host(workshop: Workshop, build: Build) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("ping")
        member.pax_headers = {
            "SCHILY.xattr.user.b": "2",
            "SCHILY.xattr.security.capability": b"\x01\xff".decode("utf-8", "surrogateescape"),
            "SCHILY.xattr.security.selinux": "host",
        }
        archive.addfile(member)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packages, "make_tar", _instead(packages.make_tar, stream.getvalue()))
        built, _ = build("FROM scratch\nCOPY a /\n", {"ping": b""}, files={"a": "A"})
    (found,) = _members(workshop, built.layers[0])
    expected = {"SCHILY.xattr.security.capability": "\x01\udcff", "SCHILY.xattr.user.b": "2"}
    assert {key: value for key, value in found.pax_headers.items() if "xattr" in key} == expected


def _instead(make: Callable[..., bytes], content: bytes) -> Callable[..., bytes]:
    return lambda members, *rest: content if "ping" in members else make(members, *rest)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"null": packages.Member(kind=tarfile.CHRTYPE)}, "null is a device or a pipe"),
        ({"pipe": packages.Member(kind=tarfile.FIFOTYPE)}, "pipe is a device or a pipe"),
        ({"../../up": b""}, "leads out of the image"),
        ({"b": packages.hard_link("nowhere")}, "b is a hard link to nowhere"),
    ],
)
def test_what_no_image_may_hold(build: Build, files: Files, problem: str) -> None:
    with pytest.raises(
        errors.BuildchainError, match=f"images/app/Dockerfile: what the engine built cannot ship.*{problem}"
    ):
        build("FROM base\nRUN x\n", files)


def test_a_result_that_is_not_that_of_the_dockerfile_is_refused(build: Build) -> None:
    with pytest.raises(errors.BuildchainError, match="its history is not that of the Dockerfile"):
        build("FROM base\nRUN x\n", None, None, None)


def test_an_index_of_images_is_nothing_to_stand_on(workshop: Workshop) -> None:
    index = workshop.source.add_bytes(b'{"manifests": []}')
    recipe = workshop.recipe("FROM base\nRUN x\n")
    with pytest.raises(errors.BuildchainError, match="no Dockerfile can stand on it: it is an index of images"):
        dockerfile.build(recipe, {"base": dockerfile.Base("1", index)}, workshop.source)


def test_what_differs_is_named_by_instruction_and_path(build: Build) -> None:
    text = "FROM base\nRUN a\nRUN b\n"
    first, _ = build(text, {"a": b"1"}, {"b": b"1", "c": b"1"})
    second, _ = build(text, {"a": b"1"}, {"b": b"2", "c": b"1", "d": b""})
    assert dockerfile.compare(first, second) == ["images/app/Dockerfile:3: RUN b: /b, /d"]
    third, _ = build(text, {"a": b"1"}, None)
    assert dockerfile.compare(first, third) == ["images/app/Dockerfile: 2 layers in one build, 1 in the other"]
    fourth, _ = build(text, {"a": b"1"}, {"b": b"1", "c": b"1"}, config={"User": "1"})
    assert dockerfile.compare(first, fourth) == ["images/app/Dockerfile: the configurations differ"]


def test_the_identity_is_that_of_all_inputs(workshop: Workshop) -> None:
    text = "FROM base\nCOPY a /\n"
    known = dockerfile.identity(workshop.recipe(text, {"a": "A"}), {"base": "1"})
    assert dockerfile.identity(workshop.recipe(text, {"a": "A"}), {"base": "1", "other": "2"}) == known
    changed = [
        dockerfile.identity(workshop.recipe(text, {"a": "A"}), {"base": "2"}),
        dockerfile.identity(workshop.recipe(text, {"a": "B"}), {"base": "1"}),
        dockerfile.identity(workshop.recipe(text + "USER 1\n", {"a": "A"}), {"base": "1"}),
        dockerfile.identity(workshop.recipe(text, {"a": "A"}, "network: default\n"), {"base": "1"}),
    ]
    assert len({known, *changed}) == 5


# --- the loopback registry and the engine -----------------------------------------------------------------------------


def test_the_registry_serves_what_it_was_given_and_no_more(tmp_path: pathlib.Path) -> None:
    source = store.Store(tmp_path)
    manifest, blob, other = (source.add_bytes(content) for content in (b"manifest", b"blob", b"other"))
    with loopback.serve({"a/b": loopback.Shipped("type/manifest", manifest, (blob,))}, source) as registry:
        assert registry.reference("a/b", manifest) == f"{registry.address}/a/b@{manifest.digest}"
        with contextlib.closing(http.client.HTTPConnection(registry.address)) as client:

            def ask(method: str, path: str) -> tuple[int, bytes, str, str]:
                client.request(method, f"/v2/{path}")
                answer = client.getresponse()
                headers = answer.headers
                return answer.status, answer.read(), headers["Content-Type"], headers["Content-Length"]

            assert ask("GET", "") == (200, b"{}", "application/json", "2")
            assert ask("GET", f"a/b/manifests/{manifest.digest}") == (200, b"manifest", "type/manifest", "8")
            assert ask("HEAD", f"a/b/blobs/{blob.digest}")[1:] == (b"", "application/octet-stream", "4")
            for path in (f"a/b/blobs/{other.digest}", f"c/blobs/{blob.digest}", "a/b/manifests/latest", "../../etc"):
                assert ask("GET", path)[:2] == (404, b"")
            source.remove(blob.digest)
            assert ask("GET", f"a/b/blobs/{blob.digest}")[0] == 500
    assert registry.log[1] == f"GET /v2/a/b/manifests/{manifest.digest} 200"
    assert len(registry.log) == 8


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, "nowhere/docker.sock does not answer: No such file"),
        ({"DOCKER_HOST": "unix:///etc/passwd"}, "unix:///etc/passwd does not answer: Connection refused"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, "tcp://127.0.0.1:1 does not answer: Connection refused"),
        ({"DOCKER_HOST": "tcp://127.0.0.1"}, "tcp://127.0.0.1 does not answer: "),
        ({"DOCKER_HOST": "tcp://127.0.0.1:x"}, "tcp://127.0.0.1:x does not answer: Port could not be cast"),
        ({"DOCKER_HOST": "tcp://[::1"}, "DOCKER_HOST=tcp://.::1: Invalid IPv6 URL"),
        ({"DOCKER_HOST": "tcp://10.0.0.1:2375"}, "DOCKER_HOST=tcp://10.0.0.1:2375 is another machine"),
        ({"DOCKER_HOST": "ssh://host"}, "is another machine"),
        ({"XDG_RUNTIME_DIR": "/nowhere"}, "there is no .* or /nowhere/podman/podman.sock"),
    ],
)
def test_a_missing_engine_is_one_clear_line(
    environment: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buildchain.engine._session._SOCKETS", ("/nowhere/docker.sock",))
    with pytest.raises(errors.BuildchainError, match=problem) as caught, engine.session(environment):
        pass
    assert caught.value.hint
    assert len(str(caught.value).splitlines()) == 2
