"""Tasks that build the container images of the medium."""

import pathlib
from collections.abc import Iterator, Mapping

from buildchain import errors, image, manifest, oci, salt, tree
from buildchain.rootfs import exclusions
from buildchain.tasks import action, context, fragment

BOOTSTRAP = "bootstrap-images"
"""Fragment and folder of the images that a node imports before the registry runs."""

_REGISTRY = "metalk8s-registry-from-config.invalid"
"""The registry's name on every node (MetalK8s 2.5.1, salt/metalk8s/defaults.yaml)."""

_SCRIPTS = "maintainer-scripts.yaml"
_EXCLUSIONS = "exclusions.yaml"


def task_images() -> Iterator[action.Task]:
    """Build the container images."""
    here = context.load()
    yield {"name": None, "doc": "Build the container images.", "task_dep": ["_pull"]}
    for spec in here.manifest.images:
        yield _image_task(here, spec)


def task__bootstrap_images() -> action.Task:
    """Gather the images that a node needs before the registry runs."""
    here = context.load()
    chosen = [spec for spec in here.manifest.images if spec.bootstraps]
    prefix = f"{_REGISTRY}/{salt.saltenv(here.version)}"
    return fragment.task(
        here,
        BOOTSTRAP,
        lambda: _gather(here, {f"{prefix}/{spec.name}:{spec.tag}": spec for spec in chosen}),
        identity=[prefix, [(spec.name, spec.tag) for spec in chosen]],
        verb="IMAGE VIEW",
        subject=here.staged_root / BOOTSTRAP,
        file_dep=[here.fragment(_fragment_name(spec)) for spec in chosen],
    )


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


def _gather(here: context.Context, chosen: Mapping[str, manifest.ImageSpec]) -> tree.Tree:
    directories = {
        name: fragment.load(here.fragment(_fragment_name(spec))).below(f"images/{spec.name}/{spec.tag}")
        for name, spec in chosen.items()
    }
    return oci.layout(directories, here.store).moved_to(BOOTSTRAP)


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
