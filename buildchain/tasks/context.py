"""What every task creator needs to know: settings, intent, lock, and where things stand. Loaded once."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import typing
from collections.abc import Collection, Mapping

from buildchain import (
    builder,
    document,
    errors,
    executor,
    fetch,
    image,
    lock,
    manifest,
    registry_client,
    settings,
    signing,
    source,
    store,
    version,
    wheels,
)
from buildchain.tasks import action

if typing.TYPE_CHECKING:
    from buildchain import dockerfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

DOCKERFILE = "Dockerfile"
"""In the folder of an image, this file says that an engine builds it; as `buildchain.dockerfile` has it."""

DOCUMENTS = ROOT / ".doit.db-documents"
"""The documents that the last run accepted. Written by `remember`, removed with doit's record; safe to delete."""


@functools.cache
def load() -> "Context":
    """The context of this checkout and environment.

    Raises:
        ConfigError: a file or setting of the user's is wrong.
    """
    loaded = settings.load(ROOT, os.environ)
    with contextlib.suppress(OSError):
        document.recall(DOCUMENTS.read_bytes())
    wanted = manifest.load(loaded.distribution / manifest.FILE_NAME)
    release = version.load(ROOT / version.FILE_NAME)
    return Context(
        settings=loaded,
        version=release,
        recipes=_recipes(wanted, release),
        manifest=wanted,
        chains={
            each.name: image.load_chain(ROOT / "images", each.name)
            for each in wanted.images
            if not each.is_pulled and not (ROOT / "images" / each.name / DOCKERFILE).is_file()
        },
    )


def _recipes(wanted: manifest.Manifest, release: version.Version) -> dict[str, builder.recipe.Recipe]:
    names = sorted({name for repository in wanted.repositories for name in repository.builds})
    found = {name: builder.recipe.load(ROOT / "packages", name, str(release)) for name in names}
    check_recipes(wanted, found)
    return found


def check_recipes(wanted: manifest.Manifest, recipes: Mapping[str, builder.recipe.Recipe]) -> None:
    """Hold recipes against the intent: repositories want what they make, and they want archives that there are.

    Raises:
        ConfigError: with every problem.
    """
    problems = [
        (f"repositories.{each.name}.builds", f"packages/{name}.yaml makes no package of the family {family}")
        for each in wanted.repositories
        for name in each.builds
        if (family := manifest.FAMILIES[each.type]) not in recipes[name].families
    ]
    problems += [
        (f"packages/{name}.yaml, pulled.{each.name}.archive", f"no archive {each.archive!r}")
        for name, recipe in recipes.items()
        for each in recipe.pulled
        if each.archive not in {"", *wanted.archives}
    ]
    if problems:
        raise errors.ConfigError(manifest.FILE_NAME, problems)


def remember() -> None:
    """Keep the documents that this run accepted for the next one."""
    accepted = document.accepted()
    with contextlib.suppress(OSError, errors.BuildchainError):
        if not DOCUMENTS.exists() or DOCUMENTS.read_bytes() != accepted:
            action.write(DOCUMENTS, accepted)


@dataclasses.dataclass(frozen=True)
class Context:
    """The values of one run; what costs time is computed when it is first asked for."""

    settings: settings.Settings
    version: version.Version
    manifest: manifest.Manifest
    chains: Mapping[str, tuple[image.Recipe, ...]]
    """By name of each image that is assembled: the recipes of its layers, the lowest first."""
    recipes: Mapping[str, builder.recipe.Recipe] = dataclasses.field(default_factory=dict)
    """The packages that are built here, by name."""

    @property
    def store(self) -> store.Store:
        """The user's store."""
        return store.Store(self.settings.store)

    @property
    def build_root(self) -> pathlib.Path:
        """Where all outputs stand."""
        return self.settings.build_root

    @property
    def staged_root(self) -> pathlib.Path:
        """The staged tree: what the medium holds."""
        return self.build_root / "root"

    @property
    def iso_path(self) -> pathlib.Path:
        """The finished medium."""
        return self.build_root / f"{self.settings.project_name.lower().replace(' ', '-')}.iso"

    @property
    def lock_path(self) -> pathlib.Path:
        """The committed lock."""
        return self.settings.distribution / lock.FILE_NAME

    @functools.cached_property
    def locked(self) -> lock.Lock:
        """The lock, if it covers the intent; a BuildchainError otherwise."""
        loaded = lock.load(self.lock_path)
        suites = {name: archive.suite for name, archive in self.manifest.archives.items()}
        lock.check_covers(loaded, self.requests, suites, self.pulled_images)
        lock.check_files(loaded, wheels.requirements.wanted(self.environments))
        return loaded

    @functools.cached_property
    def is_locked(self) -> bool:
        """Whether there is a lock that covers the intent."""
        try:
            return bool(self.locked)
        except errors.BuildchainError:
            return False

    @functools.cached_property
    def requests(self) -> list[lock.Request]:
        """What the repositories and images want, as the lock must hold it."""
        repositories = [
            lock.Request(
                f"repository {each.full_name}",
                each.architecture,
                each.archives,
                each.packages,
                bootstraps=each.bootstraps,
                modules=tuple(sorted({one for name in each.archives for one in self.manifest.archives[name].modules})),
                base=each.base.word if each.base else "",
            )
            for each in self.manifest.repositories
            if each.packages
        ]
        images = {
            image.request(chain[: index + 1], self.manifest.image_archives)
            for chain in self.chains.values()
            for index in range(len(chain))
        }
        return sorted({*repositories, *images, *self.rooms.values()})

    @functools.cached_property
    def tools(self) -> builder.recipe.Tools:
        """What rooms hold."""
        return builder.recipe.load_tools(self.settings.root / "packages" / builder.recipe.TOOLS)

    @functools.cached_property
    def rooms(self) -> dict[tuple[str, str], lock.Request]:
        """By recipe and family: what its room wants."""
        archives = self.manifest.builder_archives
        wanted = [
            (name, manifest.FAMILIES[repository.type])
            for repository in self.manifest.repositories
            for name in repository.builds
        ]
        return {(name, family): self.recipes[name].request(family, self.tools, archives) for name, family in wanted}

    @functools.cached_property
    def dockerfiles(self) -> "Mapping[str, dockerfile.Recipe]":
        """By name of each image that an engine builds; a ConfigError if one of them is wrong."""
        names = [each.name for each in self.manifest.images if not each.is_pulled and each.name not in self.chains]
        if not names:
            return {}
        # Imported here: only such an image is worth what that loads.
        from buildchain import dockerfile

        folder = self.settings.root / "images"
        self._check_kinds(names, folder)
        found = {name: dockerfile.load(folder / name, self.source.files) for name in names}
        dockerfile.check_all(found, {each.name: each.tag for each in self.manifest.images})
        return found

    @functools.cached_property
    def image_sources(self) -> list[fetch.Request]:
        """What Dockerfiles want from elsewhere."""
        return [
            fetch.Request(f"image {name}: {each.path}", each.content, (each.url,))
            for name, recipe in self.dockerfiles.items()
            for each in recipe.sources
        ]

    def _check_kinds(self, names: Collection[str], folder: pathlib.Path) -> None:
        """Refuse what only images made of packages have."""
        specs = [each for each in self.manifest.images if each.name in names]
        problems = [
            (f"images.ship.{each.name}.follows", "its image has a Dockerfile") for each in specs if each.follows
        ]
        problems += [
            (f"images.ship.{each.name}", f"images/{each.name} has a {DOCKERFILE} and an image.yaml: remove one of them")
            for each in specs
            if (folder / each.name / "image.yaml").exists()
        ]
        if problems:
            raise errors.ConfigError(manifest.FILE_NAME, problems)

    @functools.cached_property
    def environments(self) -> dict[str, tuple[wheels.requirements.Requirement, ...]]:
        """By recipe: what its Python environment is made of."""
        return {
            name: wheels.requirements.load(self.settings.root / each.requirements, each.left_out)
            for name, each in self.recipes.items()
            if each.requirements
        }

    @functools.cached_property
    def shipped(self) -> list[lock.Package]:
        """The locked packages of repositories and images; those of rooms stay here."""
        rooms = {request.name for request in self.rooms.values()}
        return sorted({package for each in self.locked.sets if each.name not in rooms for package in each.packages})

    @functools.cached_property
    def room(self) -> executor.Executor:
        """Who runs the steps that build packages; a BuildchainError if this machine cannot."""
        engine = os.environ.get("DOCKER_HOST")
        client = ("docker", "--host", engine) if engine else ("docker",)
        folder = self.build_root / "packages"
        return executor.choose(self.settings.builder, self.store, folder / "rooms", folder / "logs", client)

    @functools.cached_property
    def pulled_images(self) -> Mapping[lock.ImageRequest, str]:
        """The images to pull, as the lock must hold them, each with the digest that the intent pins it to, or ""."""
        return {registry_client.request(each): each.pinned for each in self.manifest.images if each.is_pulled}

    @functools.cached_property
    def sites(self) -> registry_client.Sites:
        """How registries are reached from here."""
        return registry_client.load_sites(self.settings.registries)

    @functools.cached_property
    def source(self) -> source.Source:
        """Commit, time and files of the checkout."""
        return source.identify(self.settings.root, self.settings.git)

    @property
    def epoch(self) -> int:
        """The time of the medium: SOURCE_DATE_EPOCH, or the commit's."""
        return self.source.epoch if self.settings.epoch is None else self.settings.epoch

    @functools.cached_property
    def fetch_options(self) -> fetch.Options:
        """How to use the network."""
        options = fetch.Options(
            jobs=self.settings.pull_jobs,
            ca_bundle=self.settings.ca_bundle,
            is_offline=self.settings.is_offline,
            rewrites=self.settings.rewrites,
            connect_timeout_s=self.settings.connect_timeout_s,
            read_timeout_s=self.settings.read_timeout_s,
        )
        sources = [each.source for each in self.pulled_images]
        if not sources:
            return options
        access = registry_client.access(self.sites, sources, self.settings.credentials, options)
        return dataclasses.replace(options, access=access)

    @property
    def signing_source(self) -> signing.Source:
        """The key that signs everything."""
        return signing.Source(self.settings.signing_key, self.settings.signing_passphrase_file)

    @functools.cached_property
    def key_identity(self) -> str:
        """What stands for the signing key in the identity of what it signs; no secret."""
        if not self.signing_source.is_file():
            return self.settings.signing_key
        return hashlib.sha256(pathlib.Path(self.settings.signing_key).read_bytes()).hexdigest()

    def fragment(self, name: str) -> pathlib.Path:
        """Where one maker's part of the medium's tree is kept."""
        return self.build_root / "tree" / f"{name}.json"
