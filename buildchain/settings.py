"""Settings: everything a user may set in `.env`, read from the environment once and checked.

Nothing else reads the environment, but for the proxies (`requests` knows them) and what `command` hands on.
"""

import dataclasses
import os
import pathlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from buildchain import errors, urls

MAX_EPOCH = 2**32 - 1
"""RFC 4880, section 3.5: a signature's time has four octets."""
MAX_JOBS = 64
MAX_TIMEOUT_S = 3600

PROVIDERS = ("virtualbox", "libvirt", "docker")
"""What the Vagrantfile can make machines with."""

DRIVERS = ("auto", "kvm", "qemu")
"""How libvirt runs a machine's processors."""

BUILDERS = ("auto", "namespace", "chroot", "docker")
"""Where the executor can run the steps that build packages."""

REGISTRIES = "registries.yaml"

DEVELOPMENT_KEY = "packages/keys/development/secret.asc"

_UP_ARGUMENTS = "--provision --no-destroy-on-error --parallel"

_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")

_REPLACED = {
    "HARDLINK_BIN": "images are linked by digest; remove it",
    "MKISOFS_BIN": "the ISO is written by pycdlib; remove it",
    "SKOPEO_BIN": "images are laid out by the buildchain itself; remove it",
    "DOCKER_BIN": "the daemon is found through DOCKER_HOST; remove it",
    "GOFMT_BIN": "there is no Go code to format; remove it",
    "OPERATOR_SDK_BIN": "there is no code made by operator-sdk; remove it",
}
"""Options of MetalK8s 2.5.1 that name a tool which is no longer needed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked; paths are absolute."""

    root: pathlib.Path
    distribution: pathlib.Path
    """The folder of `distribution.yaml` and its lock; what it names by path is below it."""
    project_name: str
    build_root: pathlib.Path
    store: pathlib.Path
    signing_key: str
    signing_passphrase_file: pathlib.Path | None
    mirrors: Mapping[str, str]
    """Base URL by archive name, from `<ARCHIVE>_MIRROR`."""
    rewrites: urls.Rewrites
    """What every URL goes through before it is asked for."""
    ca_bundle: str | None
    registries: pathlib.Path
    """How registries are reached from here; need not be there."""
    credentials: tuple[pathlib.Path, ...]
    """Where the user's programs keep what registries ask for, in order; need not be there."""
    is_offline: bool
    pull_jobs: int
    connect_timeout_s: int
    read_timeout_s: int
    epoch: int | None
    """SOURCE_DATE_EPOCH in seconds since 1970; None stands for the commit's time."""
    git: str
    """Name or absolute path of a program, as is `vagrant`."""
    vagrant: str
    vagrant_provider: str
    """One of `PROVIDERS`."""
    vagrant_up_args: tuple[str, ...]
    """All arguments of `vagrant up` but machines' names; `--provider` is among them."""
    vagrant_snapshot_name: str
    vagrant_libvirt_driver: str
    """One of `DRIVERS`."""
    builder: str
    """Where own packages are built: one of `BUILDERS`."""
    pip: Mapping[str, str]
    """The variables of pip (PIP_*): they say where its index is."""


def load(root: pathlib.Path, environment: Mapping[str, str]) -> Settings:
    """Check the settings of a checkout.

    Arguments:
        root:        the checkout.
        environment: variables, usually those of the process.

    Raises:
        ConfigError: with every wrong value at once.
    """
    reader = _Reader(root, environment)
    build_root = reader.path("BUILD_ROOT", "_build")
    store = reader.path("STORE", str(_default_store(build_root, environment)))
    if build_root == store or store in build_root.parents:
        reader.problems.append(("STORE", f"{store} holds BUILD_ROOT, {build_root}"))
    settings = Settings(
        root=root,
        distribution=reader.folder("DISTRIBUTION") or root,
        project_name=reader.matching("PROJECT_NAME", "MetalK8s", r"[A-Za-z0-9][A-Za-z0-9 ._-]*"),
        build_root=build_root,
        store=store,
        signing_key=reader.key("SIGNING_KEY", DEVELOPMENT_KEY),
        signing_passphrase_file=reader.file("SIGNING_KEY_PASSPHRASE_FILE"),
        mirrors=reader.mirrors(),
        rewrites=reader.rewrites("URL_REWRITES"),
        ca_bundle=_text(reader.file("CA_BUNDLE")),
        registries=reader.file("REGISTRIES") or root / REGISTRIES,
        credentials=tuple(_credentials(environment)),
        is_offline=reader.flag("OFFLINE"),
        pull_jobs=reader.number("PULL_JOBS", 1, MAX_JOBS) or 8,
        connect_timeout_s=reader.number("CONNECT_TIMEOUT", 1, MAX_TIMEOUT_S) or 10,
        read_timeout_s=reader.number("READ_TIMEOUT", 1, MAX_TIMEOUT_S) or 30,
        epoch=reader.number("SOURCE_DATE_EPOCH", 0, MAX_EPOCH),
        git=reader.program("GIT_BIN", "git"),
        vagrant=reader.program("VAGRANT_BIN", "vagrant"),
        vagrant_provider=(provider := reader.choice("VAGRANT_PROVIDER", PROVIDERS)),
        vagrant_up_args=reader.up_arguments("VAGRANT_UP_ARGS", provider),
        vagrant_snapshot_name=reader.matching(
            "VAGRANT_SNAPSHOT_NAME", "auto_generated", r"[A-Za-z0-9_][A-Za-z0-9._-]*"
        ),
        vagrant_libvirt_driver=reader.choice("VAGRANT_LIBVIRT_DRIVER", DRIVERS),
        builder=reader.choice("BUILDER", BUILDERS),
        pip={name: value for name, value in sorted(environment.items()) if name.startswith("PIP_")},
    )
    problems = reader.problems + _proxies(environment) + _replaced(environment)
    if problems:
        raise errors.ConfigError("settings", problems, "Mend .env; .env.example describes every setting.")
    return settings


class _Reader:
    """Reads values and gathers what is wrong with them."""

    def __init__(self, root: pathlib.Path, environment: Mapping[str, str]) -> None:
        self.root = root
        self.environment = environment
        self.problems: list[tuple[str, str]] = []

    def matching(self, name: str, default: str, pattern: str) -> str:
        value = self.environment.get(name) or default
        if not re.fullmatch(pattern, value):
            self.problems.append((name, f"{value!r} does not match {pattern}"))
        return value

    def path(self, name: str, default: str) -> pathlib.Path:
        path = self._absolute(self.environment.get(name) or default)
        if path == self.root or path in self.root.parents:
            self.problems.append((name, f"{path} holds the checkout itself"))
        return path

    def file(self, name: str) -> pathlib.Path | None:
        value = self.environment.get(name)
        if not value:
            return None
        path = self._absolute(value)
        if not path.is_file():
            self.problems.append((name, f"{path} is not a file"))
        return path

    def folder(self, name: str) -> pathlib.Path | None:
        value = self.environment.get(name)
        if not value:
            return None
        path = self._absolute(value)
        if not path.is_dir():
            self.problems.append((name, f"{path} is not a folder"))
        return path

    def key(self, name: str, default: str) -> str:
        value = self.environment.get(name) or default
        path = self._absolute(value)
        if path.is_file():
            return str(path)
        if "/" in value:
            self.problems.append((name, f"{path} is not a file"))
        return value

    def _absolute(self, value: str) -> pathlib.Path:
        """A path of the user's, from the checkout on, without detours: `a/..` is the checkout as well."""
        return pathlib.Path(os.path.normpath(self.root / os.path.expanduser(value)))  # noqa: PTH111 — that one may raise

    def flag(self, name: str) -> bool:
        value = self.environment.get(name, "")
        if value not in ("", "0", "1"):
            self.problems.append((name, f"{value!r} is neither 0 nor 1"))
        return value == "1"

    def choice(self, name: str, values: Sequence[str]) -> str:
        """One of some values, the first by default."""
        value = self.environment.get(name) or values[0]
        if value not in values:
            self.problems.append((name, f"{value!r} is none of {', '.join(values)}"))
        return value

    def program(self, name: str, default: str) -> str:
        """The name of a program to be found in PATH, or the path of one."""
        value = self.environment.get(name) or default
        if "/" not in value:
            return self.matching(name, default, r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
        path = self._absolute(value)
        if not (path.is_file() and os.access(path, os.X_OK)):
            self.problems.append((name, f"{value} is not a program"))
        return str(path)

    def up_arguments(self, name: str, provider: str) -> tuple[str, ...]:
        """Arguments in a shell's quotes; they may repeat the provider, but not name another."""
        try:
            words = shlex.split(self.environment.get(name) or _UP_ARGUMENTS)
        except ValueError as error:
            self.problems.append((name, f"cannot be cut into words: {str(error).lower()}"))
            return ()
        named = re.findall(r"(?:^|\0)--provider(?:[=\0]([^\0]*)|$)", "\0".join(words))
        self.problems += [
            (name, f"names the provider {each!r}, VAGRANT_PROVIDER is {provider!r}")
            for each in named
            if each != provider
        ]
        return tuple(words) if named else (*words, "--provider", provider)

    def number(self, name: str, at_least: int, at_most: int) -> int | None:
        text = self.environment.get(name)
        if not text:
            return None
        if re.fullmatch(r"[0-9]{1,11}", text) and at_least <= int(text) <= at_most:
            return int(text)
        self.problems.append((name, f"{text!r} is not a whole number from {at_least} to {at_most}"))
        return None

    def mirrors(self) -> dict[str, str]:
        found = {}
        for name, value in sorted(self.environment.items()):
            if not name.endswith("_MIRROR") or not value:
                continue
            if not re.fullmatch(r"https?://[^\s?#]+", value):
                self.problems.append((name, f"{value.rpartition('@')[2]!r} is not an http or https URL"))
            found[name.removesuffix("_MIRROR").lower().replace("_", "-")] = value.rstrip("/")
        return found

    def rewrites(self, name: str) -> urls.Rewrites:
        found, problems = urls.parse_rewrites(self.environment.get(name, ""))
        self.problems += [(name, problem) for problem in problems]
        return found


def _credentials(environment: Mapping[str, str]) -> Iterator[pathlib.Path]:
    """The files of podman and skopeo, then that of docker (containers-auth.json(5)); or the one that is named."""
    if named := environment.get("REGISTRY_AUTH_FILE"):
        yield pathlib.Path(os.path.expanduser(named))  # noqa: PTH111 — pathlib's may raise
        return
    home = pathlib.Path(environment.get("HOME", "/"))
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield pathlib.Path(runtime, "containers/auth.json")
    yield pathlib.Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers/auth.json")
    yield pathlib.Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json")


def _default_store(build_root: pathlib.Path, environment: Mapping[str, str]) -> pathlib.Path:
    """The user's cache folder where its files can be linked into the build root, else a folder beside that."""
    cache = pathlib.Path(environment.get("XDG_CACHE_HOME") or pathlib.Path(environment.get("HOME", ""), ".cache"))
    if cache.is_absolute() and device(cache) == device(build_root) and _may_write(cache):
        return cache / "metalk8s" / "store"
    return build_root.parent / f".metalk8s-store-{os.getuid()}"


def device(path: pathlib.Path) -> int:
    """The file system that a path is on, or would be on."""
    return _existing(path).stat().st_dev


def _may_write(path: pathlib.Path) -> bool:
    existing = _existing(path)
    return existing.is_dir() and os.access(existing, os.W_OK)


def _existing(path: pathlib.Path) -> pathlib.Path:
    return next(each for each in [path, *path.parents] if os.access(each, os.F_OK))


def _text(path: pathlib.Path | None) -> str | None:
    return str(path) if path else None


def _proxies(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Those that nobody could reach: what is asked through them would be blamed."""
    values = [(name, environment.get(name, "")) for name in _PROXIES]
    return [(name, "is not http://HOST:PORT") for name, value in values if value and not urls.is_proxy(value)]


def _replaced(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, why) for name, why in _REPLACED.items() if environment.get(name)]
