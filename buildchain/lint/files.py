"""Rules about files: what no rule picks up, what no reader can carry, and images that other manifests name."""

import typing
from collections.abc import Iterator

from buildchain import digest, errors, tree
from buildchain.lint import crds, declared, findings, images, roles, subject, yaml_file
from buildchain.verify import medium, solution

_KNOWN = {
    solution.MANIFEST_PATH,
    solution.CONFIG_PATH,
    roles.PATH,
    medium.SUM_NAME,
    medium.SIGNATURE_NAME,
    medium.LISTING_NAME,
    medium.KEY_NAME,
    "registry-config.inc",
}
_EMPTY = digest.Descriptor.of_bytes(b"")


def check(of: subject.Subject, said: declared.Declared | None, found: findings.Findings) -> None:
    """Check every path, then the manifests that MetalK8s itself does not read."""
    for path, node in of.contents.nodes.items():
        if node.kind in (medium.Kind.LINK, medium.Kind.OTHER):
            found.add("file-kind", path, "is a link" if node.kind is medium.Kind.LINK else "is a device or a pipe")
        elif node.kind is medium.Kind.FILE:
            _check_name(path, found)
    for path in of.files():
        if path in _KNOWN or path.startswith((f"{images.DIRECTORY}/", f"{crds.DIRECTORY}/")):
            continue
        found.add("file-unused", path, "is read by nothing in MetalK8s")
        if path.startswith("operator/") and path.endswith((".yaml", ".yml", ".json")) and said:
            _check_references(path, of, said, found)


def _check_name(path: str, found: findings.Findings) -> None:
    try:
        tree.build([tree.File(path, _EMPTY)])
    except errors.TreeError as error:
        found.add("file-name", path, error.why.splitlines()[-1].strip())


def _check_references(path: str, of: subject.Subject, said: declared.Declared, found: findings.Findings) -> None:
    for each in yaml_file.load(path, of.contents.read, "reference-yaml", found) or []:
        for place, text in _images(each.value, ()):
            held = [image for image in said.images if f"/{text}".endswith(f"/{image}")]
            if not held:
                found.add("reference-unknown", path, f"{text} is not an image of this Solution", each.line(*place))
            elif "." in text.removesuffix(held[0]).partition("/")[0]:
                found.add("reference-registry", path, f"{text} names a registry", each.line(*place))


def _images(value: typing.Any, place: yaml_file.Place) -> Iterator[tuple[yaml_file.Place, str]]:
    """Every text below a key `image`, as pods have it."""
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in rows:
        if key == "image" and isinstance(each, str):
            yield (*place, key), each
        else:
            yield from _images(each, (*place, key))
