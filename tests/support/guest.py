"""A Debian host with a kernel and a disk of its own, in an emulated machine (qemu's TCG), reached over SSH.

Nothing of this host's kernel is used. Its only network ends in qemu: it leads nowhere but to the port that SSH uses.
"""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence

PROGRAM = "qemu-system-x86_64"
SUBNET = "10.200.1.0/24"
IP = "10.200.1.15"
"""The first that qemu gives away."""

_BOOT_SECONDS = 1200
_COMMAND_SECONDS = 3600
"""An emulated processor is twenty times slower than a real one, and a busy host slower still."""


@dataclasses.dataclass(frozen=True)
class Guest:
    """A running host."""

    _ssh: tuple[str, ...]

    @property
    def ip(self) -> str:
        """Its address on the network."""
        return IP

    def run(self, *argv: str) -> str:
        """Run a program on it, which must succeed; returns what it says."""
        done = self.attempt(*argv)
        assert done.returncode == 0, f"{shlex.join(argv)}: {done.stdout}"
        return done.stdout

    def attempt(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program on it; the exit code is the test's to judge, both outputs are one."""
        return self._call(f"exec 2>&1; {shlex.join(argv)}", _COMMAND_SECONDS)

    def write(self, path: str, text: str) -> None:
        """Write a file on it, and the folders above."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', "sh", path, text)

    def reboot(self) -> None:
        """Have it start anew, and wait until it has."""
        before = self._boot()
        self._call("systemctl reboot", 60)
        subprocess.run([*self._ssh, "-O", "exit"], capture_output=True, check=False)
        self.wait(before)

    def wait(self, before: str = "") -> None:
        """Wait until systemd has started all that it starts, in another boot than the one before."""
        until = time.monotonic() + _BOOT_SECONDS
        while self._boot() in ("", before):
            assert time.monotonic() < until, f"nobody answers after {_BOOT_SECONDS} s"
            time.sleep(1)
        state = self.attempt("systemctl", "is-system-running", "--wait").stdout.strip()
        assert state == "running", self.run("systemctl", "--failed", "--no-pager")

    def _boot(self) -> str:
        """What tells one boot from another; nothing while nobody answers."""
        return self._call("cat /proc/sys/kernel/random/boot_id", 60).stdout.strip()

    def _call(self, line: str, seconds: int) -> subprocess.CompletedProcess[str]:
        argv = [*self._ssh, line]
        try:
            return subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(argv, 255, "", "")


@contextlib.contextmanager
def boot(
    disk: pathlib.Path, key: pathlib.Path, folder: pathlib.Path, cdrom: pathlib.Path, others: Sequence[pathlib.Path]
) -> Iterator[Guest]:
    """Start it, and stop it at the end; the disks stay as they are.

    Arguments:
        disk:   what `buildchain.disk` made.
        key:    the private key that opens it.
        folder: for what qemu writes, the console's text as console.log among it.
        others: files that are further disks, /dev/vdb and so on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    drives = [f"file={disk},format=raw,if=virtio,cache=unsafe,snapshot=on"]
    drives += [f"file={each},format=raw,if=virtio,readonly=on" for each in others]
    argv = [PROGRAM, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072", "-nodefaults"]
    argv += ["-display", "none", "-serial", f"file:{folder / 'console.log'}", "-device", "virtio-rng-pci"]
    argv += ["-netdev", f"user,id=net,restrict=on,ipv6=off,net={SUBNET},hostfwd=tcp:127.0.0.1:{port}-:22"]
    argv += ["-device", "virtio-net-pci,netdev=net", "-device", "virtio-scsi-pci"]
    argv += ["-drive", f"file={cdrom},format=raw,if=none,id=cd,media=cdrom", "-device", "scsi-cd,drive=cd"]
    argv += [word for drive in drives for word in ("-drive", drive)]
    made = Guest(_ssh(key, port, folder))
    with (
        (folder / "qemu.log").open("wb") as log,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(folder)},
            preexec_fn=_be_nice,
        ) as machine,
    ):
        try:
            made.wait()
            yield made
        finally:
            subprocess.run([*made._ssh, "-O", "exit"], capture_output=True, check=False)
            machine.kill()


def _be_nice() -> None:
    os.nice(10)


def _ssh(key: pathlib.Path, port: int, folder: pathlib.Path) -> tuple[str, ...]:
    """One connection for all commands: emulated processors take seconds to agree on keys."""
    options = [
        "BatchMode=yes",
        "ConnectTimeout=20",
        "ControlMaster=auto",
        f"ControlPath={folder / 'ssh'}",
        "ControlPersist=yes",
        "IdentitiesOnly=yes",
        "LogLevel=ERROR",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
    ]
    ssh = ["ssh", "-F", "none", "-i", str(key), "-p", str(port)]
    return (*ssh, *(word for option in options for word in ("-o", option)), "root@127.0.0.1")
