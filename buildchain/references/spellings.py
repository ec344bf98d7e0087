"""How formulas and manifests name an image: every spelling, found in text that templates keep from being YAML.

{{ image_name("nginx") }}   versions.images.nginx   image: host/name:tag   image: {name: …, tag: …}
repository: … beside tag: …   --reloader-image=…   name: X_IMAGE beside value: …   images: [name:tag]
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator

REGISTRY = "metalk8s-registry-from-config.invalid"
"""The registry's name on every node (MetalK8s 2.5.1, salt/metalk8s/defaults.yaml)."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Use:
    """One place that names an image.

    `path` is the name without host, "" for one that is computed; `is_prefixed` says that a part before it is known
    only on a node, or is the medium's own registry. No tag: whatever tag the medium has; no digest: any.
    """

    line: int
    text: str
    host: str
    path: str
    tag: str
    digest: str = ""
    is_prefixed: bool = False


_ANY = "\0"
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|@@\{?\w+\}?|@\w+@|\$\{[^}]*\}|\$\([^)]*\)|\$\w+")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_CALL = re.compile(r"\b(?:build_)?image_name\(\s*(?:name\s*=\s*)?(?:(?P<quote>[\"'])(?P<name>[^\"']+)(?P=quote))?")
_VERSIONS = re.compile(r"\bversions\.images(?:\.(?:get\(\s*)?|\[\s*)(?P<quote>[\"']?)(?P<name>[\w-]+)(?P=quote)")
_METHODS = {"get", "items", "keys", "values"}
_SCALAR = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|(?:\{\{.*?\}\}|\{%.*?%\}|\$\{[^}]*\}|[^\s\"'#,{}\[\]])+"
_PROPERTIES = r"(?:[&!][^\s,{}\[\]]*\s+)*"
"""YAML's anchors and tags."""
_VALUE = re.compile(
    rf"(?:^|[\s,{{\[\"'-])(?P<key>[\w.-]{{0,64}}image)[\"']?\s*(?P<sign>[:=])\s*{_PROPERTIES}(?P<value>{_SCALAR})",
    re.IGNORECASE,
)
_FLOW = re.compile(r"\bimage[\"']?\s*:\s*\{(?!\{)(?P<rows>(?:\{\{.*?\}\}|[^{}])*)\}")
_ROW = re.compile(rf"[\"']?(?P<key>\w+)[\"']?\s*:\s*{_PROPERTIES}(?P<value>{_SCALAR})")
_LINE = re.compile(
    rf"^(?P<indent>\s*)(?P<dash>(?:-\s+)*)[\"']?(?P<key>[\w.-]+)[\"']?\s*:(?:\s+{_PROPERTIES}(?P<value>{_SCALAR}))?"
    r"\s*(?:#.*|,)?$"
)
_ITEM = re.compile(r"^(?P<indent>\s*)-\s+[\"']?(?P<value>[^\s\"':#]+:[^\s\"':#]+)[\"']?\s*(?:#.*)?$")
_OWN = re.compile(rf"{re.escape(REGISTRY)}/[^\s\"',;)\]]+")
_HOST = re.compile(r"[^/]*[.:][^/]*|localhost")
_NO_IMAGES = {"", "~", "null", "true", "false", "string", "|", ">", "|-", ">-"}


def find(text: str, *, is_code: bool = False) -> list[Use]:
    """All uses in a file, in the order of lines.

    Arguments:
        is_code: the file is a program; only names in full are looked for.
    """
    lines = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text).splitlines()
    lines = ["" if line.lstrip().startswith("#") else line for line in lines]
    numbered = list(enumerate(lines, 1))
    found = {use for number, line in numbered for match in _OWN.finditer(line) for use in _parsed(number, match[0])}
    if not is_code:
        found |= {use for number, line in numbered for use in (*_in_line(number, line), *_calls(number, line))}
        found |= {*_in_mappings(lines), *_in_lists(lines)}
    return sorted(found)


def _in_line(number: int, line: str) -> Iterator[Use]:
    for match in _FLOW.finditer(line):
        yield from _of_rows(number, {row["key"]: _plain(row["value"]) for row in _ROW.finditer(match["rows"])})
    for match in _VALUE.finditer(line):
        value = _plain(match["value"])
        # Other keys that end like this hold other things, too: yes and no, names of variables, folders.
        is_image = match["key"].lower() == "image" and match["sign"] == ":"
        if is_image or re.search(r"[:/@]", _masked(value)):
            yield from _parsed(number, value)


def _calls(number: int, line: str) -> Iterator[Use]:
    for match in _CALL.finditer(line):
        if not line[: match.start()].rstrip().endswith("macro"):
            yield Use(number, match[0] + ("" if match["name"] else "…") + ")", "", match["name"] or "", "")
    for match in _VERSIONS.finditer(line):
        if match["name"] not in _METHODS and (match["quote"] or "[" not in match[0]):
            yield Use(number, match[0], "", match["name"], "")


def _in_mappings(lines: Iterable[str]) -> Iterator[Use]:
    """Images whose name and tag are values of one mapping."""
    open_mappings: list[tuple[int, int, dict[str, str]]] = []
    for number, line in enumerate(lines, 1):
        match = _LINE.match(line)
        if match is None:
            continue
        column = match.start("key")
        while open_mappings and (open_mappings[-1][0] > column or (match["dash"] and open_mappings[-1][0] == column)):
            yield from _of_mapping(open_mappings.pop())
        if not open_mappings or open_mappings[-1][0] < column:
            open_mappings.append((column, number, {}))
        rows = open_mappings[-1][2]
        if match["key"] in ("repository", "name"):
            open_mappings[-1] = (column, number, rows)
        rows[match["key"]] = _plain(match["value"] or "")
    while open_mappings:
        yield from _of_mapping(open_mappings.pop())


def _of_mapping(mapping: tuple[int, int, dict[str, str]]) -> Iterator[Use]:
    _, number, rows = mapping
    if "tag" in rows or "digest" in rows:
        yield from _of_rows(number, rows)
    elif "image" in rows.get("name", "").lower() and re.search(r"[:/@]", _masked(rows.get("value", ""))):
        yield from _parsed(number, rows["value"])


def _of_rows(number: int, rows: dict[str, str]) -> Iterator[Use]:
    name = rows.get("repository") or rows.get("name")
    if name and "://" not in name:
        registry = f"{rows['registry']}/" if rows.get("registry") else ""
        tag = f":{rows['tag']}" if rows.get("tag") else ""
        digest = f"@{rows['digest']}" if rows.get("digest") else ""
        yield from _parsed(number, f"{registry}{name}{tag}{digest}")


def _in_lists(lines: Iterable[str]) -> Iterator[Use]:
    """Rows of a list called `images`, as a Solution's manifest has it."""
    column = -1
    for number, line in enumerate(lines, 1):
        if match := _ITEM.match(line):
            if 0 <= column <= len(match["indent"]):
                yield from _parsed(number, match["value"])
        elif line.strip():
            column = line.index("images:") if line.strip() == "images:" else -1


def _parsed(line: int, text: str) -> Iterator[Use]:
    value = _masked(text.strip().rstrip(","))
    if value.lower() in _NO_IMAGES or value.startswith(("/", "./", "../")) or re.search(" |://|{{", value):
        return
    value, _, digest = value.partition("@")
    front, _, last = value.rpartition("/")
    last, _, tag = last.partition(":")
    parts = [*(front.split("/") if front else ()), last]
    host = parts.pop(0) if len(parts) > 1 and _HOST.fullmatch(parts[0]) and _ANY not in parts[0] else ""
    is_own = host == REGISTRY
    unknown = [index for index, part in enumerate(parts) if _ANY in part]
    path = "/".join(parts[unknown[-1] + 1 :] if unknown else parts)
    is_prefixed = bool(unknown) or is_own
    if path or not unknown:
        known_tag = "" if _ANY in tag or digest else tag or "latest"
        yield Use(line, text, "" if is_own else host, path, known_tag, digest.replace(_ANY, ""), is_prefixed)


def _masked(value: str) -> str:
    return _TEMPLATE.sub(_ANY, value)


def _plain(value: str) -> str:
    """A scalar without its quotes; an alias is a variable, whose value was looked at where its anchor stands."""
    if value.startswith("*"):
        return f"${value[1:]}"
    return value[1:-1] if value[:1] in "\"'" and value[:1] == value[-1:] and len(value) > 1 else value
