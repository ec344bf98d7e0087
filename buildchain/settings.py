"""Settings: everything a user may set in `.env`, read from the environment once and checked.

Nothing else reads the environment, but for the proxies (`requests` knows them) and what `command` hands on.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Mapping

from buildchain import errors

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
    settings = Settings(
        root=root,
        project_name=reader.matching("PROJECT_NAME", "MetalK8s", r"[A-Za-z0-9][A-Za-z0-9 ._-]*"),
        build_root=build_root,
        store=reader.path("STORE", str(_default_store(build_root, environment))),
        signing_key=_signing_key(reader),
        signing_passphrase_file=reader.file("SIGNING_KEY_PASSPHRASE_FILE"),
        mirrors=reader.mirrors(),
        ca_bundle=_text(reader.file("CA_BUNDLE")),
        is_offline=reader.flag("OFFLINE"),
        pull_jobs=reader.number("PULL_JOBS", 8, at_least=1),
        epoch=reader.number("SOURCE_DATE_EPOCH", -1, at_least=0) if environment.get("SOURCE_DATE_EPOCH") else None,
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
        value = pathlib.Path(self.environment.get(name) or default).expanduser()
        path = self.root / value
        if path == self.root or path in self.root.parents:
            self.problems.append((name, f"{value} holds the checkout itself"))
        return path

    def file(self, name: str) -> pathlib.Path | None:
        value = self.environment.get(name)
        if not value:
            return None
        path = self.root / pathlib.Path(value).expanduser()
        if not path.is_file():
            self.problems.append((name, f"{value} is not a file"))
        return path

    def flag(self, name: str) -> bool:
        value = self.environment.get(name, "")
        if value not in ("", "0", "1"):
            self.problems.append((name, f"{value!r} is neither 0 nor 1"))
        return value == "1"

    def number(self, name: str, default: int, at_least: int) -> int:
        text = self.environment.get(name) or str(default)
        if not re.fullmatch(r"[0-9]{1,11}", text) or int(text) < at_least:
            self.problems.append((name, f"{text!r} is not a whole number of {at_least} or more"))
            return default
        return int(text)

    def mirrors(self) -> dict[str, str]:
        found = {}
        for name, value in sorted(self.environment.items()):
            if not name.endswith("_MIRROR") or not value:
                continue
            if not re.fullmatch(r"https?://[^\s?#]+", value):
                self.problems.append((name, f"{value!r} is not an http or https URL"))
            found[name.removesuffix("_MIRROR").lower().replace("_", "-")] = value.rstrip("/")
        return found


def _signing_key(reader: _Reader) -> str:
    value = reader.environment.get("SIGNING_KEY")
    if not value:
        return str(reader.root / DEVELOPMENT_KEY)
    path = reader.root / pathlib.Path(value).expanduser()
    if path.is_file():
        return str(path)
    if "/" in value:
        reader.problems.append(("SIGNING_KEY", f"{value} is not a file"))
    return value


def _default_store(build_root: pathlib.Path, environment: Mapping[str, str]) -> pathlib.Path:
    """The user's cache folder where its files can be linked into the build root, else a folder beside that."""
    cache = pathlib.Path(environment.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    if device(cache) == device(build_root):
        return cache / "metalk8s" / "store"
    return build_root.parent / f".metalk8s-store-{os.getuid()}"


def device(path: pathlib.Path) -> int:
    """The file system that a path is on, or would be on."""
    try:
        return path.stat().st_dev
    except FileNotFoundError:
        return device(path.parent)


def _text(path: pathlib.Path | None) -> str | None:
    return str(path) if path else None


def _replaced(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, why) for name, why in _REPLACED.items() if environment.get(name)]
