"""Which room this machine can have."""

import os
import pathlib

from buildchain import errors, store
from buildchain.executor import _action, _docker, _local, _results

_NO_NAMESPACE = "this machine refuses user namespaces"
_HINT = "Run as root, or start a Docker-compatible engine and set BUILDER=docker in .env."


def choose(
    builder: str,
    source: store.Store,
    scratch: pathlib.Path,
    logs: pathlib.Path,
    client: tuple[str, ...] = ("docker",),
) -> _action.Executor:
    """The executor of this machine, with the results of the store before it.

    Arguments:
        builder: one of `settings.BUILDERS`; `auto` is a user namespace, else chroot if we are root, never an engine.
        scratch: a folder for unpacked roots; not on a file system mounted noexec.
        logs:    a folder that keeps the logs of failed steps.
        client:  the command line of the engine's client, for `docker`.

    Raises:
        BuildchainError: this machine has no such room.
    """
    if builder == "docker":
        return _results.Cached(_engine(source, scratch, logs, client), source)
    return _results.Cached(_local.Local(source, scratch, logs, _launcher(builder)), source)


def _launcher(builder: str) -> tuple[str, ...]:
    if builder != "chroot" and _local.can_enter(_local.USER_NAMESPACE):
        return _local.USER_NAMESPACE
    if builder == "namespace":
        raise errors.BuildchainError("BUILDER=namespace", _NO_NAMESPACE, _HINT)
    if os.geteuid() != 0:
        why = "needs root" if builder == "chroot" else f"{_NO_NAMESPACE}, and we are not root"
        raise errors.BuildchainError(f"BUILDER={builder}", why, _HINT)
    return _local.ROOTS_NAMESPACE if _local.can_enter(_local.ROOTS_NAMESPACE) else ()


def _engine(source: store.Store, scratch: pathlib.Path, logs: pathlib.Path, client: tuple[str, ...]) -> _docker.Docker:
    if not _docker.is_answering(client):
        why = f"no engine answers `{' '.join(client)} version`"
        raise errors.BuildchainError("BUILDER=docker", why, "Start it, or set BUILDER=auto in .env.")
    return _docker.Docker(source, scratch, logs, client)
