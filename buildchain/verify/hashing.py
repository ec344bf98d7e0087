"""SHA-256 of many contents at the speed of all cores: hashlib and pread let the other threads run."""

import concurrent.futures
import hashlib
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator

from buildchain.verify import medium

BUFFER_SIZE = 256 << 10
"""Bytes a thread reads at once: small enough for the second-level cache, which is where the hash reads them."""

BATCH_SIZE = 1 << 20
BATCH_LENGTH = 64
"""Bytes and files that one thread takes at a time."""

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all), from any thread, one at a time."""

_local = threading.local()


class _Counter:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._done += count
            self._progress(self._done, self._total)


def digests(
    contents: Iterable[medium.Content], jobs: int | None = None, progress: Progress | None = None
) -> dict[Hashable, str | medium.DamagedError]:
    """The digest (hex) of each content by its identity, or why it could not be read.

    Every identity is read once. Work starts in the order given.
    """
    unique = {content.identity: content for content in contents}
    counter = _Counter(sum(content.size for content in unique.values()), progress)

    def work(batch: list[medium.Content]) -> list[str | medium.DamagedError]:
        return [_digest(content, counter) for content in batch]

    batches = list(_batches(unique.values()))
    with concurrent.futures.ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        found = [each for batch in pool.map(work, batches) for each in batch]
    return dict(zip(unique, found, strict=True))


def _batches(contents: Iterable[medium.Content]) -> Iterator[list[medium.Content]]:
    """Small files together: handing one to a thread costs more than hashing it."""
    batch: list[medium.Content] = []
    size = 0
    for content in contents:
        batch.append(content)
        size += content.size
        if size >= BATCH_SIZE or len(batch) == BATCH_LENGTH:
            yield batch
            batch, size = [], 0
    yield batch


def _digest(content: medium.Content, counter: _Counter) -> str | medium.DamagedError:
    try:
        handle = medium.open_content(content)
    except medium.DamagedError as error:
        return error
    try:
        return _digest_of_parts(handle, content, counter)
    except OSError as error:
        return medium.DamagedError(f"cannot be read: {error.strerror}")
    except medium.DamagedError as error:
        return error
    finally:
        os.close(handle)


def _digest_of_parts(handle: int, content: medium.Content, counter: _Counter) -> str:
    hasher = hashlib.sha256()
    buffer = _buffer()
    for start, length in content.parts:
        position, end = start, start + length
        while position < end:
            count = os.preadv(handle, [buffer[: end - position]], position)
            if count == 0:
                raise medium.DamagedError(f"ends {end - position} bytes too early")
            hasher.update(buffer[:count])
            position += count
            counter.add(count)
    return hasher.hexdigest()


def _buffer() -> memoryview:
    """This thread's buffer: a new one for each read would cost a page fault for each page."""
    if not hasattr(_local, "buffer"):
        _local.buffer = memoryview(bytearray(BUFFER_SIZE))
    buffer: memoryview = _local.buffer
    return buffer
