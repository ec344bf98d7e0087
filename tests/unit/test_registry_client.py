"""Images from registries: tags become digests, digests become bytes, and no lie of a registry gets into the store."""

import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import threading
import time
from collections.abc import Iterator, Mapping

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest, errors, fetch, lock, oci, registry_client, store, urls
from buildchain.registry_client import _access, _credentials, _documents, _resolve
from tests.support import images, mirror, registries

OPTIONS = fetch.Options(
    jobs=4,
    first_wait_s=0.001,
    longest_wait_s=0.1,
    connect_timeout_s=30,
    attempts=3,
    attempts_total=40,
)
IMAGE = images.random_image((1, 2), size=20_000)
ARM = images.random_image((1, 3), platform="arm64", media_type=images.OCI_MANIFEST)
AMD = images.random_image((1, 4), media_type=images.OCI_MANIFEST)
INDEX = images.index([AMD, ARM])
BLOB = f"/v2/app/blobs/sha256:{images.hex_of(IMAGE.blobs[1])}"
MANIFEST = "/v2/app/manifests/1.0"


# On a busy machine too.
_FEW = hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])


@dataclasses.dataclass
class Bench:
    """A registry, a store, and the way from the one into the other."""

    server: registries.Registry
    held: store.Store
    sites: registry_client.Sites
    files: tuple[pathlib.Path, ...] = ()
    read_timeout_s: float = 30
    rewrites: urls.Rewrites = urls.NONE

    def options(self, **more: object) -> fetch.Options:
        source = f"{self.server.host}/app"
        plain = dataclasses.replace(OPTIONS, rewrites=self.rewrites)
        access = registry_client.access(self.sites, [source, "registry.example/app"], self.files, plain)
        options = dataclasses.replace(plain, access=access, read_timeout_s=self.read_timeout_s)
        return dataclasses.replace(options, **more)  # type: ignore[arg-type]

    def resolve(self, pinned: str = "", registry: str = "", **changes: object) -> lock.Image:
        wanted = dataclasses.replace(
            lock.ImageRequest("app", f"{registry or self.server.host}/app", "1.0", ("linux/amd64",)),
            **changes,  # type: ignore[arg-type]
        )
        client = registry_client.Client(self.sites, self.options())
        return registry_client.resolve(wanted, pinned, client, self.held)

    def pull(self, *locked: lock.Image, **more: object) -> fetch.Pulled:
        requests = [each for image in locked for each in registry_client.requests(image, self.sites)]
        return fetch.pull(requests, self.held, self.options(**more), fetch.NullProgress())

    def files_of(self, image: lock.Image) -> dict[str, bytes]:
        """The image's folder on the medium."""
        tree = oci.pulled(image, self.held).below(f"images/app/{image.request.tag}")
        return {file.path: self.held.read(file.content.digest) for file in tree.files()}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.forget_settings(monkeypatch)


@pytest.fixture
def bench(tmp_path: pathlib.Path) -> Iterator[Bench]:
    with registries.Registry() as server:
        server.push("app", "1.0", IMAGE)
        yield _bench(server, tmp_path)


def _bench(server: registries.Registry, folder: pathlib.Path, **sites: registry_client.Site) -> Bench:
    named = {server.host: registry_client.Site(is_plain=True), **sites}
    return Bench(server, store.Store(folder / "store"), registry_client.Sites(named))


def test_an_image_comes_as_it_is(bench: Bench) -> None:
    locked = bench.resolve()
    assert str(locked.top.content.digest) == IMAGE.digest
    pulled = bench.pull(locked)
    assert pulled.count == 2  # the manifest and the configuration came with the lock
    assert bench.files_of(locked) == images.files_of(IMAGE)


def test_another_machine_asks_for_digests_only(bench: Bench, tmp_path: pathlib.Path) -> None:
    locked = bench.resolve()
    other = dataclasses.replace(bench, held=store.Store(tmp_path / "other"))
    before = len(bench.server.log)
    assert other.pull(locked).count == 4
    asked = [each.path for each in bench.server.log[before:]]
    assert len(set(asked)) == len(asked) == 4
    assert all(path.rpartition("/")[2].startswith("sha256:") for path in asked)
    assert other.files_of(locked) == images.files_of(IMAGE)
    assert other.pull(locked).count == 0
    assert len(bench.server.log) == before + 4


def _asked(bench: Bench, path: str) -> list[mirror.Asked]:
    return [each for each in bench.server.log if each.path == path]


def _is_clean(held: store.Store) -> bool:
    """Whether every entry of the store is what it is called."""
    entries = [path for path in held.root.glob("sha256/??/*") if path.is_file()]
    return all(images.hex_of(path.read_bytes()) == path.name for path in entries)


# What the tag stands for.


@pytest.mark.parametrize("media_type", [images.OCI_MANIFEST, images.DOCKER_MANIFEST])
@pytest.mark.parametrize("has_media_type", [True, False])
def test_both_families_of_media_types(bench: Bench, media_type: str, has_media_type: bool) -> None:
    image = images.random_image((5,), media_type=media_type, has_media_type=has_media_type)
    bench.server.push("app", "1.0", image)
    locked = bench.resolve()
    bench.pull(locked)
    assert locked.top.media_type == media_type
    assert bench.files_of(locked) == images.files_of(image)


def test_an_index_stays_whole_and_ships_one_platform(bench: Bench) -> None:
    bench.server.push("app", "1.0", INDEX)
    locked = bench.resolve()
    bench.pull(locked)
    files = bench.files_of(locked)
    assert files["manifest.json"] == INDEX.manifest
    assert f"{AMD.hex}.manifest.json" in files
    assert f"{ARM.hex}.manifest.json" not in files
    assert [each.platform for each in locked.manifests if not each.tag] == ["linux/amd64"]
    both = bench.resolve(platforms=("linux/amd64", "linux/arm64"))
    bench.pull(both)
    assert bench.files_of(both) == images.files_of(INDEX)


def test_a_list_of_docker_is_an_index(bench: Bench) -> None:
    child = images.random_image((5,))
    bench.server.push("app", "1.0", images.index([child], media_type=images.DOCKER_LIST))
    assert bench.resolve().top.media_type == images.DOCKER_LIST


@pytest.mark.parametrize("image", [INDEX, IMAGE])
def test_a_platform_that_is_not_there(bench: Bench, image: images.Image) -> None:
    bench.server.push("app", "1.0", image)
    with pytest.raises(errors.ResolveError, match=r"app:1\.0 is not for linux/s390x; it is for linux/amd64") as caught:
        bench.resolve(platforms=("linux/s390x",))
    assert "Set platform (or platforms)" in str(caught.value)


def test_a_tag_that_is_not_there(bench: Bench) -> None:
    """The hint is not the command that has just been typed."""
    elsewhere = registry_client.Endpoint(bench.server.url, "proxy/")
    site = registry_client.Site((elsewhere,), is_plain=True)
    made = dataclasses.replace(bench, sites=registry_client.Sites({bench.server.host: site}))
    with pytest.raises(errors.ResolveError) as caught:
        made.resolve(tag="2.0")
    assert str(caught.value) == (
        f"image app: {bench.server.host}/app:2.0 cannot be had: "
        f"{bench.server.url}/v2/proxy/app/manifests/2.0: HTTP 404 Not Found\n"
        "Check repository and tag of this image in distribution.yaml.\n"
        f"Also tried: {bench.server.url}/v2/app/manifests/2.0: HTTP 404 Not Found"
    )


def test_a_registry_without_tls(bench: Bench) -> None:
    made = dataclasses.replace(bench, sites=registry_client.Sites())
    with pytest.raises(errors.TransportError) as caught:
        made.resolve()
    assert "answers without TLS\nIf plain HTTP is what it shall speak, say so" in str(caught.value)


def test_a_variant_is_a_kind_of_its_architecture() -> None:
    assert _documents.is_platform("linux/arm64", "linux/arm64/v8")
    assert _documents.is_platform("linux/arm/v7", "linux/arm/v7")
    assert not _documents.is_platform("linux/arm/v7", "linux/arm/v6")
    assert not _documents.is_platform("linux/arm", "linux/arm64")


def test_an_artefact_needs_no_platform(bench: Bench) -> None:
    bench.server.push("app", "1.0", images.artifact(None, "application/vnd.example.chart"))
    locked = bench.resolve()
    bench.pull(locked)
    assert [each.content.size for each in locked.blobs] == [2]


def test_a_pinned_tag(bench: Bench) -> None:
    assert bench.resolve(pinned=IMAGE.digest).top.content == bench.resolve().top.content
    with pytest.raises(errors.ResolveError) as caught:
        bench.resolve(pinned=INDEX.digest)
    assert IMAGE.digest in str(caught.value)
    assert INDEX.digest in str(caught.value)


def test_what_refers_to_an_image_comes_along_on_request(bench: Bench) -> None:
    signature = images.random_image((8,), media_type=images.OCI_MANIFEST, size=100)
    sbom = images.artifact(AMD, "application/spdx+json")
    of_sbom = images.artifact(sbom, "application/vnd.example.signature")
    attestation = images.random_image((9,), media_type=images.OCI_MANIFEST, size=100)
    row = {
        **attestation.descriptor(),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.digest": AMD.digest},
    }
    document = {**json.loads(INDEX.manifest), "manifests": [*json.loads(INDEX.manifest)["manifests"], row]}
    index = images.Image(json.dumps(document).encode(), images.OCI_INDEX, children=(AMD, ARM, attestation))
    bench.server.push("app", "1.0", index, sbom, of_sbom)
    bench.server.push("app", f"sha256-{index.hex}.sig", signature)
    # By the registry's own list, and by the tag of those that keep none.
    bench.server.put(f"/v2/app/referrers/{AMD.digest}", images.index([sbom]).manifest, images.OCI_INDEX)
    bench.server.put(f"/v2/app/manifests/sha256-{sbom.hex}", images.index([of_sbom]).manifest, images.OCI_INDEX)
    assert len(bench.resolve().manifests) == 2
    locked = bench.resolve(has_signatures=True)
    bench.pull(locked)
    files = bench.files_of(locked)
    assert {f"{each.hex}.manifest.json" for each in (AMD, attestation, sbom, of_sbom)} <= files.keys()
    tags = {each.tag for each in locked.manifests}
    assert tags == {"", "1.0", f"sha256-{index.hex}.sig"}
    other = oci.pulled(locked, bench.held).below(f"images/app/sha256-{index.hex}.sig")
    assert {file.path for file in other.files()} == images.files_of(signature).keys()


REFERRERS = f"/v2/app/referrers/{IMAGE.digest}"


def _page(*referring: images.Image, following: str = "") -> mirror.Lie:
    """A part of a list of referrers, and where it goes on."""
    content = images.index(referring).manifest
    more = {"Link": f'<{following}>; rel="next"'} if following else {}

    def answer(asked: mirror.Answer) -> None:
        asked.head(200, {"Content-Type": images.OCI_INDEX, "Content-Length": str(len(content)), **more})
        asked.send(content)

    return answer


def test_a_long_list_of_referrers_is_read_to_its_end(bench: Bench) -> None:
    sboms = [images.artifact(IMAGE, f"application/x{number}") for number in range(3)]
    bench.server.push("app", "1.0", IMAGE, *sboms)
    bench.server.lie(REFERRERS, _page(*sboms[:2], following="?n=2&last=x"))
    bench.server.lie(f"{REFERRERS}?n=2&last=x", _page(sboms[2]))
    locked = bench.resolve(has_signatures=True)
    assert {str(each.content.digest) for each in locked.manifests} == {each.digest for each in (IMAGE, *sboms)}


@pytest.mark.parametrize(
    ("following", "reason"),
    [
        ("http://elsewhere.example/v2/", "continues its list on another host: 'http://elsewhere.example/v2/'"),
        (REFERRERS, "its list has more than 100 pages"),
    ],
)
def test_a_list_of_referrers_without_an_end(bench: Bench, following: str, reason: str) -> None:
    bench.server.lie(REFERRERS, *[_page(following=following)] * 200)
    with pytest.raises(errors.TransportError, match=reason):
        bench.resolve(has_signatures=True)


def test_what_is_listed_has_to_refer_to_the_image(bench: Bench) -> None:
    stranger = images.artifact(AMD, "application/spdx+json")
    bench.server.push("app", "1.0", IMAGE, stranger)
    bench.server.lie(REFERRERS, _page(stranger))
    with pytest.raises(errors.BuildchainError, match=f"lists {stranger.digest} as its referrer, which does not refer"):
        bench.resolve(has_signatures=True)


def test_more_referrers_than_anybody_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resolve, "MAX_REFERRERS", 2)
    sboms = [images.artifact(IMAGE, f"application/x{number}") for number in range(3)]
    bench.server.push("app", "1.0", IMAGE, *sboms)
    bench.server.lie(REFERRERS, _page(*sboms))
    with pytest.raises(errors.BuildchainError, match="has more than 2 referrers"):
        bench.resolve(has_signatures=True)


def test_an_index_is_no_signature_of_cosign(bench: Bench) -> None:
    bench.server.push("app", f"sha256-{IMAGE.hex}.sig", INDEX)
    with pytest.raises(errors.BuildchainError, match=f"has an index under the tag sha256-{IMAGE.hex}.sig"):
        bench.resolve(has_signatures=True)


def test_all_images_that_cannot_be_resolved_are_told(bench: Bench) -> None:
    good = lock.ImageRequest("good", f"{bench.server.host}/app", "1.0", ("linux/amd64",))
    gone = dataclasses.replace(good, name="gone", tag="9")
    moved = dataclasses.replace(good, name="moved")
    client = registry_client.Client(bench.sites, bench.options())
    with pytest.raises(errors.BuildchainError) as caught:
        registry_client.resolve_all({good: "", gone: "", moved: INDEX.digest}, {}, client, bench.held, jobs=2)
    lines = str(caught.value).splitlines()
    assert lines[0] == "images: 2 of 3 images cannot be resolved"
    assert [line.split(":")[0] for line in lines[1:3]] == ["  image gone", "  image moved"]
    assert len(lines) == 5  # a hint for each
    known = bench.resolve()
    kept = {good: known}
    assert registry_client.resolve_all({good: INDEX.digest}, kept, client, bench.held, jobs=2) == (known,)


# What cannot ship, with its reason.


def _layer(**changes: object) -> bytes:
    """A manifest with one odd layer."""
    row = {**images.descriptor(b"x", "application/vnd.oci.image.layer.v1.tar"), **changes}
    config = images.descriptor(b"{}", "application/vnd.oci.empty.v1+json")
    return json.dumps({"schemaVersion": 2, "config": config, "layers": [row]}).encode()


def _configured(**changes: object) -> bytes:
    """A manifest of an image with an odd configuration."""
    config = {**images.descriptor(b"{}", "application/vnd.oci.image.config.v1+json"), **changes}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()


def _index(*rows: object, **changes: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": rows, **changes}).encode()


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize(
    ("content", "media_type", "reason"),
    [
        (b'{"schemaVersion": 1}', "application/json", "Docker's schema 1.*push it again"),
        (b'{"schemaVersion": 2}', "application/vnd.docker.distribution.manifest.v1+prettyjws", "Docker's schema 1"),
        (_layer(mediaType=FOREIGN), images.OCI_MANIFEST, f"layers.0. .{FOREIGN}. is a foreign layer"),
        (_layer(urls=["https://elsewhere.example/x"]), images.OCI_MANIFEST, "is a foreign layer.*licence forbids"),
        (_layer(digest="sha512:00"), images.OCI_MANIFEST, "'sha512:00' is of an unknown algorithm"),
        (_layer(digest="sha256:../../etc"), images.OCI_MANIFEST, "is malformed"),
        (_layer(digest="../../../etc/passwd"), images.OCI_MANIFEST, "is of an unknown algorithm"),
        (_layer(size=-1), images.OCI_MANIFEST, "layers.0. without a proper size"),
        (_layer(size=True), images.OCI_MANIFEST, "layers.0. without a proper size"),
        (_layer(mediaType="a\nb"), images.OCI_MANIFEST, "layers.0. without a proper media type"),
        (_layer(digest=images.descriptor(b"{}", "")["digest"]), images.OCI_MANIFEST, "two sizes"),
        (b"<html>", "text/html", "is not proper JSON"),
        (b"[]", images.OCI_MANIFEST, "is not a JSON object"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', images.OCI_MANIFEST, "a key stands twice"),
        (b'{"schemaVersion": 3}', images.OCI_MANIFEST, "unknown schema version '3'"),
        (b'{"schemaVersion": 2}', images.OCI_MANIFEST, "neither the fields of a manifest nor of an index"),
        (_index(layers=[], config={}), images.OCI_INDEX, "or those of both"),
        (_index(), images.OCI_MANIFEST, "calls itself .*manifest.v1.json, which it is not"),
        (_index(mediaType="x/y"), images.OCI_INDEX, "unknown media type 'x/y'"),
        (_index(mediaType=images.DOCKER_LIST), images.OCI_INDEX, "but its registry calls it"),
        (_index("a"), images.OCI_INDEX, r"no proper manifests\[0\]"),
        (b"[" * 100_000, images.OCI_MANIFEST, "is not proper JSON"),
        (_configured(size=5 << 20), images.OCI_MANIFEST, "has a configuration of 5242880 bytes"),
        (_configured(), images.OCI_MANIFEST, "its configuration names no platform"),
    ],
)
def test_what_cannot_ship(bench: Bench, content: bytes, media_type: str, reason: str) -> None:
    bench.server.put(MANIFEST, content, media_type)
    bench.server.add(f"v2/app/blobs/sha256:{images.hex_of(b'{}')}", b"{}")
    with pytest.raises(errors.BuildchainError, match=reason) as caught:
        bench.resolve()
    assert f"{bench.server.host}/app:1.0" in str(caught.value)
    assert "Ship another tag" in str(caught.value)


def test_an_index_in_an_index(bench: Bench) -> None:
    bench.server.push("app", "1.0", images.index([INDEX]), AMD, ARM)
    with pytest.raises(errors.BuildchainError, match="an index that names another index"):
        bench.resolve()


def test_an_index_with_a_wrong_size(bench: Bench) -> None:
    row = {**AMD.descriptor(), "size": 10}
    bench.server.push("app", "1.0", images.Image(_index(row), images.OCI_INDEX, children=(AMD,)))
    with pytest.raises(errors.BuildchainError, match="says 10 bytes of"):
        bench.resolve()


@_FEW
@hypothesis.given(strategies.binary(max_size=200))
def test_any_manifest_is_read_or_refused(content: bytes) -> None:
    with pytest.raises(_documents.UnfitError):
        _documents.parse(content)


_JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=10),
    lambda inner: (
        strategies.lists(inner, max_size=2)
        | strategies.dictionaries(strategies.sampled_from(["digest", "size", "mediaType"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@_FEW
@hypothesis.given(strategies.dictionaries(strategies.sampled_from(["config", "layers", "subject", "mediaType"]), _JSON))
def test_any_shape_is_read_or_refused(row: dict[str, object]) -> None:
    content = json.dumps({"schemaVersion": 2, **row}).encode()
    with contextlib.suppress(_documents.UnfitError):
        assert _documents.parse(content).media_type in _documents.TYPES


# Lies on the way.


STALL = mirror.stall(5_000)
SILENT = {STALL, mirror.silence}
"""Only where nothing comes the wait is short: an answer may be slow on a busy machine."""


@pytest.mark.parametrize(
    ("lie", "count"),
    [
        (mirror.cut(7_000), 2),
        (mirror.unsaid_end(100), 2),
        (STALL, 2),
        (mirror.silence, 2),
        (mirror.status(500), 2),
        (mirror.status(429, "0"), 2),
        (mirror.status(503, "1"), 2),
        (mirror.other_length(10), 2),
        (mirror.chunked, 1),
    ],
)
def test_a_fault_is_mended(bench: Bench, lie: mirror.Lie, count: int) -> None:
    locked = bench.resolve()
    bench.server.lie(BLOB, lie)
    bench.server._files[BLOB] = IMAGE.blobs[1]
    bench.pull(locked, read_timeout_s=0.3 if lie in SILENT else 30)
    assert len(_asked(bench, BLOB)) == count
    assert bench.files_of(locked) == images.files_of(IMAGE)


@pytest.mark.parametrize("seed", range(5))
def test_cuts_anywhere_are_resumed(bench: Bench, seed: int) -> None:
    locked = bench.resolve()
    cuts = [mirror.cut(random.Random(seed * 10 + turn).randrange(1, 8_000)) for turn in range(3)]
    bench.server.lie(BLOB, *cuts)
    bench.pull(locked)
    asked = _asked(bench, BLOB)
    assert sum(each.sent for each in asked) == len(IMAGE.blobs[1])
    assert [each.offset for each in asked] == [sum(each.sent for each in asked[:turn]) for turn in range(len(asked))]


@pytest.mark.parametrize("second", [mirror.ignored_range, mirror.wrong_range(-10), mirror.wrong_range(5)])
def test_a_wrong_part_is_not_believed(bench: Bench, second: mirror.Lie) -> None:
    locked = bench.resolve()
    bench.server.lie(BLOB, mirror.cut(7_000), second)
    bench.pull(locked)
    assert bench.files_of(locked) == images.files_of(IMAGE)


@pytest.mark.parametrize(
    ("lie", "kind", "reason"),
    [
        (mirror.wrong_bytes, errors.IntegrityError, "expected sha256:.*, got sha256:"),
        (mirror.other_length(50_000), errors.IntegrityError, "expected 20.* bytes, got 50000 bytes"),
        (mirror.endless, errors.IntegrityError, "got a longer body"),
        (mirror.status(404), errors.BuildchainError, "is gone"),
        (mirror.redirect("/v2/app/x"), errors.BuildchainError, "is gone|HTTP 404"),
        (mirror.redirect(BLOB), errors.TransportError, "redirects in a loop"),
        (mirror.redirect("ftp://elsewhere.example/x"), errors.TransportError, "neither an http nor an https"),
    ],
)
def test_a_lie_ends_in_its_error(bench: Bench, lie: mirror.Lie, kind: type[Exception], reason: str) -> None:
    locked = bench.resolve()
    bench.server.lie(BLOB, *[lie] * 10)
    with pytest.raises(kind, match=reason):
        bench.pull(locked)
    assert not bench.held.has(digest.Descriptor.of_bytes(IMAGE.blobs[1]))
    assert not list(bench.held.root.glob("partial/*"))
    assert _is_clean(bench.held)


def test_a_layer_that_claims_ten_bytes_and_does_not_end(bench: Bench) -> None:
    ten = b"0123456789"
    content = _layer(**images.descriptor(ten, "application/vnd.oci.image.layer.v1.tar"))
    bench.server.put(MANIFEST, content, images.OCI_MANIFEST)
    hex_digest = images.hex_of(content)
    bench.server.put(f"/v2/app/manifests/sha256:{hex_digest}", content, images.OCI_MANIFEST)
    bench.server.add(f"v2/app/blobs/sha256:{images.hex_of(b'{}')}", b"{}")
    path = f"/v2/app/blobs/sha256:{images.hex_of(ten)}"
    bench.server.lie(path, mirror.endless, mirror.endless)
    with pytest.raises(errors.IntegrityError, match="expected 10 bytes, got a longer body"):
        bench.pull(bench.resolve())


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (mirror.endless, f"at most {4 << 20} bytes"),
        (mirror.status(404), "HTTP 404"),
        (mirror.status(500), "HTTP 500"),
        (mirror.redirect(MANIFEST), "redirects in a loop"),
        (mirror.endless_redirect, "HTTP 404"),
        (mirror.silence, "no byte for"),
    ],
)
def test_a_lie_about_a_manifest(bench: Bench, lie: mirror.Lie, reason: str) -> None:
    bench.server.lie(MANIFEST, *[lie] * 10)
    with pytest.raises(errors.BuildchainError, match=reason):
        dataclasses.replace(bench, read_timeout_s=0.15 if lie in SILENT else 30).resolve()
    assert not list(bench.held.root.glob("sha256/??/*"))


def test_a_manifest_that_is_not_its_digest(bench: Bench) -> None:
    bench.server.push("app", "1.0", INDEX)
    bench.server.put(f"/v2/app/manifests/{AMD.digest}", ARM.manifest, images.OCI_MANIFEST)
    with pytest.raises(errors.IntegrityError, match=f"expected {AMD.digest}, got {ARM.digest}"):
        bench.resolve()


class Overload:
    """Answers the first `jobs` questions, all of which are under way then, with a lie; counts the others at once."""

    def __init__(self, lie: mirror.Lie, jobs: int) -> None:
        self.at_once: list[int] = []
        self._lie = lie
        self._jobs = jobs
        self._asked = self._active = 0
        self._lock = threading.Lock()
        self._together = threading.Barrier(jobs)

    def __call__(self, answer: mirror.Answer) -> None:
        with self._lock:
            self._asked += 1
            is_good = self._asked > self._jobs
            if is_good:
                self._active += 1
                self.at_once.append(self._active)
        if not is_good:
            self._together.wait(60)
            self._lie(answer)
            return
        time.sleep(0.1)
        with self._lock:
            self._active -= 1
        answer.honest_head()
        answer.body(answer.asked.offset, len(answer.content))


@pytest.mark.parametrize("lie", [mirror.status(429, "0"), mirror.status(503, "0"), STALL])
def test_a_busy_registry_is_asked_less(bench: Bench, lie: mirror.Lie) -> None:
    many = images.random_image(range(6), size=20_000)
    bench.server.push("app", "1.0", many)
    locked = bench.resolve()
    overload = Overload(lie, OPTIONS.jobs)
    for blob in many.blobs[1:]:
        bench.server.lie(f"/v2/app/blobs/sha256:{images.hex_of(blob)}", *[overload] * 10)
    bench.pull(locked, read_timeout_s=2 if lie in SILENT else 30)
    # Half of them, until as many have come well.
    assert max(overload.at_once[:3]) <= OPTIONS.jobs // 2
    assert bench.files_of(locked) == images.files_of(many)


def test_what_a_busy_registry_refused_is_asked_for_once_more(bench: Bench) -> None:
    many = images.random_image(range(30), size=3000)
    bench.server.push("app", "1.0", many)
    locked = bench.resolve()
    for blob in many.blobs[1:]:
        bench.server.lie(f"/v2/app/blobs/sha256:{images.hex_of(blob)}", mirror.status(429, "0"))
    pulled = bench.pull(locked)
    assert (pulled.count, pulled.attempts) == (30, 60)
    assert _is_clean(bench.held)


# Who may ask.


def _guarded(folder: pathlib.Path, server: registries.Registry, user: str = "", password: str = "") -> Bench:
    server.push("app", "1.0", IMAGE)
    made = _bench(server, folder)
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    path = folder / "config.json"
    path.write_text(json.dumps({"auths": {server.host: {"auth": secret}} if user else {}}))
    return dataclasses.replace(made, files=(folder / "absent.json", path))


def test_anonymous_tokens(tmp_path: pathlib.Path) -> None:
    with registries.Registry(has_tokens=True) as server:
        made = _guarded(tmp_path, server)
        made.pull(made.resolve())
        assert server.token_log[0] == "service=registry&scope=repository%3Aapp%3Apull"
        assert len(server.token_log) == 2  # the lock's and the pull's


@pytest.mark.parametrize("has_tokens", [True, False])
def test_a_password(tmp_path: pathlib.Path, has_tokens: bool) -> None:
    with registries.Registry(has_tokens=has_tokens, users={"me": "secret:word"}) as server:
        made = _guarded(tmp_path, server, "me", "secret:word")
        made.pull(made.resolve())
        sent = [each.headers.get("Authorization", "") for each in server.log]
        assert has_tokens != any(each.startswith("Basic") for each in sent)


@pytest.mark.parametrize("has_tokens", [True, False])
@pytest.mark.parametrize("user", ["", "me"])
def test_no_or_a_wrong_password(tmp_path: pathlib.Path, has_tokens: bool, user: str) -> None:
    with registries.Registry(has_tokens=has_tokens, users={"me": "secret"}) as server:
        made = _guarded(tmp_path, server, user, "hunter2")
        with pytest.raises(errors.TransportError) as caught:
            made.resolve()
        assert caught.value.status == 401
        assert f"podman login {server.host}" in str(caught.value)
        places = f"No credentials for it are in {tmp_path}/absent.json (which is not there), {tmp_path}/config.json."
        assert (places in str(caught.value)) != bool(user)
        assert "hunter2" not in str(caught.value)


def test_a_token_that_expires_in_mid_work(tmp_path: pathlib.Path) -> None:
    many = images.random_image(range(12), size=3000)
    with registries.Registry(has_tokens=True, token_uses=5) as server:
        made = _guarded(tmp_path, server)
        server.push("app", "1.0", many)
        made.pull(made.resolve(), jobs=2)
        assert len(server.token_log) >= 3
        assert made.files_of(made.resolve()) == images.files_of(many)


def test_an_identity_token_is_exchanged(tmp_path: pathlib.Path) -> None:
    with registries.Registry(has_tokens=True, users={"me": "an-identity"}) as server:
        made = _guarded(tmp_path, server)
        made.files[1].write_text(json.dumps({"auths": {server.host: {"identitytoken": "an-identity"}}}))
        made.pull(made.resolve())
        assert "grant_type=refresh_token" in server.token_log[0]


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        ("Negotiate", "neither Bearer nor Basic"),
        ('Bearer realm="ftp://x"', "without a proper URL: 'ftp://x'"),
        ("Bearer service=x", "without a proper URL: ''"),
        ('Bearer realm="{url}/v2/app/manifests/sha256:0"', "401|404"),
        ('Bearer realm="{url}/text"', "gives no token"),
        ('Bearer realm="{url}/html"', "gives no token"),
    ],
)
def test_an_odd_challenge(tmp_path: pathlib.Path, challenge: str, reason: str) -> None:
    with registries.Registry(has_tokens=True) as server:
        made = _guarded(tmp_path, server)
        server.add("text?scope=repository%3Aapp%3Apull", b'{"token": "a\\r\\nb"}')
        server.add("html?scope=repository%3Aapp%3Apull", b"<html>")
        server.challenge = challenge.replace("{url}", server.url)
        with pytest.raises(errors.TransportError, match=reason):
            made.resolve()


def test_a_token_server_gets_no_password_over_plain_http() -> None:
    access = registry_client.access(registry_client.Sites(), ["registry.example/app"], [], OPTIONS)
    challenge = 'Bearer realm="http://token.example/x",service="y"'
    with pytest.raises(errors.TransportError, match="a token server that speaks plain HTTP: http://token"):
        access.renew("https://registry.example/v2/app/manifests/1.0", challenge, {})


def test_a_token_that_nobody_takes(tmp_path: pathlib.Path) -> None:
    with registries.Registry(has_tokens=True, token_uses=0) as server:
        made = _guarded(tmp_path, server)
        with pytest.raises(errors.TransportError, match="HTTP 401"):
            made.resolve()
        assert len(server.token_log) == 2


def test_a_token_in_the_file_of_credentials(tmp_path: pathlib.Path) -> None:
    with registries.Registry(has_tokens=True, users={"me": "secret"}) as server:
        made = _guarded(tmp_path, server)
        server._tokens["my-own"] = 100
        made.files[1].write_text(json.dumps({"auths": {server.host: {"registrytoken": "my-own"}}}))
        made.pull(made.resolve())
        assert server.token_log == []


@pytest.mark.parametrize(
    ("text", "schemes"),
    [
        (
            'Bearer realm="a,b",scope="x y", Basic realm="z"',
            {"bearer": {"realm": "a,b", "scope": "x y"}, "basic": {"realm": "z"}},
        ),
        ("basic realm=plain", {"basic": {"realm": "plain"}}),
        (r'Bearer realm="a\"b"', {"bearer": {"realm": 'a"b'}}),
        ("", {}),
        ("Digest nonce=1", {}),
    ],
)  # fmt: skip
def test_challenges(text: str, schemes: Mapping[str, Mapping[str, str]]) -> None:
    assert _access._parse(text) == schemes


@_FEW
@hypothesis.given(strategies.text())
def test_any_challenge_is_read(text: str) -> None:
    assert set(_access._parse(text)) <= {"bearer", "basic"}


def test_a_secret_goes_nowhere_else(tmp_path: pathlib.Path) -> None:
    with registries.Registry() as storage, registries.Registry(has_tokens=True, users={"me": "x"}) as server:
        made = _guarded(tmp_path, server, "me", "x")
        path = f"/there/{images.hex_of(IMAGE.blobs[1])}"
        storage.add(path[1:], IMAGE.blobs[1], mirror.cut(7_000))
        server.lie(BLOB, *[mirror.redirect(storage.url + path)] * 3)
        made.pull(made.resolve())
        assert [each.offset for each in storage.log] == [0, 7_000]
        assert all("Authorization" not in each.headers for each in storage.log)


def test_no_other_host_may_spend_a_secret(tmp_path: pathlib.Path) -> None:
    with registries.Registry() as storage, registries.Registry(has_tokens=True, users={"me": "x"}) as server:
        made = _guarded(tmp_path, server, "me", "x")
        locked = made.resolve()
        server.lie(BLOB, *[mirror.redirect(f"{storage.url}/back")] * 9)
        storage.lie("/back", *[mirror.redirect(f"{server.url}/v2/private/blobs/sha256:{'0' * 64}")] * 9)
        with pytest.raises(errors.TransportError, match="HTTP 401"):
            made.pull(locked)
        asked = [each for each in server.log if "/private/" in each.path]
        assert asked
        assert all("Authorization" not in each.headers for each in asked)
        assert not [query for query in server.token_log if "private" in query]


# Where to ask.


def test_mirrors_in_order(tmp_path: pathlib.Path) -> None:
    with registries.Registry() as empty, registries.Registry(prefix="proxy/") as full:
        full.push("app", "1.0", IMAGE)
        hosts = {
            "registry.example": registry_client.Site(
                (registry_client.Endpoint(empty.url), registry_client.Endpoint(full.url, "proxy/")),
                has_only_mirrors=True,
            )
        }
        made = Bench(full, store.Store(tmp_path / "store"), registry_client.Sites(hosts))
        locked = made.resolve(registry="registry.example")
        empty.push("app", "1.0", IMAGE)
        empty.lie(BLOB, *[mirror.wrong_bytes] * 5)
        made.pull(locked)
        assert made.files_of(locked) == images.files_of(IMAGE)
        assert {each.path.startswith("/v2/proxy/app/") for each in full.log} == {True}
        assert [each.status for each in empty.log][:1] == [404]
        assert len([each for each in full.log if each.path.endswith(images.hex_of(IMAGE.blobs[1]))]) == 1


@pytest.mark.parametrize(
    ("old", "new", "prefix"),
    [("", "", ""), ("", "/v2/proxy", "proxy/v2/"), ("/v2", "/v2/proxy", "proxy/"), ("/v2/app", "/v2/b/app", "b/")],
)
def test_a_rewritten_registry_is_asked_as_one(tmp_path: pathlib.Path, old: str, new: str, prefix: str) -> None:
    """It gets what the registry itself would: which documents are understood, and the user's token."""
    with registries.Registry(has_tokens=True, users={"me": "secret"}, prefix=prefix) as server:
        made = dataclasses.replace(_guarded(tmp_path, server, "me", "secret"), sites=registry_client.Sites())
        rewrites, _ = urls.parse_rewrites(f"https://registry.example{old} => http://x:y@{server.host}{new}")
        made = dataclasses.replace(made, rewrites=rewrites)
        locked = made.resolve(registry="registry.example")
        made.pull(locked)
        assert made.files_of(locked) == images.files_of(IMAGE)
        accepted = {asked.headers["Accept"] for asked in server.log if "/manifests/" in asked.path}
        assert accepted == {", ".join(_documents.TYPES)}


def test_a_rule_about_another_registry_opens_nothing(tmp_path: pathlib.Path) -> None:
    rewrites, _ = urls.parse_rewrites("https://registry.example/v2/app => http://cache.example/v2/app")
    access = registry_client.access(
        registry_client.Sites(), ["registry.example/app"], [], dataclasses.replace(OPTIONS, rewrites=rewrites)
    )
    assert access.headers("http://cache.example/v2/app/manifests/1.0")
    assert access.headers("https://registry.example/v2/other/manifests/1.0")
    assert not access.headers("http://cache.example/v2/app2/manifests/1.0")
    assert not access.headers("http://cache.example.evil/v2/app/manifests/1.0")


def test_https_is_the_default() -> None:
    sites = registry_client.Sites({"plain.example:5000": registry_client.Site(is_plain=True)})
    assert sites.endpoints("registry.example")[0].base == "https://registry.example"
    assert sites.endpoints("plain.example:5000")[0].base == "http://plain.example:5000"
    assert sites.endpoints("docker.io")[0].url("library/a", "manifests", "1") == (
        "https://registry-1.docker.io/v2/library/a/manifests/1"
    )


def test_a_file_of_sites(tmp_path: pathlib.Path) -> None:
    (tmp_path / "ca.pem").touch()
    path = tmp_path / "registries.yaml"
    path.write_text(
        "registry.example: {mirrors: ['https://mirror.example/a/b', 'http://[::1]:5000'], ca: ca.pem}\n"
        "other.example:5000: {plain-http: true}\n"
    )
    sites = registry_client.load_sites(path)
    urls = [each.url("x", "blobs", "d") for each in sites.endpoints("registry.example")]
    assert urls == [
        "https://mirror.example/v2/a/b/x/blobs/d",
        "http://[::1]:5000/v2/x/blobs/d",
        "https://registry.example/v2/x/blobs/d",
    ]
    assert sites.trust("https://registry.example/v2/") == fetch.Trust(str(tmp_path / "ca.pem"))
    assert sites.trust("https://mirror.example/v2/") is None
    assert registry_client.load_sites(tmp_path / "absent.yaml").endpoints("a.example")


def test_everything_wrong_with_a_file_of_sites(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "registries.yaml"
    path.write_text(
        "registry.example: {ca: absent.pem, client-key: absent.key, only-mirrors: true, plain-http: true}\n"
    )
    with pytest.raises(errors.ConfigError) as caught:
        registry_client.load_sites(path)
    text = str(caught.value)
    for reason in (
        "no file absent.pem",
        "no file absent.key",
        "without a client-cert",
        "without mirrors",
        "beside cert",
    ):
        assert reason in text
    path.write_text("'registry.example/x': {}\na.example: {mirrors: ['https://u:p@m.example']}\n")
    with pytest.raises(errors.ConfigError, match="2 problems"):
        registry_client.load_sites(path)


# Credentials.


def _keyring(folder: pathlib.Path, *contents: object) -> registry_client.Keyring:
    paths = [folder / f"{number}.json" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content))
    return registry_client.Keyring(paths)


def _auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_the_longest_path_counts(tmp_path: pathlib.Path) -> None:
    auths = {"r.example": _auth("host:1"), "r.example/a": _auth("folder:2"), "r.example/a/b": _auth("whole:3")}
    keyring = _keyring(tmp_path, {"auths": auths})
    users = [found.user for name in ("a/b", "a/c", "x") if (found := keyring.find("r.example", name))]
    assert users == ["whole", "folder", "host"]
    assert keyring.find("other.example", "a") is None


def test_the_first_file_that_knows_the_host(tmp_path: pathlib.Path) -> None:
    keyring = _keyring(tmp_path, {"auths": {"r.example": {}}}, {"auths": {"https://r.example/v1/": _auth("a:b")}})
    found = keyring.find("r.example", "a")
    assert found is not None
    assert found.basic == f"Basic {base64.b64encode(b'a:b').decode()}"
    assert "a:b" not in repr(found)


def test_one_registry_with_three_names(tmp_path: pathlib.Path) -> None:
    keyring = _keyring(tmp_path, {"auths": {"https://index.docker.io/v1/": _auth("a:b")}})
    assert keyring.find("registry-1.docker.io", "library/a")


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
@pytest.mark.parametrize("user", ["me", "<token>"])
def test_a_helper_is_asked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, key: str, user: str) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(
        "#!/bin/sh\nread -r host\n"
        'test "$1 $host" = "get r.example" || { echo "credentials not found in keychain"; exit 1; }\n'
        f'echo \'{{"ServerURL": "r.example", "Username": "{user}", "Secret": "s"}}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    value: object = {"r.example": "test", "unknown.example": "test"} if key == "credHelpers" else "test"
    keyring = _keyring(tmp_path, {key: value, "auths": {"r.example": {}}})
    found = keyring.find("r.example", "a")
    assert found is not None
    assert (found.user, found.identity_token) == (("", "s") if user == "<token>" else ("me", ""))
    assert keyring.find("unknown.example", "a") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "is not a file of credentials"),
        ({"auths": []}, "is not a file of credentials"),
        ({"auths": {"r.example": {"auth": "%"}}}, "auth is not base64"),
        ({"auths": {"r.example": {"auth": 5}}}, "a wrong entry for r.example"),
        ({"credHelpers": {"r.example": "../x"}}, "is no credential helper"),
        ({"credsStore": "surely-absent"}, "not found on this machine"),
    ],
)
def test_a_broken_file_of_credentials(tmp_path: pathlib.Path, content: object, reason: str) -> None:
    with pytest.raises(errors.BuildchainError, match=reason):
        _keyring(tmp_path, content).find("r.example", "a")


def test_a_file_of_credentials_that_is_no_json(tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(errors.BuildchainError, match="is not JSON"):
        _credentials.Keyring([tmp_path / "x.json"]).find("r.example", "a")


# All at once.


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_each_byte_comes_once_and_nothing_wrong_is_kept(bench: Bench, seed: int) -> None:
    dice = random.Random(seed)
    many = images.random_image(range(20), size=30_000)
    other = images.random_image(range(10, 30), size=30_000)
    bench.server.push("app", "1.0", many)
    bench.server.push("app", "2.0", other)
    locked = [bench.resolve(), bench.resolve(tag="2.0")]
    blobs = {images.hex_of(blob): blob for image in (many, other) for blob in image.blobs[1:]}
    for name in blobs:
        lies = [mirror.cut(dice.randrange(1, 30_000)), mirror.status(500), mirror.status(429, "0")]
        bench.server.lie(f"/v2/app/blobs/sha256:{name}", *dice.sample(lies, dice.randrange(3)))
    pulled = bench.pull(*locked)
    assert pulled.shared_bytes >= 10 * 30_000
    for name, blob in blobs.items():
        assert sum(each.sent for each in _asked(bench, f"/v2/app/blobs/sha256:{name}")) == len(blob)
    assert _is_clean(bench.held)
    before = len(bench.server.log)
    assert bench.pull(*locked).attempts == 0
    assert len(bench.server.log) == before


def test_the_lock_has_to_name_what_a_manifest_names(bench: Bench) -> None:
    locked = bench.resolve()
    with pytest.raises(errors.BuildchainError, match="does not name sha256:"):
        list(registry_client.folders(dataclasses.replace(locked, blobs=locked.blobs[1:]), bench.held))
