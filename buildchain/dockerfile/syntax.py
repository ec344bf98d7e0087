"""Dockerfiles as values: instructions with their lines, stages, and the images they stand on.

Only what every Docker-compatible engine builds alike is accepted: no BuildKit frontends, mounts or here-documents.
"""

import dataclasses
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

Problem = tuple[int, str]
"""A line, and what is wrong with it."""

LAYERED = {"RUN", "COPY", "ADD"}
"""Instructions that change files; engines make the directory of a WORKDIR with it, or with the next of these."""

_CONFIGURING = {
    "ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "SHELL", "STOPSIGNAL", "USER", "VOLUME",
    "WORKDIR",
}  # fmt: skip
_REFUSED = {
    "ONBUILD": "acts in later builds that do not name it; write the instruction where it belongs",
    "MAINTAINER": 'is obsolete; write LABEL org.opencontainers.image.authors="…"',
}
_FLAGS = {"COPY": {"from", "chown"}, "ADD": {"chown"}}

_DIRECTIVE = re.compile(r"#\s*(?P<name>syntax|escape|check)\s*=\s*(?P<value>\S+)\s*", re.IGNORECASE)
_CONTINUED = re.compile(r"\\[ \t]*$")
_HERE_DOCUMENT = re.compile(r"(?:^|\s)[0-9]*<<-?\s*[\"']?[A-Za-z_]")
_FLAG = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S*))?\s+")
_STAGE = re.compile(r"(?P<image>\S+)(?:\s+[Aa][Ss]\s+(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*))?")
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")
_REMOTE = ("http://", "https://", "git://", "ssh://", "ftp://", "git@", "github.com/")
# Docker's rule: what stands before the first slash is a host if it has a dot or a port, or is localhost.
_HOST = re.compile(r"(?:[^/]*[.:][^/]*|localhost)/")
_IMAGE = re.compile(r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::(?P<tag>[\w][\w.-]{0,127}))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; continued lines are joined. `flags` stand before `rest`."""

    line: int
    keyword: str
    flags: Mapping[str, str]
    rest: str

    def __str__(self) -> str:
        return " ".join([self.keyword, *(f"--{name}={value}" for name, value in self.flags.items()), self.rest])

    def sources(self) -> list[str]:
        """What a COPY or ADD takes from the context."""
        try:
            words = json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)
        except (ValueError, RecursionError):
            words = self.rest.split()
        return [str(word) for word in words[:-1]]


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """An image of the distribution that a Dockerfile names; no tag means whatever tag it has there."""

    line: int
    name: str
    tag: str

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}" if self.tag else self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One stage: on what it stands (another stage's number, an image, or None for nothing), and what it does."""

    name: str
    base: int | Reference | None
    instructions: tuple[Instruction, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole Dockerfile; `leading` are the ARG before the first stage; `copied` the images that COPY takes from."""

    leading: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    copied: Mapping[int, Reference]

    def references(self) -> list[Reference]:
        """Every use of an image of the distribution."""
        bases = [stage.base for stage in self.stages if isinstance(stage.base, Reference)]
        return sorted([*bases, *self.copied.values()], key=lambda reference: reference.line)

    def instructions(self) -> Iterator[Instruction]:
        """All instructions but FROM, in order."""
        yield from self.leading
        for stage in self.stages:
            yield from stage.instructions

    def history(self) -> tuple[Reference | None, list[Instruction]]:
        """On what the last stage stands in the end, and all that happened since."""
        stage = self.stages[-1]
        found = list(stage.instructions)
        while isinstance(stage.base, int):
            stage = self.stages[stage.base]
            found = [*stage.instructions, *found]
        return stage.base, found

    def rendered(self, images: Mapping[str, str]) -> str:
        """The text for the engine: an instruction a line, images of the distribution replaced.

        Arguments:
            images: by name, how an engine pulls it.
        """
        lines = [str(each) for each in self.leading]
        for number, stage in enumerate(self.stages):
            base = stage.base
            image = images[base.name] if isinstance(base, Reference) else "scratch" if base is None else f"stage-{base}"
            lines.append(f"FROM {image} AS stage-{number}")
            lines += [self.rendered_line(each, images) for each in stage.instructions]
        return "\n".join([*lines, ""])

    def rendered_line(self, instruction: Instruction, images: Mapping[str, str]) -> str:
        """One instruction of that text."""
        source = instruction.flags.get("from")
        if source is None:
            return str(instruction)
        if instruction.line in self.copied:
            source = images[self.copied[instruction.line].name]
        else:
            source = f"stage-{_number(source, self.stages)}"
        return str(dataclasses.replace(instruction, flags={**instruction.flags, "from": source}))


def parse(text: str, arguments: Mapping[str, str]) -> tuple[Dockerfile, list[Problem]]:
    """Read a Dockerfile; what it returns is of use only if there are no problems.

    Arguments:
        arguments: values of ARG that win over those in the text.
    """
    problems: list[Problem] = []
    instructions = list(_instructions(text, problems))
    values: dict[str, str] = {}
    leading: list[Instruction] = []
    stages: list[Stage] = []
    copied: dict[int, Reference] = {}
    for each in instructions:
        if each.keyword == "FROM":
            stages.append(_stage(each, stages, values, problems))
        elif stages:
            if "from" in each.flags and _number(each.flags["from"], stages[:-1]) is None:
                source = _expand(each.flags["from"], values)
                copied.update((found.line, found) for found in _reference(each.line, source, problems))
            last = stages[-1]
            stages[-1] = dataclasses.replace(last, instructions=(*last.instructions, each))
        elif each.keyword == "ARG":
            leading.append(each)
            name, _, default = each.rest.partition("=")
            values[name] = arguments.get(name, default.strip("\"'"))
        else:
            problems.append((each.line, f"{each.keyword} before the first FROM"))
    if not stages:
        problems.append((1, "has no FROM"))
    elif not stages[-1].instructions:
        problems.append((instructions[-1].line, "nothing follows the last FROM: that image exists already"))
    return Dockerfile(tuple(leading), tuple(stages), copied), sorted(problems)


def _instructions(text: str, problems: list[Problem]) -> Iterator[Instruction]:
    is_start = True
    gathered, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if match := _DIRECTIVE.fullmatch(line.strip()) if is_start else None:
            problems += [(number, why) for why in _problems_of_directive(match["name"].lower(), match["value"])]
            continue
        is_start = False
        if not line.strip() or line.lstrip().startswith("#"):
            continue  # also in the middle of a continued line
        start = start or number
        gathered += line if gathered else line.lstrip()
        if _CONTINUED.search(gathered):
            gathered = _CONTINUED.sub("", gathered)
            continue
        yield from _instruction(start, gathered.strip(), problems)
        gathered, start = "", 0
    if gathered.strip():
        yield from _instruction(start, gathered.strip(), problems)


def _problems_of_directive(name: str, value: str) -> Iterator[str]:
    if name == "syntax":
        yield "a syntax is a program from the internet; leave the line out"
    elif name == "escape" and value != "\\":
        yield "only a backslash continues a line"


def _instruction(line: int, text: str, problems: list[Problem]) -> Iterator[Instruction]:
    keyword, _, rest = text.partition(" ") if "\t" not in text.split(" ")[0] else text.partition("\t")
    keyword, rest = keyword.upper(), rest.strip()
    flags: dict[str, str] = {}
    while keyword not in _CONFIGURING and (match := _FLAG.match(rest)):
        flags[match["name"]] = match["value"] or ""
        rest = rest[match.end() :]
    found = Instruction(line, keyword, flags, rest)
    problems += [(line, why) for why in _problems_of(found)]
    yield found


def _problems_of(each: Instruction) -> Iterator[str]:
    if each.keyword not in {"FROM", *_CONFIGURING, *LAYERED}:
        yield f"{each.keyword} {_REFUSED.get(each.keyword, 'is no instruction')}"
        return
    if not each.rest:
        yield f"{each.keyword} without anything after it"
    for flag in sorted(set(each.flags) - _FLAGS.get(each.keyword, set())):
        yield f"{each.keyword} --{flag}: not every engine has it, or it changes what a build depends on"
    if each.keyword in LAYERED and _HERE_DOCUMENT.search(each.rest):
        yield "here-documents need BuildKit; put the text into a file of the context"
    if each.keyword == "ADD":
        yield from _problems_of_sources(each.sources())


def _problems_of_sources(sources: Sequence[str]) -> Iterator[str]:
    """What the engine itself, which has a network, would fetch."""
    for source in sources:
        known, dollar, _ = source.lower().partition("$")
        if known.startswith(_REMOTE):
            yield "ADD from the internet; declare it under `sources` in build.yaml, with its digest"
        elif dollar and any(each.startswith(known) for each in _REMOTE):
            yield f"ADD {source}: a variable may hold an address; write ./{source} for a file of the context"


def _stage(each: Instruction, stages: Sequence[Stage], values: Mapping[str, str], problems: list[Problem]) -> Stage:
    match = _STAGE.fullmatch(each.rest)
    if match is None:
        problems.append((each.line, f"FROM {each.rest}: not an image, or an image AS a name"))
        return Stage("", None, ())
    image, name = _expand(match["image"], values), (match["name"] or "").lower()
    if name and any(stage.name == name for stage in stages):
        problems.append((each.line, f"there is a stage {name} already"))
    if image == "scratch":
        return Stage(name, None, ())
    for number, stage in enumerate(stages):
        if stage.name and stage.name == image.lower():
            return Stage(name, number, ())
    return Stage(name, next(iter(_reference(each.line, image, problems)), None), ())


def _reference(line: int, image: str, problems: list[Problem]) -> Iterator[Reference]:
    if "$" in image:
        problems.append((line, f"{image}: an image may use only ARG from before the first FROM, as $NAME or ${{NAME}}"))
    elif "@" in image:
        problems.append((line, f"{image}: the digest is that of the distribution's image; leave it out"))
    elif _HOST.match(image):
        problems.append((line, f"{image} is on the internet; an image may stand only on images of the distribution"))
    elif match := _IMAGE.fullmatch(image):
        yield Reference(line, match["name"], match["tag"] or "")
    else:
        problems.append((line, f"{image!r} is not the name of an image"))


def _number(source: str, stages: Sequence[Stage]) -> int | None:
    """The number of the stage that `COPY --from` means, by name or by number."""
    if source.isdigit() and int(source) < len(stages):
        return int(source)
    return next((number for number, stage in enumerate(stages) if stage.name and stage.name == source.lower()), None)


def _expand(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match["plain"] or match["name"]
        return values.get(name) or (match["default"] if match["default"] is not None else match[0])

    return _VARIABLE.sub(value, text)
