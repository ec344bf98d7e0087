"""Rooms on this machine: a user namespace of one user, or chroot for who is root already.

In a user namespace the caller is user 0 and nobody else exists: no subordinate ids, no set-uid helper, no daemon.
Mounts, network, processes and host name are its own (user_namespaces(7)). The step's root is moved over `/`, so that
nothing of the host is left behind it.
"""

import dataclasses
import pathlib

from buildchain import command, errors, store
from buildchain.executor import _action, _scratch

_OWN = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"]
USER_NAMESPACE = ("unshare", "--user", "--map-root-user", *_OWN)
ROOTS_NAMESPACE = ("unshare", *_OWN)

_NAME = "{ hostname build || echo build > /proc/sys/kernel/hostname; } 2>/dev/null"

PROBE = f"{_NAME} && mount -n -t proc proc /proc && mount -n -t tmpfs tmpfs /tmp && mount -n --bind /dev/null /dev/zero"
"""Everything below that a host may refuse."""

_MAX_SHOWN = 100
"""Characters of a command line in a message; the log has the rest."""

_DEVICES = "null zero full random urandom"

_ENTER = f"""\
set -eu
seconds=$1 root=$2; shift 2
{_NAME}
mount -n --bind "$root" "$root"
cd "$root"
mkdir -p proc dev tmp
mount -n -t proc -o nosuid,nodev,noexec proc proc
mount -n -t tmpfs -o mode=0755,nosuid tmpfs dev
for name in {_DEVICES}; do
    : > "dev/$name"
    mount -n --bind "/dev/$name" "dev/$name"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mkdir -m 1777 dev/shm
mount -n -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
mount -n --move . /
exec timeout --signal=KILL "$seconds" chroot . "$@"
"""

_CHROOT = """\
set -eu
seconds=$1 root=$2; shift 2
cd "$root"
mkdir -p proc dev tmp
chmod 1777 tmp
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/full c 1 7
mknod -m 666 dev/random c 1 8
mknod -m 666 dev/urandom c 1 9
exec timeout --signal=KILL "$seconds" chroot . "$@"
"""
# Neither /proc nor an own network: where a container refuses namespaces, it refuses these as well.


@dataclasses.dataclass(frozen=True, slots=True)
class Local:
    """Runs steps below `scratch`, which must not be mounted noexec; logs of failed ones stay in `logs`.

    `launcher` starts the room: USER_NAMESPACE, ROOTS_NAMESPACE, or nothing for a bare chroot.
    """

    source: store.Store
    scratch: pathlib.Path
    logs: pathlib.Path
    launcher: tuple[str, ...]

    def run(self, action: _action.Action) -> _action.Result:
        """See `Executor.run`."""
        with _scratch.open_folder(self.scratch) as folder:
            root, log = folder / "root", folder / "log"
            root.mkdir()
            root.chmod(0o755)  # whatever the umask
            _scratch.unpack(action, self.source, root)
            self._start(action, root, log)
            outputs = _scratch.collect(action, root / action.directory[1:], self.source)
            return _action.Result(outputs, self.source.add_file(log))

    def _start(self, action: _action.Action, root: pathlib.Path, log: pathlib.Path) -> None:
        script = _ENTER if self.launcher else _CHROOT
        script = f'exec >"$0" 2>&1 </dev/null\n{script}'
        limits: list[command.Argument] = [str(action.seconds), root]
        try:
            command.run([*self.launcher, "sh", "-c", script, log, *limits, *_scratch.words(action)])
        except errors.ToolError as error:
            raise failure(action, error, log.read_bytes() if log.exists() else b"", self.logs) from error


def failure(action: _action.Action, error: errors.ToolError, output: bytes, logs: pathlib.Path) -> errors.ToolError:
    """The error of a step: its last lines, and where the rest of them is kept."""
    logs.mkdir(parents=True, exist_ok=True)
    kept = logs / f"{action.name.replace('/', '-').replace(' ', '-')}.log"
    kept.write_bytes(output or error.output.encode())
    program = " ".join(action.argv)
    program = program if len(program) <= _MAX_SHOWN else f"{program[:_MAX_SHOWN].splitlines()[0]} …"
    why = f"failed with exit code {error.exit_code}: {program}"
    if error.exit_code in (124, 137):  # timeout(1): with its own and with SIGKILL
        why = f"did not end within {action.seconds} seconds: {program}"
    text = output.decode(errors="replace") or error.output
    return errors.ToolError((action.name,), why, f"Its log is {kept}.", exit_code=error.exit_code, output=text)


def can_enter(launcher: tuple[str, ...]) -> bool:
    """Whether this host lets us make such a room."""
    try:
        command.run([*launcher, "sh", "-c", PROBE])
    except errors.ToolError:
        return False
    return True
