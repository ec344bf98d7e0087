"""Images with a Dockerfile among the tasks: when they are built, when not, and what is said without an engine."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterator

import pytest

from buildchain import command
from tests.support import checkouts, engines, images, openpgp, packages, registries, small
from tests.support.dockerfiles import BUSYBOX

pytestmark = [
    pytest.mark.root,
    pytest.mark.tools(
        "docker", "dockerd", "containerd", "ip", "podman", "runc", "busybox", "skopeo", "docker-registry", "git"
    ),
]

INTENT = (
    small.INTENT
    + """\
    app: {tag: "2.0"}
    onpulled: {tag: "1"}
    pulled: {source: "%s/base", tag: "1"}
"""
)
APP = """\
FROM tool
ARG SOURCE_DATE_EPOCH
ARG VERSION
COPY run.sh /opt/
COPY data.bin /opt/
RUN busybox date -d "@$SOURCE_DATE_EPOCH" > /opt/made && echo $VERSION > /opt/version
ENTRYPOINT ["/opt/run.sh"]
"""
OPTIONS = """\
arguments: {VERSION: "2.0"}
sources:
  data.bin: {url: "%s/data.bin", sha256: %s, size: 4}
"""


class Shell(small.Deb):
    """A package whose program is a shell."""

    def content(self) -> bytes:
        return _shell(self.control)


@functools.cache
def _shell(control: str) -> bytes:
    fields = dict(line.split(": ", 1) for line in control.splitlines())
    program = packages.Member(BUSYBOX.read_bytes(), 0o755)
    files: dict[str, bytes | packages.Member] = {
        "bin/busybox": program,
        "bin/sh": packages.link("busybox"),
        "usr/share/doc/shell/copyright": b"none\n",
    }
    return packages.make_deb(fields, files)


SHELL = Shell("shell")


@dataclasses.dataclass(frozen=True)
class Site:
    """A checkout with three kinds of images, its mirror, and an engine's address that may be dead."""

    checkout: checkouts.Checkout
    upstream: small.Upstream
    engine: str


@pytest.fixture(name="site", scope="module")
def _site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Locked; not built."""
    top = tmp_path_factory.mktemp("site")
    with (
        openpgp.home() as home,
        small.Upstream(top / "archive", home) as upstream,
        registries.docker_registry(top / "upstream") as registry,
        engines.dockerd() as running,
    ):
        upstream.publish([*small.PACKAGES, SHELL])
        upstream.mirror.add("data.bin", b"data")
        several = [images.random_image((1,), platform="amd64"), images.random_image((2,), platform="arm64")]
        registry.push("base", "1", images.index(several))
        checkout = checkouts.clone(top, upstream)
        checkout.write("images/tool/image.yaml", "packages: [alpha, shell]\nenvironment: {PATH: /bin}\n")
        checkout.write("distribution.yaml", INTENT % registry.address)
        checkout.write("registries.yaml", f'"{registry.address}": {{plain-http: true}}\n')
        checkout.write("images/app/Dockerfile", APP)
        checkout.write("images/app/build.yaml", OPTIONS % (upstream.mirror.url, images.hex_of(b"data")))
        checkout.write("images/app/run.sh", "#!/bin/sh\n")
        checkout.write("images/onpulled/Dockerfile", "FROM pulled\nCOPY note /note\n")
        checkout.write("images/onpulled/note", "a note\n")
        checkout.commit()
        checkout.doit("lock")
        yield Site(checkout, upstream, running.host)


def _digest(site: Site, name: str) -> str:
    folder = site.checkout.staged / "images" / name
    return images.hex_of(command.run(["skopeo", "inspect", "--raw", f"dir:{folder}"]))


def _lines(output: str, mark: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(mark)]


def test_they_are_built_once_and_need_no_engine_to_stay(site: Site, tmp_path: pathlib.Path) -> None:
    nobody = f"unix://{tmp_path}/none"
    said = site.checkout.doit("populate_iso", code=1, DOCKER_HOST=nobody)
    assert f"container engine: {nobody} does not answer" in said
    assert "Traceback" not in said
    site.checkout.doit("populate_iso", DOCKER_HOST=site.engine)

    folder = site.checkout.staged / "images/app/2.0"
    config = json.loads(command.run(["skopeo", "inspect", "--config", f"dir:{folder}"]))
    assert config["config"]["Entrypoint"] == ["/opt/run.sh"]
    tool = json.loads((site.checkout.staged / "images/tool/1.0/manifest.json").read_bytes())
    app = json.loads((folder / "manifest.json").read_bytes())
    assert app["layers"][: len(tool["layers"])] == tool["layers"]
    onpulled = json.loads((site.checkout.staged / "images/onpulled/1/manifest.json").read_bytes())
    pulled = [json.loads(path.read_bytes()) for path in site.checkout.staged.glob("images/pulled/1/*.manifest.json")]
    lowest, layer = onpulled["layers"]
    assert [lowest["digest"]] == [each["digest"] for each in pulled[0]["layers"]]
    assert (site.checkout.staged / "images/onpulled/1" / layer["digest"].removeprefix("sha256:")).exists()

    # The second run does nothing, whatever became of the engine; nor does it load the engine's client.
    again = site.checkout.doit("populate_iso", PYTHONPROFILEIMPORTTIME="1", DOCKER_HOST=nobody)
    assert _lines(again, ".  IMAGE") == []
    assert "buildchain.dockerfile" in again
    assert " docker\n" not in again


def test_podman_builds_the_same(site: Site) -> None:
    site.checkout.doit("populate_iso", DOCKER_HOST=site.engine)
    built = ("app/2.0", "onpulled/1")
    before = {name: _digest(site, name) for name in built}
    site.checkout.doit("clean", "images:app", "images:onpulled")
    with engines.podman() as podman:
        said = site.checkout.doit("populate_iso", DOCKER_HOST=podman.host)
    made = {line.split()[-1] for line in _lines(said, ".  IMAGE ")}
    assert made >= {f"_build/root/images/{name}" for name in built}
    assert {name: _digest(site, name) for name in built} == before


def test_what_it_depends_on_makes_it_anew(site: Site) -> None:
    site.checkout.doit("populate_iso", DOCKER_HOST=site.engine)
    before = {name: _digest(site, name) for name in ("tool/1.0", "app/2.0", "onpulled/1")}
    site.checkout.write("images/tool/image.yaml", "packages: [alpha, shell]\nenvironment: {PATH: /bin, A: b}\n")
    said = site.checkout.doit("populate_iso", DOCKER_HOST=site.engine)
    made = [line.split()[-1] for line in _lines(said, ".  IMAGE ")]
    assert made == ["_build/root/images/tool/1.0", "_build/root/images/app/2.0"]
    assert _digest(site, "tool/1.0") != before["tool/1.0"]
    assert _digest(site, "app/2.0") != before["app/2.0"]
    assert _digest(site, "onpulled/1") == before["onpulled/1"]
    site.checkout.write("images/onpulled/note", "another note\n")
    site.checkout.doit("populate_iso", DOCKER_HOST=site.engine)
    assert _digest(site, "onpulled/1") != before["onpulled/1"]


def test_two_builds_are_compared(site: Site) -> None:
    assert "   onpulled: twice sha256:" in site.checkout.doit("prove", "onpulled", DOCKER_HOST=site.engine)
    site.checkout.write("images/app/Dockerfile", APP + "RUN busybox cat /proc/uptime > /opt/now\n")
    said = site.checkout.doit("prove", "app", code=1, DOCKER_HOST=site.engine)
    assert "images/app/Dockerfile:8: RUN busybox cat /proc/uptime > /opt/now: /opt/now" in said
    site.checkout.write("images/app/Dockerfile", APP)
    assert "there is no image tool with a Dockerfile" in site.checkout.doit(
        "prove", "tool", code=1, DOCKER_HOST=site.engine
    )


def test_mistakes_are_told_before_anything_runs(site: Site) -> None:
    site.checkout.write("images/app/Dockerfile", "FROM alpine\nARG VERSION\n")
    said = site.checkout.doit("images", code=1)
    assert "images/app/Dockerfile" in said
    assert "alpine is not an image of the distribution; known: onpulled, pulled, tool" in said
    site.checkout.write("images/app/image.yaml", small.RECIPE)
    said = site.checkout.doit("images", code=1)
    assert "images.ship.app: images/app has a Dockerfile and an image.yaml: remove one of them" in said
    (site.checkout.root / "images/app/image.yaml").unlink()
    site.checkout.write("images/app/Dockerfile", "FROM onpulled\nENV A=b\n")
    site.checkout.write("images/app/build.yaml", "context: []\n")
    site.checkout.write("images/onpulled/Dockerfile", "FROM app\nENV A=b\n")
    said = site.checkout.doit("images", code=1)
    assert "stands on itself: " in said
    assert "Traceback" not in said
