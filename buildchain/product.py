"""What the medium says of itself: product.txt, its contents, and the seal (digests and signature)."""

import datetime
import pathlib
import re

from buildchain import errors, signing, source, store, tree, version

PRODUCT = "product.txt"
CONTENTS = "CONTENTS.mtree"
DIGESTS = "SHA256SUM"
SIGNATURE = "SHA256SUM.asc"
KEY = "signing-key.asc"
MAX_VOLUME_ID = 32
"""ECMA-119 section 8.4.7."""

SCRIPTS = (
    "backup.sh",
    "bootstrap.sh.in",
    "common.sh",
    "downgrade.sh.in",
    "iso-manager.sh",
    "join.sh",
    "nodes.sh",
    "restore.sh",
    "upgrade.sh.in",
    "solutions.sh",
    "verify.sh",
)
"""What of scripts/ ships in the root of the medium; an explicit list, so that no stray file ships."""

_TEMPLATE_SUFFIX = ".in"
_VERSION_PLACEHOLDER = b"@@VERSION"
_LIBRARIES = ("common.sh", "join.sh")
"""What is read by the others and not run."""

_BUILD_HOST = "reproducible"
"""`BUILD_HOST` is a key of MetalK8s 2.5.1's product.txt; a real host's name would make two builds differ."""


def volume_id(project_name: str, release: version.Version) -> str:
    """The medium's volume id, `{project} {version}`.

    Raises:
        BuildchainError: it does not fit into a volume descriptor.
    """
    text = f"{project_name} {release}"
    if len(text) > MAX_VOLUME_ID or not text.isascii():
        why = f"{text!r} is not at most {MAX_VOLUME_ID} ASCII characters"
        raise errors.BuildchainError("volume id", why, "Shorten PROJECT_NAME in .env or VERSION_SUFFIX in VERSION.")
    return text


def describe(project_name: str, release: version.Version, origin: source.Source, epoch: int) -> bytes:
    """The text of product.txt, with exactly the keys of MetalK8s 2.5.1 in their order."""
    moment = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    values = {
        "NAME": project_name,
        "VERSION": str(release),
        "SHORT_VERSION": release.short,
        "GIT": origin.name,
        "DEVELOPMENT_RELEASE": "1" if release.suffix == "-dev" else "0",
        "BUILD_TIMESTAMP": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "BUILD_HOST": _BUILD_HOST,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def scripts(folder: pathlib.Path, packages: store.Store, release: version.Version) -> tree.Tree:
    """The programs in the root of the medium; those whose name ends in .in are told their version."""
    entries = []
    for name in SCRIPTS:
        content = (folder / name).read_bytes()
        if name.endswith(_TEMPLATE_SUFFIX):
            content = content.replace(_VERSION_PLACEHOLDER, str(release).encode())
        held = packages.add_bytes(content)
        entries.append(tree.File(name.removesuffix(_TEMPLATE_SUFFIX), held, is_program=name not in _LIBRARIES))
    return tree.build(entries)


def check_key(release: version.Version, signer: signing.Signer) -> None:
    """Refuse to sign a release with the key that everybody has.

    Raises:
        BuildchainError: this is a release and the key is the development key.
    """
    if release.is_release and signer.is_development:
        why = "the published development key must not sign a release"
        hint = "Set SIGNING_KEY in .env to your own key (docs/how-to/release.md), or give VERSION a suffix."
        raise errors.BuildchainError(f"release {release}", why, hint)


def seal(contents: tree.Tree, packages: store.Store, signer: signing.Signer, epoch: int) -> tree.Tree:
    """Add what lets an operator judge the medium: its key, contents, digests and signature.

    The key on the medium is a convenience for rotation; nobody should trust a medium by a key found on it.
    """
    key = tree.File(KEY, packages.add_bytes(signer.public_key()))
    listed = tree.merge(contents, tree.Tree((key,)))
    unsized = [CONTENTS, DIGESTS, SIGNATURE]
    listing = tree.File(CONTENTS, packages.add_bytes(_mtree(listed, unsized)))
    judged = tree.merge(listed, tree.Tree((listing,)))
    digests = "".join(f"{file.content.digest.hex}  {file.path}\n" for file in judged.files()).encode()
    signed = [
        tree.File(DIGESTS, packages.add_bytes(digests)),
        tree.File(SIGNATURE, packages.add_bytes(signer.detach(digests, epoch))),
    ]
    return tree.merge(judged, tree.build(signed))


def _mtree(contents: tree.Tree, unsized: list[str]) -> bytes:
    """Kinds, modes, sizes and links of all paths in the format of mtree(5); digests stand in SHA256SUM."""
    lines = {".": f". type=dir mode={tree.DIRECTORY_MODE:04o}"}
    lines |= {path: f"type=dir mode={tree.DIRECTORY_MODE:04o}" for path in contents.directories()}
    lines |= {path: f"type=file mode={tree.FILE_MODE:04o}" for path in unsized}
    for entry in contents:
        if isinstance(entry, tree.Link):
            lines[entry.path] = f"type=link link={_vis(entry.target)}"
        else:
            lines[entry.path] = f"type=file mode={entry.mode:04o} size={entry.content.size}"
    root = lines.pop(".")
    paths = sorted(lines, key=lambda path: path.encode())
    return "\n".join(["#mtree", root, *(f"./{_vis(path)} {lines[path]}" for path in paths), ""]).encode()


def _vis(text: str) -> str:
    """Escape bytes as vis(3) does with VIS_OCTAL: blanks, `#`, `=`, the backslash and all beyond ASCII."""
    return re.sub(rb"[^!-~]|[#=\\]", lambda match: b"\\%03o" % match[0][0], text.encode()).decode()
