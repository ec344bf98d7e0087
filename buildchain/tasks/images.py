"""Tasks that bring the container images of the medium together, whatever way each of them comes."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from buildchain import errors, image, manifest, oci, salt, tree
from buildchain.rootfs import exclusions
from buildchain.tasks import action, building, context, fragment

BOOTSTRAP = "bootstrap-images"
"""Fragment and folder of the images that a node imports before the registry runs."""

_REGISTRY = "metalk8s-registry-from-config.invalid"
"""The registry's name on every node (MetalK8s 2.5.1, salt/metalk8s/defaults.yaml)."""

_SCRIPTS = "maintainer-scripts.yaml"
_EXCLUSIONS = "exclusions.yaml"


@dataclasses.dataclass(frozen=True, slots=True)
class _Kind:
    """One way to come to an image.

    `identity` is a JSON-like value of all that `build` depends on but for its `inputs`; `outputs` are what it writes
    beside the tree.
    """

    identity: Callable[[context.Context, manifest.ImageSpec], object]
    build: Callable[[context.Context, manifest.ImageSpec], tree.Tree]
    inputs: Callable[[context.Context, manifest.ImageSpec], Sequence[pathlib.Path]] = lambda _here, _spec: ()
    outputs: Callable[[context.Context, manifest.ImageSpec], Sequence[pathlib.Path]] = lambda _here, _spec: ()


def _kind(here: context.Context, spec: manifest.ImageSpec) -> _Kind:
    if spec.is_pulled:
        return _PULLED
    if spec.name in here.chains:
        return _ASSEMBLED
    # Imported here: only an image with a Dockerfile is worth what that loads.
    from buildchain.tasks import dockerfiles

    return _Kind(dockerfiles.identity, dockerfiles.build, dockerfiles.inputs)


def task_images() -> Iterator[action.Task]:
    """Pull and build the container images."""
    here = context.load()
    yield {"name": None, "doc": "Pull and build the container images.", "task_dep": ["_pull"]}
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
        file_dep=[here.fragment(fragment.of_image(spec)) for spec in chosen],
    )


def task_prove() -> action.Task:
    """Build the images that have a Dockerfile twice, or some of them: prove [NAME...] names the steps that differ."""
    here = context.load()
    recipes = here.dockerfiles
    return {
        "title": action.title("PROVE", ", ".join(sorted(recipes)) or "no image has a Dockerfile"),
        "actions": [action.run(_prove, here)],
        "file_dep": [
            here.fragment(fragment.of_image(spec))
            for spec in here.manifest.images
            if any(spec.name in recipe.bases for recipe in recipes.values())
        ],
        "task_dep": ["_pull"],
        "pos_arg": "names",
        "uptodate": [False],
        "verbosity": 2,
    }


def _prove(here: context.Context, names: Sequence[str]) -> None:
    from buildchain.tasks import dockerfiles

    dockerfiles.prove(here, names)


def fragments(here: context.Context) -> list[str]:
    """Names of the fragments these tasks write."""
    return [fragment.of_image(spec) for spec in here.manifest.images]


def _image_task(here: context.Context, spec: manifest.ImageSpec) -> action.Task:
    kind = _kind(here, spec)
    task = fragment.task(
        here,
        fragment.of_image(spec),
        lambda: kind.build(here, spec),
        identity=[spec.tag, kind.identity(here, spec) if here.is_locked else ""],
        verb="IMAGE",
        subject=here.staged_root / "images" / spec.name / spec.tag,
        file_dep=kind.inputs(here, spec),
        task_dep=["_pull"],
    )
    for path in kind.outputs(here, spec):
        task["targets"] = [*task["targets"], path]
        task["clean"] = [*task["clean"], *action.removal(path), *action.removal_if_empty(path.parent)]
    verb = "Pull" if spec.is_pulled else "Build"
    return {"name": spec.name, "doc": f"{verb} the image {spec.name}:{spec.tag}.", **task}


def _built(here: context.Context, spec: manifest.ImageSpec) -> list[str]:
    """The recipes of own packages whose DEBs an image holds.

    Raises:
        ConfigError: the distribution does not build one of them.
    """
    chain = here.chains[spec.name]
    names = sorted({name for recipe in chain for name in recipe.builds})
    problems = [
        (f"builds.{name}", f"{manifest.FILE_NAME} does not build it") for name in names if name not in here.recipes
    ]
    if problems:
        raise errors.ConfigError(chain[-1].source, problems, "Add it to `builds` of a repository.")
    return names


def _gather(here: context.Context, chosen: Mapping[str, manifest.ImageSpec]) -> tree.Tree:
    directories = {
        name: fragment.load(here.fragment(fragment.of_image(spec))).below(f"images/{spec.name}/{spec.tag}")
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


def _inputs(here: context.Context, spec: manifest.ImageSpec) -> list[pathlib.Path]:
    return [
        *(here.settings.root / "images" / name for name in (_SCRIPTS, _EXCLUSIONS)),
        *(here.fragment(building.deb_fragment(name)) for name in _built(here, spec)),
    ]


def _with_own(here: context.Context, stage: image.Stage) -> image.Stage:
    """A stage with the DEBs that were built for it."""
    found = [
        package
        for name, wanted in stage.recipe.builds.items()
        for package in building.built(here, name, manifest.FAMILIES[manifest.DEB])
        if package.name in wanted
    ]
    return dataclasses.replace(stage, own=tuple(sorted(found)))


def _identity(here: context.Context, spec: manifest.ImageSpec) -> str:
    return image.identity(_stages(here, spec.name), exclusions.load(here.settings.root / "images" / _EXCLUSIONS))


def _assemble(here: context.Context, spec: manifest.ImageSpec) -> tree.Tree:
    stages = [_with_own(here, stage) for stage in _stages(here, spec.name)]
    _check_tag(spec, stages[-1])
    recipes = here.settings.root / "images"
    policy = image.load_policy(recipes / _SCRIPTS)
    built = image.build(stages, here.store, policy, exclusions.load(recipes / _EXCLUSIONS))
    action.write(_origins(here, spec), image.origins_json(built))
    return image.tree(built, spec.name, spec.tag)


def _origins(here: context.Context, spec: manifest.ImageSpec) -> pathlib.Path:
    return here.build_root / "images" / f"{spec.name}.origins.json"


def _check_tag(spec: manifest.ImageSpec, stage: image.Stage) -> None:
    """A tag that says another version than the content has is a lie; moving it is a visible change of the intent."""
    for package in (*stage.packages, *stage.own):
        plain = package.version.rpartition(":")[2]
        upstream = plain.rpartition("-")[0] or plain  # own packages have no revision
        if package.name == spec.follows and upstream.partition("+")[0] != spec.tag:
            why = f"its tag is {spec.tag}, but {package.name} is {package.version}"
            hint = f"Set the tag to {upstream.partition('+')[0]} in {manifest.FILE_NAME}."
            raise errors.BuildchainError(f"image {spec.name}", why, hint)


_ASSEMBLED = _Kind(
    identity=_identity,
    build=_assemble,
    inputs=_inputs,
    outputs=lambda here, spec: [_origins(here, spec)],
)
"""Made of locked packages by `images/NAME/image.yaml`."""

_PULLED = _Kind(
    identity=lambda here, spec: here.locked.image(spec.name),
    build=lambda here, spec: oci.pulled(here.locked.image(spec.name), here.store),
)
"""Taken from a registry as it is."""
