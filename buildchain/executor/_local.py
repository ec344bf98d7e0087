"""Rooms on this machine: a user namespace of one user, or chroot for who is root already.

In a user namespace the caller is user 0 and nobody else exists: no subordinate ids, no set-uid helper, no daemon.
Mounts, network, processes and host name are its own (user_namespaces(7)). The step's root is moved over `/`, so that
nothing of the host is left behind it. Where memory allows, that root is a tmpfs: to make and to drop ten thousand files
costs a disk more than most steps do. The working directory is always on the disk.
"""

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from buildchain import command, digest, errors, store
from buildchain.executor import _action, _scratch

_OWN = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--propagation", "private"]
USER_NAMESPACE = ("unshare", "--user", "--map-root-user", *_OWN)
ROOTS_NAMESPACE = ("unshare", *_OWN)

_NAME = "{ hostname build || echo build > /proc/sys/kernel/hostname; } 2>/dev/null"

PROBE = f"{_NAME} && mount -n -t proc proc /proc && mount -n -t tmpfs tmpfs /tmp && mount -n --bind /dev/null /dev/zero"
"""Everything below that a host may refuse."""

_MAX_SHOWN = 100
"""Characters of a command line in a message; the log has the rest."""

_SHARE = 8
"""The root of a step is unpacked into memory if so many times its size is free: several steps may run at once."""

_DEVICES = "null zero full random urandom"

_UNPACK = " ".join(_scratch.UNPACK)

_ENTER = f"""\
set -eu
seconds=$1 root=$2 work=$3 directory=$4 layers=$5; shift 5
{_NAME}
if [ "$layers" -gt 0 ]; then
    mount -n -t tmpfs -o mode=0755,nosuid tmpfs "$root"
    for layer in "$@"; do
        [ "$layers" -gt 0 ] || break
        {_UNPACK} "$root" --file "$layer"
        layers=$((layers - 1)); shift
    done
    mkdir -p "$root/$directory"
    mount -n --bind "$work" "$root/$directory"
else
    mount -n --bind "$root" "$root"
fi
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
seconds=$1 root=$2; shift 5
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
            in_memory = bool(self.launcher) and _free_memory() > _SHARE * sum(layer.size for layer in action.root)
            work = folder / "work" if in_memory else root / action.directory[1:]
            if not in_memory:
                _scratch.unpack(action, self.source, root)
            _scratch.place(action, self.source, work)
            self._start(action, folder, work, action.root if in_memory else ())
            outputs = _scratch.collect(action, work, self.source)
            return _action.Result(outputs, self.source.add_file(log))

    def _start(
        self, action: _action.Action, folder: pathlib.Path, work: pathlib.Path, layers: Sequence[digest.Descriptor]
    ) -> None:
        log = folder / "log"
        script = _ENTER if self.launcher else _CHROOT
        script = f'exec >"$0" 2>&1 </dev/null\n{script}'
        archives = [self.source.path(layer.digest) for layer in layers]
        limits: list[command.Argument] = [str(action.seconds), folder / "root", work, action.directory[1:]]
        limits += [str(len(archives)), *archives]
        try:
            command.run([*self.launcher, "sh", "-c", script, log, *limits, *_scratch.words(action)])
        except errors.ToolError as error:
            raise failure(action, error, log.read_bytes() if log.exists() else b"", self.logs) from error


def _free_memory() -> int:
    """Bytes that programs can have without making others wait (proc_meminfo(5)), within the limit of a container."""
    found = re.search(r"^MemAvailable: +([0-9]+) kB$", _text("/proc/meminfo"), re.MULTILINE)
    free = int(found[1]) * 1024 if found else 0
    limit, used = (_text(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _text(path: str) -> str:
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


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
