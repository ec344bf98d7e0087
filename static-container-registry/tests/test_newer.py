"""Clients and servers of newer suites of Debian: what the next host may have, and clients this one has not."""

import json
import pathlib
from collections.abc import Iterator
from concurrent import futures

import pytest

import static_container_registry
from scr_testing import images, newer, nginx, programs, roots
from static_container_registry import listing, replay

pytestmark = [pytest.mark.tools("nginx", "apt-get", "dpkg-deb"), pytest.mark.network]

PREFIX = "media-1.0"
PACKAGES = {"stable": ["nginx", "oras"], "unstable": ["nginx", "oras", "crane"]}
CLASSIC, CONSTANT = "classic", "constant"


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, newer.Suite]:
    top = tmp_path_factory.mktemp("suites")
    with futures.ThreadPoolExecutor() as pool:
        running = {suite: pool.submit(newer.unpack, suite, names, top / suite) for suite, names in PACKAGES.items()}
        return {suite: each.result() for suite, each in running.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    top = tmp_path_factory.mktemp("root")
    roots.write_everything(top)
    return top


@pytest.fixture(scope="module")
def found(root: pathlib.Path) -> listing.Listing:
    return static_container_registry.discover(root)


@pytest.fixture(scope="module")
def texts(root: pathlib.Path, found: listing.Listing, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both outputs."""
    tree = tmp_path_factory.mktemp("tree")
    static_container_registry.write_tree(found, root, tree, PREFIX)
    return {
        CLASSIC: static_container_registry.render(found, static_container_registry.Options(str(root), PREFIX)),
        CONSTANT: static_container_registry.render_constant(str(tree)),
    }


@pytest.fixture(scope="module", params=[CLASSIC, CONSTANT])
def server(request: pytest.FixtureRequest, texts: dict[str, str]) -> Iterator[nginx.Server]:
    with nginx.serve(texts[request.param]) as running:
        yield running


def asked(server: nginx.Server, found: listing.Listing, root: pathlib.Path) -> list[replay.Check]:
    return list(replay.checks(replay.Registry(server.url), found, root, f"{PREFIX}/"))


@pytest.mark.parametrize("output", [CLASSIC, CONSTANT])
def test_a_newer_nginx_answers_alike(
    suites: dict[str, newer.Suite], texts: dict[str, str], root: pathlib.Path, found: listing.Listing, output: str
) -> None:
    with nginx.serve(texts[output]) as server:
        own = asked(server, found, root)
    assert len([check for check in own if not check.problem]) > 1000
    for suite in suites.values():
        with nginx.serve(texts[output], program=suite.program("nginx")) as server:
            assert asked(server, found, root) == own
            log = server.log()
        assert f"nginx/{suite.versions['nginx'].partition('-')[0]}" in log
        assert not [line for line in log.splitlines() if "[warn]" in line or "[crit]" in line or "[alert]" in line]


def test_crane(suites: dict[str, newer.Suite], server: nginx.Server, found: listing.Listing) -> None:
    program = suites["unstable"].program("crane")

    def crane(*arguments: str) -> str:
        return programs.run(program, *arguments)

    assert crane("catalog", server.address).split() == [f"{PREFIX}/{each.name}" for each in found.repositories]
    for repository in found.repositories:
        name = f"{server.address}/{PREFIX}/{repository.name}"
        assert crane("ls", name).split() == list(repository.tags)
        tag, hex_digest = next(iter(repository.tags.items()))
        assert crane("digest", f"{name}:{tag}") == f"sha256:{hex_digest}\n"
        assert images.hex_of(crane("manifest", f"{name}@sha256:{hex_digest}").encode()) == hex_digest


def test_crane_pulls_every_byte(
    suites: dict[str, newer.Suite], server: nginx.Server, found: listing.Listing, tmp_path: pathlib.Path
) -> None:
    program = suites["unstable"].program("crane")
    names = [(each.name, next(iter(each.tags))) for each in found.repositories]
    references = [f"{server.address}/{PREFIX}/{name}:{tag}" for name, tag in names]
    programs.run(program, "pull", "--format=oci", *references, str(tmp_path))
    assert_whole(tmp_path, {each.tags[tag] for each, (_, tag) in zip(found.repositories, names, strict=True)})


@pytest.mark.parametrize("suite", PACKAGES)
def test_oras(
    suites: dict[str, newer.Suite], server: nginx.Server, found: listing.Listing, tmp_path: pathlib.Path, suite: str
) -> None:
    program = suites[suite].program("oras")

    def oras(*arguments: str) -> str:
        return programs.run(program, *arguments, HOME=str(tmp_path))

    repository = next(each for each in found.repositories if each.name == "nginx")
    name = f"{server.address}/{PREFIX}/nginx"
    assert oras("repo", "tags", "--plain-http", name).split() == list(repository.tags)
    assert oras("resolve", "--plain-http", f"{name}:1.0") == f"sha256:{repository.tags['1.0']}\n"
    discovered = json.loads(oras("discover", "--plain-http", "--format=json", f"{name}:1.0"))
    rows = discovered.get("referrers", discovered.get("manifests", []))
    expected = {f"sha256:{each.hex}" for each in repository.referrers()[repository.tags["1.0"]]}
    assert {row["digest"] for row in rows} == expected
    target = tmp_path / "layout"
    for place in ("nginx:1.0", "a/b/c:v1", "note:v1"):
        oras(
            "cp",
            "--recursive",
            "--from-plain-http",
            "--to-oci-layout",
            f"{server.address}/{PREFIX}/{place}",
            f"{target}:{place.rpartition(':')[2]}",
        )
    tagged = {each.name: each.tags for each in found.repositories}
    assert_whole(target, {tagged["nginx"]["1.0"], tagged["a/b/c"]["v1"], tagged["note"]["v1"]})


def assert_whole(layout: pathlib.Path, wanted: set[str]) -> None:
    """Every blob of an image layout is what its name says, and these are among them."""
    blobs = {path.name: path.read_bytes() for path in (layout / "blobs/sha256").iterdir()}
    assert {name for name, content in blobs.items() if images.hex_of(content) != name} == set()
    assert wanted <= set(blobs)
