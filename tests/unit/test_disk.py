"""The disk of a machine, without making one."""

import struct

import pytest

from buildchain import disk, errors


def test_the_boot_loader_stands_before_the_partition() -> None:
    head = disk.head(b"1" * 512, b"2" * 1000)
    assert len(head) == 1 << 20
    assert head[:440] == b"1" * 440
    assert head[510:512] == b"\x55\xaa"
    assert head[512:1513] == b"2" * 1000 + b"\0"


def test_the_partition_takes_the_rest_of_the_disk() -> None:
    table = disk.head(b"", b"")[446:510]
    status, kind, start, length = struct.unpack("<B3xB3xII", table[:16])
    assert (status, kind, start * 512) == (0x80, 0x83, 1 << 20)
    assert (start + length) * 512 == disk.SIZE
    assert table[16:] == bytes(48)


def test_a_boot_loader_that_does_not_fit_is_refused() -> None:
    with pytest.raises(errors.BuildchainError, match="1048576 are free"):
        disk.head(b"", bytes(1 << 20))
