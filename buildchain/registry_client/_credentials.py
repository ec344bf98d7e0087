"""User names and passwords, where docker, podman and skopeo keep them: containers-auth.json(5).

Only read, and only when a registry asks: nothing is kept, and no message shows a secret.
"""

import base64
import binascii
import dataclasses
import json
import pathlib
import re
import typing
from collections.abc import Iterator, Mapping, Sequence

from buildchain import command, errors

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""One registry under three names; docker's own key for it is https://index.docker.io/v1/."""

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_FOUND = "credentials not found"
"""What a helper says of a host it does not know (github.com/docker/docker-credential-helpers, errors.go)."""

_TOKEN_USER = "<token>"  # noqa: S105 — a name, as the protocol has it
"""The user name that stands for an identity token."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """What to show to a registry: a user name and password, or one of two kinds of token; and where it was found."""

    found_in: str
    user: str = ""
    password: str = ""
    identity_token: str = ""
    """Is exchanged for a bearer token."""
    registry_token: str = ""
    """Is a bearer token."""

    @property
    def basic(self) -> str:
        """The header of RFC 7617; empty without a user."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}" if self.user else ""


class Keyring:
    """The credentials of this user.

    Arguments:
        files: what to look into, in this order; those that are not there are passed over.
    """

    def __init__(self, files: Sequence[pathlib.Path]) -> None:
        self._files = files

    def __str__(self) -> str:
        named = [f"{path}{'' if path.exists() else ' (which is not there)'}" for path in self._files]
        return ", ".join(named) or "any file"

    def find(self, host: str, repository: str) -> Credential | None:
        """The credential for a repository, by the longest path that is named.

        Raises:
            BuildchainError: a file cannot be understood, or a helper fails.
        """
        for path in self._files:
            content = _load(path)
            if content is not None and (found := _find(content, path, host, repository)):
                return found
        return None


def _load(path: pathlib.Path) -> dict[str, typing.Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.BuildchainError(str(path), error.strerror or str(error), "Make it readable.") from error
    except (ValueError, RecursionError) as error:
        raise _broken(path, "is not JSON") from error
    if not isinstance(value, dict) or not all(isinstance(value.get(key, {}), dict) for key in ("auths", "credHelpers")):
        raise _broken(path, "is not a file of credentials")
    return value


def _find(content: Mapping[str, typing.Any], path: pathlib.Path, host: str, repository: str) -> Credential | None:
    names = _DOCKER_HUB if host in _DOCKER_HUB else (host,)
    for name in names:
        if name in content.get("credHelpers", {}):
            return _ask_helper(content["credHelpers"][name], name, path)
    by_key = {_key(key): row for key, row in content.get("auths", {}).items()}
    for key in (key for name in names for key in _keys(name, repository)):
        if isinstance(by_key.get(key), dict) and (found := _parse(by_key[key], key, path)):
            return found
    if content.get("credsStore"):
        server = "https://index.docker.io/v1/" if host in _DOCKER_HUB else host
        return _ask_helper(content["credsStore"], server, path)
    return None


def _key(text: str) -> str:
    """`https://host/v1/` is docker's old way to say `host`."""
    return re.sub(r"/v[12]/?$", "", re.sub("^https?://", "", text)).rstrip("/")


def _keys(host: str, repository: str) -> Iterator[str]:
    """`host/a/b`, `host/a`, `host`."""
    parts = [host, *repository.split("/")]
    return ("/".join(parts[:count]) for count in range(len(parts), 0, -1))


def _parse(row: Mapping[str, object], key: str, path: pathlib.Path) -> Credential | None:
    """An entry; one without anything says that a store has the rest."""
    texts = {name: row.get(name) or "" for name in ("auth", "username", "password", "identitytoken", "registrytoken")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise _broken(path, f"has a wrong entry for {key}")
    user, password = str(texts["username"]), str(texts["password"])
    if texts["auth"]:
        try:
            user, _, password = base64.b64decode(str(texts["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _broken(path, f"has a wrong entry for {key}: auth is not base64") from error
    found = Credential(str(path), user, password.rstrip("\0"), str(texts["identitytoken"]), str(texts["registrytoken"]))
    return found if found.user or found.identity_token or found.registry_token else None


def _ask_helper(name: object, server: str, path: pathlib.Path) -> Credential | None:
    """Ask `docker-credential-NAME` (github.com/docker/docker-credential-helpers, README)."""
    if not isinstance(name, str) or not _PROGRAM.fullmatch(name):
        raise _broken(path, f"names {name!r}, which is no credential helper")
    program = f"docker-credential-{name}"
    hint = f"{path} names this helper for {server}: install it, or log in again."
    try:
        answer = json.loads(command.run([program, "get"], stdin=server.encode(), is_users_own=True, hint=hint))
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except errors.ToolError as error:
        if _NOT_FOUND in error.output:
            return None
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.BuildchainError(program, "does not answer as a credential helper does", hint) from error
    if user == _TOKEN_USER:
        return Credential(program, identity_token=secret)
    return Credential(program, user, secret)


def _broken(path: pathlib.Path, why: str) -> errors.BuildchainError:
    return errors.BuildchainError(str(path), why, "Mend it, or log in again with `podman login` or `docker login`.")
