"""A read-only OCI registry that is nginx and files: list a directory of images, write nginx configuration."""

import dataclasses
import pathlib

from static_container_registry import classic, constant, discovery, links, listing, names

__version__ = "1.0.0"

discover = discovery.discover
read = discovery.read
Listing = listing.Listing


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How the configuration is written.

    `server_root` is any text nginx accepts in `alias`; like `name_prefix` it may have Jinja placeholders, which stay.
    """

    server_root: str
    name_prefix: str = ""
    has_constants: bool = True
    """Whether to write what a server needs once."""
    has_images: bool = True
    """Whether to write what these images need."""


def render(found: Listing, options: Options) -> str:
    """Write the configuration for inside a `server` block: a function of its arguments, sorted, without a date.

    Raises:
        ValueError: the prefix or the server root is not one.
    """
    site = classic.Site(names.normal_prefix(options.name_prefix), names.checked_server_root(options.server_root))
    lines = ["# Read-only registry, written by static-container-registry. Include it inside a server block."]
    if options.has_constants:
        lines += classic.constants()
    if options.has_images:
        lines += classic.images(found, site)
    return "\n".join(lines) + "\n"


def write_tree(found: Listing, root: pathlib.Path, destination: pathlib.Path, name_prefix: str = "") -> None:
    """Write the tree of the constant configuration: links from `destination` into `root`.

    Raises:
        ValueError: the prefix cannot begin a repository name; placeholders have no meaning here; the tree would stand
            among the images.
    """
    prefix = names.normal_prefix(name_prefix)
    if "{" in prefix:
        raise ValueError(f"{name_prefix!a} has a placeholder, and a tree needs names")
    links.write(found, root, destination, prefix)


def render_constant(server_root: str) -> str:
    """Write the configuration for a tree: it never changes, whatever the tree holds.

    Raises:
        ValueError: the server root is not one.
    """
    head = "# Read-only registry, written by static-container-registry --tree. Include it inside a server block."
    return "\n".join([head, *constant.configuration(names.checked_server_root(server_root))]) + "\n"
