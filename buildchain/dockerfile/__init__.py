"""Container images made from a Dockerfile by a Docker-compatible engine; what ships does not depend on which.

images/<name>/Dockerfile, build.yaml, context ──load──▶ Recipe ─┐
images it stands on, in the store ──loopback registry──▶ engine ─┴─build──▶ Image ──tree──▶ images/NAME/TAG/…
"""

from buildchain.dockerfile.assembly import Image, build, compare, identity, prove, tree
from buildchain.dockerfile.recipe import Recipe, check_all, check_bases, is_recipe, load
from buildchain.dockerfile.saved import Base

__all__ = [
    "Base",
    "Image",
    "Recipe",
    "build",
    "check_all",
    "check_bases",
    "compare",
    "identity",
    "is_recipe",
    "load",
    "prove",
    "tree",
]
