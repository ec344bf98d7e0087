"""The lock: written and read without loss, easy to review, and refused when it is for another intent."""

import dataclasses
import difflib
import json
import pathlib

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest, errors, lock

SUITES = {"debian": "bookworm", "security": "bookworm-security"}


def _package(name: str, version: str = "1.0-1", *, architecture: str = "amd64", **changes: str) -> lock.Package:
    path = changes.get("path", f"pool/main/{name[0]}/{name}/{name}_{version}_{architecture}.deb")
    content = digest.Descriptor.of_bytes((path + changes.get("salt", "")).encode())
    return lock.Package(
        name, architecture, version, changes.get("source", name), changes.get("archive", "debian"), path, content
    )


def _index(archive: str, date: int = 1_700_000_000) -> lock.Index:
    return lock.Index(archive, SUITES[archive], digest.Digest.of_bytes(archive.encode()), date)


def _set(name: str, *packages: lock.Package, requested: tuple[str, ...] = ("bash",)) -> lock.PackageSet:
    return lock.PackageSet(name, "amd64", requested, tuple(sorted(packages)), ("debian", "security"))


BASH, LIBC = _package("bash", "5.2.15-2+b8"), _package("libc6", "2.36-9+deb12u10", archive="security", source="glibc")
GOOD = lock.Lock(
    (_index("debian"), _index("security")),
    (_set("image nginx", LIBC, requested=("libc6",)), _set("repository debian-12", BASH, LIBC)),
)
REQUESTS = [
    lock.Request("image nginx", "amd64", ("debian", "security"), ("libc6",)),
    lock.Request("repository debian-12", "amd64", ("debian", "security"), ("bash",)),
]


def _changed_lines(old: lock.Lock, new: lock.Lock) -> list[str]:
    diff = difflib.ndiff(lock.dump(old).decode().splitlines(), lock.dump(new).decode().splitlines())
    return [line for line in diff if line[0] in "+-"]


def _with_set(*packages: lock.Package) -> lock.Lock:
    return dataclasses.replace(GOOD, sets=(GOOD.sets[0], _set("repository debian-12", *packages)))


def test_the_file_is_json_with_a_line_for_each_package() -> None:
    text = lock.dump(GOOD).decode()
    assert json.loads(text)["format"] == lock.FORMAT
    assert sum('"version"' in line for line in text.splitlines()) == 2
    assert '    "bash:amd64"' in text
    assert text.endswith("}\n")


def test_packages_once_and_sorted() -> None:
    assert GOOD.packages() == [BASH, LIBC]
    assert GOOD.set("image nginx").packages == (LIBC,)
    with pytest.raises(errors.BuildchainError, match="has no entry for image etcd"):
        GOOD.set("image etcd")


def test_the_date_is_the_newest_of_the_indexes_in_use() -> None:
    value = lock.Lock((_index("debian", 5), _index("security", 9)))
    assert (value.date_of([BASH]), value.date_of([BASH, LIBC]), value.date_of([])) == (5, 9, 0)


def test_a_new_version_changes_one_line() -> None:
    newer = _with_set(_package("bash", "5.2.15-2+b9"), LIBC)
    assert [line[0] for line in _changed_lines(GOOD, newer)] == ["-", "+"]


def test_one_more_package_adds_two_lines() -> None:
    assert [line[0] for line in _changed_lines(GOOD, _with_set(BASH, LIBC, _package("curl")))] == ["+", "+"]


def test_a_version_appears_in_a_reference_only_where_there_are_two() -> None:
    text = lock.dump(_with_set(_package("libc6", "2.40-1"))).decode()
    assert '"libc6:amd64=2.40-1"' in text
    assert '"libc6:amd64=2.36-9+deb12u10"' in text


@pytest.mark.parametrize("changes", [{"salt": "rebuilt"}, {"archive": "other"}])
def test_one_version_with_two_contents_or_archives_is_kept_apart(changes: dict[str, str]) -> None:
    twins = _with_set(dataclasses.replace(_package(LIBC.name, LIBC.version, **changes), path=LIBC.path))
    assert len(twins.packages()) == 2
    assert lock.parse(lock.dump(twins)) == twins


def test_changes_are_one_line_a_package() -> None:
    newer = _with_set(_package("bash", "5.3-1"), _package("curl", "8.0-1"))
    assert lock.changes(GOOD, newer) == [
        "bash:amd64: 5.2.15-2+b8 -> 5.3-1",
        "curl:amd64: absent -> 8.0-1",
    ]
    assert lock.changes(newer, GOOD)[1] == "curl:amd64: 8.0-1 -> absent"
    assert lock.changes(GOOD, GOOD) == []


def test_changes_show_new_bytes_under_an_old_version() -> None:
    pushed = dataclasses.replace(BASH, content=digest.Descriptor.of_bytes(b"evil"))
    assert lock.changes(GOOD, _with_set(pushed, LIBC)) == [
        "bash:amd64: 5.2.15-2+b8 has other bytes under the same version"
    ]


def test_a_lock_covers_the_intent_it_was_made_for() -> None:
    assert lock.differences(GOOD, REQUESTS, SUITES) == []
    lock.check_covers(GOOD, list(reversed(REQUESTS)), SUITES)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"packages": ("bash", "curl")}, "repository debian-12: curl is wanted but not locked"),
        ({"packages": ()}, "repository debian-12: bash is locked but not wanted"),
        ({"without": ("perl-base",)}, "repository debian-12: -perl-base is wanted but not locked"),
        ({"bootstraps": True}, "repository debian-12: ?essential is wanted but not locked"),
        ({"architecture": "arm64"}, "repository debian-12: architecture arm64 is wanted but not locked"),
        ({"archives": ("debian",)}, "repository debian-12: archive security is locked but not wanted"),
        ({"archives": ("debian", "security", "own")}, "repository debian-12: archive own is wanted but not locked"),
        ({"name": "repository debian-13"}, "repository debian-13 is wanted but not locked"),
        ({"name": "repository debian-13"}, "repository debian-12 is locked but not wanted"),
    ],
)
def test_another_intent_is_refused_by_name(changes: dict[str, object], difference: str) -> None:
    requests = [REQUESTS[0], dataclasses.replace(REQUESTS[1], **changes)]  # type: ignore[arg-type]
    with pytest.raises(errors.BuildchainError) as caught:
        lock.check_covers(GOOD, requests, SUITES)
    assert f"  {difference}\n" in str(caught.value)
    assert str(caught.value).startswith("distribution.lock.json: does not cover distribution.yaml and the recipes\n")
    assert str(caught.value).endswith(lock.HINT)


def test_another_suite_is_another_intent() -> None:
    assert lock.differences(GOOD, REQUESTS, SUITES | {"debian": "trixie"}) == [
        "archive debian: suite bookworm is locked but trixie is wanted"
    ]


def test_an_index_older_than_the_locked_one_is_refused() -> None:
    old = lock.Lock((_index("debian", 5), _index("security", 9)))
    with pytest.raises(errors.ResolveError, match=r"archives debian: their index is older (.|\n)*Use another mirror"):
        lock.check_not_older(old, lock.Lock((_index("debian", 4), _index("security", 9))))
    lock.check_not_older(old, lock.Lock((_index("debian", 5), _index("security", 10))))
    lock.check_not_older(old, lock.Lock((dataclasses.replace(_index("debian", 1), suite="trixie"),)))
    lock.check_not_older(lock.Lock(), old)


def test_the_words_of_a_request_do_not_depend_on_its_order() -> None:
    request = lock.Request("x", "amd64", ("debian",), ("zsh", "bash"), without=("b", "a"), bootstraps=True)
    assert request.words == ("?essential", "apt", "bash", "zsh", "-a", "-b")


def test_an_empty_lock() -> None:
    assert lock.parse(lock.dump(lock.Lock())) == lock.Lock()
    assert lock.differences(lock.Lock(), [], SUITES) == []


_names = strategies.text("abc+-.~", min_size=1, max_size=3)
_packages = strategies.builds(
    lock.Package, _names, strategies.sampled_from(["amd64", "arm64", "all"]), _names, _names,
    strategies.sampled_from(["debian", "security"]), _names,
    strategies.builds(digest.Descriptor.of_bytes, strategies.binary(max_size=2)),
)  # fmt: skip
_pools = strategies.lists(_packages, max_size=8, unique_by=lambda each: (each.key, each.archive, each.content.digest))


@strategies.composite
def _locks(draw: strategies.DrawFn) -> lock.Lock:
    pool = draw(_pools)
    names = draw(strategies.lists(_names, unique=True, max_size=3))
    members = strategies.lists(strategies.sampled_from(pool), unique=True) if pool else strategies.just([])
    dates = strategies.integers(0, 4_000_000_000)
    return lock.Lock(
        tuple(sorted(_index(name, draw(dates)) for name in draw(strategies.sets(strategies.sampled_from([*SUITES]))))),
        tuple(_set(name, *draw(members), requested=tuple(draw(strategies.lists(_names)))) for name in sorted(names)),
    )


@hypothesis.given(_locks())
def test_parse_reads_what_dump_writes(value: lock.Lock) -> None:
    assert lock.parse(lock.dump(value)) == value
    assert lock.dump(lock.parse(lock.dump(value))) == lock.dump(value)


def test_the_file_does_not_depend_on_order() -> None:
    shuffled = lock.Lock(tuple(reversed(GOOD.indexes)), tuple(reversed(GOOD.sets)))
    assert lock.dump(shuffled) == lock.dump(GOOD)


def _load(directory: pathlib.Path, content: bytes) -> lock.Lock:
    path = directory / lock.FILE_NAME
    path.write_bytes(content)
    return lock.load(path)


def test_load_reads_the_file(tmp_path: pathlib.Path) -> None:
    assert _load(tmp_path, lock.dump(GOOD)) == GOOD


def test_an_absent_lock_says_how_to_make_one(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.BuildchainError, match=r"No such file or directory\nRun ./doit.sh lock"):
        lock.load(tmp_path / lock.FILE_NAME)


_ROW = json.loads(lock.dump(GOOD))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["format"], 1), (["format"], None), (["packages"], None), (["packages", 0], []),
        (["packages", 0, "size"], "9"),
        (["packages", 0, "size"], 1.5), (["packages", 0, "size"], True), (["packages", 0, "size"], -1),
        (["packages", 0, "size"], float("inf")), (["packages", 0, "size"], float("nan")),
        (["packages", 0, "digest"], "md5:0"), (["packages", 0, "digest"], 5), (["packages", 0, "name"], ["bash"]),
        (["packages", 0, "version"], None), (["packages", 1], _ROW["packages"][0]),
        (["indexes", 0, "date"], "2023-11-14T22:13:20"), (["indexes", 0, "date"], "0001-01-01T00:00:00+23:59"),
        (["indexes", 0, "date"], 0), (["indexes", 0, "digest"], ""), (["sets", 0, "name"], ["a"]),
        (["sets", 0, "name"], "repository debian-12"), (["sets", 0, "requested"], "bash"),
        (["sets", 0, "requested"], [{}]), (["sets", 0, "packages"], ["curl:amd64"]), (["sets", 0, "packages"], [[]]),
        (["sets", 0, "archives"], None), (["sets"], {"a": 1}), (["indexes"], 7),
    ],
)  # fmt: skip
def test_one_wrong_value_is_a_sentence(tmp_path: pathlib.Path, place: list[str | int], value: object) -> None:
    changed = json.loads(json.dumps(_ROW))
    node = changed
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    with pytest.raises(errors.BuildchainError, match=r"is not a lock of format 2 (.|\n)*Run ./doit.sh lock"):
        _load(tmp_path, json.dumps(changed).encode())


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"null", b"[]", b"[" * 100_000, b"<<<<<<< HEAD\n" + lock.dump(GOOD), b"9" * 5000]
)
def test_garbage_is_a_sentence(tmp_path: pathlib.Path, content: bytes) -> None:
    with pytest.raises(errors.BuildchainError, match="is not a lock of format 2") as caught:
        _load(tmp_path, content)
    assert len(str(caught.value)) < 500


_json = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | strategies.integers() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3)
    | strategies.dictionaries(strategies.sampled_from(["name", "packages", "digest", "size", "date"]), inner),
    max_leaves=8,
)  # fmt: skip


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(strategies.fixed_dictionaries(
    {"format": strategies.just(1) | _json, "indexes": _json, "packages": _json, "sets": _json}
) | _json)  # fmt: skip
def test_any_json_is_a_lock_or_a_sentence(tmp_path: pathlib.Path, value: object) -> None:
    try:
        loaded = _load(tmp_path, json.dumps(value).encode())
    except errors.BuildchainError as error:
        assert error.hint == lock.HINT  # noqa: PT017 — either outcome is right
    else:
        assert lock.parse(lock.dump(loaded)) == loaded


def test_modules_and_base_are_words_of_a_request() -> None:
    request = lock.Request("x", "x86_64", ("a",), ("b",), modules=("m:1",), base="base el-9 0123456789ab")
    assert request.words == ("b", "@m:1", "base el-9 0123456789ab")
    held = lock.Lock(sets=(lock.PackageSet("x", "x86_64", request.words, (), ("a",), ("bash", "glibc")),))
    assert lock.parse(lock.dump(held)) == held
    assert lock.differences(held, [request]) == []
    assert lock.differences(held, [lock.Request("x", "x86_64", ("a",), ("b",))]) == [
        "x: @m:1 is locked but not wanted",
        "x: base el-9 0123456789ab is locked but not wanted",
    ]


TOP = digest.Descriptor.of_bytes(b"index")
CHILD = digest.Descriptor.of_bytes(b"manifest")
WANTED = lock.ImageRequest("pause", "registry.example/pause", "3.9", ("linux/amd64",), has_signatures=True)
PAUSE = lock.Image(
    WANTED,
    tuple(
        sorted(
            [
                lock.ImageManifest(TOP, "application/vnd.oci.image.index.v1+json", "3.9"),
                lock.ImageManifest(CHILD, "application/vnd.oci.image.manifest.v1+json", "", "linux/amd64"),
            ]
        )
    ),
    (lock.Blob(digest.Descriptor.of_bytes(b"layer"), "application/vnd.oci.image.layer.v1.tar+gzip"),),
)
WITH_IMAGE = dataclasses.replace(GOOD, images=(PAUSE,))


def test_a_pulled_image_has_a_line_for_each_part(tmp_path: pathlib.Path) -> None:
    text = lock.dump(WITH_IMAGE)
    assert lock.parse(text) == WITH_IMAGE
    assert len(text.splitlines()) == len(lock.dump(GOOD).splitlines()) + 7
    assert WITH_IMAGE.image("pause").top.content == TOP
    assert len(PAUSE.contents()) == 3
    with pytest.raises(errors.BuildchainError, match="has no image etcd"):
        WITH_IMAGE.image("etcd")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"tag": "3.9", "platforms"', b'"tag": "3.8", "platforms"'),
        (b'"signatures": true', b'"signatures": 1'),
        (b'"platforms": ["linux/amd64"]', b'"platforms": "linux/amd64"'),
        (b'"media_type": "application/vnd.oci.image.index', b'"kind": "application/vnd.oci.image.index'),
        (f'"size": {TOP.size}, "media'.encode(), b'"size": true, "media'),
        (str(CHILD.digest).encode(), b"sha512:00"),
    ],
)
def test_a_wrong_image_is_a_sentence(tmp_path: pathlib.Path, old: bytes, new: bytes) -> None:
    text = lock.dump(WITH_IMAGE)
    assert old in text
    (tmp_path / "lock").write_bytes(text.replace(old, new))
    with pytest.raises(errors.BuildchainError, match="is not a lock of format"):
        lock.load(tmp_path / "lock")


def test_an_intent_with_other_images_is_not_covered() -> None:
    assert lock.differences(WITH_IMAGE, REQUESTS, SUITES, {WANTED: str(TOP.digest)}) == []
    assert lock.differences(WITH_IMAGE, REQUESTS, SUITES, {WANTED: str(CHILD.digest)}) == [
        f"image pause: {CHILD.digest} is wanted but {TOP.digest} is locked"
    ]
    newer = dataclasses.replace(WANTED, tag="3.10", has_signatures=False)
    assert lock.differences(WITH_IMAGE, REQUESTS, SUITES, {newer: ""}) == [
        "image pause (registry.example/pause:3.10 for linux/amd64) is wanted but not locked",
        "image pause (registry.example/pause:3.9 for linux/amd64 with signatures) is locked but not wanted",
    ]


def test_a_moved_image_is_told() -> None:
    moved = dataclasses.replace(PAUSE, manifests=(lock.ImageManifest(CHILD, "x", "3.9"),))
    before, after = f"registry.example/pause:3.9@{TOP.digest}", f"registry.example/pause:3.9@{CHILD.digest}"
    assert lock.changes(GOOD, WITH_IMAGE) == [f"image pause: absent -> {before}"]
    assert lock.changes(WITH_IMAGE, dataclasses.replace(GOOD, images=(moved,))) == [f"image pause: {before} -> {after}"]
    signed = dataclasses.replace(PAUSE, blobs=())
    assert lock.changes(WITH_IMAGE, dataclasses.replace(GOOD, images=(signed,))) == [
        "image pause: 3.9 has other parts under the same digest"
    ]
    assert lock.changes(WITH_IMAGE, WITH_IMAGE) == []


FILE = lock.File("salt", "demo", "1.0", "demo-1.0-py3-none-any.whl", digest.Descriptor.of_bytes(b"wheel"))


def test_files_of_environments_are_kept_and_cost_nothing_without_any() -> None:
    whole = dataclasses.replace(GOOD, files=(FILE,))
    assert lock.parse(lock.dump(whole)) == whole
    assert b'"files"' not in lock.dump(GOOD)
    assert len(_changed_lines(GOOD, whole)) <= 5
    assert lock.changes(GOOD, whole) == ["salt: absent -> demo-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("change", [{"name": "../evil"}, {"name": ".hidden"}, {"size": "1"}, {"digest": "sha256:0"}])
def test_a_file_that_is_none_is_refused(change: dict[str, object]) -> None:
    value = json.loads(lock.dump(dataclasses.replace(GOOD, files=(FILE,))))
    value["files"][0] |= change
    with pytest.raises((ValueError, TypeError)):
        lock.parse(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({}, "salt: demo is locked but not wanted"),
        ({("salt", "demo"): ("2.0", frozenset())}, "demo 1.0 is locked but 2.0 is wanted"),
        ({("salt", "demo"): ("1.0", frozenset())}, "a digest that the requirements do not allow"),
        ({("salt", "more"): ("1.0", frozenset())}, "salt: more is wanted but not locked"),
    ],
)
def test_files_for_other_requirements_are_refused(wanted: lock.Wanted, problem: str) -> None:
    whole = dataclasses.replace(GOOD, files=(FILE,))
    lock.check_files(whole, {("salt", "demo"): ("1.0", frozenset([FILE.content.digest]))})
    with pytest.raises(errors.BuildchainError, match=problem):
        lock.check_files(whole, wanted)
