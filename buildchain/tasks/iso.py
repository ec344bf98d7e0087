"""Tasks that put the medium together: the tree, the staged folder, the ISO, its digest and signature."""

import pathlib
import sys
import typing
from collections.abc import Sequence

import doit.tools

from buildchain import digest, errors, iso, product, references, registry, signing, stage, tree
from buildchain.tasks import action, context, fragment, images, packaging, report, reporter, salt, vagrant

MEDIUM = "medium"
"""Name of the fragment that joins all parts."""


def task_iso() -> action.Task:
    """Build the MetalK8s image (default)."""
    return {
        "actions": None,
        "task_dep": ["populate_iso", "_iso_build", "_iso_digest", "_licences"],
        # Who cleans without naming a task means all that stands on what was built.
        "clean": vagrant.removal(context.load()),
    }


def task_populate_iso() -> action.Task:
    """Populate the ISO file tree."""
    makers = ["packaging", "images", "_bootstrap_images", "salt_tree", "_registry", "_product", "_documentation"]
    return {"actions": None, "task_dep": [*makers, "_iso_tree", "_iso_stage"]}


def task__build_root() -> action.Task:
    """Make the build root."""
    here = context.load()
    return {
        "title": action.title("MKDIR", here.build_root),
        "actions": [action.run(_make_directory, here.build_root)],
        "targets": [here.build_root],
        "uptodate": [True],
        "clean": [*action.removal_if_empty(here.build_root / "tree"), *action.removal_if_empty(here.build_root)],
    }


def task__registry() -> action.Task:
    """Write the registry's nginx configuration."""
    here = context.load()
    parts = [here.fragment(name) for name in images.fragments(here)]
    return fragment.task(
        here,
        "registry",
        lambda: registry.index(tree.merge(*map(fragment.load, parts)), here.store, version=str(here.version)),
        identity=str(here.version),
        verb="NGINX_CFG",
        subject=here.staged_root / "salt/metalk8s/repo/files",
        file_dep=parts,
    )


def task__product() -> action.Task:
    """Describe the medium: product.txt, and the scripts in its root."""
    here = context.load()
    text = product.describe(here.settings.project_name, here.version, here.source, here.epoch)
    scripts = here.settings.root / "scripts"
    return fragment.task(
        here,
        "product",
        lambda: _product(here, text, scripts),
        identity=text,
        verb="RENDER ENV",
        subject=here.staged_root / product.PRODUCT,
        file_dep=[scripts / name for name in product.SCRIPTS],
    )


def task__documentation() -> action.Task:
    """Render docs/ as the medium's documentation."""
    here = context.load()
    root = here.settings.root
    pages = [path for path in here.source.files if path.startswith("docs/")]
    present = [root / path for path in pages if (root / path).is_file()]
    looks = sorted((root / "buildchain" / "templates").glob("*.*"))
    title = f"{here.settings.project_name} {here.version}"
    return fragment.task(
        here,
        "documentation",
        lambda: _render_documentation(here, pages, title),
        identity=[title, pages],
        verb="DOC HTML",
        subject=here.staged_root / "documentation",
        file_dep=[root / "requirements/build.txt", *looks, *present],
    )


def parts(here: context.Context) -> list[str]:
    """Names of the fragments that the medium is made of."""
    names = [*packaging.fragments(here), *images.fragments(here), images.BOOTSTRAP, salt.FRAGMENT]
    return [*names, "registry", "product", "documentation"]


def task__iso_tree() -> action.Task:
    """Join all parts of the tree, list their digests, and sign the list."""
    here = context.load()
    files = [here.fragment(name) for name in parts(here)]
    return fragment.task(
        here,
        MEDIUM,
        lambda: _seal(here, files),
        identity=[here.key_identity, here.epoch, str(here.version)],
        verb="SIGN",
        subject=here.staged_root / product.SIGNATURE,
        file_dep=files,
    )


def task__iso_stage() -> action.Task:
    """Link the tree into the staged folder."""
    here = context.load()
    medium = here.fragment(MEDIUM)
    return {
        "title": action.title("STAGE", here.staged_root),
        "verbosity": 2,
        "actions": [action.run(_stage, here, medium)],
        "file_dep": [medium],
        "task_dep": ["_build_root"],
        "uptodate": [lambda: stage.is_staged(fragment.load(medium), here.store, here.staged_root)],
        "clean": action.removal(here.staged_root),
    }


def task__iso_build() -> action.Task:
    """Write the ISO file."""
    here = context.load()
    medium = here.fragment(MEDIUM)
    return {
        "title": action.title("MKISOFS", here.iso_path),
        "actions": [action.run(_write_iso, here, medium)],
        "file_dep": [medium],
        "targets": [here.iso_path],
        "task_dep": ["_build_root", "_iso_stage"],
        "uptodate": [
            doit.tools.config_changed(
                {
                    "volume": f"{here.settings.project_name} {here.version}",
                    "epoch": here.epoch,
                    "makers": fragment.makers(),
                }
            ),
            lambda task, values: _has_size(here.iso_path, values.get("size")),
        ],
        "clean": action.removal(here.iso_path),
    }


def task__iso_digest() -> action.Task:
    """Write and sign the ISO's digest."""
    here = context.load()
    targets = [here.build_root / product.DIGESTS, here.build_root / product.SIGNATURE]
    reports = [here.build_root / report.FILE_NAME, here.build_root / report.PAGE_NAME]
    return {
        "title": action.title("SHA256SUM", targets[0]),
        "actions": [action.run(_write_digest, here)],
        "getargs": {"content": ("_iso_build", "digest")},
        "targets": targets,
        "task_dep": ["_iso_build"],
        "uptodate": [
            doit.tools.config_changed({"key": here.key_identity, "epoch": here.epoch, "target": str(targets[0])}),
            doit.tools.result_dep("_iso_build"),
        ],
        "clean": action.removal(*targets, *reports, here.settings.root / reporter.LOG_NAME),
    }


def _make_directory(path: pathlib.Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "Set BUILD_ROOT in .env to a folder that you may write to."
        raise errors.BuildchainError(str(path), error.strerror or str(error), hint) from error


def _product(here: context.Context, text: bytes, scripts: pathlib.Path) -> tree.Tree:
    about = tree.File(product.PRODUCT, here.store.add_bytes(text))
    return tree.merge(tree.Tree((about,)), product.scripts(scripts, here.store, here.version))


def _render_documentation(here: context.Context, pages: Sequence[str], title: str) -> tree.Tree:
    # Imported here: the Markdown parser and the templates take longer than a run that does nothing.
    from buildchain import documentation

    return documentation.collect(here.settings.root, pages, here.store, title=title)


def _seal(here: context.Context, parts: list[pathlib.Path]) -> tree.Tree:
    contents = tree.merge(*map(fragment.load, parts))
    references.require(contents, here.store)
    with signing.open_signer(here.signing_source) as signer:
        product.check_key(here.version, signer)
        return product.seal(contents, here.store, signer, here.epoch)


def _stage(here: context.Context, medium: pathlib.Path) -> dict[str, typing.Any]:
    done = stage.stage(fragment.load(medium), here.store, here.staged_root)
    if done.copied:
        why = "the store is on another file system or has another owner"
        sys.stdout.write(f"   {done.copied} of {done.files} files were copied, not linked: {why}\n")
    return {"files": done.files, "bytes": done.size, "copied": done.copied}


def _write_iso(here: context.Context, medium: pathlib.Path) -> dict[str, typing.Any]:
    contents = fragment.load(medium)
    # Also when it was staged long ago: only this is the moment at which its bytes are signed for.
    stage.verify(contents, here.store)
    volume_id = product.volume_id(here.settings.project_name, here.version)
    written = iso.write(contents, here.store, volume_id=volume_id, epoch=here.epoch, target=here.iso_path)
    return {"digest": written.digest.hex, "size": written.size}


def _has_size(path: pathlib.Path, size: int | None) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _write_digest(here: context.Context, content: str) -> None:
    line = f"{digest.Digest(content).hex}  {here.iso_path.name}\n".encode()
    with signing.open_signer(here.signing_source) as signer:
        signature = signer.detach(line, here.epoch)
    action.write(here.build_root / product.SIGNATURE, signature)
    action.write(here.build_root / product.DIGESTS, line)
