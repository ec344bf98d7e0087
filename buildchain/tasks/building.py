"""Tasks that build the packages of this repository, and the rooms they are built in.

    _builder:builder                         the root of a room, of locked packages
    _build_deb_packages:NAME/{mkdir,get_source,deb}
    _build_rpm_packages:NAME/{mkdir,get_source,srpm,rpm}

What each leaves stands in `_build/packages/FAMILY/NAME/`, as links to the store.
"""

import contextlib
import functools
import hashlib
import pathlib
import sys
import urllib.parse
from collections.abc import Callable, Iterator

from buildchain import builder, deb, digest, executor, fetch, lock, manifest, mirrors, rpm, signing, tree
from buildchain.tasks import action, context, fragment, wheels

_ROOT = "root.tar"
_LINT = "packages/rpmlint.toml"

_Make = Callable[[], tree.Tree]


def task__builder() -> Iterator[action.Task]:
    """Make the rooms that packages are built in."""
    here = context.load()
    yield {"name": None, "doc": "Make the rooms that packages are built in."}
    requests = {request.name: request for request in here.rooms.values()}
    if requests:
        yield _check_task(here)
    for request in requests.values():
        yield _room_task(here, request)


def task__build_deb_packages() -> Iterator[action.Task]:
    """Build the DEBs of this repository."""
    here = context.load()
    yield {"name": None, "doc": "Build the DEBs of this repository."}
    for name, family in here.rooms:
        if family == builder.recipe.DEBIAN:
            yield from _start_tasks(here, name, family)
            yield _step_task(here, name, family, "deb", functools.partial(_deb, here, name))


def task__build_rpm_packages() -> Iterator[action.Task]:
    """Build the SRPMs and RPMs of this repository."""
    here = context.load()
    yield {"name": None, "doc": "Build the SRPMs and RPMs of this repository."}
    for name, family in here.rooms:
        if family == builder.recipe.REDHAT:
            yield from _start_tasks(here, name, family)
            yield _step_task(here, name, family, "srpm", functools.partial(_srpm, here, name))
            yield _step_task(here, name, family, "rpm", functools.partial(_rpm, here, name), after="srpm")


def deb_fragment(name: str) -> str:
    """The fragment that holds the DEBs of a recipe, by file name."""
    return _fragment(name, builder.recipe.DEBIAN, "deb")


def rpm_fragment(name: str) -> str:
    """The fragment that holds the RPMs of a recipe, by file name; they are not signed."""
    return _fragment(name, builder.recipe.REDHAT, "rpm")


def built(here: context.Context, name: str, family: str) -> list[lock.Package]:
    """The packages of a recipe that were built, as an index wants them, but for the signatures of RPMs."""
    is_deb = family == builder.recipe.DEBIAN
    made = fragment.load(here.fragment(deb_fragment(name) if is_deb else rpm_fragment(name)))
    if is_deb:
        return [deb.own(file.path, file.content, here.store) for file in made.files()]
    return [rpm.package_of(file.content, here.store) for file in made.files()]


def built_rpms(here: context.Context, name: str, signer: signing.Signer) -> list[lock.Package]:
    """The RPMs of a recipe that were built, signed in their headers."""
    packages = built(here, name, builder.recipe.REDHAT)
    return rpm.sign_all(packages, here.store, signer=signer, epoch=epoch(here, name, builder.recipe.REDHAT))


def epoch(here: context.Context, name: str, family: str) -> int:
    """SOURCE_DATE_EPOCH of a package: the newest index that its room came from. No commit moves it, a new lock does."""
    return here.locked.date_of(here.locked.set(here.rooms[name, family].name).packages)


def _fragment(name: str, family: str, step: str) -> str:
    return f"package-{name}-{family}-{step}"


def _task_name(name: str, family: str, step: str) -> str:
    kind = "deb" if family == builder.recipe.DEBIAN else "rpm"
    return f"_build_{kind}_packages:{name}/{step}"


def _folder(here: context.Context, name: str, family: str) -> pathlib.Path:
    return here.build_root / "packages" / family / name


def _check_task(here: context.Context) -> action.Task:
    """Say before anything is pulled that no package can be built here."""
    parts = [deb_fragment(name) for name, family in here.rooms if family == builder.recipe.DEBIAN]
    return {
        "name": "check",
        "doc": "Find out whether packages can be built on this machine.",
        "title": action.title("CHECK", f"BUILDER={here.settings.builder}"),
        "actions": [action.run(_choose, here)],
        "uptodate": [lambda: all(fragment.is_held(here, here.fragment(part)) for part in parts)],
    }


def _choose(here: context.Context) -> None:
    _ = here.room


def _room_fragment(request: lock.Request) -> str:
    return request.name.replace(" ", "-")


def _room_task(here: context.Context, request: lock.Request) -> action.Task:
    name = _room_fragment(request)
    held = here.locked.set(request.name).packages if here.is_locked else ()
    task = fragment.task(
        here,
        name,
        lambda: _make_room(here, request),
        identity=[[each.content.digest.hex for each in held], repr(here.tools)],
        verb="BUILDER",
        subject=name,
        task_dep=["_pull"],
    )
    return {"name": name.removeprefix("builder-"), "doc": f"Make the room {request.name}.", **task}


def _make_room(here: context.Context, request: lock.Request) -> tree.Tree:
    layer = builder.room.layer(here.locked.set(request.name).packages, here.tools, here.store)
    return tree.build([tree.File(_ROOT, layer)])


def _start_tasks(here: context.Context, name: str, family: str) -> Iterator[action.Task]:
    folder = _folder(here, name, family)
    packages = folder.parent.parent
    yield {
        "name": f"{name}/mkdir",
        "doc": f"Make the folder of {name}.",
        "title": action.title("MKDIR", folder),
        "actions": [action.run(_make_directory, folder)],
        "targets": [folder],
        "task_dep": ["_build_root"],
        "uptodate": [folder.is_dir],
        "clean": [*action.removal(folder), *map(_only, (folder.parent, packages / "logs", packages))],
    }
    recipe = here.recipes[name]
    task = fragment.task(
        here,
        _fragment(name, family, "source"),
        lambda: _get_source(here, recipe),
        identity=[repr(recipe), here.key_identity if recipe.made else "", _made_identity(here, recipe)],
        verb="GET_SRC",
        subject=name,
        file_dep=[here.fragment(wheels.fragment_name(name))] if recipe.requirements else [],
        task_dep=[_task_name(name, family, "mkdir")],
    )
    yield {"name": f"{name}/get_source", "doc": f"Get the sources of {name}.", **task}


def _only(folder: pathlib.Path) -> Callable[[bool], None]:
    (remove,) = action.removal_if_empty(folder)
    return remove


def _make_directory(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _step_task(
    here: context.Context, name: str, family: str, step: str, make: _Make, after: str = "get_source"
) -> action.Task:
    request = here.rooms[name, family]
    source = _fragment(name, family, "source" if after == "get_source" else after)
    folder = _folder(here, name, family)
    part = here.fragment(_fragment(name, family, step))
    lint = [here.settings.root / _LINT] if family == builder.recipe.REDHAT else []
    task = fragment.task(
        here,
        part.stem,
        lambda: _linked(here, make(), folder),
        identity=[repr(here.recipes[name]), epoch(here, name, family) if here.is_locked else 0],
        verb=f"BUILD {step.upper()}",
        subject=name,
        file_dep=[here.fragment(source), here.fragment(_room_fragment(request)), *lint],
        task_dep=[_task_name(name, family, "mkdir")],
    )
    task["uptodate"].append(lambda: _is_linked(part, folder))
    return {"name": f"{name}/{step}", "doc": f"Build the {step.upper()} of {name}.", **task, "verbosity": 2}


def _get_source(here: context.Context, recipe: builder.recipe.Recipe) -> tree.Tree:
    """All sources of a recipe, in the store: what is pulled is verified on its way in."""
    own = {name: here.store.add_bytes(content) for name, content in recipe.files.items()}
    own |= {name: here.store.add_bytes(_made(here, name)) for name in recipe.made}
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    requests = [_request(here, found, each) for each in recipe.pulled]
    if requests:
        with contextlib.closing(fetch.progress_on(sys.__stderr__ or sys.stderr)) as progress:
            fetch.pull(requests, here.store, here.fetch_options, progress)
    builder.authorship.check(recipe, here.store)
    own |= {each.name: each.content for each in recipe.pulled}
    own |= wheels.sources(here, recipe)
    return tree.build(tree.File(name, content) for name, content in own.items())


def _request(here: context.Context, found: mirrors.Mirrors, wanted: builder.recipe.Pulled) -> fetch.Request:
    if here.store.has(wanted.content) or here.settings.is_offline:
        return fetch.Request(wanted.name, wanted.content, ())
    if not wanted.archive:
        return fetch.Request(wanted.name, wanted.content, (wanted.path,))
    base = found.url(here.manifest.archives[wanted.archive])
    return fetch.Request(wanted.name, wanted.content, (f"{base}/{urllib.parse.quote(wanted.path)}",))


def _made(here: context.Context, name: str) -> bytes:
    if name == "signing-key.asc":
        with signing.open_signer(here.signing_source) as signer:
            return signer.public_key()
    return _texts(here)[name].encode()


def _texts(here: context.Context) -> dict[str, str]:
    """How a host uses the repositories of this medium."""
    release = str(here.version)
    names = {
        kind: sorted(each.full_name for each in here.manifest.repositories if each.type == kind)
        for kind in manifest.FAMILIES
    }
    return {
        "apt.sources": builder.configuration.apt_sources(release, names[manifest.DEB]),
        "apt.preferences": builder.configuration.apt_preferences(release),
        "yum.repo": builder.configuration.yum_repo(release, names[manifest.RPM]),
    }


def _made_identity(here: context.Context, recipe: builder.recipe.Recipe) -> str:
    texts = repr(_texts(here)) if recipe.made else ""
    return hashlib.sha256(texts.encode()).hexdigest()


def _deb(here: context.Context, name: str) -> tree.Tree:
    family = builder.recipe.DEBIAN
    sources = fragment.load(here.fragment(_fragment(name, family, "source")))
    step = builder.steps.deb(
        here.recipes[name], _root(here, name, family), sources, here.store, epoch=epoch(here, name, family)
    )
    return _run(here, step)


def _srpm(here: context.Context, name: str) -> tree.Tree:
    sources = fragment.load(here.fragment(_fragment(name, builder.recipe.REDHAT, "source")))
    return _run(here, _rpm_step(here, name, sources, builder.steps.srpm))


def _rpm(here: context.Context, name: str) -> tree.Tree:
    packed = fragment.load(here.fragment(_fragment(name, builder.recipe.REDHAT, "srpm")))
    return _run(here, _rpm_step(here, name, packed, builder.steps.rpm))


def _rpm_step(
    here: context.Context, name: str, inputs: tree.Tree, make: Callable[..., executor.Action]
) -> executor.Action:
    family = builder.recipe.REDHAT
    return make(
        here.recipes[name],
        _root(here, name, family),
        inputs,
        here.store,
        epoch=epoch(here, name, family),
        held=here.locked.set(here.rooms[name, family].name).packages,
        lint=(here.settings.root / _LINT).read_bytes(),
    )


def _root(here: context.Context, name: str, family: str) -> digest.Descriptor:
    (layer,) = fragment.load(here.fragment(_room_fragment(here.rooms[name, family]))).files()
    return layer.content


def _run(here: context.Context, step: executor.Action) -> tree.Tree:
    result = here.room.run(step)
    for line in builder.steps.findings(result, here.store):
        sys.stdout.write(f"   {line}\n")
    return builder.steps.packages(result)


def _linked(here: context.Context, made: tree.Tree, folder: pathlib.Path) -> tree.Tree:
    """Show the packages where the user looks for them; the store has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in made.files():
        path = folder / file.path
        path.unlink(missing_ok=True)
        here.store.link(file, path)
    return made


def _is_linked(part: pathlib.Path, folder: pathlib.Path) -> bool:
    try:
        return all((folder / file.path).is_file() for file in fragment.load(part).files())
    except (OSError, ValueError):
        return False
