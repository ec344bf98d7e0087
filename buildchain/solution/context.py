"""What every step of one build needs to know: project, settings, lock, and where things stand."""

import dataclasses
import datetime
import functools
import pathlib
from collections.abc import Mapping

from buildchain import dockerfile, errors, fetch, lock, registry_client, settings, signing, source, store
from buildchain.solution import checkout, project, shipped


def load(root: pathlib.Path, environment: Mapping[str, str]) -> "Context":
    """The context of a project's folder and an environment.

    Raises:
        ConfigError: a file or setting of the user's is wrong.
    """
    root = root.absolute()
    defaults = {"SIGNING_KEY": str(shipped.development_key())}
    given = {name: value for name, value in environment.items() if value}
    return Context(project.load(root), settings.load(root, {**defaults, **given}))


@dataclasses.dataclass(frozen=True)
class Context:
    """The values of one run."""

    project: project.Project
    settings: settings.Settings

    @property
    def store(self) -> store.Store:
        """The user's store."""
        return store.Store(self.settings.store)

    @property
    def lock_path(self) -> pathlib.Path:
        """The lock, which the author commits."""
        return self.project.root / project.LOCK_NAME

    @property
    def iso_path(self) -> pathlib.Path:
        """The finished Solution."""
        return self.settings.build_root / f"{self.project.id}.iso"

    @functools.cached_property
    def sites(self) -> registry_client.Sites:
        """How registries are reached from here."""
        return registry_client.load_sites(self.settings.registries)

    @functools.cached_property
    def fetch_options(self) -> fetch.Options:
        """How to use the network."""
        options = fetch.Options(
            jobs=self.settings.pull_jobs, ca_bundle=self.settings.ca_bundle, is_offline=self.settings.is_offline
        )
        sources = [each.source for each in self.project.pulled_images]
        if not sources:
            return options
        access = registry_client.access(self.sites, sources, self.settings.credentials, options)
        return dataclasses.replace(options, access=access)

    @property
    def signing_source(self) -> signing.Source:
        """The key that signs."""
        return signing.Source(self.settings.signing_key, self.settings.signing_passphrase_file)

    @functools.cached_property
    def source(self) -> source.Source | None:
        """The commit, where git tracks the project."""
        return checkout.find(self.project.root, self.settings.git)[0]

    @functools.cached_property
    def dockerfiles(self) -> Mapping[str, dockerfile.Recipe]:
        """By name of each image that an engine builds; a ConfigError if one of them is wrong."""
        return checkout.dockerfiles(self.project, self.settings.git)

    def epoch(self, locked: lock.Lock) -> int:
        """The time of the medium: SOURCE_DATE_EPOCH, or the commit's, or that of the newest locked index.

        Raises:
            BuildchainError: there is none of them.
        """
        if self.settings.epoch is not None:
            return self.settings.epoch
        if self.source is not None:
            return self.source.epoch
        if locked.indexes:
            return max(index.date for index in locked.indexes)
        hint = "Commit the project to git, or set SOURCE_DATE_EPOCH to the seconds since 1970 of this release."
        raise errors.BuildchainError(str(self.project.root), "has no date that a second build would share", hint)


def moment(epoch: int) -> str:
    """A time as annotations have it."""
    return f"{datetime.datetime.fromtimestamp(epoch, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
