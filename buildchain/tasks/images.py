"""Tasks that build the container images of the medium."""

import pathlib
from collections.abc import Iterator

from buildchain import errors, image, manifest, tree
from buildchain.rootfs import exclusions
from buildchain.tasks import action, context, fragment

_SCRIPTS = "maintainer-scripts.yaml"
_EXCLUSIONS = "exclusions.yaml"


def task_images() -> Iterator[action.Task]:
    """Build the container images."""
    here = context.load()
    yield {"name": None, "doc": "Build the container images.", "task_dep": ["_pull"]}
    for spec in here.manifest.images:
        yield _image_task(here, spec)


def fragments(here: context.Context) -> list[str]:
    """Names of the fragments these tasks write."""
    return [_fragment_name(spec) for spec in here.manifest.images]


def _fragment_name(spec: manifest.ImageSpec) -> str:
    return f"image-{spec.name}"


def _image_task(here: context.Context, spec: manifest.ImageSpec) -> action.Task:
    origins = here.build_root / "images" / f"{spec.name}.origins.json"
    task = fragment.task(
        here,
        _fragment_name(spec),
        lambda: _build(here, spec, origins),
        identity=[spec.tag, _identity(here, spec)],
        verb="IMAGE",
        subject=here.staged_root / "images" / spec.name / spec.tag,
        file_dep=[here.settings.root / "images" / name for name in (_SCRIPTS, _EXCLUSIONS)],
        task_dep=["_pull"],
    )
    task["targets"] = [*task["targets"], origins]
    task["clean"] = [*task["clean"], *action.removal(origins), *action.removal_if_empty(origins.parent)]
    return {"name": spec.name, "doc": f"Build the image {spec.name}:{spec.tag}.", **task}


def _stages(here: context.Context, name: str) -> list[image.Stage]:
    chain = here.chains[name]
    below = [image.request(chain[: index + 1], here.manifest.image_archives) for index in range(len(chain))]
    return [
        image.Stage(recipe, here.locked.set(request.name).packages)
        for recipe, request in zip(chain, below, strict=True)
    ]


def _identity(here: context.Context, spec: manifest.ImageSpec) -> str:
    if not here.is_locked:
        return ""
    return image.identity(_stages(here, spec.name), exclusions.load(here.settings.root / "images" / _EXCLUSIONS))


def _build(here: context.Context, spec: manifest.ImageSpec, origins: pathlib.Path) -> tree.Tree:
    stages = _stages(here, spec.name)
    _check_tag(spec, stages[-1])
    recipes = here.settings.root / "images"
    policy = image.load_policy(recipes / _SCRIPTS)
    built = image.build(stages, here.store, policy, exclusions.load(recipes / _EXCLUSIONS))
    action.write(origins, image.origins_json(built))
    return image.tree(built, spec.name, spec.tag)


def _check_tag(spec: manifest.ImageSpec, stage: image.Stage) -> None:
    """A tag that says another version than the content has is a lie; moving it is a visible change of the intent."""
    for package in stage.packages:
        upstream = package.version.rpartition(":")[2].rpartition("-")[0]
        if package.name == spec.follows and upstream.partition("+")[0] != spec.tag:
            why = f"its tag is {spec.tag}, but {package.name} is {package.version}"
            hint = f"Set the tag to {upstream.partition('+')[0]} in {manifest.FILE_NAME}."
            raise errors.BuildchainError(f"image {spec.name}", why, hint)
