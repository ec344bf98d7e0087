"""One file on its way in: judges every answer and every block before they count."""

import hashlib
import os
import re
import typing

import requests

from buildchain import digest, errors
from buildchain.fetch import _attempts, _plan, _transport

# RFC 9110 section 14.4.
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_HINT_OTHER = (
    "The server has other bytes than the lock: choose another mirror, or run ./doit.sh lock to see what changed."
)


class Part:
    """The bytes of one file that came so far, in this run or before, and their digest."""

    def __init__(self, request: _plan.Request, stream: typing.BinaryIO, on_bytes: typing.Callable[[int], None]) -> None:
        self.request = request
        self.size = 0
        self._stream = stream
        self._on_bytes = on_bytes
        self._hasher = hashlib.sha256()
        self._is_resumed = False

    def load(self) -> None:
        """Hash what an earlier run left; what cannot be a beginning of the file is dropped."""
        while block := self._stream.read(digest.BLOCK_SIZE):
            self._hasher.update(block)
            self.size += len(block)
        if self.size >= self.request.content.size and not self.is_good():
            self.drop()

    def is_good(self) -> bool:
        """Whether the file is whole and right; a good file is on the disk afterwards."""
        if self.size != self.request.content.size or self._hasher.hexdigest() != self.request.content.digest.hex:
            return False
        os.fsync(self._stream.fileno())
        return True

    def begin(self, url: str, response: requests.Response) -> None:
        """Judge the head of an answer: what follows is the whole file, or goes on where the part ends.

        Raises:
            AttemptError:   the part is dropped, or the answer is of no use: ask again.
            IntegrityError: the server has a file of another size.
        """
        if response.status_code == 416:
            self.drop()
            raise _attempts.AttemptError("HTTP 416: the server refuses to go on where the part ends", status=416)
        self._is_resumed = response.status_code == 206
        if self._is_resumed:
            self._check_range(url, response.headers.get("Content-Range", ""))
            return
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != self.request.content.size:
            self._refuse_length(url, int(length))
        self.drop()

    def append(self, url: str, block: bytes) -> None:
        """Write a block.

        Raises:
            IntegrityError: the body is longer than the file; the part is dropped.
        """
        if self.size + len(block) > self.request.content.size:
            self.drop()
            raise self._integrity(url, f"{self.request.content.size} bytes", "a longer body")
        view = memoryview(block)
        while view:
            view = view[self._stream.write(view) :]
        self._hasher.update(block)
        self.size += len(block)
        self._on_bytes(len(block))

    def finish(self, url: str) -> None:
        """Judge the whole.

        Raises:
            AttemptError:   bytes are missing, or some came from an earlier attempt and the whole is wrong.
            IntegrityError: these are other bytes; the part is dropped.
        """
        if self.size < self.request.content.size:
            raise _attempts.AttemptError(f"the body ended after {self.size} of {self.request.content.size} bytes")
        if self.is_good():
            return
        verdict = self._integrity(url, str(self.request.content.digest), f"sha256:{self._hasher.hexdigest()}")
        self.drop()
        if self._is_resumed:
            why = "the resumed file has a wrong digest: once more from its first byte"
            raise _attempts.AttemptError(why, verdict=verdict)
        raise verdict

    def drop(self) -> None:
        """Forget every byte."""
        if not self.size:
            return
        self._on_bytes(-min(self.size, self.request.content.size))
        self._stream.seek(0)
        self._stream.truncate()
        self.size = 0
        self._hasher = hashlib.sha256()

    def _check_range(self, url: str, text: str) -> None:
        found = _CONTENT_RANGE.fullmatch(text.strip())
        total = self.request.content.size
        if found and found[3] not in ("*", str(total)):
            raise self._integrity(url, f"{total} bytes", f"{found[3]} bytes")
        if not found or not self.size or int(found[1]) != self.size or not self.size <= int(found[2]) < total:
            self.drop()
            raise _attempts.AttemptError(f"not the part that was asked for (Content-Range: {text[:80]!r})")

    def _refuse_length(self, url: str, length: int) -> typing.NoReturn:
        verdict = self._integrity(url, f"{self.request.content.size} bytes", f"{length} bytes")
        if length > self.request.content.size:
            raise verdict
        # A proxy's cut copy or error page: worth another attempt, but not a beginning to build on.
        raise _attempts.AttemptError(
            f"the body has {length} instead of {self.request.content.size} bytes", verdict=verdict
        )

    def _integrity(self, url: str, expected: str, actual: str) -> errors.IntegrityError:
        return errors.IntegrityError(self.request.name, _transport.shown(url), expected, actual, _HINT_OTHER)
