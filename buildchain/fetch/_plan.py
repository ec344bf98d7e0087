"""What is to be pulled: values and the arithmetic on them; asks the store, never the network."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterable, Mapping

from buildchain import digest, errors, store, urls
from buildchain.fetch import _access


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One file by digest, and where it may be had; the URLs are quoted and tried in order."""

    name: str
    content: digest.Descriptor
    urls: tuple[str, ...]
    images: tuple[str, ...] = ()
    """The images that it is a part of."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """A small document, and what its server said about it."""

    content: bytes
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How to ask; the defaults fit a mirror on the internet."""

    jobs: int = 8
    ca_bundle: str | None = None
    """File of the trusted certificates; None stands for those of the system."""
    is_offline: bool = False
    rewrites: urls.Rewrites = urls.NONE
    """What every URL goes through before it is asked for, redirects included."""
    connect_timeout_s: float = 10
    read_timeout_s: float = 30
    """A body that brings less than `min_bytes_per_s` for so long is a stall."""
    min_bytes_per_s: int = 512
    attempts: int = 5
    """Failures in a row without one new byte, for each URL."""
    attempts_total: int = 100
    """Failures of each URL in one run, however many bytes came between them."""
    first_wait_s: float = 0.5
    """Wait after the first failure in a row; each further one doubles it."""
    longest_wait_s: float = 60
    """No wait is longer, whatever Retry-After asks for."""
    access: _access.Access | None = None
    """What some servers want besides a URL."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a pull has to do; every digest counts once."""

    missing: tuple[Request, ...] = ()
    """Largest first."""
    remaining_bytes: int = 0
    """Bytes of `missing` that no earlier run has left in a part."""
    held_count: int = 0
    held_bytes: int = 0
    shared_bytes: int = 0
    """Bytes that were asked for more than once and are brought only once."""

    @property
    def missing_bytes(self) -> int:
        """Bytes of all missing files."""
        return sum(request.content.size for request in self.missing)

    def __str__(self) -> str:
        text = f"{len(self.missing)} files to pull ({size_text(self.missing_bytes)})"
        if self.remaining_bytes < self.missing_bytes:
            text += f", {size_text(self.missing_bytes - self.remaining_bytes)} of them begun"
        return f"{text}, {self.held_count} held ({size_text(self.held_bytes)})"


@dataclasses.dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did."""

    count: int = 0
    received_bytes: int = 0
    """Bytes that came over the network, those thrown away included."""
    held_count: int = 0
    held_bytes: int = 0
    attempts: int = 0
    """Answers asked for; the redirects on the way count as one."""
    seconds: float = 0
    shared_bytes: int = 0
    """Bytes that were asked for more than once and are kept only once."""
    peak_bytes_per_s: float = 0
    """The fastest the link was seen: over a second, or over the whole of a shorter pull."""

    @property
    def times_floor(self) -> float:
        """How much longer it took than the same bytes at the link's peak; 1 is perfect."""
        return self.seconds * self.peak_bytes_per_s / self.received_bytes if self.received_bytes else 1

    def __str__(self) -> str:
        shared = f", {size_text(self.shared_bytes)} shared" if self.shared_bytes else ""
        held = f", {self.held_count} held ({size_text(self.held_bytes)})" if self.held_count else ""
        return (
            f"pulled {self.count} files, {size_text(self.received_bytes)} in {self.seconds:.1f} s "
            f"({self.times_floor:.2f} x the link's floor){shared}{held}"
        )


def plan(requests: Iterable[Request], source: store.Store) -> Plan:
    """Compare requests with the store.

    Raises:
        BuildchainError: one digest is given two sizes.
    """
    wanted = list(requests)
    distinct = _distinct(wanted)
    missing = [request for request in distinct if not source.has(request.content)]
    missing.sort(key=lambda request: (-request.content.size, request.name))
    return Plan(
        missing=tuple(missing),
        remaining_bytes=sum(_remaining(request.content, source) for request in missing),
        held_count=len(distinct) - len(missing),
        held_bytes=sum(request.content.size for request in {*distinct} - {*missing}),
        shared_bytes=sum(request.content.size for request in wanted)
        - sum(request.content.size for request in distinct),
    )


def check_space(plan: Plan, extra_bytes: int, folder: pathlib.Path) -> None:
    """Refuse a plan that the disk of `folder` cannot hold.

    Arguments:
        extra_bytes: what the build writes there besides.

    Raises:
        BuildchainError: with the need and the free space.
    """
    needed = plan.remaining_bytes + extra_bytes
    free = shutil.disk_usage(next(path for path in [folder, *folder.absolute().parents] if path.exists())).free
    if needed > free:
        raise errors.BuildchainError(
            str(folder),
            f"the disk is too small: {size_text(needed)} needed, {size_text(free)} free",
            "Free some space, or set STORE or BUILD_ROOT in .env to a folder on a larger disk.",
        )


def size_text(size: int) -> str:
    """Bytes for people, in powers of 1000."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.95:
            break
        number, unit = number / 1000, larger
    return f"{size} B" if unit == "B" else f"{number:.1f} {unit}"


def _distinct(requests: Iterable[Request]) -> list[Request]:
    """One request a digest, with the URLs of all."""
    by_digest: dict[digest.Digest, Request] = {}
    for request in requests:
        first = by_digest.setdefault(request.content.digest, request)
        if first.content != request.content:
            sizes = f"{first.content.size} bytes ({first.name}) and {request.content.size} bytes ({request.name})"
            why = f"is given two sizes: {sizes}"
            raise errors.BuildchainError(str(request.content.digest), why, "Run ./doit.sh lock and commit the result.")
        by_digest[request.content.digest] = dataclasses.replace(
            first,
            urls=tuple(dict.fromkeys(first.urls + request.urls)),
            images=tuple(dict.fromkeys(first.images + request.images)),
        )
    return list(by_digest.values())


def _remaining(content: digest.Descriptor, source: store.Store) -> int:
    try:
        begun = source.partial_path(content.digest).stat().st_size
    except OSError:
        begun = 0
    return max(content.size - begun, 0)
