"""Images that a container engine builds: what their tasks depend on, and what they do."""

import pathlib
import sys
import threading
from collections.abc import Sequence

from buildchain import dockerfile, errors, manifest, tree
from buildchain.tasks import context, fragment

_ENGINE = threading.Lock()
"""Held while an engine works for us: at the end of a session it loses what came to be during it, whoever made it."""


def identity(here: context.Context, spec: manifest.ImageSpec) -> str:
    """What an image depends on but for the images it stands on, which are `inputs`."""
    recipe = here.dockerfiles[spec.name]
    return dockerfile.identity(recipe, dict.fromkeys(recipe.bases, ""))


def inputs(here: context.Context, spec: manifest.ImageSpec) -> list[pathlib.Path]:
    """The fragments of the images it stands on: they hold the digests of their manifests."""
    bases = here.dockerfiles[spec.name].bases
    return [here.fragment(fragment.of_image(each)) for each in here.manifest.images if each.name in bases]


def build(here: context.Context, spec: manifest.ImageSpec) -> tree.Tree:
    """Build an image.

    Raises:
        BuildchainError: no engine answers, a step fails, or the result cannot ship.
    """
    with _ENGINE:
        built = dockerfile.build(here.dockerfiles[spec.name], _bases(here, spec.name), here.store)
    return dockerfile.tree(built, spec.name, spec.tag)


def prove(here: context.Context, names: Sequence[str]) -> None:
    """Build images twice, all or some of them.

    Raises:
        BuildchainError: two builds of one differ, with the steps and paths; or as `build`.
    """
    known = here.dockerfiles
    if unknown := set(names) - known.keys():
        why = f"there is no image {', '.join(sorted(unknown))} with a Dockerfile"
        raise errors.BuildchainError("prove", why, f"Those with one: {', '.join(sorted(known)) or 'none'}.")
    for name in names or sorted(known):
        with _ENGINE:
            proved = dockerfile.prove(known[name], _bases(here, name), here.store)
        sys.stdout.write(f"   {name}: twice {proved.manifest.digest}\n")


def _bases(here: context.Context, name: str) -> dict[str, dockerfile.Base]:
    wanted = here.dockerfiles[name].bases
    return {each.name: _base(here, each) for each in here.manifest.images if each.name in wanted}


def _base(here: context.Context, spec: manifest.ImageSpec) -> dockerfile.Base:
    """An image as an engine gets it: of one that was pulled with its index, the image for the default platform."""
    rows = here.locked.image(spec.name).manifests if spec.is_pulled else ()
    for row in rows:
        if row.platform == manifest.DEFAULT_PLATFORM:
            return dockerfile.Base(spec.tag, row.content)
    shipped = fragment.load(here.fragment(fragment.of_image(spec))).below(f"images/{spec.name}/{spec.tag}")
    return dockerfile.Base(spec.tag, next(file.content for file in shipped.files() if file.path == "manifest.json"))
