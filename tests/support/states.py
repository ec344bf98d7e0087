"""Salt's rendering without Salt: enough of it to read every file of the tree in milliseconds, and stricter.

An unknown variable, an unknown key and a key given twice are errors here; in Salt they are empty texts.
"""

import copy
import dataclasses
import functools
import importlib.util
import json
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import yaml

VERSION = "2.5.1-dev"
ENVIRONMENT = f"metalk8s-{VERSION}"
IP = "10.200.1.1"
VERSIONS: Mapping[str, typing.Any] = {
    "metalk8s": {"version": VERSION},
    "packages": {
        "debian": {"containerd": {"version": "1:1.6.20~ds1-1+b1"}},
        "redhat": {"runc": {"version": "4-1.el9"}},
    },
    "images": {
        "etcd": {"version": "3.4.23"},
        "nginx": {"version": "1.22.1"},
        "pause": {"version": "3.6"},
        "salt-master": {"version": "3008.3"},
    },
    "repositories": {"debian": ["debian-12"], "redhat": ["scality-el9", "salt-el9"]},
}
BOOTSTRAP: Mapping[str, typing.Any] = {
    "metalk8s": {
        "archives": ["/srv/medium"],
        "repo": {"local_mode": True},
        "proxies": {"http": "http://me:a%40b@proxy:3128", "no_proxy": ["localhost", "10.0.0.0/8"]},
    }
}
SOLUTIONS = [
    {"id": "my-app-1.0.0", "location": "/srv/scality/my-app-1.0.0", "iso": "/root/my-app.iso"},
    {"id": "my-app-1.1.0", "location": "/srv/my-app", "iso": ""},
]
AUTHORITY = "-----BEGIN CERTIFICATE-----\n"
"""What the bootstrap node tells through the mine."""
NODE: Mapping[str, typing.Any] = {
    "metalk8s": {"ca": {"minion": "boot"}, "repo": {"ip": "10.200.1.7"}, "salt": {"master": "10.200.1.7"}}
}
PILLARS = {"bootstrap": BOOTSTRAP, "node": NODE}
FAMILIES = ("Debian", "RedHat")


class CommandExecutionError(Exception):
    """Stands for Salt's own, which is not installed here."""


class SaltInvocationError(Exception):
    """As above."""


class StrictLoader(yaml.CSafeLoader):
    """Refuses a key that is given twice, as Salt does, also in files that Salt reads without asking."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[typing.Any, typing.Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice: {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> typing.Any:
    """Read YAML strictly."""
    return yaml.load(text, StrictLoader)  # noqa: S506 - it is a safe loader


class ImportData(jinja2.ext.Extension):
    """The tags `import_yaml` and `import_json`."""

    tags = {"import_yaml", "import_json"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        tag = next(parser.stream)
        path = parser.parse_expression()
        parser.stream.expect("name:as")
        target = parser.parse_assign_target(name_only=True)
        value = self.call_method("_load", [jinja2.nodes.Const(tag.value), path])
        return jinja2.nodes.Assign(target, value, lineno=tag.lineno)

    def _load(self, tag: str, path: str) -> object:
        assert self.environment.loader is not None
        text, _, _ = self.environment.loader.get_source(self.environment, path)
        return copy.deepcopy(_read(tag, text))


@functools.cache
def _read(tag: str, text: str) -> object:
    return json.loads(text) if tag == "import_json" else load_yaml(text)


@dataclasses.dataclass(frozen=True, eq=False)
class Renderer:
    """Renders the files of a staged tree as a host of one family would; what was rendered is kept."""

    root: pathlib.Path
    family: str
    pillar: Mapping[str, typing.Any]

    @functools.cached_property
    def _environment(self) -> jinja2.Environment:
        environment = _environment(jinja2.FileSystemLoader(self.root / "salt", followlinks=True))
        grains = {"os_family": self.family, "id": "bootstrap"}
        environment.globals.update(grains=grains, pillar=self.pillar, salt=_Functions(), **{"raise": _raise})
        return environment

    @functools.cache  # noqa: B019 - a renderer lives as long as the tests of one file
    def text(self, path: str) -> str:
        """A file of the tree, rendered."""
        source = (self.root / path).read_text()
        if source.startswith("#!yaml\n"):
            return source
        return jinja2.Template.from_code(self._environment, _compile(source), self._environment.globals).render()

    @functools.cache  # noqa: B019
    def state(self, name: str) -> dict[str, typing.Any]:
        """An SLS by its dotted name."""
        folder = self.root / "salt" / name.replace(".", "/")
        path = folder / "init.sls" if folder.is_dir() else folder.with_suffix(".sls")
        return dict(load_yaml(self.text(str(path.relative_to(self.root)))) or {})

    def calls(self, name: str) -> Iterator[tuple[str, str, dict[str, typing.Any]]]:
        """The ID, the function and the arguments of each state of an SLS."""
        for identifier, body in self.state(name).items():
            if identifier != "include":
                for function, arguments in body.items():
                    merged: dict[str, typing.Any] = {}
                    for argument in arguments:
                        assert not merged.keys() & argument.keys(), (identifier, argument)
                        merged |= argument
                    yield identifier, function, merged


def _environment(loader: jinja2.BaseLoader | None = None) -> jinja2.Environment:
    return jinja2.Environment(  # noqa: S701 - neither is this HTML, nor is it for Salt
        loader=loader,
        undefined=jinja2.StrictUndefined,
        extensions=[ImportData, "jinja2.ext.do"],
        keep_trailing_newline=True,
        auto_reload=False,
    )


@functools.cache
def _compile(source: str) -> types.CodeType:
    """Once for all hosts, since it takes longer than to render."""
    return _environment().compile(source)


@functools.cache
def renderer(root: pathlib.Path, family: str, role: str) -> Renderer:
    """The one renderer of a tree for a family and a role."""
    return Renderer(root, family, PILLARS[role])


@functools.cache
def state_names(root: pathlib.Path) -> list[str]:
    """Every SLS of a staged tree but the top file and the library."""
    folder = root / "salt"
    found = []
    for path in sorted(folder.rglob("*.sls")):
        parts = path.relative_to(folder).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "init" else parts))
    return [name for name in found if name not in ("top", "metalk8s.macro")]


def load_module(path: pathlib.Path, **given: object) -> types.ModuleType:
    """Load a module of the tree as Salt's loader does, with the functions that it is given."""
    exceptions = types.ModuleType("salt.exceptions")
    for stand_in in (CommandExecutionError, SaltInvocationError):
        exceptions.__dict__[stand_in.__name__] = stand_in
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(given)
    held = {name: sys.modules.get(name) for name in ("salt", "salt.exceptions")}
    sys.modules.update({"salt": types.ModuleType("salt"), "salt.exceptions": exceptions})
    try:
        spec.loader.exec_module(module)
    finally:
        for name, before in held.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before
    return module


def merge(below: Mapping[str, typing.Any], above: Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    """`slsutil.merge` as it works by default: mappings are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        both_are_mappings = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        merged[key] = merge(below[key], value) if both_are_mappings else value
    return merged


class _Functions(dict[str, Callable[..., typing.Any]]):
    """The functions that templates call; another one is a KeyError."""

    def __init__(self) -> None:
        archive = {
            "version": VERSION,
            "environment": ENVIRONMENT,
            "location": f"/srv/scality/{ENVIRONMENT}",
            "iso": "/root/metalk8s.iso",
            "variable": "metalk8s_2_5_1_dev",
        }
        folder = {**archive, "version": "2.5.0", "environment": "metalk8s-2.5.0", "location": "/srv/old", "iso": ""}
        super().__init__(
            {
                "slsutil.merge": merge,
                "metalk8s_archives.known": lambda: [{**folder, "variable": "metalk8s_2_5_0"}, archive],
                "metalk8s_archives.location": {VERSION: archive["location"]}.__getitem__,
                "metalk8s_solutions.known": lambda: SOLUTIONS,
                "metalk8s_solutions.registry": lambda location, name: f"# {name} in {location}",
                "metalk8s_network.control_plane_ip": lambda: IP,
                "mine.get": lambda minion, _: {minion: AUTHORITY},
            }
        )


def _raise(message: str) -> typing.NoReturn:
    raise ValueError(message)
