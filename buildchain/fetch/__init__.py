"""The one downloader: bytes named by digest go from the network into the store; nothing else asks the network.

    Requests ──plan──▶ Plan ──check_space──▶ pull ──▶ partial/<hex>.part ──size, sha256, fsync, rename──▶ store entry

A part is resumed by the next attempt, the next run or another process; what is in the store is never asked for again.
Redirects stay on http and https; proxies come from the environment. What a server wants besides a URL (a token, a
client's certificate) comes from `Options.access`, and goes to no other host.
"""

import time
import types
from collections.abc import Iterable, Mapping

from buildchain import errors, store
from buildchain.fetch._access import Access, Trust
from buildchain.fetch._plan import Answer, Options, Plan, Pulled, Request, check_space, plan, size_text
from buildchain.fetch._progress import BarProgress, LineProgress, NullProgress, Progress, progress_on

__all__ = [
    "Access",
    "Answer",
    "BarProgress",
    "LineProgress",
    "NullProgress",
    "Options",
    "Plan",
    "Progress",
    "Pulled",
    "Request",
    "Trust",
    "ask",
    "check_space",
    "get",
    "is_there",
    "plan",
    "progress_on",
    "pull",
    "size_text",
]

_NOTHING: Mapping[str, str] = types.MappingProxyType({})


def pull(requests: Iterable[Request], source: store.Store, options: Options, progress: Progress) -> Pulled:
    """Bring every missing file into the store: each distinct digest once, largest first, in parallel.

    One file's failure does not stop the others; Ctrl-C and a full disk do, and leave the parts for the next run.

    Raises:
        IntegrityError, TransportError, BuildchainError: the one file that failed.
        BuildchainError: several files failed, one line each; or something is missing and `options.is_offline`.
        StoreError:      the store cannot be written, or its disk is full.
    """
    work = plan(requests, source)
    if not work.missing:
        return Pulled(held_count=work.held_count, held_bytes=work.held_bytes, shared_bytes=work.shared_bytes)
    if options.is_offline:
        raise _offline(work)
    # Late, as below: `requests` takes 0.2 s to import, and most runs pull nothing.
    from buildchain.fetch import _pool

    started = time.monotonic()
    received = _pool.run(work, source, options, progress)
    seconds = time.monotonic() - started
    return Pulled(
        count=received.count,
        received_bytes=received.received_bytes,
        held_count=work.held_count + len(work.missing) - received.count,
        held_bytes=work.held_bytes + received.held_bytes,
        attempts=received.attempts,
        seconds=seconds,
        shared_bytes=work.shared_bytes,
        peak_bytes_per_s=max(received.rate.peak, received.received_bytes / max(seconds, 1e-9)),
    )


def get(url: str, options: Options, *, max_bytes: int) -> bytes:
    """Read a small document whole; the caller judges its content.

    Raises:
        TransportError:  it cannot be had; `status` holds the server's last answer, if there was one.
        IntegrityError:  it is longer than `max_bytes`.
        BuildchainError: `options.is_offline`.
    """
    return ask(url, options, max_bytes=max_bytes).content


def ask(
    url: str,
    options: Options,
    *,
    max_bytes: int,
    headers: Mapping[str, str] = _NOTHING,
    form: Mapping[str, str] = _NOTHING,
) -> Answer:
    """Read a small document whole, and what the server says about it.

    Arguments:
        headers: sent along; `Authorization` not to other hosts that this one redirects to.
        form:    fields to post; a server that redirects such a question is refused.

    Raises:
        TransportError:  it cannot be had; `status` holds the server's last answer, if there was one.
        IntegrityError:  it is longer than `max_bytes`.
        BuildchainError: `options.is_offline`.
    """
    _refuse_offline(url, options)
    from buildchain.fetch import _transport

    return _transport.read(_transport.Question(url, headers, form), options, max_bytes)


def is_there(url: str, options: Options) -> bool:
    """Whether a server still has a file; its body is not read.

    Raises:
        TransportError:  the server does not say so clearly.
        BuildchainError: `options.is_offline`.
    """
    _refuse_offline(url, options)
    from buildchain.fetch import _transport

    return _transport.is_there(url, options)


def _refuse_offline(url: str, options: Options) -> None:
    if options.is_offline:
        raise errors.BuildchainError(url, "is not asked for offline", "Unset OFFLINE and run the same command again.")


def _offline(work: Plan) -> errors.BuildchainError:
    lines = [f"  {request.name} ({size_text(request.content.size)})" for request in work.missing]
    count = "1 file is" if len(lines) == 1 else f"{len(lines)} files are"
    return errors.BuildchainError(
        "offline",
        "\n".join([f"{count} not in the store ({size_text(work.missing_bytes)})", *lines]),
        "Run ./doit.sh once without OFFLINE, or set STORE in .env to a store that holds them.",
    )
