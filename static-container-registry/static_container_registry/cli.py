"""The command: a folder of images in, nginx configuration out."""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

import static_container_registry
from static_container_registry import listing, names

GOOD, FOUND_WRONG, MISUSE = 0, 1, 2

_EPILOG = """\
example:
  static-container-registry --name-prefix media-1.0 /srv/media/images > /etc/nginx/registry.inc
  then, inside a server block:  include /etc/nginx/registry.inc;
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 good, 1 something was skipped under --strict, 2 misuse."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.tree and (chosen.only_constants or chosen.omit_constants):
        parser.error("--tree writes one configuration, without parts to choose")
    try:
        root = _absolute(chosen.root)
        found = listing.Listing() if chosen.only_constants else static_container_registry.discover(root)
        _report("note", found.notes)
        _report("skipped", found.skipped)
        if chosen.strict and found.skipped:
            print(f"{len(found.skipped)} skipped, and --strict allows none; nothing is written", file=sys.stderr)
            return FOUND_WRONG
        _print(_tree(chosen, found, root) if chosen.tree else _classic(chosen, found, root))
    except OSError as error:
        parser.error(f"{ascii(error.filename) if error.filename else 'standard output'}: {error.strerror}")
    except ValueError as error:
        parser.error(str(error))
    return GOOD


def _classic(chosen: argparse.Namespace, found: listing.Listing, root: pathlib.Path) -> str:
    options = static_container_registry.Options(
        chosen.server_root or names.checked_literal_root(str(root)),
        chosen.name_prefix,
        has_constants=not chosen.omit_constants,
        has_images=not chosen.only_constants,
    )
    return static_container_registry.render(found, options)


def _tree(chosen: argparse.Namespace, found: listing.Listing, root: pathlib.Path) -> str:
    destination = _absolute(chosen.tree)
    text = static_container_registry.render_constant(chosen.server_root or names.checked_literal_root(str(destination)))
    static_container_registry.write_tree(found, root, destination, chosen.name_prefix)
    return text


def _print(text: str) -> None:
    """Write all of it now: nobody could be told of a full disk at the end of the program."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _absolute(path: str) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(path))  # noqa: PTH100 - keeps links, drops "..", unlike Path's own


def _report(kind: str, remarks: Sequence[listing.Remark]) -> None:
    for remark in remarks:
        print(f"{kind}: {ascii(remark.path)[1:-1]}: {remark.reason}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="static-container-registry",
        description="Write the nginx configuration that makes a folder of container images a read-only registry.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "root", metavar="ROOT", nargs="?", default=".", help="folder with NAME/TAG/ or OCI layouts (default: .)"
    )
    parser.add_argument("--name-prefix", metavar="PREFIX", default="", help="what repository names begin with")
    parser.add_argument(
        "--server-root",
        metavar="PATH",
        help="where nginx finds ROOT, or DEST; nginx variables and Jinja placeholders stay (default: absolute path)",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--omit-constants", action="store_true", help="leave out what a server may have only once")
    parts.add_argument("--only-constants", action="store_true", help="write only that")
    parser.add_argument(
        "--tree",
        metavar="DEST",
        help="make DEST a tree of links into ROOT and write the configuration that never changes",
    )
    parser.add_argument("--strict", action="store_true", help="fail when anything below ROOT is skipped")
    parser.add_argument("--version", action="version", version=static_container_registry.__version__)
    return parser
