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
    try:
        root = pathlib.Path(os.path.abspath(chosen.root))  # noqa: PTH100 - Path.absolute keeps "..", resolve follows links
        server_root = chosen.server_root or names.checked_literal_root(str(root))
        found = listing.Listing() if chosen.only_constants else static_container_registry.discover(root)
        options = static_container_registry.Options(
            server_root,
            chosen.name_prefix,
            has_constants=not chosen.omit_constants,
            has_images=not chosen.only_constants,
        )
        text = static_container_registry.render(found, options)
    except OSError as error:
        parser.error(f"{error.filename!a}: {error.strerror}")
    except ValueError as error:
        parser.error(str(error))
    _report("note", found.notes)
    _report("skipped", found.skipped)
    if chosen.strict and found.skipped:
        print(f"{len(found.skipped)} skipped, and --strict allows none; nothing is written", file=sys.stderr)
        return FOUND_WRONG
    sys.stdout.write(text)
    return GOOD


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
        help="where nginx finds ROOT; may have nginx variables and Jinja placeholders (default: ROOT, absolute)",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument("--omit-constants", action="store_true", help="leave out what a server may have only once")
    parts.add_argument("--only-constants", action="store_true", help="write only that")
    parser.add_argument("--strict", action="store_true", help="fail when anything below ROOT is skipped")
    parser.add_argument("--version", action="version", version=static_container_registry.__version__)
    return parser
