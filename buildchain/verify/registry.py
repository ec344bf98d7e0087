"""The registry's configuration (nginx text) against the images: every tag and digest, and nothing else."""

import collections
import dataclasses
import re
from collections.abc import Iterator

from buildchain.verify import images, medium, report

Fault = report.Fault
DIRECTORY = "salt/metalk8s/repo/files"
CONFIG_PATH = f"{DIRECTORY}/metalk8s-registry.inc"
COMMON_PATH = f"{DIRECTORY}/metalk8s-registry-common.inc"

MAX_DEPTH = 16

# nginx.org, "Beginner's Guide", section "Configuration File's Structure"; quoting as ngx_conf_file.c reads it.
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') | (?P<mark>[;{}])"""
    r""" | (?P<word>(?:[^\s;{}"'\#\\$]|\\.|\$(?:\{[^}\s]*\})?)(?:[^\s;{}\\$]|\\.|\$(?:\{[^}\s]*\})?)*)""",
    re.VERBOSE | re.DOTALL,
)
# What static-container-registry writes: literal text between \Q and \E, then the digits of a digest or nothing.
_PATTERN = re.compile(r"\(\?s\)\^\\Q(?P<literal>/v2/.+?)\\E(?:\(\[0-9a-f\]\{(?P<digits>[0-9]{1,2})\}\))?\\z", re.DOTALL)
_MANIFEST = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)")
_BLOB = re.compile(r"/v2/(?P<name>.+)/blobs/sha256:(?P<start>[0-9a-f]*)")
_TO_MANIFEST = re.compile(r".*:\$request_method/manifest/(?P<hex>[0-9a-f]{64})/(?P<path>.+)\.(?P<ending>[a-z]{2})")
_TO_BLOB = re.compile(r".*:\$request_method/blob/[0-9a-f]*\$1/(?P<folder>.+)")

_ENDINGS = {
    "om": "application/vnd.oci.image.manifest.v1+json",
    "oi": "application/vnd.oci.image.index.v1+json",
    "dm": "application/vnd.docker.distribution.manifest.v2+json",
    "dl": "application/vnd.docker.distribution.manifest.list.v2+json",
}


@dataclasses.dataclass(slots=True)
class Directive:
    """One directive: its words, and what stands in its block."""

    words: list[str]
    block: list["Directive"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest that is served: image name with the registry's prefix, tag or digest, and what is sent."""

    name: str
    reference: str
    hex: str
    path: str
    media_type: str


@dataclasses.dataclass(frozen=True, slots=True)
class Blobs:
    """Blobs that are served: those of an image whose digest starts with some digits, and the folder they are in."""

    name: str
    start: str
    folder: str


def judge(contents: medium.Contents, found: list[images.Image]) -> Iterator[Fault]:
    """Every difference between the configuration and the images; without images there is nothing to configure."""
    if not found and not contents.has_file(CONFIG_PATH):
        return
    if not contents.has_file(COMMON_PATH):
        yield Fault(COMMON_PATH, "is missing: the registry needs it")
    try:
        directives = parse(contents.read(CONFIG_PATH))
    except medium.DamagedError as error:
        yield Fault(CONFIG_PATH, str(error))
        return
    rules = list(_rules(directives))
    manifests = [rule for rule in rules if isinstance(rule, Manifest)]
    blobs = [rule for rule in rules if isinstance(rule, Blobs)]
    prefix = _prefix({rule.name for rule in rules}, {image.name for image in found})
    differences = [*_manifest_faults(manifests, prefix, found), *_blob_faults(blobs, prefix, found, contents)]
    yield from (Fault(CONFIG_PATH, what) for what in differences)


def parse(text: bytes) -> list[Directive]:
    """Read nginx's configuration language.

    Raises:
        DamagedError: the text is not of the language.
    """
    try:
        whole = text.decode()
    except UnicodeDecodeError as error:
        raise medium.DamagedError("is not UTF-8") from error
    top = Directive([])
    open_blocks = [top]
    words: list[str] = []
    for is_mark, part in _tokens(whole):
        if not is_mark:
            words.append(part)
            continue
        if (part == "}") == bool(words) or (part == "}" and len(open_blocks) == 1) or len(open_blocks) > MAX_DEPTH:
            raise medium.DamagedError(f"has an unexpected {part}")
        if part == "}":
            open_blocks.pop()
            continue
        directive = Directive(words)
        open_blocks[-1].block.append(directive)
        words = []
        if part == "{":
            open_blocks.append(directive)
    if words or len(open_blocks) > 1:
        raise medium.DamagedError("ends within a directive")
    return top.block


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise medium.DamagedError(f"cannot be read from character {position} on")
        position = match.end()
        if match["quoted"] is not None:
            yield False, re.sub(r"\\(.)", _unescaped, match["quoted"][1:-1], flags=re.DOTALL)
        elif match["word"] is not None:
            yield False, re.sub(r"\\(.)", _unescaped, match["word"], flags=re.DOTALL)
        elif match["mark"]:
            yield True, match["mark"]


def _unescaped(match: re.Match[str]) -> str:
    """Only quotes and the backslash itself lose their backslash; that of a regular expression stays."""
    return match[1] if match[1] in "\"'\\ ;{}" else match[0]


def _all(directives: list[Directive]) -> Iterator[Directive]:
    for directive in directives:
        yield directive
        yield from _all(directive.block)


def _rules(directives: list[Directive]) -> Iterator[Manifest | Blobs]:
    for directive in _all(directives):
        if directive.words[0] != "rewrite" or len(directive.words) < 3:
            continue
        match = _PATTERN.fullmatch(directive.words[1])
        if match is None:
            continue
        asked, digits, target = match["literal"], int(match["digits"] or 0), directive.words[2]
        if digits and (blob := _BLOB.fullmatch(asked)) and (to_blob := _TO_BLOB.fullmatch(target)):
            if len(blob["start"]) + digits == 64:
                yield Blobs(blob["name"], blob["start"], to_blob["folder"])
        elif (manifest := _MANIFEST.fullmatch(asked)) and (to_manifest := _TO_MANIFEST.fullmatch(target)):
            media_type = _ENDINGS.get(to_manifest["ending"], to_manifest["ending"])
            yield Manifest(manifest["name"], manifest["reference"], to_manifest["hex"], to_manifest["path"], media_type)


def _manifest_faults(rules: list[Manifest], prefix: str, found: list[images.Image]) -> Iterator[str]:
    by_place = {(rule.name.removeprefix(prefix), rule.reference): rule for rule in rules}
    if len(by_place) != len(rules):
        yield "serves one manifest in two places"
    known = {(image.name, reference) for image in found for reference in _references(image)}
    for name, reference in sorted(set(by_place) - known):
        yield f"serves {name} {reference}, which is not on the medium"
    places = collections.defaultdict(set)
    for image in found:
        places[image.name, image.manifest].add(f"{image.name}/{image.tag}/{images.MANIFEST_NAME}")
    for image in found:
        for reference in _references(image):
            rule = by_place.get((image.name, reference))
            if rule is None:
                yield f"does not serve {image.name} {reference}"
            elif reference.removeprefix("sha256:") not in image.children:
                yield from _wrong(rule, image, places[image.name, image.manifest])


def _references(image: images.Image) -> Iterator[str]:
    yield image.tag
    for digest in (image.manifest, *image.children):
        yield f"sha256:{digest}"


def _wrong(rule: Manifest, image: images.Image, places: set[str]) -> Iterator[str]:
    subject = f"{image.name} {rule.reference}"
    if rule.hex != image.manifest:
        yield f"serves {subject} with the digest sha256:{rule.hex}"
    if rule.media_type != image.media_type:
        yield f"serves {subject} as {rule.media_type}"
    if rule.path not in places:
        yield f"serves {subject} from {rule.path}"


def _blob_faults(
    rules: list[Blobs], prefix: str, found: list[images.Image], contents: medium.Contents
) -> Iterator[str]:
    by_name: dict[str, list[Blobs]] = collections.defaultdict(list)
    for rule in rules:
        by_name[rule.name.removeprefix(prefix)].append(rule)
    names = {image.name for image in found}
    yield from (f"does not serve the blobs of {name}" for name in sorted(names - by_name.keys()))
    yield from (f"serves blobs of {name}, which is not on the medium" for name in sorted(by_name.keys() - names))
    for image in found:
        for blob in image.blobs:
            folder = next((rule.folder for rule in by_name[image.name] if blob.startswith(rule.start)), None)
            if folder and not contents.has_file(f"{images.DIRECTORY}/{folder}/{blob}"):
                yield f"looks for the blob {blob} of {image.name} in {folder}"


def _prefix(served: set[str], names: set[str]) -> str:
    """What the registry puts before every image name: the prefix that fits most of them."""
    votes = collections.Counter(
        each.removesuffix(name) for name in names for each in served if each == name or each.endswith(f"/{name}")
    )
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix), prefix), default="")
