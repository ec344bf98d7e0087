"""Put a Solution together: images, registry configuration, manifest, operator; seal it; write the ISO."""

import dataclasses
import pathlib
import stat
from collections.abc import Callable, Iterator

from buildchain import atomic, digest, errors, iso, lock, product, registry, signing, stage, store, tree
from buildchain.solution import context, inputs, kinds, manifest, project, thin

BUILD_HOST = "reproducible"
"""A real host's name would make two builds differ."""
MAX_OPERATOR_FILE = 4 << 20
"""Bytes of a file in `operator/deploy`; etcd takes no object of more than 1.5 MB."""

Report = Callable[[str, str], None]
"""Told what is being made: an aligned word and its subject."""


@dataclasses.dataclass(frozen=True, slots=True)
class Built:
    """A finished ISO."""

    path: pathlib.Path
    content: digest.Descriptor
    left_out: int = 0
    """Bytes that a base has and this medium therefore not."""


def build(here: context.Context, report: Report, base: pathlib.Path | None = None) -> Built:
    """Build the ISO, its digest and signature into the project's build root.

    Arguments:
        base: a medium whose blobs this one may leave out.

    Raises:
        ConfigError: the project's files are wrong.
        BuildchainError: something cannot be pulled, built, signed or written.
    """
    wanted = here.project
    if base and base.resolve() == here.iso_path.resolve():
        hint = "Copy the base to another place, or set BUILD_ROOT to another folder."
        raise errors.BuildchainError(str(base), "would be replaced by the thin Solution that needs it", hint)
    if wanted.is_release:
        # Now, and not only after an hour of pulling and building.
        with signing.open_signer(here.signing_source) as signer:
            _check_key(wanted, signer)
    given = inputs.gather(here)
    images = kinds.build_all(given, lambda spec: report("IMAGE", str(spec)))
    thinned = thin.leave_out(images, base)
    epoch = here.epoch(given.locked)
    described = tree.File(manifest.FILE_NAME, here.store.add_bytes(manifest.dump(describe(here, epoch, thinned))))
    own = tree.build([described, *_operator(wanted.root, here.store)])
    contents = tree.merge(thinned.contents, registry.template(images, here.store), own)
    return _write(here, given.locked, contents, thinned.size, report)


def describe(here: context.Context, epoch: int, thinned: "thin.Thinned") -> manifest.Manifest:
    """What the manifest says."""
    wanted = here.project
    annotations = {
        **wanted.annotations,
        manifest.DISPLAY_NAME: wanted.display_name,
        manifest.BUILD_TIMESTAMP: context.moment(epoch),
        manifest.BUILD_HOST: BUILD_HOST,
        manifest.DEVELOPMENT_RELEASE: "1" if wanted.version.endswith("-dev") else "0",
        manifest.OPERATOR_OPTIONS: " ".join(wanted.operator_options),
        **({manifest.GIT_REVISION: here.source.name} if here.source else {}),
        **thinned.annotations(),
    }
    ui = wanted.image(wanted.ui_image) if wanted.ui_image else None
    operator = wanted.image(wanted.operator_image)
    return manifest.Manifest(
        name=wanted.name,
        version=wanted.version,
        images=[(each.name, each.tag) for each in wanted.images],
        operator=(operator.name, operator.tag),
        ui=(ui.name, ui.tag) if ui else None,
        annotations=annotations,
        labels=wanted.labels,
        api_groups=wanted.api_groups,
    )


def _operator(root: pathlib.Path, into: store.Store) -> Iterator[tree.Entry]:
    """The files of `operator/deploy`, as they are."""
    problems = []
    for path in sorted((root / project.DEPLOY).rglob("*")):
        status = path.lstat()
        name = path.relative_to(root).as_posix()
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            problems.append((name, "is not a regular file"))
        elif status.st_size > MAX_OPERATOR_FILE:
            problems.append((name, f"is larger than {MAX_OPERATOR_FILE} bytes"))
        else:
            yield tree.File(name, into.add_file(path))
    if problems:
        raise errors.ConfigError(str(root / project.DEPLOY), problems)


def _write(here: context.Context, locked: lock.Lock, contents: tree.Tree, left_out: int, report: Report) -> Built:
    epoch = here.epoch(locked)
    report("SIGN", product.SIGNATURE)
    with signing.open_signer(here.signing_source) as signer:
        _check_key(here.project, signer)
        sealed = product.seal(contents, here.store, signer, epoch)
        stage.verify(sealed, here.store)
        report("MKISOFS", str(here.iso_path))
        here.settings.build_root.mkdir(parents=True, exist_ok=True)
        written = iso.write(sealed, here.store, volume_id=here.project.volume_id, epoch=epoch, target=here.iso_path)
        line = f"{written.digest.hex}  {here.iso_path.name}\n".encode()
        report("SHA256SUM", str(here.iso_path.with_name(product.DIGESTS)))
        atomic.write(here.iso_path.with_name(product.SIGNATURE), signer.detach(line, epoch))
    atomic.write(here.iso_path.with_name(product.DIGESTS), line)
    return Built(here.iso_path, written, left_out)


def _check_key(wanted: project.Project, signer: signing.Signer) -> None:
    if wanted.is_release and signer.is_development:
        why = "the published development key must not sign a release"
        hint = "Set SIGNING_KEY to your own key, or give the version a suffix such as -dev."
        raise errors.BuildchainError(f"release {wanted.id}", why, hint)
