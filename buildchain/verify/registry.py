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
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_BLOBS = re.compile(r"\^?/v2/(.+)/blobs/")


@dataclasses.dataclass(slots=True)
class Directive:
    """One directive: its words, and what stands in its block."""

    words: list[str]
    block: list["Directive"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """Where a manifest is served: image name with the registry's prefix, tag or digest, and what is sent."""

    name: str
    reference: str
    digest: str
    alias: str
    media_type: str


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
    for what in _differences(list(_locations(directives)), list(_blob_names(directives)), found):
        yield Fault(CONFIG_PATH, what)


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


def _locations(directives: list[Directive]) -> Iterator[Location]:
    for directive in _all(directives):
        match = _MANIFEST.fullmatch(directive.words[-1])
        if match is None or directive.words[:2] != ["location", "="]:
            continue
        yield Location(
            match[1],
            match[2],
            _value(directive, "add_header", "Docker-Content-Digest"),
            _value(directive, "alias"),
            _value(directive, "default_type"),
        )


def _value(location: Directive, *name: str) -> str:
    """The word after a directive's name (`always` may follow an add_header's value)."""
    for each in location.block:
        if tuple(each.words[: len(name)]) == name and len(each.words) > len(name):
            return each.words[len(name)]
    return ""


def _blob_names(directives: list[Directive]) -> Iterator[str]:
    for directive in _all(directives):
        match = _BLOBS.match(directive.words[-1].replace("\\", ""))
        if match and directive.words[:2] == ["location", "~"]:
            yield match[1]


def _differences(locations: list[Location], blob_names: list[str], found: list[images.Image]) -> Iterator[str]:
    names = {image.name for image in found}
    prefix = _prefix({each.name for each in locations} | set(blob_names), names)
    served = {each.removeprefix(prefix) for each in blob_names}
    yield from (f"does not serve the blobs of {name}" for name in sorted(names - served))
    yield from (f"serves blobs of {name}, which is not on the medium" for name in sorted(served - names))
    by_place = {(each.name.removeprefix(prefix), each.reference): each for each in locations}
    if len(by_place) != len(locations):
        yield "serves one manifest in two places"
    known = {(image.name, reference) for image in found for reference in _references(image)}
    for name, reference in sorted(set(by_place) - known):
        yield f"serves {name} {reference}, which is not on the medium"
    places = collections.defaultdict(set)
    for image in found:
        places[image.name, image.manifest].add(f"/{image.name}/{image.tag}")
    for image in found:
        for reference in (image.tag, f"sha256:{image.manifest}"):
            location = by_place.get((image.name, reference))
            if location is None:
                yield f"does not serve {image.name} {reference}"
            else:
                yield from _wrong(location, image, places[image.name, image.manifest])


def _references(image: images.Image) -> Iterator[str]:
    yield image.tag
    for digest in (image.manifest, *image.children):
        yield f"sha256:{digest}"


def _wrong(location: Location, image: images.Image, places: set[str]) -> Iterator[str]:
    subject = f"{image.name} {location.reference}"
    if location.digest != f"sha256:{image.manifest}":
        yield f"serves {subject} with the digest {location.digest or '(none)'}"
    if location.media_type not in {"", image.media_type}:
        yield f"serves {subject} as {location.media_type}"
    path = location.alias.removesuffix(images.MANIFEST_NAME).rstrip("/")
    if location.alias and not path.endswith(tuple(places)):
        yield f"serves {subject} from {location.alias}"


def _prefix(served: set[str], names: set[str]) -> str:
    """What the registry puts before every image name: the prefix that fits most of them."""
    votes = collections.Counter(
        each.removesuffix(name) for name in names for each in served if each == name or each.endswith(f"/{name}")
    )
    return min(votes, key=lambda prefix: (-votes[prefix], len(prefix), prefix), default="")
