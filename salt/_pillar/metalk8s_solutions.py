"""The external pillar `metalk8s_solutions`: which Solutions the bootstrap node has (MetalK8s 2.5.1, "Solutions",
"Solution archive manifest")."""

import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping

import yaml

__salt__: dict[str, Callable[..., typing.Any]]

API_VERSION = "solutions.metalk8s.scality.com/v1alpha1"
KIND = "SolutionsConfiguration"
_KEYS = {"apiVersion", "kind", "archives", "active"}


def ext_pillar(minion_id: str, pillar: Mapping[str, typing.Any], solutions_config: str) -> dict[str, typing.Any]:
    """The Solutions, for the bootstrap node alone; Salt refuses to apply states when this raises.

    What cannot be read is left out of `available`, so that it can be removed; `metalk8s_solutions.known` refuses it.

    Arguments:
        pillar: holds what the external pillar `metalk8s` gave, which stands before.
        solutions_config: path of solutions.yaml, which the first import writes.
    """
    path = pathlib.Path(solutions_config)
    is_bootstrap = minion_id == pillar.get("metalk8s", {}).get("ca", {}).get("minion")
    if not is_bootstrap or not path.exists():
        return {}
    configuration = _load(path)
    problems = list(_problems(configuration))
    if problems:
        raise ValueError("; ".join(f"{path}: {problem}" for problem in problems))
    archives, active = configuration.get("archives") or [], configuration.get("active") or {}
    found = {
        "available": _available(archives, active),
        "config": {**configuration, "archives": archives, "active": active},
        # Of namespaces, once there is a cluster.
        "environments": {},
    }
    return {"metalk8s": {"solutions": found}}


def _available(archives: list[str], active: Mapping[str, str]) -> dict[str, list[dict[str, typing.Any]]]:
    """Solutions by name, each in all its versions."""
    found: dict[str, list[dict[str, typing.Any]]] = {}
    for path in archives:
        try:
            solution = __salt__["metalk8s_solutions.info"](path)
        except Exception:  # noqa: S112 - of Salt's own kind, which this process may hold twice
            continue
        row = {
            "active": active.get(solution["name"]) == solution["version"],
            "archive": path,
            "manifest": solution["manifest"],
            "id": solution["id"],
            "mountpoint": solution["location"],
            "name": solution["display_name"],
            "version": solution["version"],
        }
        found.setdefault(solution["name"], []).append(row)
    return found


def _load(path: pathlib.Path) -> dict[str, typing.Any]:
    try:
        value = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: is not a mapping")
    return value


def _problems(value: Mapping[str, typing.Any]) -> Iterator[str]:
    for key in sorted(map(str, value.keys() - _KEYS)):
        yield f"{key}: unknown key"
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(key) != wanted:
            yield f"{key}: must be {wanted}"
    archives = value.get("archives")
    if not isinstance(archives, list | None) or not all(isinstance(path, str) for path in archives or []):
        yield "archives: must be a list of ISO files or folders"
    active = value.get("active")
    if not isinstance(active, dict | None) or not all(isinstance(each, str) for each in (active or {}).values()):
        yield "active: must be a mapping of names to versions, in quotes, or latest"
