"""Choosing RPMs with dnf's own solver.

dnf's Python interface gives what its command line does not: one joint solution for all names of a repository, and
with each package its digest. It exists for the system's interpreter alone, so `_dnf_program.py` runs under that.
"""

import collections
import dataclasses
import json
import pathlib
import shutil
import tempfile
import typing
from collections.abc import Mapping, Sequence

from buildchain import bases, command, digest, errors, fetch, lock, manifest, store
from buildchain.rpm import metadata, repository, stub

_PROGRAM = pathlib.Path(__file__).with_name("_dnf_program.py")
_KEPT = "kept."
_HINT = "Mend the package list in distribution.yaml."
_HINT_MEDIUM = "Verify the medium: buildchain verify."
_HINT_DNF = "Install dnf 4 (Debian: apt-get install dnf), or lock on a host that has it; a build needs none."


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What one repository wants: the request as the lock records it, and the intent it was made of."""

    request: lock.Request
    repository: manifest.Repository


def resolve_all(
    wanted: Sequence[Wanted],
    sources: Mapping[str, metadata.Source],
    packages: store.Store,
    options: fetch.Options,
    *,
    kept: Sequence[lock.Package] = (),
) -> lock.Lock:
    """Choose the closures of all repositories.

    Arguments:
        sources: by archive name.
        kept:    packages that shall win over any other version; the store holds their files.

    Raises:
        ResolveError:   with what is wrong with every repository; or an archive's metadata is not to be trusted.
        IntegrityError: an archive's metadata was changed.
        ToolError:      dnf is missing.
    """
    if not wanted:
        return lock.Lock()
    program = _interpreter()
    archives = dict(metadata.read_all(sources, packages, options))
    with tempfile.TemporaryDirectory(prefix="dnf-") as directory:
        root = pathlib.Path(directory)
        folders = {name: root / "archives" / name for name in archives}
        for name, found in archives.items():
            found.lay_out(folders[name], packages)
        for base in {each.repository.base for each in wanted} - {None}:
            folders[_base_id(base)] = _stub(base, root)
        for name in sorted({package.archive for package in kept} & archives.keys()):
            folders[_KEPT + name] = root / "kept" / name
            members = [package for package in kept if package.archive == name]
            repository.write_plain(members, packages, folders[_KEPT + name])
        questions = [_question(each, folders) for each in wanted]
        answers = _ask(program, questions, folders, root)
    by_digest = {package.content.digest.hex: package for package in kept}
    sets, problems = [], []
    for each, answer in zip(wanted, answers, strict=True):
        try:
            sets.append(_set_of(each.request, answer, by_digest))
        except errors.ResolveError as error:
            problems.append(error)
    if problems:
        raise _joined(problems)
    return lock.Lock(tuple(sorted(found.index for found in archives.values())), tuple(sets))


def holes(folders: Mapping[str, pathlib.Path], base: bases.Base | None, distribution: str) -> dict[str, list[str]]:
    """Which packages of some repositories cannot be installed on a host that has these and its base alone.

    Arguments:
        folders:      the repositories by name, as they stand on a medium; their signatures are not asked for.
        base:         what the host holds; None stands for nothing.
        distribution: of the host, such as `el9`.

    Returns:
        By name, version and architecture of a package, dnf's reasons why it cannot.

    Raises:
        BuildchainError: a repository cannot be read.
        ToolError:       dnf is missing.
    """
    with tempfile.TemporaryDirectory(prefix="dnf-") as directory:
        root = pathlib.Path(directory)
        found = {name: folder.resolve() for name, folder in folders.items()}
        if base:
            found[_base_id(base)] = _stub(base, root)
        question = {
            "architecture": base.architecture if base else manifest.DEFAULT_RPM_ARCHITECTURE,
            "distribution": distribution,
            "archives": sorted(folders),
            "packages": None,
            "modules": [],
            "base": _base_id(base),
            "kept": [],
        }
        (answer,) = _ask(_interpreter(), [question], found, root)
    if "problem" in answer:
        raise errors.BuildchainError(", ".join(sorted(folders)), f"dnf says\n  {answer['problem']}", _HINT_MEDIUM)
    return dict(answer["holes"])


def _interpreter() -> str:
    """The Python that dnf itself runs under."""
    found = shutil.which("dnf")
    if found is None:
        raise errors.ToolError(["dnf"], "not found on this machine", _HINT_DNF)
    with pathlib.Path(found).open("rb") as stream:
        first = stream.readline(256)
    words = first.removeprefix(b"#!").decode(errors="replace").split()
    if not first.startswith(b"#!") or "python" not in first.decode(errors="replace"):
        raise errors.ToolError(["dnf"], f"{found} is not dnf 4", _HINT_DNF)
    return words[-1] if words[0].endswith("/env") else words[0]


def _base_id(base: bases.Base | None) -> str:
    return f"base.{base.name}" if base else ""


def _stub(base: bases.Base | None, root: pathlib.Path) -> pathlib.Path:
    folder = root / "bases" / _base_id(base)
    folder.mkdir(parents=True)
    stub.write(base.packages if base else (), folder)
    return folder


def _ask(
    program: str, questions: Sequence[dict[str, typing.Any]], folders: Mapping[str, pathlib.Path], root: pathlib.Path
) -> list[dict[str, typing.Any]]:
    question = {
        "root": str(root / "hosts"),
        "folders": {name: str(folder) for name, folder in folders.items()},
        "requests": questions,
    }
    said = command.run([program, "-I", "-B", _PROGRAM], stdin=json.dumps(question).encode(), hint=_HINT_DNF)
    return list(json.loads(said))


def _question(wanted: Wanted, folders: Mapping[str, pathlib.Path]) -> dict[str, typing.Any]:
    request = wanted.request
    return {
        "architecture": request.architecture,
        "distribution": wanted.repository.distribution,
        "archives": request.archives,
        "packages": request.packages,
        "modules": request.modules,
        "base": _base_id(wanted.repository.base),
        "kept": [_KEPT + name for name in request.archives if _KEPT + name in folders],
    }


def _set_of(
    request: lock.Request, answer: Mapping[str, typing.Any], kept: Mapping[str, lock.Package]
) -> lock.PackageSet:
    if "problem" in answer:
        lines = [f"  {line.strip()}" for line in answer["problem"].splitlines()]
        raise errors.ResolveError(request.name, "\n".join(["dnf says", *lines]), _HINT)
    chosen = tuple(sorted(kept.get(row["digest"]) or _package(request, row) for row in answer["packages"]))
    counts = collections.Counter((package.name, package.architecture) for package in chosen)
    doubled = sorted(f"{name}.{architecture}" for (name, architecture), count in counts.items() if count > 1)
    if doubled:
        why = f"dnf chose several versions of {', '.join(doubled)}"
        raise errors.ResolveError(request.name, why, "Split the repository in two.")
    assumes = tuple(answer["assumes"])
    return lock.PackageSet(request.name, request.architecture, request.words, chosen, request.archives, assumes)


def _package(request: lock.Request, row: Mapping[str, typing.Any]) -> lock.Package:
    if row["kind"] != "sha256":
        why = f"archive {row['archive']} names no SHA-256 digest of {row['name']}, but {row['kind']}"
        raise errors.ResolveError(request.name, why, "The archive's metadata must have them.")
    content = digest.Descriptor(digest.Digest(row["digest"]), row["size"])
    texts = {name: str(row[name]) for name in ("name", "architecture", "version", "source", "archive", "path")}
    return lock.Package(**texts, content=content)


def _joined(problems: Sequence[errors.ResolveError]) -> errors.ResolveError:
    if len(problems) == 1:
        return problems[0]
    why = "\n".join(f"{problem.what}: {problem.why}" for problem in problems)
    return errors.ResolveError(f"{len(problems)} package sets", f"cannot be resolved\n{why}", problems[0].hint)
