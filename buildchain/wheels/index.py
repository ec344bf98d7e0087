"""Package indexes of Python: the simple repository API (PEP 503), folders of files, and where pip looks for them.

No index is named in this repository: it is PYPI_MIRROR, or else what pip on this machine is configured with.
"""

import ast
import concurrent.futures
import dataclasses
import functools
import html
import pathlib
import re
import sys
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence

from buildchain import command, digest, errors, fetch, lock, store
from buildchain.wheels import requirements

MAX_PAGE_BYTES = 64 << 20
MAX_FILE_BYTES = 1 << 30

GLIBC = 34
"""Minor version of the oldest C library that wheels may ask for: EL 9 has 2.34, Debian 12 has 2.36."""

_LEGACY = {17: "manylinux2014_x86_64", 12: "manylinux2010_x86_64", 5: "manylinux1_x86_64"}
"""PEP 600: older names of platform tags."""

_ANCHOR = re.compile(r"""<a\s[^>]*?href=(["'])(.*?)\1""", re.IGNORECASE | re.DOTALL)

_HINT = "Set PYPI_MIRROR in .env to the base URL of a package index, or configure pip (pip config list)."


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A file that an index offers; `url` is an http(s) or file URL, `content` its digest, if the index says it."""

    name: str
    url: str
    content: digest.Digest | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Indexes:
    """Where files are looked for: base URLs of indexes, and pages or folders that list files of all projects."""

    indexes: tuple[str, ...]
    pages: tuple[str, ...] = ()
    options: fetch.Options = dataclasses.field(default_factory=fetch.Options)

    def links(self, project: str) -> list[Link]:
        """All that is offered for a project, in the order of the indexes.

        Raises:
            TransportError: an index does not answer; one that has no such project is passed over.
        """
        addresses = [f"{base.rstrip('/')}/{project}/" for base in self.indexes]
        return [link for address in (*addresses, *self.pages) for link in self._read(address)]

    def _read(self, address: str) -> list[Link]:
        local = _local(address)
        if local is not None:
            return list(_listing(local))
        try:
            content = fetch.get(address, self.options, max_bytes=MAX_PAGE_BYTES)
        except errors.TransportError as error:
            if error.status in (404, 410):
                return []
            raise
        return _parse(content.decode(errors="replace"), address)


def configured(mirror: str | None, pip: Mapping[str, str], options: fetch.Options) -> Indexes:
    """The indexes of this machine.

    Arguments:
        mirror: PYPI_MIRROR; nothing else is asked then.
        pip:    the variables of pip's own, PIP_*.

    Raises:
        ToolError: pip cannot be asked.
    """
    if mirror:
        return Indexes((mirror,), options=options)
    asked = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    values = _values(command.run([*asked, "config", "list"], environment=pip, hint=_HINT).decode())
    indexes = [*values.get("index-url", ()), *values.get("extra-index-url", ())]
    if "index-url" not in values and "no-index" not in values:
        # pip's own default, which no other place of its interface tells.
        told = re.search(r"\(default\s+(https?://[^\s)]+)\)", command.run([*asked, "help", "download"]).decode())
        indexes[:0] = [told[1]] if told else []
    return Indexes(tuple(indexes), tuple(values.get("find-links", ())), options)


def _values(text: str) -> dict[str, list[str]]:
    """By option, the words of what counts: a variable wins over `download`, that over `global` (pip config)."""
    found: dict[str, tuple[int, list[str]]] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(:env:|download|global)\.([a-z-]+)=(.*)", line)
        if match:
            rank = ("global", "download", ":env:").index(match[1])
            words = str(ast.literal_eval(match[3])).split()
            found[match[2]] = max(found.get(match[2], (-1, [])), (rank, words))
    return {name: words for name, (_, words) in found.items()}


def keep(name: str, wanted: Sequence[requirements.Requirement], files: Iterable[lock.File]) -> dict[str, lock.File]:
    """By project, the files of an earlier lock that the requirements of an environment still allow."""
    held = {(each.project, each.version): each for each in files if each.environment == name}
    found = {each.project: held.get((each.project, each.version)) for each in wanted}
    allowed = {each.project: each.digests for each in wanted}
    return {project: file for project, file in found.items() if file and file.content.digest in allowed[project]}


def choose(
    name: str, wanted: Sequence[requirements.Requirement], indexes: Indexes, source: store.Store
) -> list[lock.File]:
    """Choose one file for each requirement of an environment, a wheel before a source distribution, and pull it.

    Raises:
        ResolveError: naming each project that has no fitting file.
    """

    def chosen(each: requirements.Requirement) -> lock.File | str:
        try:
            return _choose(name, each, indexes, source)
        except errors.BuildchainError as error:
            return f"{each.project} {each.version}: {error.what}: {error.why}"

    with concurrent.futures.ThreadPoolExecutor(indexes.options.jobs) as pool:
        found = list(pool.map(chosen, wanted))
    problems = [each for each in found if isinstance(each, str)]
    if problems:
        why = "\n".join(["cannot be resolved", *(f"  {problem}" for problem in problems)])
        raise errors.ResolveError(f"the environment {name}", why, _HINT)
    return sorted(each for each in found if not isinstance(each, str))


def requests(files: Sequence[lock.File], indexes: Indexes, source: store.Store) -> list[fetch.Request]:
    """Where locked files are to be had; what lies in a folder of this machine is taken into the store at once."""
    with concurrent.futures.ThreadPoolExecutor(indexes.options.jobs) as pool:
        return list(pool.map(lambda each: _request(each, indexes, source), files))


def _request(file: lock.File, indexes: Indexes, source: store.Store) -> fetch.Request:
    if source.has(file.content) or indexes.options.is_offline:
        return fetch.Request(file.label, file.content, ())
    found = [link for link in indexes.links(file.project) if link.name == file.name]
    for link in found:
        path = _local(link.url)
        if path is not None and path.stat().st_size == file.content.size:
            source.add_file(path)  # whatever it is: only the digest gives it a name
    return fetch.Request(file.label, file.content, tuple(link.url for link in found if _local(link.url) is None))


def _choose(name: str, wanted: requirements.Requirement, indexes: Indexes, source: store.Store) -> lock.File:
    links = [link for link in indexes.links(wanted.project) if link.content is None or link.content in wanted.digests]
    for _, _, link in sorted(_fitting(links, wanted), key=lambda found: found[:2]):
        content = _pull(link, indexes.options)
        if digest.Digest.of_bytes(content) in wanted.digests:
            return lock.File(name, wanted.project, wanted.version, link.name, source.add_bytes(content))
    why = f"no index offers a file of it for CPython {'.'.join(map(str, requirements.PYTHON))} with a required hash"
    raise errors.ResolveError("index", why, _HINT)


def _pull(link: Link, options: fetch.Options) -> bytes:
    path = _local(link.url)
    return fetch.get(link.url, options, max_bytes=MAX_FILE_BYTES) if path is None else path.read_bytes()


def _fitting(links: Iterable[Link], wanted: requirements.Requirement) -> Iterator[tuple[int, str, Link]]:
    """The files of the wanted version that are of use here, each with its rank: the better, the smaller."""
    from packaging import utils, version

    for link in links:
        try:
            project, found = (
                utils.parse_wheel_filename(link.name)[:2]
                if link.name.endswith(".whl")
                else utils.parse_sdist_filename(link.name)
            )
        except (utils.InvalidWheelFilename, utils.InvalidSdistFilename):
            continue
        rank = _rank(link.name)
        if rank is not None and (project, found) == (wanted.project, version.Version(wanted.version)):
            yield rank, link.name, link


def _rank(name: str) -> int | None:
    from packaging import utils

    if not name.endswith(".whl"):
        return len(_tags())
    places = [_tags()[str(tag)] for tag in utils.parse_wheel_filename(name)[3] if str(tag) in _tags()]
    return min(places, default=None)


@functools.cache
def _tags() -> dict[str, int]:
    """Tags of the wheels that both families can use, the best first."""
    from packaging import tags

    minors = range(GLIBC, 4, -1)
    platforms = [each for minor in minors for each in (f"manylinux_2_{minor}_x86_64", _LEGACY.get(minor)) if each]
    found = [
        *tags.cpython_tags(requirements.PYTHON, ["cp311"], platforms),
        *tags.compatible_tags(requirements.PYTHON, "cp311", platforms),
    ]
    return {str(tag): place for place, tag in enumerate(found)}


def _local(address: str) -> pathlib.Path | None:
    parts = urllib.parse.urlsplit(address)
    if parts.scheme in ("http", "https"):
        return None
    return pathlib.Path(urllib.parse.unquote(parts.path) if parts.scheme == "file" else address)


def _listing(path: pathlib.Path) -> Iterator[Link]:
    """The files of a folder, or those that its index.html names."""
    page = path / "index.html"
    if page.is_file():
        yield from _parse(page.read_text(encoding="utf-8", errors="replace"), f"{path.resolve().as_uri()}/")
    elif path.is_dir():
        yield from (Link(each.name, each.resolve().as_uri()) for each in sorted(path.iterdir()) if each.is_file())


def _parse(text: str, address: str) -> list[Link]:
    """The anchors of a project's page (PEP 503); a real HTML parser takes half a minute for the pages of one set."""
    return [_link(html.unescape(match[2]), address) for match in _ANCHOR.finditer(text)]


def _link(target: str, address: str) -> Link:
    url, _, fragment = urllib.parse.urljoin(address, target).partition("#")
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    stated = re.fullmatch(r"sha256=([0-9a-f]{64})", fragment)
    return Link(name, url, digest.Digest(stated[1]) if stated else None)
