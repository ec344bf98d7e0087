"""The program `tree` from its source package, and all that a room needs to compile it, in an archive of a test.

Debian's archive is asked once, for what the store does not hold: who builds afterwards knows the loopback alone.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import tempfile

from buildchain import builder, deb, fetch, lock, mirrors
from buildchain.rootfs import package
from buildchain.tasks import building, context, pull
from tests.support import archive

NAME = "tree"
RECIPES = pathlib.Path(__file__).parent / "recipes"
FILES = ("tree.yaml", "redhat/tree.spec", "keys/florian-ernst.asc")
"""Of the recipe, below `packages/`."""


@dataclasses.dataclass(frozen=True)
class Copied(archive.Deb):
    """A package of Debian as it is."""

    text: str = ""
    file: pathlib.Path = pathlib.Path()

    @property
    def control(self) -> str:
        """Its control file."""
        return self.text

    def content(self) -> bytes:
        """The .deb file."""
        return self.file.read_bytes()


def add(upstream: archive.Archive, suite: str) -> None:
    """Put the source package into an archive, and into a suite of it what builds it."""
    here = context.load()
    recipe = builder.recipe.load(RECIPES, NAME, "0")
    found = mirrors.Mirrors(dict(here.settings.mirrors), here.fetch_options)
    requests = [building._request(here, found, each) for each in recipe.pulled]
    fetch.pull(requests, here.store, here.fetch_options, fetch.NullProgress())
    for each in recipe.pulled:
        path = upstream.root / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here.store.path(each.content.digest), path)
    upstream.add(suite, *(_copied(here, each) for each in _room(here, recipe, found)))


def _room(here: context.Context, recipe: builder.recipe.Recipe, found: mirrors.Mirrors) -> tuple[lock.Package, ...]:
    """What Debian's archive has for the room of the RPM, which wants more than that of the DEB."""
    archives = here.manifest.builder_archives
    sources = [deb.Source(here.manifest.archives[each], found.url(here.manifest.archives[each])) for each in archives]
    with tempfile.TemporaryDirectory() as folder:
        apt = deb.open_apt(pathlib.Path(folder), sources, builder.recipe.ARCHITECTURE)
        held = deb.resolve(apt, recipe.request(builder.recipe.REDHAT, here.tools, archives)).packages
    with contextlib.redirect_stderr(None):
        pull.pull_packages(here, held)
    return held


def _copied(here: context.Context, locked: lock.Package) -> Copied:
    text = package.read_control(locked, here.store)["control"].decode().rstrip("\n") + "\n"
    file = here.store.path(locked.content.digest)
    return Copied(locked.name, locked.version, locked.architecture, text=text, file=file)
