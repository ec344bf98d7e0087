"""Where images come from: one row for each key that an image of `solution.yaml` may have."""

import dataclasses
import functools
import graphlib
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping

from buildchain import atomic, dockerfile, image, manifest, oci, tree
from buildchain.image import scripts
from buildchain.rootfs import exclusions
from buildchain.solution import archive, inputs, project, shipped

_EXCLUSIONS = "exclusions.yaml"

MAKERS = ("compression.py", "oci.py", "registry_client/_resolve.py", "solution/archive.py")
"""The code that the bytes of what is not built here come from, below the package `buildchain`."""

Bases = Mapping[str, dockerfile.Base]
"""The images of this Solution that an image stands on, by name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One way to get an image: `identify` says what its bytes depend on, `build` brings them into the store."""

    identify: Callable[[inputs.Inputs, project.ImageSpec, Bases], str]
    build: Callable[[inputs.Inputs, project.ImageSpec, Bases], tree.Tree]


def build_all(given: inputs.Inputs, report: Callable[[project.ImageSpec], None]) -> tree.Tree:
    """Make all images; those that others stand on come first.

    Arguments:
        report: told what is made next.

    Raises:
        BuildchainError: one cannot be made of what the intent names.
    """
    specs = {each.name: each for each in given.here.project.images}
    below = {name: given.bases(name) for name in specs}
    made: dict[str, tree.Tree] = {}
    for name in graphlib.TopologicalSorter(below).static_order():
        report(specs[name])
        bases = {base: _base(given, specs[base], made[base]) for base in below[name]}
        made[name] = _build(given, specs[name], bases)
    return tree.merge(*(made[name] for name in specs))


def _base(given: inputs.Inputs, spec: project.ImageSpec, made: tree.Tree) -> dockerfile.Base:
    """An image as an engine gets it: of one that was pulled with its index, the image for the default platform."""
    for row in given.locked.image(spec.name).manifests if spec.kind == "pull" else ():
        if row.platform == manifest.DEFAULT_PLATFORM:
            return dockerfile.Base(spec.tag, row.content)
    path = f"images/{spec.name}/{spec.tag}/manifest.json"
    return dockerfile.Base(spec.tag, next(file.content for file in made.files() if file.path == path))


def _build(given: inputs.Inputs, spec: project.ImageSpec, bases: Bases) -> tree.Tree:
    """Make an image, or take it from the last build if nothing it is made of has changed."""
    kind = KINDS[spec.kind]
    text = json.dumps([str(spec), spec.kind, kind.identify(given, spec, bases)])
    identity = hashlib.sha256(text.encode()).hexdigest()
    record = given.here.settings.build_root / "images" / f"{spec.name.replace('/', '+')}.json"
    made = _recall(given, record, identity)
    if made is None:
        made = kind.build(given, spec, bases)
        atomic.write(record, identity.encode() + b"\n" + tree.dump(made))
    return made


def _recall(given: inputs.Inputs, record: pathlib.Path, identity: str) -> tree.Tree | None:
    """What the last build made, if it was made of the same and is still in the store."""
    try:
        head, _, rows = record.read_bytes().partition(b"\n")
        made = tree.load(rows)
    except (OSError, ValueError):
        return None
    is_held = all(given.here.store.has(file.content) for file in made.files())
    return made if is_held and head == identity.encode() else None


def _stages(given: inputs.Inputs, spec: project.ImageSpec) -> list[image.Stage]:
    chain = given.chains[spec.name]
    archives = tuple(sorted(given.here.project.archives))
    names = [image.request(chain[: index + 1], archives).name for index in range(len(chain))]
    sets = [given.locked.set(name).packages for name in names]
    return [image.Stage(recipe, packages) for recipe, packages in zip(chain, sets, strict=True)]


def _excluded(given: inputs.Inputs) -> tuple[exclusions.Exclusion, ...]:
    """The project's own list, or the one that comes with the buildchain."""
    own = given.recipes / _EXCLUSIONS
    return exclusions.load(own if own.is_file() else shipped.recipes() / _EXCLUSIONS)


def _policy(given: inputs.Inputs) -> scripts.Policy:
    """The scripts that somebody has read, here or in the project."""
    read = dict(scripts.load_policy(shipped.recipes() / scripts.FILE_NAME).read)
    own = given.recipes / scripts.FILE_NAME
    if own.is_file():
        for key, digests in scripts.load_policy(own).read.items():
            read[key] = read.get(key, frozenset()) | digests
    return scripts.Policy(read)


def _identify_recipe(given: inputs.Inputs, spec: project.ImageSpec, _: Bases) -> str:
    return image.identity(_stages(given, spec), _excluded(given))


def _build_recipe(given: inputs.Inputs, spec: project.ImageSpec, _: Bases) -> tree.Tree:
    built = image.build(_stages(given, spec), given.here.store, _policy(given), _excluded(given))
    return image.tree(built, spec.name, spec.tag)


def _identify_dockerfile(given: inputs.Inputs, spec: project.ImageSpec, bases: Bases) -> str:
    manifests = {name: str(base.manifest.digest) for name, base in bases.items()}
    return dockerfile.identity(given.here.dockerfiles[spec.name], manifests)


def _build_dockerfile(given: inputs.Inputs, spec: project.ImageSpec, bases: Bases) -> tree.Tree:
    built = dockerfile.build(given.here.dockerfiles[spec.name], bases, given.here.store)
    return dockerfile.tree(built, spec.name, spec.tag)


@functools.cache
def _own_code() -> str:
    package = pathlib.Path(__file__).parents[1]
    found = sorted(path for pattern in MAKERS for path in package.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()


def _identify_archive(given: inputs.Inputs, spec: project.ImageSpec, _: Bases) -> str:
    with (given.here.project.root / spec.origin).open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return " ".join([content, spec.reference, spec.digest, _own_code()])


def _build_archive(given: inputs.Inputs, spec: project.ImageSpec, _: Bases) -> tree.Tree:
    return archive.take(given.here.project.root / spec.origin, spec, given.here.store)


def _identify_pulled(given: inputs.Inputs, spec: project.ImageSpec, _: Bases) -> str:
    return " ".join([*(str(content.digest) for content in given.locked.image(spec.name).contents()), _own_code()])


def _build_pulled(given: inputs.Inputs, spec: project.ImageSpec, _: Bases) -> tree.Tree:
    return oci.pulled(given.locked.image(spec.name), given.here.store)


KINDS: Mapping[str, Kind] = {
    "recipe": Kind(_identify_recipe, _build_recipe),
    "dockerfile": Kind(_identify_dockerfile, _build_dockerfile),
    "archive": Kind(_identify_archive, _build_archive),
    "pull": Kind(_identify_pulled, _build_pulled),
}
