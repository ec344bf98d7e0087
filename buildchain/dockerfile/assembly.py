"""Build an image from its Dockerfile: engine → saved image → layers of our own → manifest."""

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import json
import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence

from buildchain import compression, digest, engine, errors, oci, store, tar
from buildchain import tree as trees
from buildchain.dockerfile import context, layers, recipe, saved, syntax
from buildchain.engine import loopback
from buildchain.rootfs import spool

EARLIEST = 315_532_800
"""1980-01-01: the time of an image that stands on nothing. Zip archives know no earlier one."""

_LAST_LINES = 20
_TITLE = "org.opencontainers.image.title"
_RUNTIME = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck",
    "Shell",
)  # fmt: skip
"""What of an engine's configuration says how a container starts; the rest is about the build."""
_LABELS_OF_ENGINES = {"io.buildah.version"}

MAKERS = ("compression.py", "dockerfile/*.py", "engine/*.py", "oci.py", "rootfs/spool.py", "tar.py")
"""The code that the bytes of an image come from, below the package `buildchain`."""

Connect = Callable[[], contextlib.AbstractContextManager[engine.Engine]]


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """A layer of ours, the instruction that made it, and what it holds by path."""

    blob: digest.Descriptor
    diff_id: digest.Digest
    instruction: syntax.Instruction
    content: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An image whose blobs, configuration and manifest are in the store; `layers` are those above the base."""

    name: str
    source: str
    manifest: digest.Descriptor
    config: digest.Descriptor
    version: digest.Descriptor
    base_layers: tuple[digest.Descriptor, ...]
    layers: tuple[Layer, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """An instruction in an image's history, and the layer it made, if any."""

    instruction: syntax.Instruction
    layer: Layer | None


def identity(wanted: recipe.Recipe, bases: Mapping[str, str]) -> str:
    """A digest of everything an image's bytes depend on: recipe, context, sources, bases, compressor, and this code.

    Arguments:
        bases: by name, what stands for each image it stands on: a manifest's digest, or that image's own identity.
    """
    value = [
        dataclasses.asdict(wanted),
        [(name, bases[name]) for name in wanted.bases],
        compression.label(),
        _own_code(),
    ]
    text = json.dumps(value, sort_keys=True, default=lambda content: hashlib.sha256(content).hexdigest())
    return str(digest.Digest.of_bytes(text.encode()))


@functools.cache
def _own_code() -> list[str]:
    package = pathlib.Path(__file__).parents[1]
    found = sorted(path for pattern in MAKERS for path in package.glob(pattern))
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in found]


def build(
    wanted: recipe.Recipe,
    bases: Mapping[str, saved.Base],
    source: store.Store,
    connect: Connect = engine.session,
    *,
    show: typing.TextIO | None = None,
) -> Image:
    """Build an image into the store.

    Arguments:
        bases: the distribution's images by name; those that the recipe stands on are in the store, with all blobs.
        show:  where the engine's words go as they come.

    Raises:
        ConfigError: the Dockerfile names an image that is not of the distribution.
        BuildchainError: no engine answers, a step fails, or the result holds what no image may hold.
    """
    recipe.check_bases(wanted, {name: base.tag for name, base in bases.items()})
    opened = {name: saved.open_base(name, bases[name], source) for name in wanted.bases}
    _check_sources(wanted, source)
    epoch = max((_seconds(base.config.get("created", "")) for base in opened.values()), default=EARLIEST)
    with source.writer() as writer, spool.open_spool(source) as contents:
        _run(wanted, opened, source, connect, epoch, writer.stream, show)
        try:
            archive = saved.Archive(writer.stream)
            return _assemble(wanted, opened, source, archive, layers.State(epoch, contents), epoch)
        except layers.LayerError as error:
            why = f"what the engine built cannot ship: {error}"
            raise errors.BuildchainError(wanted.source, why, "Change the step that makes it.") from error


def tree(image: Image, name: str, tag: str) -> trees.Tree:
    """The image as it stands on the medium: `images/NAME/TAG/…`.

    Raises:
        BuildchainError: a registry could not serve this name or tag.
    """
    blobs = [image.config, *image.base_layers, *(layer.blob for layer in image.layers)]
    return oci.directory(name, tag, image.manifest, image.version, blobs)


def compare(first: Image, second: Image) -> list[str]:
    """Why two builds of one recipe differ: the instruction of each layer that differs, and the paths in it."""
    if first.manifest == second.manifest:
        return []
    found = []
    for one, other in zip(first.layers, second.layers, strict=False):
        paths = [
            f"/{path}"
            for path in sorted(one.content.keys() | other.content.keys())
            if one.content.get(path) != other.content.get(path)
        ]
        if paths:
            named = ", ".join(paths[:_LAST_LINES]) + (
                f" and {len(paths) - _LAST_LINES} more" * (len(paths) > _LAST_LINES)
            )
            found.append(f"{first.source}:{one.instruction.line}: {one.instruction}: {named}")
    if len(first.layers) != len(second.layers):
        found.append(f"{first.source}: {len(first.layers)} layers in one build, {len(second.layers)} in the other")
    return found or [f"{first.source}: the configurations differ"]


def prove(
    wanted: recipe.Recipe, bases: Mapping[str, saved.Base], source: store.Store, connect: Connect = engine.session
) -> Image:
    """Build twice, and refuse a recipe whose builds differ.

    Raises:
        BuildchainError: as `build`, or with what differs and in which layer.
    """
    first, second = (build(wanted, bases, source, connect) for _ in range(2))
    if differences := compare(first, second):
        why = "\n".join(["two builds of the same inputs differ", *(f"  {each}" for each in differences)])
        hint = (
            f"Leave out what depends on time, chance or network; ARG {recipe.EPOCH_ARGUMENT} gives a step "
            "the image's own time."
        )
        raise errors.BuildchainError(wanted.source, why, hint)
    return first


def _check_sources(wanted: recipe.Recipe, source: store.Store) -> None:
    missing = [each for each in wanted.sources if not source.has(each.content)]
    if missing:
        why = "\n".join(["not all sources are in the store", *(f"  {each.url}" for each in missing)])
        raise errors.BuildchainError(wanted.source, why, "Run ./doit.sh again, without OFFLINE.")
    for each in wanted.sources:
        source.verify(each.content)


def _run(
    wanted: recipe.Recipe,
    opened: Mapping[str, saved.Opened],
    source: store.Store,
    connect: Connect,
    epoch: int,
    sink: typing.BinaryIO,
    show: typing.TextIO | None,
) -> None:
    """Have the engine build the image, and save it into `sink`."""
    served = {name: base.shipped() for name, base in opened.items()}
    with connect() as running, loopback.serve(served, source) as registry, source.writer() as sent:
        references = {name: registry.reference(name, base.manifest) for name, base in opened.items()}
        text = wanted.dockerfile.rendered(references)
        context.write(wanted, text, source, epoch, sent.stream)
        for name, reference in references.items():
            _pull(running, reference, opened[name], source)
        try:
            arguments = {**_epoch_argument(wanted, epoch), **wanted.arguments}
            built = running.build(sent.stream, arguments, has_network=wanted.has_network, show=show)
        except engine.StepError as error:
            raise _explained(wanted, references, error) from error
        running.save(built, sink)


def _pull(running: engine.Engine, reference: str, base: saved.Opened, source: store.Store) -> None:
    """Have the engine pull a base; if it refuses what the store holds, find out whether the store is to blame."""
    try:
        running.pull(reference)
    except errors.BuildchainError:
        for blob in (base.manifest, base.config_blob, *base.layers):
            source.verify(blob)
        raise


def _epoch_argument(wanted: recipe.Recipe, epoch: int) -> dict[str, str]:
    names = {each.rest.partition("=")[0] for each in wanted.dockerfile.instructions() if each.keyword == "ARG"}
    return {recipe.EPOCH_ARGUMENT: str(epoch)} if recipe.EPOCH_ARGUMENT in names else {}


def _explained(wanted: recipe.Recipe, references: Mapping[str, str], error: engine.StepError) -> errors.BuildchainError:
    """The error of a step, with its line and what it wrote."""
    step = " ".join(error.step.split())
    lines = [
        each.line
        for each in wanted.dockerfile.instructions()
        if step in (" ".join(str(each).split()), " ".join(wanted.dockerfile.rendered_line(each, references).split()))
    ]
    place = f"{wanted.source}:{lines[0]}" if lines else wanted.source
    output = [f"  {line}" for line in error.output.splitlines() if line.strip()]
    why = "\n".join([f"{error.step or 'the build'} failed: {error.why}", *output[-_LAST_LINES:]])
    return errors.BuildchainError(place, why, "The lines above are the step's own words.")


def _assemble(
    wanted: recipe.Recipe,
    opened: Mapping[str, saved.Opened],
    source: store.Store,
    archive: saved.Archive,
    state: layers.State,
    epoch: int,
) -> Image:
    reference, instructions = wanted.dockerfile.history()
    base = opened[reference.name] if reference else None
    below = base.diff_ids if base else []
    if archive.diff_ids[: len(below)] != below:
        raise layers.LayerError("its lowest layers are not those of its base")
    for blob, diff_id in zip(base.layers if base else (), below, strict=True):
        with saved.open_layer(blob, source) as stream:
            _apply(state, stream, diff_id, is_kept=True)
    history = archive.config.get("history") or []
    history = history[len((base.config.get("history") if base else None) or ()) :]
    steps = list(_steps(instructions, history, archive, len(below), state, source))
    made = tuple(step.layer for step in steps if step.layer)
    config = source.add_bytes(_json(_config(wanted, archive.config, base, steps, epoch)))
    base_layers = base.layers if base else ()
    blobs = [*base_layers, *(layer.blob for layer in made)]
    return Image(
        name=wanted.name,
        source=wanted.source,
        manifest=source.add_bytes(_manifest(config, blobs)),
        config=config,
        version=source.add_bytes(oci.DIRECTORY_VERSION),
        base_layers=base_layers,
        layers=made,
    )


def _steps(
    instructions: Sequence[syntax.Instruction],
    history: Sequence[Mapping[str, typing.Any]],
    archive: saved.Archive,
    number: int,
    state: layers.State,
    source: store.Store,
) -> Iterator[_Step]:
    """The instructions and what each really changed; what WORKDIR makes is part of the next step that changes files."""
    if len(history) != len(instructions):
        raise layers.LayerError("its history is not that of the Dockerfile")
    before = dict(state.nodes)
    for index, (instruction, row) in enumerate(zip(instructions, history, strict=True)):
        if not row.get("empty_layer"):
            with archive.layer(number) as stream:
                _apply(state, stream, archive.diff_ids[number], is_kept=False)
            number += 1
        is_last = index == len(instructions) - 1
        if is_last and (directory := str(archive.config.get("config", {}).get("WorkingDir") or "/").strip("/")):
            state.add_directory(directory)
        if instruction.keyword in syntax.LAYERED or is_last:
            state.settle(before)
            members = list(state.members(before))
            yield _Step(instruction, _layer(instruction, members, source) if members else None)
            before = dict(state.nodes)
        else:
            yield _Step(instruction, None)
    if number != len(archive.diff_ids):
        raise layers.LayerError("it has more layers than its history")


def _apply(state: layers.State, stream: saved.Checked, diff_id: str, *, is_kept: bool) -> None:
    state.apply(typing.cast(typing.BinaryIO, stream), is_kept=is_kept)
    if stream.finish() != diff_id:
        raise layers.LayerError(f"a layer is not {diff_id}")


def _layer(instruction: syntax.Instruction, members: Sequence[layers.Member], source: store.Store) -> Layer:
    with source.writer() as writer, compression.GzipWriter(writer.stream) as packed:
        tar.write(((member.header, member.blocks()) for member in members), packed.write)
        diff_id, blob = packed.finish()
        if not source.has(blob):
            writer.commit(blob)
    return Layer(blob, diff_id, instruction, {member.path: member.text() for member in members})


def _config(
    wanted: recipe.Recipe,
    built: Mapping[str, typing.Any],
    base: saved.Opened | None,
    steps: Sequence[_Step],
    epoch: int,
) -> dict[str, typing.Any]:
    """The image configuration: nothing of the engine, the host or the clock is left in it."""
    below = base.config if base else {}
    created = _time(epoch)
    rows: list[dict[str, typing.Any]] = list(below.get("history") or ())
    for step in steps:
        row: dict[str, typing.Any] = {"created": created, "created_by": f"{wanted.source}: {step.instruction}"}
        rows.append({**row, "comment": compression.label()} if step.layer else {**row, "empty_layer": True})
    made = [str(step.layer.diff_id) for step in steps if step.layer]
    return {
        "created": created,
        "architecture": built["architecture"],
        "os": "linux",
        "config": _runtime(wanted.name, built.get("config") or {}, below.get("config") or {}),
        "rootfs": {"type": "layers", "diff_ids": [*(base.diff_ids if base else ()), *made]},
        "history": rows,
    }


def _runtime(name: str, built: Mapping[str, typing.Any], below: Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    found = {key: built[key] for key in _RUNTIME if built.get(key)}
    if found.get("WorkingDir") == "/":
        del found["WorkingDir"]  # the same as none, and engines disagree about which to write
    labels = {key: value for key, value in (found.get("Labels") or {}).items() if key not in _LABELS_OF_ENGINES}
    if labels.get(_TITLE) == (below.get("Labels") or {}).get(_TITLE):
        labels[_TITLE] = name
    return {**found, "Labels": labels}


def _manifest(config: digest.Descriptor, blobs: Sequence[digest.Descriptor]) -> bytes:
    def row(media_type: str, content: digest.Descriptor) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(content.digest), "size": content.size}

    return _json(
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST_TYPE,
            "config": row(oci.CONFIG_TYPE, config),
            "layers": [row(oci.LAYER_TYPE, blob) for blob in blobs],
        }
    )


def _seconds(text: str) -> int:
    """A time of RFC 3339; what is none counts as none."""
    try:
        return max(EARLIEST, int(datetime.datetime.fromisoformat(text).timestamp()))
    except (ValueError, OverflowError):
        return EARLIEST


def _time(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
