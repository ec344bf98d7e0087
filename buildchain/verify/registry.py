"""The registry's configuration against the images: asks it for everything a client would ask for.

Whatever its form, it must answer every tag and digest of the medium with the file of that digest, and name nothing
that is not on the medium.
"""

import collections
import re
from collections.abc import Iterator

from buildchain.verify import images, medium, nginx, report, solution

Fault = report.Fault
DIRECTORY = "salt/metalk8s/repo/files"
CONFIG_PATH = f"{DIRECTORY}/metalk8s-registry.inc"
COMMON_PATH = f"{DIRECTORY}/metalk8s-registry-common.inc"

# Manifests that the text names: an exact location, or the literal part of a pattern.
_NAMED = re.compile(r"(?:\(\?s\))?(?:\^?\\Q|\^)?/v2/(.+)/manifests/([^/\\]+?)(?:\\E(?:\\z|\$)|\$)?")
_TAGS = re.compile(r'"tags": *\[([^]]*)\]')

Name = tuple[str, str]


def judge(contents: medium.Contents, found: list[images.Image]) -> Iterator[Fault]:
    """Every difference between the configuration and the images; without images there is nothing to configure."""
    if contents.has_file(solution.MANIFEST_PATH) and not contents.has_file(CONFIG_PATH):
        yield from judge_solution(contents, found)
        return
    if not found and not contents.has_file(CONFIG_PATH):
        return
    if not contents.has_file(COMMON_PATH):
        yield Fault(COMMON_PATH, "is missing: the registry needs it")
    try:
        config = nginx.parse(contents.read(CONFIG_PATH))
        nginx.parse(contents.read(COMMON_PATH) if contents.has_file(COMMON_PATH) else b"")
        differences = list(_differences(contents, config, found))
    except medium.DamagedError as error:
        yield Fault(CONFIG_PATH, str(error))
        return
    for what in differences:
        yield Fault(CONFIG_PATH, what)


def judge_solution(contents: medium.Contents, found: list[images.Image]) -> Iterator[Fault]:
    """As above for a Solution, whose configuration is a template in the root of the medium."""
    try:
        text = solution.fill_in(contents.read(solution.CONFIG_PATH))
        if b"{{" in text:
            yield Fault(solution.CONFIG_PATH, "has a placeholder that Salt does not fill in")
        config = nginx.parse(text)
        differences = list(_differences(contents, config, found))
    except medium.DamagedError as error:
        yield Fault(solution.CONFIG_PATH, str(error))
        return
    for what in differences:
        yield Fault(solution.CONFIG_PATH, what)


def _differences(contents: medium.Contents, config: nginx.Directive, found: list[images.Image]) -> Iterator[str]:
    named = _named(config)
    prefix = _prefix({name for name, _ in named}, {image.name for image in found})
    required = solution.of(contents).required
    known = {(prefix + image.name, reference) for image in found for reference in _references(image)}
    for name, reference in sorted(named - known):
        answer = nginx.get(config, f"/v2/{name}/manifests/{reference}")
        # A text is no file that could be missing: an index of what refers to an image.
        if answer is None or not answer.text:
            yield f"names {name} {reference}, which is not on the medium"
    for image in found:
        for reference, (digest, media_type) in _references(image).items():
            path = f"{prefix}{image.name}/manifests/{reference}"
            yield from _wrong(contents, config, path, digest, media_type)
        for digest in sorted(set(image.blobs) - required):
            yield from _wrong(contents, config, f"{prefix}{image.name}/blobs/sha256:{digest}", digest, "")
    yield from _wrong_tags(config, prefix, found)


def _named(config: nginx.Directive) -> set[Name]:
    words = []
    for each in nginx.walk(config):
        if each.words[0] == "rewrite" and len(each.words) > 1:
            words.append(each.words[1])
        elif each.words[:2] == ["location", "="]:
            words.append(each.words[-1])
    return {(match[1], match[2]) for match in map(_NAMED.fullmatch, words) if match}


def _references(image: images.Image) -> dict[str, tuple[str, str]]:
    """What a manifest is asked for by, with the digest (hex) and media type that the answer must have."""
    own = image.manifest, image.media_type
    children = {f"sha256:{digest}": (digest, media_type) for digest, media_type in image.children}
    return {image.tag: own, f"sha256:{image.manifest}": own, **children}


def _wrong(
    contents: medium.Contents, config: nginx.Directive, path: str, digest: str, media_type: str
) -> Iterator[str]:
    answer = nginx.get(config, f"/v2/{path}")
    if answer is None or not answer.files:
        yield f"does not serve {path}"
        return
    files = [f"{images.DIRECTORY}/{file}" for file in map(_below_root, answer.files)]
    served = next((file for file in files if contents.has_file(file)), None)
    if served is None:
        yield f"serves {path} from {answer.files[0]}, which is not on the medium"
    elif contents.digests.get(served, digest) != digest:
        yield f"serves {path} from {served}, which has another digest"
    if media_type and answer.headers.get("docker-content-digest") != f"sha256:{digest}":
        yield f"serves {path} with the digest {answer.headers.get('docker-content-digest', '(none)')}"
    if media_type and answer.media_type != media_type:
        yield f"serves {path} as {answer.media_type or 'nothing'}"


def _below_root(file: str) -> str:
    """The path below `images/`: the server's root is a variable that is set elsewhere."""
    root, _, path = file.partition("/")
    return path if root.startswith("$") else file


def _wrong_tags(config: nginx.Directive, prefix: str, found: list[images.Image]) -> Iterator[str]:
    tags = collections.defaultdict(set)
    for image in found:
        tags[image.name].add(image.tag)
    for name, expected in sorted(tags.items()):
        answer = nginx.get(config, f"/v2/{prefix}{name}/tags/list")
        listed = _TAGS.search(answer.text) if answer else None
        if listed is None:
            yield f"does not list the tags of {prefix}{name}"
        elif set(re.findall(r'"([^"]*)"', listed[1])) != expected:
            yield f"lists other tags of {prefix}{name} than are on the medium"


def _prefix(served: set[str], names: set[str]) -> str:
    """What the registry puts before every image name: the prefix that fits most of them."""
    votes = collections.Counter(
        each.removesuffix(name) for name in names for each in served if each == name or each.endswith(f"/{name}")
    )
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix), prefix), default="")
