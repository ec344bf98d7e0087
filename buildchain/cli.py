"""The `buildchain` command: what an operator or a CI job types without doit."""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from buildchain import bases, cli_solution, closure, errors, references, signing, verify

_EPILOG = """\
exit codes:
  0  good
  1  found wrong: corrupt, unsigned, signed by a key that is not trusted; an image or a package is missing
  2  misuse

example:
  buildchain verify metalk8s.iso --key release-key.asc
"""


_MISUSE = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_NOBODY_READS = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # `lint | head` is no mistake; and Python shall not complain of what is left to write when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except errors.BuildchainError as error:
        sys.stderr.write(f"{error}\n")
        return _MISUSE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "buildchain",
        description="Judge MetalK8s media; package Solutions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True)
    command = commands.add_parser("verify", help="judge an ISO, or a mounted or staged tree")
    command.add_argument("path", type=pathlib.Path, help="ISO file, or folder of a mounted or staged tree")
    trusted = command.add_mutually_exclusive_group()
    trusted.add_argument("--key", type=pathlib.Path, help="file with the public key to trust")
    trusted.add_argument("--fingerprint", help="full fingerprint of the key to trust, if it is the one on the medium")
    command.set_defaults(run=_verify)
    _add_images(commands)
    _add_packages(commands)
    cli_solution.add(commands, _verify)
    return parser


def _add_images(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("images", help="look at the images on a medium")
    actions = parser.add_subparsers(title="actions", required=True)
    check = actions.add_parser("check", help="find images that a formula or manifest names and the medium lacks")
    check.add_argument("path", type=pathlib.Path, help="ISO file, or folder of a mounted or staged tree")
    check.set_defaults(run=_check_images)


def _check_images(arguments: argparse.Namespace) -> int:
    report = references.check(*verify.read(arguments.path))
    if not (report.references or report.unused):
        hint = "Name an ISO file, or the folder where a medium is mounted or staged: the one with images/ in it."
        raise errors.BuildchainError(str(arguments.path), "holds no image and names none", hint)
    sys.stdout.write(str(report))
    return 1 if report.findings else 0


def _add_packages(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    packages = commands.add_parser("packages", help="judge the package repositories of a medium")
    actions = packages.add_subparsers(title="actions", required=True)
    action = actions.add_parser("check", help="can everything be installed, offline, on a given base?")
    action.add_argument(
        "path",
        type=pathlib.Path,
        nargs="?",
        default=pathlib.Path("_build/root"),
        help="folder of a mounted or staged tree",
    )
    action.add_argument("--base", type=pathlib.Path, action="append", default=[], help="list of what a host holds")
    action.set_defaults(run=_check_packages)


def _check_packages(arguments: argparse.Namespace) -> int:
    answers = closure.check(arguments.path, [bases.load(path) for path in arguments.base])
    sys.stdout.write("".join(map(str, answers)))
    return int(any(answer.holes for answer in answers))


def _verify(arguments: argparse.Namespace) -> int:
    keys = (_read_key(arguments.key),) if arguments.key else ()
    trust = verify.Trust(keys, arguments.fingerprint, frozenset({signing.DEVELOPMENT_FINGERPRINT}))
    report = verify.judge(arguments.path, trust)
    sys.stdout.write(str(report))
    return report.exit_code


def _read_key(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.BuildchainError(
            str(path), error.strerror or str(error), "Name a file with a public key."
        ) from error
