"""Put an image together: packages and recipe lines → root file systems → layers → manifest."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence

from buildchain import compression, digest, errors, lock, oci, store, tar
from buildchain import tree as trees
from buildchain.image import lines, recipe, scripts
from buildchain.rootfs import entries, exclusions, generated, linkage, package, spool

MAKERS = ("compression.py", "debfile.py", "image/*.py", "oci.py", "rootfs/*.py", "tar.py")
"""The code that the bytes of an image come from, below the package `buildchain`."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One layer: its recipe, the locked closure of this recipe and those below, and the DEBs that were built for it."""

    recipe: recipe.Recipe
    packages: tuple[lock.Package, ...]
    own: tuple[lock.Package, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image whose blobs, configuration and manifest are in the store; `entries` is all that a container sees."""

    name: str
    manifest: digest.Descriptor
    config: digest.Descriptor
    version: digest.Descriptor
    layers: tuple[oci.Layer, ...]
    entries: tuple[entries.Entry, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """A stage with the packages that the stages below have not; `newest` is the time of all up to here."""

    recipe: recipe.Recipe
    packages: tuple[package.Package, ...]
    newest: int


def build(
    stages: Sequence[Stage], source: store.Store, policy: scripts.Policy, excluded: Sequence[exclusions.Exclusion]
) -> Image:
    """Build an image into the store.

    Arguments:
        stages: the recipe's chain, the lowest first; the last one names the image and says how it starts.

    Raises:
        ConfigError: a line of a recipe does not fit the packages.
        TreeError: packages do not fit together.
        BuildchainError: a package is damaged, has a script nobody has read, or needs what is not shipped.
    """
    _check_stages(stages)
    try:
        with spool.open_spool(source) as contents:
            parts = list(_read(stages, source, contents, excluded))
            # Scripts of own packages were written here, and are judged where those are.
            own = {each for stage in stages for each in stage.own}
            read = [(each.locked, each.scripts) for part in parts for each in part.packages if each.locked not in own]
            scripts.check(f"image {stages[-1].recipe.name}", read, policy)
            roots = list(_roots(parts, contents))
            _check_linkage(parts, roots[-1], contents)
            layers = tuple(_layers(parts, roots, contents, source))
    except OSError as error:
        hint = "Free some space or mend the disk, then run ./doit.sh again."
        raise errors.BuildchainError(str(source.root), error.strerror or str(error), hint) from error
    config = source.add_bytes(oci.config_bytes(_config([stage.recipe for stage in stages]), layers))
    return Image(
        name=stages[-1].recipe.name,
        manifest=source.add_bytes(oci.manifest_bytes(config, layers)),
        config=config,
        version=source.add_bytes(oci.DIRECTORY_VERSION),
        layers=layers,
        entries=roots[-1].entries,
    )


def tree(image: Image, name: str, tag: str) -> trees.Tree:
    """The image as it stands on the medium: `images/NAME/TAG/…`.

    Raises:
        BuildchainError: a registry could not serve this name or tag.
    """
    blobs = [image.config, *(layer.blob for layer in image.layers)]
    return oci.directory(name, tag, image.manifest, image.version, blobs)


def identity(stages: Sequence[Stage], excluded: Sequence[exclusions.Exclusion]) -> str:
    """A digest of everything an image's bytes depend on: recipes, packages, exclusions, compressor, and this code."""
    value = [
        [
            [dataclasses.asdict(stage.recipe), [each.content.digest.hex for each in (*stage.packages, *stage.own)]]
            for stage in stages
        ],
        [dataclasses.asdict(exclusion) for exclusion in excluded],
        compression.label(),
        _own_code(),
    ]
    text = json.dumps(value, sort_keys=True, default=lambda content: hashlib.sha256(content).hexdigest())
    return str(digest.Digest.of_bytes(text.encode()))


@functools.cache
def _own_code() -> list[str]:
    package_dir = pathlib.Path(__file__).parents[1]
    found = sorted(path for pattern in MAKERS for path in package_dir.glob(pattern))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]


def origins_json(image: Image) -> bytes:
    """Where each file of an image comes from: a locked package or a line of a recipe; one row a line."""
    rows = [json.dumps(_row(entry), ensure_ascii=False, sort_keys=True) for entry in image.entries]
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode()


def _row(entry: entries.Entry) -> dict[str, str | int]:
    attributes = entry.attributes
    row: dict[str, str | int] = {
        "path": f"/{entry.path}",
        "mode": f"{attributes.mode:04o}",
        "owner": f"{attributes.uid}:{attributes.gid}",
        "origin": entry.origin,
    }
    if isinstance(entry, entries.File):
        return {**row, "digest": str(entry.content.descriptor.digest), "size": entry.content.descriptor.size}
    return {**row, "target": entry.target} if isinstance(entry, entries.Link) else row


def _check_stages(stages: Sequence[Stage]) -> None:
    known: dict[str, lock.Package] = {}
    problems = []
    for stage in stages:
        architectures = {stage.recipe.config.architecture, "all"}
        closure = {package.name for package in stage.packages}
        problems += [f"{name} is not locked" for name in stage.recipe.packages if name not in closure]
        built = {package.name for package in stage.own}
        problems += [
            f"{name} is not built by {made}"
            for made, names in stage.recipe.builds.items()
            for name in names
            if name not in built
        ]
        for each in (*stage.packages, *stage.own):
            if known.setdefault(each.name, each) != each:
                problems.append(f"{each.key} is {known[each.name].key} in the layer below")
            if each.name in stage.recipe.without:
                problems.append(f"{each.key} is locked, but the recipe drops it")
            if each.architecture not in architectures:
                problems.append(f"{each.key} is not for {stage.recipe.config.architecture}")
    if problems:
        why = "\n".join([f"the lock does not fit {stages[-1].recipe.source}", *(f"  {line}" for line in problems)])
        raise errors.BuildchainError(lock.FILE_NAME, why, lock.HINT)


def _read(
    stages: Sequence[Stage], source: store.Store, contents: spool.Spool, excluded: Sequence[exclusions.Exclusion]
) -> Iterator[_Part]:
    names: set[str] = set()
    newest = 0
    for stage in stages:
        rules = (*excluded, *stage.recipe.exclude)
        added = sorted(each for each in (*stage.packages, *stage.own) if each.name not in names)
        read = tuple(package.read(each, source, contents, rules) for each in added)
        newest = max([newest, *(each.built for each in read)])
        names |= {each.name for each in added}
        yield _Part(stage.recipe, read, newest)


def _roots(parts: Iterable[_Part], contents: spool.Spool) -> Iterator[entries.Rootfs]:
    """The whole root file system after each stage."""
    root = entries.Rootfs()
    for part in parts:
        written = [*generated.certificates(part.packages, contents), *generated.status(part.packages, contents)]
        written += generated.accounts(part.packages, contents)
        packed = [each.entries for each in part.packages]
        root = entries.merge(f"image {part.recipe.name}", root, [*packed, written])
        root = lines.apply(root, part.recipe, contents, part.newest)
        yield root


def _check_linkage(parts: Sequence[_Part], root: entries.Rootfs, contents: spool.Spool) -> None:
    recipes = [part.recipe for part in parts]
    config = _config(recipes)
    faults = linkage.missing(root, contents, config.architecture, config.environment.get("LD_LIBRARY_PATH", ""))
    tolerated = [each for wanted in recipes for each in wanted.may_lack]
    used = {each for each in tolerated for fault in faults if _tolerates(each, fault)}
    left = [fault for fault in faults if not any(_tolerates(each, fault) for each in used)]
    shipped = {each.locked.name for part in parts for each in part.packages}
    dropped = {name for wanted in recipes for name in wanted.without} - shipped
    dependencies = {each.origin: each.dependencies() for part in parts for each in part.packages}
    problems = linkage.describe(left, dependencies, dropped)
    problems += [f"may-lack {each.file}: nothing lacks {each.needs}" for each in tolerated if each not in used]
    if problems:
        why = "\n".join(["not all that it ships can start", *(f"  {problem}" for problem in problems)])
        hint = f"Ship what is missing, exclude what needs it, or name it under `may-lack` in {recipes[-1].source}."
        raise errors.BuildchainError(f"image {recipes[-1].name}", why, hint)


def _tolerates(each: recipe.Tolerated, fault: linkage.Missing) -> bool:
    return each.needs == fault.needs and exclusions.Exclusion(each.file, each.reason).matches(fault.path)


def _layers(
    parts: Iterable[_Part], roots: Iterable[entries.Rootfs], contents: spool.Spool, source: store.Store
) -> Iterator[oci.Layer]:
    below = entries.Rootfs()
    for part, root in zip(parts, roots, strict=True):
        with source.writer() as writer, compression.GzipWriter(writer.stream) as packed:
            tar.write(entries.members(entries.changes(below, root), contents), packed.write)
            diff_id, blob = packed.finish()
            if not source.has(blob):
                writer.commit(blob)
        names = " ".join(each.origin for each in part.packages)
        yield oci.Layer(blob, diff_id, part.newest, f"{part.recipe.source}: {names}", compression.label())
        below = root


def _config(recipes: Sequence[recipe.Recipe]) -> oci.Config:
    """How the image starts: as its own recipe says, with the environment of those below."""
    environment = {"PATH": DEFAULT_PATH}
    for each in recipes:
        environment |= each.config.environment
    return dataclasses.replace(recipes[-1].config, environment=environment)
