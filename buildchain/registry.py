"""The configuration that makes a medium's `images/` a registry: static-container-registry, fed from a tree.

Nothing is staged: the generator needs sizes by path and the bytes of manifests, and the store has both.
Of a distribution's medium, two files, as MetalK8s' formula `metalk8s.repo` includes them in one server: constants once,
images for each medium. Of a Solution's, one template, which MetalK8s fills in and includes in the same server.
"""

import re
import typing
from collections.abc import Callable

from buildchain import digest, errors, store, tree

if typing.TYPE_CHECKING:
    import static_container_registry

COMMON_PATH = "salt/metalk8s/repo/files/metalk8s-registry-common.inc"
IMAGES_PATH = "salt/metalk8s/repo/files/metalk8s-registry.inc"

# MetalK8s 2.5.1, "Solution archive guidelines", "OCI images": its state `solutions.available` fills these in.
TEMPLATE_PATH = "registry-config.inc.j2"
TEMPLATE_PREFIX = "{{ repository }}"
TEMPLATE_ROOT = "{{ registry_root }}"


def index(images: tree.Tree, source: store.Store, *, version: str) -> tree.Tree:
    """Write both files for the images below `images/`.

    Arguments:
        source:  holds the files of `images`; receives the configuration.
        version: of the medium, as in its environment name `metalk8s-VERSION`.

    Raises:
        TreeError: something below `images/` would not be served; with every such path and its reason.
    """
    import static_container_registry  # not for runs that have nothing to do

    prefix = f"metalk8s-{version}"
    listing = _listing(images.below("images"), source, "distribution.yaml")
    try:
        options = static_container_registry.Options(server_root(prefix), prefix, has_constants=False)
        text = static_container_registry.render(listing, options)
    except ValueError as error:
        hint = "Give a VERSION of small letters and digits, with single dots, dashes or underscores between them."
        raise errors.TreeError(f"the registry prefix {prefix}", str(error), hint) from error
    constants = static_container_registry.render(
        static_container_registry.Listing(), static_container_registry.Options("/", has_images=False)
    )
    return tree.build(
        tree.File(path, source.add_bytes(content.encode()))
        for path, content in ((COMMON_PATH, constants), (IMAGES_PATH, text))
    )


def template(images: tree.Tree, source: store.Store) -> tree.Tree:
    """Write the template for the images below a Solution's `images/`; it says neither name, version nor mount point.

    Arguments:
        source: holds the files of `images`; receives the template.

    Raises:
        TreeError: something below `images/` would not be served; with every such path and its reason.
    """
    import static_container_registry

    listing = _listing(images.below("images"), source, "the Solution")
    options = static_container_registry.Options(TEMPLATE_ROOT, TEMPLATE_PREFIX, has_constants=False)
    text = static_container_registry.render(listing, options)
    return tree.build([tree.File(TEMPLATE_PATH, source.add_bytes(text.encode()))])


def server_root(environment: str) -> str:
    """The nginx variable that the formula sets to the medium's `images/`."""
    return f"${re.sub('[^A-Za-z0-9]', '_', environment)}_images"


def _listing(images: tree.Tree, source: store.Store, intent: str) -> "static_container_registry.Listing":
    import static_container_registry

    files = {file.path: file.content for file in images.files()}
    sizes = {path: content.size for path, content in files.items()}
    listing = static_container_registry.read(sizes, _reader(files, source))
    problems = [f"  images/{remark.path}: {remark.reason}" for remark in listing.skipped]
    problems += [
        f"  images/{entry.path}: a link, which not every reader of the medium follows"
        for entry in images
        if isinstance(entry, tree.Link)
    ]
    if problems:
        hint = f"Pull or build these images again, or take them out of {intent}."
        raise errors.TreeError("images", "\n".join(["the registry cannot serve all of it", *problems]), hint)
    return listing


def _reader(files: dict[str, digest.Descriptor], source: store.Store) -> Callable[[str], bytes]:
    return lambda path: source.read(files[path].digest)
