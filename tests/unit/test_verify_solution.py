"""The judge on a Solution's medium: its registry template, and the blobs that it leaves to a base."""

import json

from buildchain.verify import images, registry, solution
from tests.support import medium, solutions


def judge(files: solutions.Files) -> tuple[set[str], list[str]]:
    """What is wrong, as `path: what`, and the notes."""
    contents = medium.as_contents({path: medium.File(content) for path, content in files.items()})
    found, faults, notes = images.judge(contents)
    return {str(fault) for fault in [*faults, *registry.judge(contents, found)]}, notes


def layer_of(files: solutions.Files) -> str:
    return str(json.loads(files[f"{solutions.SERVER}/manifest.json"])["layers"][0]["digest"])


def thin(files: solutions.Files, name: str) -> None:
    added = f"--config\n    {solutions.GROUP}/base: MetalK8s 2.5.1\n    {solutions.GROUP}/required-blobs: {name}"
    files["manifest.yaml"] = solutions.MANIFEST.replace("--config", added).encode()


def test_a_good_one_is_good() -> None:
    assert judge(solutions.good()) == (set(), [])


def test_its_template_must_serve_every_image() -> None:
    files = solutions.good() | solutions.image("images/new/1", "bin/new")
    assert any("does not serve solution/new/manifests/1" in fault for fault in judge(files)[0])
    files = solutions.good()
    del files[solutions.CONFIG_PATH]
    assert judge(files)[0] == {f"{solutions.CONFIG_PATH}: is missing"}


def test_a_placeholder_that_salt_does_not_fill_in_is_no_configuration() -> None:
    files = solutions.good()
    files[solutions.CONFIG_PATH] = files[solutions.CONFIG_PATH].replace(b"{{ repository }}", b"{{ other }}")
    assert judge(files)[0]


def test_blobs_that_the_base_must_have_may_be_absent() -> None:
    files = solutions.good()
    digest = layer_of(files)
    del files[f"{solutions.SERVER}/{digest[7:]}"]
    assert any("is missing: manifest.json names it" in fault for fault in judge(files)[0])
    thin(files, digest)
    assert judge(files) == (set(), ["1 blobs are not here: MetalK8s 2.5.1 must have them"])


def test_a_blob_that_is_there_is_judged_though_the_base_has_it() -> None:
    files = solutions.good()
    digest = layer_of(files)
    path = f"{solutions.SERVER}/{digest[7:]}"
    files[path] = files[path][:-1] + b"x"
    thin(files, digest)
    assert any("its content is not that of its name" in fault for fault in judge(files)[0])


def test_a_manifest_of_any_form_says_nothing_and_harms_nothing() -> None:
    for text in (b"", b"[", b"[]", b"metadata: []\nspec: 1", b"metadata: {annotations: 1}", b"\xff"):
        contents = medium.as_contents({"manifest.yaml": medium.File(text)})
        assert solution.of(contents) == solution.Solution()
