"""A Linux kernel of its own: Debian's cloud kernel in an emulated machine, with busybox and one shell script.

Nothing of this machine's kernel or rights is used (qemu's TCG), so that it runs for everybody and in any container.
"""

import dataclasses
import io
import pathlib
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator

from buildchain import command

PROGRAM = "qemu-system-x86_64"

_KERNEL = "linux-image-cloud-amd64"
_MODULES = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk")
_READERS = ("cdrom", "isofs", "nls_utf8")
_RESULT_SIZE = 16 << 20
_END = b"\nEND\n"

_START = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko || echo "$module" >&2; done
"""
_STOP = """
sync
poweroff -f
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel image and the modules that it needs to read a disk."""

    image: pathlib.Path
    modules: tuple[pathlib.Path, ...]


def kernel(cache: pathlib.Path) -> Kernel:
    """Get the kernel with this machine's apt, unless it is in a folder that outlives the test run."""
    modules = tuple(cache / f"{name}.ko" for name in (*_MODULES, *_READERS))
    if not (cache / "vmlinuz").exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            _unpack(_download(pathlib.Path(folder)), pathlib.Path(folder), cache)
    return Kernel(cache / "vmlinuz", modules)


def run(guest: Kernel, script: str, disk: pathlib.Path, folder: pathlib.Path) -> bytes:
    """Boot, run a script that finds the disk as /dev/vda, read-only, and return what it writes."""
    result = folder / "result"
    with result.open("wb") as stream:
        stream.truncate(_RESULT_SIZE)
    lines = [_START.format(modules=" ".join(path.stem for path in guest.modules))]
    lines += [f"(\n{script}\n) >/result 2>&1", "printf '\\nEND\\n' >>/result", "dd if=/result of=/dev/vdb conv=fsync"]
    lines += [_STOP]
    initramfs = folder / "initramfs"
    initramfs.write_bytes(archive(_members(guest, "\n".join(lines))))
    console = command.run([PROGRAM, *_hardware(guest, initramfs, disk, result)])
    content, end, _ = result.read_bytes().partition(_END)
    assert end, f"the script did not end:\n{console.decode(errors='replace')[-4000:]}"
    return content


def _hardware(guest: Kernel, initramfs: pathlib.Path, disk: pathlib.Path, result: pathlib.Path) -> Iterator[str]:
    yield from ("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "512")
    yield from ("-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio")
    yield from ("-kernel", str(guest.image), "-initrd", str(initramfs))
    yield from ("-append", "console=ttyS0 quiet panic=-1 mitigations=off")
    yield from ("-drive", f"file={disk},if=virtio,format=raw,readonly=on")
    yield from ("-drive", f"file={result},if=virtio,format=raw,cache=unsafe")


def _members(guest: Kernel, script: str) -> Iterator[tuple[str, int, bytes]]:
    busybox = pathlib.Path(shutil.which("busybox") or "busybox").read_bytes()
    assert b"ld-linux" not in busybox[:4096], "busybox is not static: apt-get install busybox-static"
    for folder in ("bin", "dev", "modules", "medium"):
        yield folder, stat.S_IFDIR | 0o755, b""
    yield "bin/busybox", stat.S_IFREG | 0o755, busybox
    yield "init", stat.S_IFREG | 0o755, script.encode()
    for path in guest.modules:
        yield f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()


def archive(members: Iterable[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive, "newc": the kernel's Documentation/driver-api/early-userspace/buffer-format.rst."""
    written = io.BytesIO()
    for number, (name, mode, content) in enumerate([*members, ("TRAILER!!!", 0, b"")], 1):
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        written.write(head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4))
    return written.getvalue()


def _download(folder: pathlib.Path) -> pathlib.Path:
    """The package that the newest cloud kernel is in: the one of that name only depends on it."""
    wanted = command.run(["apt-cache", "depends", "--important", _KERNEL]).decode()
    names = [line.split()[-1] for line in wanted.splitlines() if "linux-image-" in line and "Depends:" in line]
    command.run(["apt-get", "download", "--quiet", names[0]], directory=folder)
    return next(folder.glob("*.deb"))


def _unpack(package: pathlib.Path, folder: pathlib.Path, cache: pathlib.Path) -> None:
    """Take out the modules, then the kernel: with that the cache is complete."""
    content = folder / "content.tar"
    content.write_bytes(command.run(["dpkg-deb", "--fsys-tarfile", package]))
    wanted = {f"{name}.ko": f"{name}.ko" for name in (*_MODULES, *_READERS)}
    with tarfile.open(content) as opened:
        for member in opened:
            name = pathlib.PurePath(member.name).name
            if name in wanted:
                _take(opened, member, cache / wanted[name])
            elif name.startswith("vmlinuz-"):
                image = member
        _take(opened, image, folder / "vmlinuz")
    (folder / "vmlinuz").replace(cache / "vmlinuz")


def _take(opened: tarfile.TarFile, member: tarfile.TarInfo, target: pathlib.Path) -> None:
    stream = opened.extractfile(member)
    assert stream is not None
    target.write_bytes(stream.read())
