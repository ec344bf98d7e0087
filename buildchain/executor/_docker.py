"""Rooms in a Docker-compatible engine, which may stand on another machine: files go there and back as archives."""

import contextlib
import dataclasses
import io
import pathlib
import tarfile
import typing
from collections.abc import Iterator

from buildchain import command, digest, errors, store
from buildchain.executor import _action, _local, _scratch

_END = 1024
"""Bytes of the two zero blocks that end a tar."""

_HINT = "Start the engine, or set BUILDER in .env to another kind; docs/reference/settings.md lists them."


@dataclasses.dataclass(frozen=True, slots=True)
class Docker:
    """Runs steps as containers; `client` is the command line of the engine's client, with its options."""

    source: store.Store
    scratch: pathlib.Path
    logs: pathlib.Path
    client: tuple[str, ...] = ("docker",)

    def run(self, action: _action.Action) -> _action.Result:
        """See `Executor.run`."""
        with _scratch.open_folder(self.scratch) as folder, self._image(action, folder) as image:
            container = self._engine("create", *_options(action), image, *_scratch.words(action)).decode().strip()
            try:
                return self._use(action, container, folder)
            finally:
                self._engine("rm", "--force", "--volumes", container)

    def _use(self, action: _action.Action, container: str, folder: pathlib.Path) -> _action.Result:
        inputs = folder / "inputs"
        _scratch.place(action, self.source, inputs)
        self._engine("cp", "-", f"{container}:/", stdin=_packed(inputs, action.directory[1:]))
        error = self._start(action, container)
        log = self._log(container)
        if error:
            raise _local.failure(action, error, log, self.logs)
        outputs = folder / "outputs"
        for path in action.outputs:
            (outputs / path).parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(errors.ToolError):  # what is missing, `collect` names
                self._engine("cp", f"{container}:{action.directory}/{path}", str(outputs / path))
        return _action.Result(_scratch.collect(action, outputs, self.source), self.source.add_bytes(log))

    def _start(self, action: _action.Action, container: str) -> errors.ToolError | None:
        try:
            self._engine("start", container)
            limit = ["timeout", str(action.seconds)]
            code = int(command.run([*limit, *self.client, "wait", container]))
        except errors.ToolError as error:
            return error
        return errors.ToolError(action.argv, "failed", exit_code=code) if code else None

    def _log(self, container: str) -> bytes:
        return command.run(["sh", "-c", 'exec 2>&1; exec "$@"', "sh", *self.client, "logs", container])

    @contextlib.contextmanager
    def _image(self, action: _action.Action, folder: pathlib.Path) -> Iterator[str]:
        """The root as an image of one layer; it is removed again, the store has it."""
        packed = folder / "root.tar"
        with packed.open("wb") as stream:
            _join(action, self.source, stream)
        image = self._engine("import", str(packed)).decode().strip()
        packed.unlink()
        try:
            yield image
        finally:
            with contextlib.suppress(errors.ToolError):  # another step uses the same root
                self._engine("rmi", image)

    def _engine(self, *argv: str, stdin: bytes = b"") -> bytes:
        return command.run([*self.client, *argv], stdin=stdin, hint=_HINT)


def _options(action: _action.Action) -> list[str]:
    return [
        "--network=none",
        "--hostname=build",
        "--user=0:0",
        "--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777",
        f"--platform={action.platform}",
        "--entrypoint=",
    ]


def _join(action: _action.Action, source: store.Store, sink: typing.BinaryIO) -> None:
    for layer in action.root:
        with source.open(layer.digest) as stream:
            left = layer.size - _END
            while left and (block := stream.read(min(left, digest.BLOCK_SIZE))):
                sink.write(block)
                left -= len(block)
    sink.write(bytes(_END))


def _packed(directory: pathlib.Path, prefix: str) -> bytes:
    """A folder as an archive that belongs to user 0."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(directory, prefix, filter=owned)
    return stream.getvalue()


def is_answering(client: tuple[str, ...]) -> bool:
    """Whether the engine is there."""
    try:
        command.run([*client, "version"])
    except errors.ToolError:
        return False
    return True
