"""Settings: everything a user may set in `.env`, read from the environment once and checked.

Nothing else reads the environment, but for the proxies (`requests` knows them) and what `command` hands on.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping

from buildchain import errors

MAX_EPOCH = 2**32 - 1
"""RFC 4880, section 3.5: a signature's time has four octets."""
MAX_JOBS = 64

DEVELOPMENT_KEY = "packages/keys/development/secret.asc"

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
    project_name: str
    build_root: pathlib.Path
    store: pathlib.Path
    signing_key: str
    signing_passphrase_file: pathlib.Path | None
    mirrors: Mapping[str, str]
    """Base URL by archive name, from `<ARCHIVE>_MIRROR`."""
    ca_bundle: str | None
    is_offline: bool
    pull_jobs: int
    epoch: int | None
    """SOURCE_DATE_EPOCH in seconds since 1970; None stands for the commit's time."""
    git: str


def load(root: pathlib.Path, environment: Mapping[str, str]) -> Settings:
    """Check the settings of a checkout.

    Arguments:
        root:        the checkout (the folder of `distribution.yaml`).
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
        project_name=reader.matching("PROJECT_NAME", "MetalK8s", r"[A-Za-z0-9][A-Za-z0-9 ._-]*"),
        build_root=build_root,
        store=store,
        signing_key=reader.key("SIGNING_KEY", DEVELOPMENT_KEY),
        signing_passphrase_file=reader.file("SIGNING_KEY_PASSPHRASE_FILE"),
        mirrors=reader.mirrors(),
        ca_bundle=_text(reader.file("CA_BUNDLE")),
        is_offline=reader.flag("OFFLINE"),
        pull_jobs=reader.number("PULL_JOBS", 1, MAX_JOBS) or 8,
        epoch=reader.number("SOURCE_DATE_EPOCH", 0, MAX_EPOCH),
        git=environment.get("GIT_BIN") or "git",
    )
    problems = reader.problems + _replaced(environment)
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
            self.problems.append((name, f"{value} is not a file"))
        return path

    def key(self, name: str, default: str) -> str:
        value = self.environment.get(name) or default
        path = self._absolute(value)
        if path.is_file():
            return str(path)
        if "/" in value:
            self.problems.append((name, f"{value} is not a file"))
        return value

    def _absolute(self, value: str) -> pathlib.Path:
        """A path of the user's, from the checkout on, without detours: `a/..` is the checkout as well."""
        return pathlib.Path(os.path.normpath(self.root / os.path.expanduser(value)))  # noqa: PTH111 — that one may raise

    def flag(self, name: str) -> bool:
        value = self.environment.get(name, "")
        if value not in ("", "0", "1"):
            self.problems.append((name, f"{value!r} is neither 0 nor 1"))
        return value == "1"

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
                self.problems.append((name, f"{value!r} is not an http or https URL"))
            found[name.removesuffix("_MIRROR").lower().replace("_", "-")] = value.rstrip("/")
        return found


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


def _replaced(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, why) for name, why in _REPLACED.items() if environment.get(name)]
