"""Images of a Solution that are pulled: out of a docker-registry into the lock, and onto the medium as they are."""

import os
import pathlib

import pytest

from buildchain import errors, lock, solution
from buildchain.solution import project
from tests.support import images, registries, solutions

pytestmark = pytest.mark.tools("docker-registry", "skopeo", "gpg")

INTENT = """\
name: my-app
version: 1.0.0-dev
display-name: My App
operator: {{image: my-app-operator, options: [--config]}}
images:
  my-app-operator: {{pull: "{address}/group/operator", tag: "1.0"}}
  pinned: {{pull: "{address}/group/operator", tag: "1.0", digest: "{digest}"}}
"""


def context(root: pathlib.Path, top: pathlib.Path, **more: str) -> solution.Context:
    """What the command makes of a project and the environment of its author."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(top),
        "STORE": str(top / "store"),
        "SOURCE_DATE_EPOCH": "1700000000",
        **more,
    }
    return solution.load(root, environment)


def test_pulled_images_are_locked_and_ship_by_their_own_digest(tmp_path: pathlib.Path) -> None:
    """Once pulled, a build needs no registry; what moves upstream is seen by the next lock and not before."""
    first, second = (images.random_image((each, 3), media_type=images.OCI_MANIFEST) for each in (1, 2))
    root = tmp_path / "project"
    for path, text in ((solutions.ROLE_PATH, solutions.ROLE), (solutions.CRD_PATH, solutions.CRD)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (tmp_path / "registry").mkdir()
    with registries.docker_registry(tmp_path / "registry") as upstream:
        upstream.push("group/operator", "1.0", first)
        (root / project.FILE_NAME).write_text(INTENT.format(address=upstream.address, digest=first.digest))
        (root / "registries.yaml").write_text(f'"{upstream.address}": {{plain-http: true}}\n')
        here = context(root, tmp_path)
        with pytest.raises(errors.BuildchainError, match=r"solution\.lock\.json"):
            solution.build(here, lambda *_: None)
        solution.write_lock(here)
        assert solution.write_lock(here) == []
        upstream.push("group/operator", "1.0", second)
        built = solution.build(here, lambda *_: None)
        with pytest.raises(errors.BuildchainError, match="pinned"):
            solution.write_lock(here)
    held = lock.load(root / project.LOCK_NAME)
    assert {str(each.top.content.digest) for each in held.images} == {first.digest}
    rebuilt = solution.build(context(root, tmp_path, OFFLINE="1", BUILD_ROOT=str(tmp_path / "b")), lambda *_: None)
    assert rebuilt.content == built.content
    assert first.manifest in built.path.read_bytes()
