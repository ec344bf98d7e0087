"""Gzip that is the same everywhere: layout of members, digests on the way, memory."""

import gzip
import io
import tracemalloc

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import compression, digest

SIZES = [0, 1, compression.MEMBER_SIZE - 1, compression.MEMBER_SIZE, compression.MEMBER_SIZE + 1]


def _written(content: bytes, step: int) -> tuple[bytes, digest.Digest, digest.Descriptor]:
    stream = io.BytesIO()
    with compression.GzipWriter(stream) as writer:
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
        plain, packed = writer.finish()
    return stream.getvalue(), plain, packed


@pytest.mark.parametrize("size", SIZES)
def test_the_stream_and_the_bytes_are_the_same_and_unpack(size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    packed, plain, descriptor = _written(content, 100_003)
    assert packed == compression.gzip_bytes(content)
    assert gzip.decompress(packed) == content
    assert plain == digest.Digest.of_bytes(content)
    assert descriptor == digest.Descriptor.of_bytes(packed)


def test_a_header_tells_neither_time_nor_name_nor_system() -> None:
    # RFC 1952 section 2.3: magic, deflate, no flags, no time, no hint of the level, unknown system.
    assert compression.gzip_bytes(b"x")[:10] == bytes.fromhex("1f8b08000000000000ff")


@hypothesis.given(strategies.binary(max_size=5000), strategies.integers(1, 600))
@hypothesis.settings(max_examples=50, deadline=None)
def test_how_it_is_written_does_not_matter(content: bytes, step: int) -> None:
    assert _written(content, step)[0] == compression.gzip_bytes(content)


def test_memory_is_flat() -> None:
    block = bytes(1 << 20)
    with compression.GzipWriter(io.BytesIO()) as writer:
        tracemalloc.start()
        for _ in range(64):
            writer.write(block)
        writer.finish()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 32 << 20


def test_the_label_names_the_compressor_and_its_settings() -> None:
    assert compression.label().startswith("gzip: deflate ")
    assert "level 6" in compression.label()
