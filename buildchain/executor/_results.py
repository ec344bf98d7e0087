"""Results by the digest of their step: `actions/<2>/<hex>` beside the entries of the store.

A result is only a claim. It counts if this user wrote it and the store holds every output it names; whatever else is
found is as good as nothing, and the step runs.
"""

import contextlib
import json
import os
import pathlib

from buildchain import atomic, digest, errors, store
from buildchain.executor import _action


def recall(action: _action.Action, source: store.Store) -> _action.Result | None:
    """The kept result of a step, if all of it is still in the store."""
    try:
        with _path(action, source).open("rb") as stream:
            if os.fstat(stream.fileno()).st_uid != os.geteuid():  # a shared store: anybody may have put it there
                return None
            result = _parse(stream.read(), action)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    held = all(source.has(content) for content in [*result.outputs.values(), result.log])
    return result if held else None


def remember(action: _action.Action, result: _action.Result, source: store.Store) -> None:
    """Keep a result; a store that cannot be written keeps none."""
    value = {
        "action": str(action.digest),
        "outputs": {name: _dump(content) for name, content in result.outputs.items()},
        "log": _dump(result.log),
    }
    with contextlib.suppress(errors.BuildchainError):
        atomic.write(_path(action, source), json.dumps(value, sort_keys=True).encode())


class Cached:
    """An executor that asks for the kept result first."""

    def __init__(self, worker: _action.Executor, source: store.Store) -> None:
        self._worker = worker
        self._source = source

    def run(self, action: _action.Action) -> _action.Result:
        """See `Executor.run`."""
        kept = recall(action, self._source)
        if kept is not None:
            return kept
        _check_root(action, self._source)
        result = self._worker.run(action)
        remember(action, result, self._source)
        return result


def _check_root(action: _action.Action, source: store.Store) -> None:
    needed = [*action.root, *(file.content for file in action.inputs.files())]
    missing = [str(content.digest) for content in needed if not source.has(content)]
    if missing:
        why = f"its root or inputs are not in the store: {', '.join(missing)}"
        raise errors.BuildchainError(action.name, why, "Run ./doit.sh again: what is missing is made again.")


def _path(action: _action.Action, source: store.Store) -> pathlib.Path:
    name = action.digest.hex
    return source.root / "actions" / name[:2] / name


def _parse(content: bytes, action: _action.Action) -> _action.Result:
    value = json.loads(content)
    if value["action"] != str(action.digest):
        raise ValueError("the result of another step")
    outputs = {str(path): _load(row) for path, row in value["outputs"].items()}
    return _action.Result(outputs, _load(value["log"]))


def _dump(content: digest.Descriptor) -> list[str | int]:
    return [str(content.digest), content.size]


def _load(row: list[str | int]) -> digest.Descriptor:
    text, size = row
    return digest.Descriptor(digest.Digest.parse(str(text)), int(size))
