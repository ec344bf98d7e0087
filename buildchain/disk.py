"""A disk from which a computer boots a minimal Debian host: the box, with a kernel, a boot loader and an SSH server.

    sector 0    GRUB's first stage; a partition table with one partition
    sector 1    GRUB's second stage, with all that it is to do
    1 MiB       an ext4 file system, as large as its content; the first boot grows it to the end of the partition

What a medium does not carry comes from Debian's own archives. No right of root is needed to make it, and no loop
device: Debian's tools install, mke2fs copies.
"""

import json
import pathlib
import struct
import tarfile
import tempfile
from collections.abc import Sequence

from buildchain import box, command, errors

PACKAGES = (
    *box.PACKAGES,
    "grub-pc-bin",
    "linux-image-amd64",
    "openssh-server",
    "udev",
)
SIZE = 20 << 30
"""Of the disk; a file of this size takes no more room than what was written."""

_LABEL = "metalk8s-box"
_SECTOR = 512
_OFFSET = 1 << 20
"""Of the partition: what partitioning tools leave free before it holds the boot loader."""
# The master boot record: code, the table of four partitions, a mark.
_CODE_SIZE = 440
_TABLE = 446
_TABLE_SIZE = 64
_ACTIVE = 0x80
_LINUX = 0x83

# What the kernel needs to find its disk; it loads the rest from there.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci", "ext4")
_KERNEL_OPTIONS = f"root=LABEL={_LABEL} ro net.ifnames=0 console=tty0 console=ttyS0 quiet"
_BOOT = ("biosdisk", "part_msdos", "ext2", "linux", "boot")
"""Modules of GRUB."""

_BEFORE = f"""\
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/metalk8s"
printf '%s\\n' {" ".join(_MODULES)} >"$1/usr/share/initramfs-tools/modules.d/metalk8s"
"""
# Every machine makes a name and keys of its own.
_CONFIGURE = f"""\
set -eu
echo 'LABEL={_LABEL} / ext4 defaults,x-systemd.growfs 0 1' >"$1/etc/fstab"
printf '[Match]\\nName=eth*\\n[Network]\\nDHCP=ipv4\\n' >"$1/etc/systemd/network/80-metalk8s.network"
chroot "$1" systemctl enable --quiet systemd-networkd.service
: >"$1/etc/machine-id"
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/cache/apt/archives/*.deb
rm -rf "$1"/var/lib/apt/lists/*
unit="$1/etc/systemd/system/ssh.service.d/keys.conf"
mkdir -p "$(dirname "$unit")"
printf '[Service]\\nExecStartPre=\\nExecStartPre=/usr/bin/ssh-keygen -A\\n' >"$unit"
install -d -m 0700 "$1/root/.ssh"
printf '%s\\n' "$METALK8S_AUTHORIZED_KEY" >"$1/root/.ssh/authorized_keys"
"""
_MAKE_BOOTABLE = f"""\
set -eu
cd "$1/boot"
ln -s vmlinuz-* vmlinuz
ln -s initrd.img-* initrd
printf '%s\\n' 'set root=(hd0,msdos1)' 'linux /boot/vmlinuz {_KERNEL_OPTIONS}' 'initrd /boot/initrd' boot >start.cfg
chroot "$1" grub-mkimage -O i386-pc -p / -c /boot/start.cfg -o /boot/core.img {" ".join(_BOOT)}
cp "$1/usr/lib/grub/i386-pc/boot.img" .
"""
# The tools' own mounts (/proc, /sys) are left behind by a mount that is not recursive.
_MAKE_FILE_SYSTEM = f"""\
set -eu
mkdir "$1.root"
mount --bind "$1" "$1.root"
size=$(du --summarize --block-size=1K "$1.root" | cut -f 1)
mke2fs -q -t ext4 -L {_LABEL} -E offset={_OFFSET} -d "$1.root" "$1.disk" "$((size + size / 8 + 65536))k"
umount "$1.root"
rmdir "$1.root"
mv "$1.disk" "$1/boot/disk.img"
"""


def build(medium: pathlib.Path, archives: Sequence[str], authorized_key: str, target: pathlib.Path) -> None:
    """Make the disk.

    Arguments:
        medium:         the staged tree, or the folder where an ISO is mounted.
        archives:       Debian's, as lines of sources.list(5).
        authorized_key: the public SSH key that opens it for root.
        target:         a raw image, replaced whole.

    Raises:
        BuildchainError: the medium holds no repository, or the packages cannot be installed.
    """
    sources = [*box.sources(medium), *archives]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
        folder = pathlib.Path(name)
        parts = {each: folder / each for each in ("boot.img", "core.img", "disk.img")}
        hooks = [f"--essential-hook={_BEFORE}"]
        hooks += [f"--customize-hook={each}" for each in (_CONFIGURE, _MAKE_BOOTABLE, _MAKE_FILE_SYSTEM)]
        hooks += [f"--customize-hook=download /boot/{each} {path}" for each, path in parts.items()]
        options = ["--quiet", "--variant=essential", "--format=null", f"--include={','.join(PACKAGES)}"]
        environment = {"METALK8S_AUTHORIZED_KEY": authorized_key}
        command.run(["mmdebstrap", *options, *hooks, "", "/dev/null", *sources], environment=environment)
        with parts["disk.img"].open("r+b") as stream:
            stream.write(head(parts["boot.img"].read_bytes(), parts["core.img"].read_bytes()))
            stream.truncate(SIZE)
        parts["disk.img"].replace(target)


def pack(disk: pathlib.Path, target: pathlib.Path) -> None:
    """Make a box for vagrant's provider libvirt of a disk.

    Raises:
        ToolError: qemu-img fails.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as name:
        folder = pathlib.Path(name)
        command.run(["qemu-img", "convert", "-O", "qcow2", disk, folder / "box.img"])
        about = {"provider": "libvirt", "format": "qcow2", "virtual_size": SIZE >> 30}
        (folder / "metadata.json").write_text(json.dumps(about))
        with tarfile.open(folder / "box", "w") as written:
            for member in ("metadata.json", "box.img"):
                written.add(folder / member, member)
        (folder / "box").replace(target)


def head(first_stage: bytes, second_stage: bytes) -> bytes:
    """All that stands before the partition.

    GRUB's first stage reads one sector, the next one; that knows how many belong to it.
    """
    start, length = _OFFSET // _SECTOR, (SIZE - _OFFSET) // _SECTOR
    # No geometry of cylinders and heads: it is beyond what that can name.
    partition = struct.pack("<B3sB3sII", _ACTIVE, b"\xfe\xff\xff", _LINUX, b"\xfe\xff\xff", start, length)
    record = first_stage[:_CODE_SIZE].ljust(_TABLE, b"\0") + partition.ljust(_TABLE_SIZE, b"\0") + b"\x55\xaa"
    written = record + second_stage
    if len(written) > _OFFSET:
        raise errors.BuildchainError("the boot loader", f"has {len(written)} bytes; {_OFFSET} are free for it")
    return written.ljust(_OFFSET, b"\0")
