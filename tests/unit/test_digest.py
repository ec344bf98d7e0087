"""Digests: one spelling, and nothing else is one."""

import hashlib
import io

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import digest

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    "text",
    ["", EMPTY, f"sha512:{EMPTY}", f"sha256:{EMPTY.upper()}", f"sha256:{EMPTY}\n", f" sha256:{EMPTY}",
     f"sha256:{EMPTY[1:]}", f"sha256:{EMPTY}0", f"sha256:sha256:{EMPTY}", f"sha256:{chr(0x660) * 64}"],
)  # fmt: skip
def test_any_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a sha256 digest"):
        digest.Digest.parse(text)
    with pytest.raises(ValueError, match="not a sha256 digest"):
        digest.Digest(text.removeprefix("sha256:") + "!")


def test_parse_reads_what_str_writes() -> None:
    empty = digest.Digest.of_bytes(b"")
    assert str(empty) == f"sha256:{EMPTY}"
    assert digest.Digest.parse(str(empty)) == empty


@hypothesis.given(strategies.binary(max_size=64))
def test_bytes_and_file_agree(content: bytes) -> None:
    assert digest.Digest.of_bytes(content).hex == hashlib.sha256(content).hexdigest()
    assert digest.Digest.of_file(io.BytesIO(content)) == digest.Digest.of_bytes(content)


def test_of_file_reads_the_rest_in_blocks() -> None:
    content = bytes(range(256)) * (digest.BLOCK_SIZE // 256) + b"and a rest"
    stream = io.BytesIO(b"head" + content)
    stream.seek(4)
    assert digest.Digest.of_file(stream) == digest.Digest.of_bytes(content)


def test_descriptor_has_no_negative_size() -> None:
    assert digest.Descriptor.of_bytes(b"abc") == digest.Descriptor(digest.Digest.of_bytes(b"abc"), 3)
    with pytest.raises(ValueError, match="negative size: -1"):
        digest.Descriptor(digest.Digest(EMPTY), -1)
