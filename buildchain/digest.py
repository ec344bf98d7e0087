"""Digests and descriptors: the only way the buildchain talks about content.

The text form is that of the OCI image specification 1.1, section "Digests": `sha256:` and 64 lower-case hex digits.
"""

import dataclasses
import hashlib
import re
import typing

BLOCK_SIZE = 1 << 20

_TEXT = re.compile(r"sha256:[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest, as lower-case hex."""

    hex: str

    def __post_init__(self) -> None:
        if not _TEXT.fullmatch(str(self)):
            raise ValueError(f"not a sha256 digest: {self.hex!r}")

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Read `sha256:<hex>`; any other text is a ValueError."""
        if not _TEXT.fullmatch(text):
            raise ValueError(f"not a sha256 digest: {text!r}")
        return cls(text.removeprefix("sha256:"))

    @classmethod
    def of_bytes(cls, content: bytes) -> "Digest":
        """Digest of bytes in memory."""
        return cls(hashlib.sha256(content).hexdigest())

    @classmethod
    def of_file(cls, stream: typing.BinaryIO) -> "Digest":
        """Digest of the rest of a stream, in constant memory."""
        hasher = hashlib.sha256()
        while block := stream.read(BLOCK_SIZE):
            hasher.update(block)
        return cls(hasher.hexdigest())


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Descriptor:
    """Content by digest and size in bytes."""

    digest: Digest
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"negative size: {self.size}")

    @classmethod
    def of_bytes(cls, content: bytes) -> "Descriptor":
        """Descriptor of bytes in memory."""
        return cls(Digest.of_bytes(content), len(content))
