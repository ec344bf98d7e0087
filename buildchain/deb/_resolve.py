"""Choose versions with apt's own solver, and say where each file is."""

import calendar
import collections
import dataclasses
import email.utils
import functools
import pathlib
import re
import tempfile
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence

from buildchain import digest, errors, lock, manifest, private_apt, store
from buildchain.deb import _index

_OPTIONS = {"Acquire::Retries": "3", "Acquire::ForceHash": "sha256"}
"""ForceHash: without it apt prints MD5 sums, and none at all for the security archive."""

_URI_LINE = re.compile(r"'(?P<url>\S+)' (?P<name>[^\s_]+)_\S+ (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")

_KEPT = "kept"
"""Label and folder of the repository that holds what a partial update must not move."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """An archive and the base URL of its mirror."""

    archive: manifest.Archive
    url: str


@dataclasses.dataclass(frozen=True, slots=True)
class Apt:
    """A private apt that has read its indexes; `kept` are the packages that win over all others, by digest."""

    folder: private_apt.Folder
    sources: tuple[Source, ...]
    kept: Mapping[digest.Digest, lock.Package]

    def indexes(self) -> list[lock.Index]:
        """The indexes that were read, by digest and date.

        Raises:
            ResolveError: an archive has no InRelease, or it is not dated.
        """
        return [_index_of(source.archive, _lists(self.folder.root, source, "InRelease")) for source in self.sources]


def open_apt(
    directory: pathlib.Path,
    sources: Sequence[Source],
    architecture: str,
    *,
    ca_bundle: str | None = None,
    timeout_s: int = 30,
    kept: Sequence[lock.Package] = (),
    packages: store.Store | None = None,
) -> Apt:
    """Make a private apt below `directory` and let it read its sources.

    Arguments:
        timeout_s: how long a server may be silent.
        kept:     packages that shall win over any other version; their files are in the store `packages`.

    Raises:
        ResolveError: an index is missing, expired, unsigned, or signed by none of the declared keys.
    """
    options = {**_OPTIONS, "Acquire::http::Timeout": str(timeout_s), "Acquire::https::Timeout": str(timeout_s)}
    if ca_bundle:
        options["Acquire::https::CAInfo"] = ca_bundle
    folder = private_apt.prepare(directory, architecture, options=options)
    stanzas = [_source_stanza(source, folder.root) for source in sources]
    if kept and packages:
        stanzas.append(_keep(folder.root, kept, packages))
    folder.write_sources(stanzas)
    try:
        folder.run("apt-get", "update", "-q")
    except errors.ToolError as error:
        names = ", ".join(source.archive.name for source in sources)
        hint = "Check the mirror (DEBIAN_MIRROR and the like in .env) and the keys in distribution.yaml."
        raise errors.ResolveError(f"archives {names}", _apt_messages(error.output), hint) from error
    return Apt(folder, tuple(sources), {package.content.digest: package for package in kept})


def resolve(apt: Apt, request: lock.Request) -> lock.PackageSet:
    """Choose the closure of a request.

    Raises:
        ResolveError: a package is unknown, or no set of versions satisfies all dependencies; in apt's own words.
    """
    wanted = [word for word in request.words if not word.startswith("-")]
    hint = "Mend the package list in distribution.yaml or in the image's recipe."
    try:
        printed = apt.folder.run("apt-get", "install", "--yes", "--print-uris", *wanted)
    except errors.ToolError as error:
        raise errors.ResolveError(request.name, _apt_messages(error.output), hint) from error
    chosen = [_Chosen.parse(line) for line in printed.splitlines() if line.startswith("'")]
    known = _stanzas(apt, chosen)
    missed = _missed(request.packages, [known[each.content.digest.hex] for each in chosen])
    if missed:
        raise errors.ResolveError(request.name, f"apt chose nothing for {', '.join(missed)}", hint)
    packages = [apt.kept.get(each.content.digest) or _package(apt, each, known) for each in chosen]
    dropped = set(request.without)
    unknown = dropped - {package.name for package in packages}
    if unknown:
        why = f"`without` names packages that are not in the closure: {', '.join(sorted(unknown))}"
        raise errors.ResolveError(request.name, why, "Remove these names from the recipe.")
    left = tuple(sorted(package for package in packages if package.name not in dropped))
    return lock.PackageSet(request.name, request.architecture, request.words, left, request.archives)


def resolve_all(
    requests: Sequence[lock.Request],
    sources: Mapping[str, Source],
    *,
    ca_bundle: str | None = None,
    timeout_s: int = 30,
    kept: Sequence[lock.Package] = (),
    packages: store.Store | None = None,
) -> lock.Lock:
    """Choose the closures of all requests, with one private apt for each architecture and set of archives.

    Raises:
        ResolveError: with what is wrong with every request.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[lock.Request]] = collections.defaultdict(list)
    for request in requests:
        groups[request.architecture, request.archives].append(request)
    indexes: set[lock.Index] = set()
    sets: list[lock.PackageSet] = []
    problems: list[errors.ResolveError] = []
    for (architecture, archives), members in sorted(groups.items()):
        with tempfile.TemporaryDirectory(prefix="apt-") as directory:
            chosen = [sources[name] for name in archives]
            apt = open_apt(
                pathlib.Path(directory),
                chosen,
                architecture,
                ca_bundle=ca_bundle,
                timeout_s=timeout_s,
                kept=kept,
                packages=packages,
            )
            indexes |= set(apt.indexes())
            for request in members:
                try:
                    sets.append(resolve(apt, request))
                except errors.ResolveError as error:
                    problems.append(error)
    if problems:
        raise _joined(problems)
    if len({found.archive for found in indexes}) < len(indexes):
        raise errors.ResolveError("archives", "changed while they were read", "Run the same command again.")
    return lock.Lock(tuple(sorted(indexes)), tuple(sorted(sets, key=lambda each: each.name)))


def _joined(problems: Sequence[errors.ResolveError]) -> errors.ResolveError:
    if len(problems) == 1:
        return problems[0]
    why = "\n".join(f"{problem.what}: {problem.why}" for problem in problems)
    return errors.ResolveError(f"{len(problems)} package sets", f"cannot be resolved\n{why}", problems[0].hint)


@dataclasses.dataclass(frozen=True, slots=True)
class _Chosen:
    """A line of `--print-uris`: what apt would download; the name is apt's own, not the archive's."""

    url: str
    name: str
    content: digest.Descriptor

    @classmethod
    def parse(cls, line: str) -> "_Chosen":
        match = _URI_LINE.fullmatch(line)
        if not match:
            raise errors.ResolveError("apt", f"names no SHA-256 digest: {line}", "The archive's index must have them.")
        return cls(match["url"], match["name"], digest.Descriptor(digest.Digest(match["sha256"]), int(match["size"])))


def _missed(wanted: Iterable[str], stanzas: Iterable[Mapping[str, str]]) -> list[str]:
    """Names that none of the chosen packages has or provides: apt reads `a-` as a removal, and `a.*` as a pattern."""
    names = set()
    for stanza in stanzas:
        names |= {stanza["Package"], *re.findall(r"(?:^|,)\s*([^\s,(:]+)", stanza.get("Provides", ""))}
    return [name for name in wanted if name not in names]


def _stanzas(apt: Apt, chosen: Sequence[_Chosen]) -> dict[str, Mapping[str, str]]:
    """The index stanzas of the chosen packages, by SHA-256."""
    from debian import deb822

    names = {each.name for each in chosen}
    shown = apt.folder.run("apt-cache", "show", *sorted(names)) if names else ""
    paragraphs = deb822.Packages.iter_paragraphs(shown.splitlines(), use_apt_pkg=False)
    return {stanza.get("SHA256", ""): stanza for stanza in paragraphs}


def _package(apt: Apt, chosen: _Chosen, known: Mapping[str, Mapping[str, str]]) -> lock.Package:
    stanza = known[chosen.content.digest.hex]
    source = _source_of(apt, chosen)
    return lock.Package(
        name=stanza["Package"],
        architecture=stanza["Architecture"],
        version=stanza["Version"],
        source=stanza.get("Source", stanza["Package"]).split(" ")[0],
        archive=source.archive.name,
        # The stanza's own `Filename` may be that of another archive with the same file.
        path=urllib.parse.unquote(chosen.url.removeprefix(f"{source.url}/")),
        content=chosen.content,
    )


def _source_of(apt: Apt, chosen: _Chosen) -> Source:
    """The source that offers a file; of suites that share a mirror, the first that lists it."""
    near = [source for source in apt.sources if chosen.url.startswith(f"{source.url}/")]
    if len(near) == 1:
        return near[0]
    return next(source for source in near if chosen.content.digest.hex in _listed(apt.folder.root, source))


@functools.lru_cache(maxsize=8)
def _listed(root: pathlib.Path, source: Source) -> frozenset[str]:
    """The digests of all packages a source offers, as the private apt below `root` has read them."""
    listing = _lists(root, source, "_Packages").decode(errors="replace")
    return frozenset(re.findall(r"^SHA256: ([0-9a-f]{64})$", listing, re.MULTILINE))


def _lists(root: pathlib.Path, source: Source, end: str) -> bytes:
    """What was downloaded of a source: the files whose names end with `end`."""
    prefix = _list_name(f"{source.url}/dists/{source.archive.suite}/")
    paths = [path for path in (root / "var/lib/apt/lists").iterdir() if path.name.startswith(prefix)]
    return b"\n".join(path.read_bytes() for path in sorted(paths) if path.name.endswith(end))


def _index_of(archive: manifest.Archive, content: bytes) -> lock.Index:
    date = re.search(rb"^Date: *(.+?)\s*$", content, re.MULTILINE)
    try:
        moment = email.utils.parsedate_to_datetime(date[1].decode() if date else "")
    except ValueError as error:
        why = "has no InRelease file with a Date"
        raise errors.ResolveError(f"archive {archive.name}", why, "Use another mirror.") from error
    return lock.Index(
        archive.name, archive.suite, digest.Digest.of_bytes(content), calendar.timegm(moment.utctimetuple())
    )


def _source_stanza(source: Source, root: pathlib.Path) -> str:
    archive = source.archive
    keyring = root / f"{archive.name}.asc"
    keyring.write_bytes(b"".join(key.read_bytes() for key in archive.keys))
    components = " ".join(archive.components)
    return f"Types: deb\nURIs: {source.url}\nSuites: {archive.suite}\nComponents: {components}\nSigned-By: {keyring}\n"


def _keep(root: pathlib.Path, kept: Sequence[lock.Package], packages: store.Store) -> str:
    """A local repository of what must not move, preferred to every archive (apt_preferences(5)): its sources stanza."""
    folder = root / _KEPT
    folder.mkdir()
    listing = _index.index_text(kept, packages)
    (folder / "Packages").write_bytes(listing)
    (folder / "Release").write_bytes(_index.release_text({"Packages": listing}, _KEPT, _KEPT, [], 0))
    (root / "etc/apt/preferences.d/kept").write_text(f"Package: *\nPin: release l={_KEPT}\nPin-Priority: 1001\n")
    # Trusted, since this folder is private and holds only what the lock already vouches for.
    return f"Types: deb\nURIs: file:{folder}\nSuites: ./\nTrusted: yes\n"


def _list_name(url: str) -> str:
    """The name apt gives in its lists folder to what it downloads from a URL (apt's URItoFileName)."""
    location = urllib.parse.urlsplit(url)
    path = f"{location.netloc.rsplit('@', 1)[-1]}{location.path}".encode()
    quoted = re.sub(rb"[^ -~]|[\\|{}\[\]<>\"^~_=!@#$%& *]", lambda match: b"%%%02x" % match[0][0], path)
    return quoted.decode().replace("/", "_")


def _apt_messages(output: str) -> str:
    lines = [line for line in output.splitlines() if re.match(r"[EW]:| ", line)]
    return "\n".join(["apt says", *(f"  {line.strip()}" for line in lines or output.splitlines()[-10:])])
