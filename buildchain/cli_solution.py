"""`buildchain solution …`: what a Solution's author types.

Each command imports what it needs: all of it takes longer than the rest of `buildchain verify` does to start.
"""

import argparse
import functools
import os
import pathlib
import sys
from collections.abc import Callable

from buildchain import atomic, command, errors

_GOOD, _FOUND_WRONG = 0, 1

FORMATS = ("json", "junit", "sarif", "text")
"""Those of `lint.FORMATS`."""

Judge = Callable[[argparse.Namespace], int]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", judge: Judge) -> None:
    """Add the command and all below it.

    Arguments:
        judge: runs `verify`, which takes a Solution's ISO as it takes any other.
    """
    top = commands.add_parser("solution", help="package Kubernetes applications for MetalK8s")
    below = top.add_subparsers(title="commands", required=True)
    _add_init(below)
    parser = _on_project(below, "lock", "choose package versions and write solution.lock.json")
    parser.set_defaults(run=_in_own_words(_lock))
    parser = _on_project(below, "build", "build the signed ISO")
    parser.add_argument("--base", type=pathlib.Path, help="leave out image blobs that this ISO has")
    parser.set_defaults(run=_in_own_words(_build))
    _add_manifest(below)
    _add_lint(below)
    parser = below.add_parser("diff", help="tell what differs between two ISOs: images, layers, CRDs, roles, sizes")
    parser.add_argument("old", metavar="A", type=pathlib.Path, help="ISO, or folder of a mounted or staged one")
    parser.add_argument("new", metavar="B", type=pathlib.Path, help="likewise")
    parser.set_defaults(run=_diff)
    parser = below.add_parser("verify", help="judge authenticity and integrity of an ISO")
    parser.add_argument("path", metavar="ISO", type=pathlib.Path, help="ISO file, or folder of a mounted one")
    trusted = parser.add_mutually_exclusive_group()
    trusted.add_argument("--key", type=pathlib.Path, help="file with the public key to trust")
    trusted.add_argument("--fingerprint", help="full fingerprint of the key to trust, if it is the one on the medium")
    parser.set_defaults(run=judge)


def _on_project(
    below: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = below.add_parser(name, help=text)
    parser.add_argument("dir", metavar="DIR", type=pathlib.Path, help="folder of solution.yaml")
    return parser


def _add_init(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = below.add_parser("init", help="write a small, commented, working project")
    parser.add_argument("name", metavar="NAME", help="of the Solution: lower-case letters, digits and dashes")
    parser.add_argument("dir", metavar="DIR", type=pathlib.Path, nargs="?", help="where (default: ./NAME)")
    parser.set_defaults(run=_init)


def _add_manifest(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = below.add_parser("manifest", help="write a manifest.yaml from options, as manifest.py of MetalK8s 2.5.1")
    parser.add_argument("-n", "--name", required=True, help="of the Solution")
    parser.add_argument("-v", "--version", required=True, help="of the Solution")
    image, pair = ("NAME", "TAG"), ("KEY", "VALUE")
    parser.add_argument("-o", "--operator-image", nargs=2, metavar=image, help="the Operator's image")
    parser.add_argument("-u", "--ui-image", nargs=2, metavar=image, help="the UI's image")
    several = functools.partial(parser.add_argument, nargs=2, action="append", default=[])
    several("-e", "--extra-image", metavar=image, help="a further image")
    several("-a", "--annotation", metavar=pair, help="an annotation")
    several("-l", "--label", metavar=pair, help="a label")
    parser.add_argument("--output", type=pathlib.Path, help="write this file instead of standard output")
    parser.set_defaults(run=_manifest)


def _add_lint(below: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = below.add_parser("lint", help="find every mistake in a project, a staged tree or an ISO")
    parser.add_argument("path", metavar="PATH", type=pathlib.Path, help="project's folder, staged tree or ISO")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_argument("--strict", action="store_true", help="fail on warnings, too")
    parser.set_defaults(run=_lint)
    parser = below.add_parser("rules", help="explain the rules of lint")
    parser.add_argument("id", metavar="ID", nargs="?", help="only this rule")
    parser.set_defaults(run=_rules)


def _in_own_words(run: Judge) -> Judge:
    def call(arguments: argparse.Namespace) -> int:
        try:
            _check_folder(arguments.dir)
            return run(arguments)
        except errors.BuildchainError as error:
            from buildchain import solution

            sys.stderr.write(f"{solution.in_own_words(error)}\n")
            return _FOUND_WRONG

    return call


def _check_folder(folder: pathlib.Path) -> None:
    from buildchain.solution import project

    if not (folder / project.FILE_NAME).is_file():
        hint = "Name the folder of a project; `buildchain solution init NAME` writes one."
        raise errors.BuildchainError(str(folder), f"has no file {project.FILE_NAME}", hint)


def _init(arguments: argparse.Namespace) -> int:
    from buildchain.solution import scaffold

    target = arguments.dir or pathlib.Path(arguments.name)
    for path in scaffold.init(arguments.name, target):
        sys.stdout.write(f"   {target / path}\n")
    sys.stdout.write(f"Next: buildchain solution lock {target}, then buildchain solution build {target}\n")
    return _GOOD


def _lock(arguments: argparse.Namespace) -> int:
    from buildchain import solution

    for line in solution.write_lock(solution.load(arguments.dir, os.environ)) or ["no package changes"]:
        sys.stdout.write(f"   {line}\n")
    return _GOOD


def _build(arguments: argparse.Namespace) -> int:
    from buildchain import lint, solution

    told = lint.check(arguments.dir)
    if told:
        sys.stdout.write(lint.FORMATS["text"](told))
    if lint.has_errors(told):
        return _FOUND_WRONG
    built = solution.build(solution.load(arguments.dir, os.environ), _report, arguments.base)
    if arguments.base:
        sys.stdout.write(f"   {built.left_out} bytes are left to {arguments.base}\n")
    sys.stdout.write(f"   {built.content.digest.hex}  {built.path} ({built.content.size} bytes)\n")
    found = lint.check(built.path, with_nginx=command.is_installed("nginx"))
    sys.stdout.write(lint.FORMATS["text"]([each for each in found if each not in told]))
    return _FOUND_WRONG if lint.has_errors(found) else _GOOD


def _lint(arguments: argparse.Namespace) -> int:
    from buildchain import lint

    found = lint.check(arguments.path, with_nginx=command.is_installed("nginx"))
    sys.stdout.write(lint.FORMATS[arguments.format](found))
    is_bad = {lint.Severity.ERROR, *([lint.Severity.WARNING] if arguments.strict else [])}
    return _FOUND_WRONG if any(each.rule.severity in is_bad for each in found) else _GOOD


def _rules(arguments: argparse.Namespace) -> int:
    from buildchain import lint

    known = lint.rules()
    if arguments.id and arguments.id not in known:
        hint = "`buildchain solution rules` lists all of them."
        raise errors.BuildchainError(f"rule {arguments.id}", "is not known", hint)
    chosen = [known[arguments.id]] if arguments.id else known.values()
    sys.stdout.write("\n".join(map(str, chosen)))
    return _GOOD


def _diff(arguments: argparse.Namespace) -> int:
    from buildchain.solution import diff

    for line in diff.compare(arguments.old, arguments.new):
        sys.stdout.write(f"{line}\n")
    return _GOOD


def _report(verb: str, subject: str) -> None:
    sys.stdout.write(f".  {verb:<14} {subject}\n")
    sys.stdout.flush()


def _manifest(arguments: argparse.Namespace) -> int:
    from buildchain import solution

    text = solution.dump_manifest(
        solution.Manifest(
            name=arguments.name,
            version=arguments.version,
            images=[(name, tag) for name, tag in arguments.extra_image],
            operator=tuple(arguments.operator_image) if arguments.operator_image else None,
            ui=tuple(arguments.ui_image) if arguments.ui_image else None,
            annotations=dict(arguments.annotation),
            labels=dict(arguments.label),
        )
    )
    if arguments.output:
        atomic.write(arguments.output, text)
    else:
        sys.stdout.write(text.decode())
    return _GOOD
