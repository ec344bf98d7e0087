"""The external pillar `metalk8s`: what the operator wrote in bootstrap.yaml, for those minions that it concerns."""

import ipaddress
import pathlib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping

import yaml

API_VERSIONS = ("metalk8s.scality.com/v1alpha2",)
KIND = "BootstrapConfiguration"

__opts__: Mapping[str, typing.Any]

_KEYS = {"apiVersion", "kind", "networks", "ca", "archives", "proxies"}
_PLANES = ("controlPlane", "workloadPlane")
_RANGES = {"pods": "10.233.0.0/16", "services": "10.96.0.0/12"}
"""Networks inside Kubernetes, with their defaults."""
_PROXIES = ("http", "https", "no_proxy")
# As Salt names a minion, and as it stands in certificates and units.
_MINION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
# They stand between quotes in a unit of systemd.
_PROXY = re.compile(r"""[^\s"'\\\x00-\x1f]+""")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: of two lists of archives, YAML would take the last and say nothing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[typing.Any, typing.Any]:
        known: set[str] = set()
        for key in (each for each, _ in node.value if isinstance(each, yaml.ScalarNode)):
            if key.value in known:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            known.add(key.value)
        return super().construct_mapping(node, deep)


def ext_pillar(minion_id: str, pillar: Mapping[str, typing.Any], bootstrap_config: str) -> dict[str, typing.Any]:
    """The pillar of one minion; Salt refuses to apply states when this raises.

    Arguments:
        bootstrap_config: path of bootstrap.yaml.
    """
    del pillar
    configuration = _load(pathlib.Path(bootstrap_config))
    problems = list(_problems(configuration))
    if problems:
        raise ValueError("; ".join(f"{bootstrap_config}: {problem}" for problem in problems))
    is_bootstrap = minion_id == configuration["ca"]["minion"]
    networks = configuration["networks"]
    return {
        "metalk8s": {
            "ca": {"minion": configuration["ca"]["minion"]},
            "node": {"roles": ["node", "bootstrap"] if is_bootstrap else ["node"]},
            "archives": _texts(configuration["archives"]) if is_bootstrap else [],
            "networks": {
                "control_plane": _texts(networks["controlPlane"]),
                "workload_plane": _texts(networks["workloadPlane"]),
                **{name: networks.get(name, default) for name, default in _RANGES.items()},
            },
            "proxies": configuration.get("proxies") or {},
            **({} if is_bootstrap else _where_the_bootstrap_node_is()),
        }
    }


def _where_the_bootstrap_node_is() -> dict[str, typing.Any]:
    """For the other nodes: the master that gives them this pillar runs beside the server of packages and images."""
    address = __opts__["interface"]
    return {"repo": {"ip": address}, "salt": {"master": address}}


def _load(path: pathlib.Path) -> dict[str, typing.Any]:
    try:
        value = yaml.load(path.read_text(), _Loader)  # noqa: S506 - it is a safe loader
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
    if value.get("apiVersion") not in API_VERSIONS:
        yield f"apiVersion: must be {' or '.join(API_VERSIONS)}"
    if value.get("kind") != KIND:
        yield f"kind: must be {KIND}"
    yield from _problems_of_networks(value.get("networks"))
    yield from _problems_of_ca(value.get("ca"))
    yield from _problems_of_archives(value.get("archives"))
    yield from _problems_of_proxies(value.get("proxies"))


def _problems_of_networks(value: object) -> Iterator[str]:
    networks = value if isinstance(value, dict) else {}
    for key in sorted(map(str, networks.keys() - {*_PLANES, *_RANGES})):
        yield f"networks.{key}: unknown key"
    for name in _PLANES:
        if not _texts(networks.get(name)):
            yield f"networks.{name}: must be a network in CIDR notation, or a list of them"
        yield from _problems_of_cidr(f"networks.{name}", _texts(networks.get(name)))
    for name, default in _RANGES.items():
        if not isinstance(networks.get(name, default), str):
            yield f"networks.{name}: must be a network in CIDR notation"
        yield from _problems_of_cidr(f"networks.{name}", _texts(networks.get(name)))


def _problems_of_cidr(place: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            yield f"{place}: {error}"


def _problems_of_ca(value: object) -> Iterator[str]:
    ca = value if isinstance(value, dict) else {}
    for key in sorted(map(str, ca.keys() - {"minion"})):
        yield f"ca.{key}: unknown key"
    if not isinstance(ca.get("minion"), str) or not _MINION.fullmatch(ca["minion"]):
        yield "ca.minion: must be the name of the bootstrap node's minion"


def _problems_of_archives(value: object) -> Iterator[str]:
    archives = _texts(value)
    if not archives:
        yield "archives: must be a list of ISO files or folders"
    for path in archives:
        if not path.startswith("/"):
            yield f"archives: {path} is not an absolute path"


def _problems_of_proxies(value: object) -> Iterator[str]:
    if value is not None and not isinstance(value, dict):
        yield "proxies: must be a mapping"
        return
    for key, proxy in (value or {}).items():
        if key not in _PROXIES:
            yield f"proxies.{key}: unknown key"
        elif isinstance(proxy, list) != (key == "no_proxy"):
            yield f"proxies.{key}: must be {'a list of hosts' if key == 'no_proxy' else 'a URL'}"
        elif not all(_PROXY.fullmatch(text) for text in _texts(proxy)):
            yield f"proxies.{key}: has a blank, a quote, a backslash or nothing in it"


def _texts(value: object) -> list[str]:
    """A list of texts; one text stands for a list of itself."""
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []
