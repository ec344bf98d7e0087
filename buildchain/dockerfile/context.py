"""The context of a build: what an engine is sent, and nothing else."""

import io
import tarfile
import typing

from buildchain import store
from buildchain.dockerfile import recipe


def write(wanted: recipe.Recipe, text: str, source: store.Store, epoch: int, sink: typing.BinaryIO) -> None:
    """The context as a tar; the engine sees the Dockerfile, but no step does."""
    own = [
        recipe.File(recipe.FILE_NAME, text.encode(), 0o644),
        recipe.File(".dockerignore", f"{recipe.FILE_NAME}\n.dockerignore\n".encode(), 0o644),
    ]
    paths = [*(file.path for file in wanted.context), *(each.path for each in wanted.sources)]
    folders = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 1)}
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in sorted(folders):
            archive.addfile(_member(folder, epoch, 0o755, tarfile.DIRTYPE))
        for file in [*own, *wanted.context]:
            member = _member(file.path, epoch, file.mode, tarfile.SYMTYPE if file.target else tarfile.REGTYPE)
            member.linkname, member.size = file.target, len(file.content)
            archive.addfile(member, io.BytesIO(file.content))
        for each in wanted.sources:
            member = _member(each.path, epoch, 0o644, tarfile.REGTYPE)
            member.size = each.content.size
            with source.open(each.content.digest) as stream:
                archive.addfile(member, stream)
    sink.seek(0)


def _member(path: str, epoch: int, mode: int, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mtime, member.mode, member.type = epoch, mode, kind
    return member
