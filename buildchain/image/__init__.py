"""Container images made of locked packages and a recipe: no container engine, no root, no script is run.

    images/<name>/image.yaml ──load──▶ Recipe ─┐
    distribution.lock.json ──▶ lock.Package… ──┼─build──▶ Image ──tree──▶ images/NAME/TAG/… of the medium
    images/maintainer-scripts.yaml ──▶ Policy ─┘

An image's bytes are a function of its recipes, its locked packages and the list of exclusions.
"""

from buildchain.image.assembly import Image, Stage, build, identity, origins_json, tree
from buildchain.image.recipe import Recipe, load, load_chain, request
from buildchain.image.scripts import Policy, load_policy

__all__ = [
    "Image",
    "Policy",
    "Recipe",
    "Stage",
    "build",
    "identity",
    "load",
    "load_chain",
    "load_policy",
    "origins_json",
    "request",
    "tree",
]
