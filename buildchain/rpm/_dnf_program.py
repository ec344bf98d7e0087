"""The part of resolving that runs under dnf's own Python: reads a question, as JSON, and writes dnf's answer.

It stands alone: the interpreter is the system's, which has dnf, and not ours. All repositories are folders.
"""

import json
import pathlib
import re
import sys
import typing

import dnf
import dnf.exceptions
import dnf.module.module_base
import hawkey

_Row = dict[str, typing.Any]


def main() -> None:
    """Answer the question on the standard input."""
    question = json.load(sys.stdin)
    json.dump([_answer(question, request, number) for number, request in enumerate(question["requests"])], sys.stdout)


def _answer(question: _Row, request: _Row, number: int) -> _Row:
    try:
        with dnf.Base(_configuration(pathlib.Path(question["root"]) / str(number), request)) as base:
            return _solve(base, question["folders"], request)
    except dnf.exceptions.Error as error:
        return {"problem": str(error)}


def _configuration(root: pathlib.Path, request: _Row) -> typing.Any:
    """A dnf that knows nothing of this host."""
    configuration = dnf.conf.Conf()
    configuration.installroot = str(root / "root")
    configuration.cachedir = str(root / "cache")
    configuration.persistdir = str(root / "persist")
    (root / "log").mkdir(parents=True)
    configuration.logdir = str(root / "log")
    configuration.reposdir = []
    configuration.plugins = False
    configuration.best = True
    configuration.install_weak_deps = False
    configuration.gpgcheck = False
    configuration.module_platform_id = f"platform:{request['distribution']}"
    configuration.substitutions["arch"] = configuration.substitutions["basearch"] = request["architecture"]
    configuration.substitutions["releasever"] = re.sub(r"\D", "", request["distribution"])
    return configuration


def _solve(base: typing.Any, folders: _Row, request: _Row) -> _Row:
    for name in [*request["archives"], *request["kept"], request["base"]]:
        if name:
            base.repos.add_new_repo(name, base.conf, baseurl=[pathlib.Path(folders[name]).as_uri()], metadata_expire=0)
    base.fill_sack(load_system_repo=False)
    _exclude(base, request)
    if request["packages"] is None:
        return {"holes": _holes(base, request["base"])}
    if request["modules"]:
        dnf.module.module_base.ModuleBase(base).enable(request["modules"])
    ours = (
        base.sack.query().filterm(reponame=request["base"])
        if request["base"]
        else base.sack.query().filterm(empty=True)
    )
    for package in sorted(ours):
        base.package_install(package, strict=False)
    problems = [problem for name in request["packages"] for problem in _mark(base, name)]
    if problems:
        return {"problem": "\n".join(problems)}
    base.resolve()
    chosen = sorted(base.transaction.install_set)
    shipped = [package for package in chosen if package.reponame != request["base"]]
    return {"packages": [_row(package) for package in shipped], "assumes": _assumed(base, chosen, shipped, request)}


def _exclude(base: typing.Any, request: _Row) -> None:
    """No sources, no twin of another architecture unless it is asked for, and nothing in the place of what is kept."""
    asked = {name.rpartition(".")[2] for name in request["packages"] or [] if "." in name}
    allowed = {request["architecture"], "noarch"} | asked & {"i686", "i386", "i586", "i486"}
    base.sack.add_excludes(base.sack.query().filterm(arch__neq=sorted(allowed)))
    if request["kept"]:
        names = [package.name for package in base.sack.query().filterm(reponame=request["kept"])]
        base.sack.add_excludes(base.sack.query().filterm(name=names, reponame__neq=request["kept"]))


def _holes(base: typing.Any, ours: str) -> dict[str, list[str]]:
    """Why packages cannot be installed, each alone, where the packages of the base are; by name and version."""
    held = list(base.sack.query().filterm(reponame=ours)) if ours else []
    holes = {}
    for package in sorted(base.sack.query().filterm(reponame__neq=ours or " ")):
        goal = hawkey.Goal(base.sack)
        for each in held:
            goal.install(each, optional=True)
        goal.install(package)
        if not goal.run(ignore_weak_deps=True):
            lines = {line for problem in goal.problem_rules() for line in problem}
            holes[str(package)] = sorted(lines - {"conflicting requests"}) or sorted(lines)
            continue
        left = {each.name for each in goal.list_installs()}
        lost = sorted(each.name for each in held if each.name not in left)
        if lost:
            holes[str(package)] = [f"takes the place of {', '.join(lost)}"]
    return holes


def _mark(base: typing.Any, name: str) -> typing.Iterator[str]:
    try:
        base.install(name)
    except dnf.exceptions.MarkingError:
        yield f"No package {name} available."


def _row(package: typing.Any) -> _Row:
    kind, value = package.returnIdSum()
    return {
        "name": package.name,
        "architecture": package.arch,
        "version": package.evr if package.epoch == 0 else f"{package.epoch}:{package.version}-{package.release}",
        "source": package.source_name or package.name,
        "archive": package.reponame,
        "path": package.location,
        "size": package.downloadsize,
        "kind": kind,
        "digest": value,
    }


def _assumed(base: typing.Any, chosen: list[typing.Any], shipped: list[typing.Any], request: _Row) -> list[str]:
    """Names of the base's packages that something shipped needs."""
    ours = [package for package in chosen if package.reponame == request["base"]]
    if not ours:
        return []
    query = base.sack.query().filterm(pkg=ours)
    needed = set()
    for package in shipped:
        for requirement in package.requires:
            # The parts of a rich dependency, (a or b), are names as well.
            parts = str(requirement).strip("()").replace("(", " ").replace(")", " ").split()
            words = parts if str(requirement).startswith("(") else []
            needed |= {found.name for found in query.filter(provides=requirement)}
            needed |= {found.name for found in query.filter(name=words)}
    return sorted(needed)


main()
