"""Media that a node installs itself from: a built tree as any version, sealed anew."""

import json
import pathlib
import subprocess
import typing

from buildchain import oci, product, registry, salt, signing, source, stage, store, tree, version
from tests.support import keys, salt_tree

EPOCH = 1_700_000_000
DEVELOPMENT_KEY = signing.Source(str(keys.DEVELOPMENT / "secret.asc"))
_MADE_ANEW = ("salt/", "pillar/", "bootstrap-images/")
_SEAL = {product.CONTENTS, product.DIGESTS, product.SIGNATURE, product.KEY, product.PRODUCT}


def borrow(held: pathlib.Path, folder: pathlib.Path) -> store.Store:
    """A store of our own that starts with everything another one holds; its files are linked."""
    subprocess.run(["cp", "--archive", "--link", held, folder], check=True)
    return store.Store(folder)


def borrow_tree(built: tree.Tree, held: store.Store, folder: pathlib.Path) -> store.Store:
    """A store of our own that starts with what a tree is made of; its files are linked where that can be."""
    made = store.Store(folder)
    for file in built.files():
        path = made.path(file.content.digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            held.link(tree.File(file.path, file.content), path)
    return made


def compose(
    built: tree.Tree, held: store.Store, release: version.Version, key: signing.Source = DEVELOPMENT_KEY
) -> tree.Tree:
    """The medium of a version with the images and packages of a built one.

    Arguments:
        key: that of the built one, whose package repositories stay as they are.
    """
    scripts = product.scripts(salt_tree.ROOT / "scripts", held, release)
    anew = {*_SEAL, *(entry.path for entry in scripts)}
    kept = tree.build(entry for entry in built if entry.path not in anew and not entry.path.startswith(_MADE_ANEW))
    versions = _versions(built, held, release)
    origin = source.Source("0" * 40, EPOCH, False, ())
    about = product.describe("MetalK8s", release, origin, EPOCH)
    medium = tree.merge(
        kept,
        scripts,
        tree.Tree((tree.File(product.PRODUCT, held.add_bytes(about)),)),
        salt.collect(salt_tree.ROOT, salt_tree.tracked_files(), held, release=release, versions=versions),
        registry.index(
            tree.build(entry for entry in kept if entry.path.startswith("images/")), held, version=str(release)
        ),
        _bootstrap_images(built, held, release),
    )
    with signing.open_signer(key) as signer:
        return product.seal(medium, held, signer, EPOCH)


def write(medium: tree.Tree, held: store.Store, folder: pathlib.Path) -> pathlib.Path:
    """Stage a medium in a folder."""
    stage.stage(medium, held, folder)
    return folder


def _versions(built: tree.Tree, held: store.Store, release: version.Version) -> salt.Versions:
    (entry,) = (entry for entry in built.files() if entry.path == salt.VERSIONS)
    versions: dict[str, typing.Any] = json.loads(held.read(entry.content.digest))
    versions["metalk8s"]["version"] = str(release)
    return versions


def _bootstrap_images(built: tree.Tree, held: store.Store, release: version.Version) -> tree.Tree:
    """The same view of the images, under the names that they have in this version."""
    (entry,) = (entry for entry in built.files() if entry.path == "bootstrap-images/index.json")
    folders = {}
    for row in json.loads(held.read(entry.content.digest))["manifests"]:
        host, _, name = row["annotations"]["org.opencontainers.image.ref.name"].split("/")
        folders[f"{host}/{salt.saltenv(release)}/{name}"] = built.below(f"images/{name.replace(':', '/')}")
    return oci.layout(folders, held).moved_to("bootstrap-images")
