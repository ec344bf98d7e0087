"""What registries want besides a URL: which documents are understood, tokens, passwords.

Docker registry token authentication (distribution documentation, "spec/auth/token" and "spec/auth/oauth") and basic
authentication (RFC 7617). A secret goes to the registry it belongs to and to the token server that this one names.
"""

import dataclasses
import json
import re
import threading
import typing
import urllib.parse
from collections.abc import Iterable, Mapping

from buildchain import errors, fetch, urls
from buildchain.registry_client import _credentials, _documents, _sites

MAX_TOKEN_BYTES = 1 << 20
MAX_CHALLENGE = 4096
_CLIENT = "metalk8s-buildchain"

# What stands before the repository is another where a rewrite leads.
_PATH = re.compile(r"(?:.*?/v2)?/(?P<repository>.+)/(?P<kind>manifests|blobs|referrers)/[^/]+")

# RFC 9110 section 11.6.1; servers that send several headers have them joined by commas.
_CHALLENGE = re.compile(
    r"""(?P<scheme>bearer|basic) (?P<rest> (?: \s* ,? \s* [a-z_]+ \s*=\s* (?: "(?:[^"\\]|\\.)*" | [^\s,"]+ ) )* )""",
    re.VERBOSE | re.IGNORECASE,
)
_PARAMETER = re.compile(r"""([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""", re.IGNORECASE)

_Key = tuple[str, str]
"""Scheme, host and port; repository."""


@dataclasses.dataclass(frozen=True, slots=True)
class _TokenAccess:
    """What token servers are asked with: certificates alone. One that asks for a token itself would never end."""

    sites: _sites.Sites

    def trust(self, url: str) -> fetch.Trust | None:
        return self.sites.trust(url)

    def headers(self, _url: str) -> Mapping[str, str]:
        return {}

    def renew(self, url: str, _challenge: str, _sent: Mapping[str, str]) -> None:
        raise errors.TransportError(_shown(url), "HTTP 401 Unauthorized", "", 401)


class Access:
    """Sends along what registries want; one for all threads.

    Arguments:
        registries: hosts of the sources that may be asked.
    """

    def __init__(
        self,
        sites: _sites.Sites,
        registries: Iterable[str],
        keyring: _credentials.Keyring,
        options: fetch.Options,
    ) -> None:
        self._sites = sites
        bases = {endpoint.base for registry in registries for endpoint in sites.endpoints(registry)}
        self._tops = {place for base in bases for place in options.rewrites.places(base)}
        self._keyring = keyring
        self._options = dataclasses.replace(options, access=_TokenAccess(sites))
        self._lock = threading.Lock()
        self._renewing: dict[_Key, threading.Lock] = {}
        self._secrets: dict[_Key, str] = {}

    def trust(self, url: str) -> fetch.Trust | None:
        """What is said of the certificates of a URL's host."""
        return self._sites.trust(url)

    def headers(self, url: str) -> Mapping[str, str]:
        """The documents that are understood, and the secret that this repository's registry gave or wants."""
        key, kind = self._place(url)
        if key is None:
            return {}
        headers = {"manifests": {"Accept": ", ".join(_documents.TYPES)}, "referrers": {"Accept": _documents.OCI_INDEX}}
        found = headers.get(kind, {})
        return {**found, "Authorization": self._secrets[key]} if key in self._secrets else found

    def renew(self, url: str, challenge: str, sent: Mapping[str, str]) -> None:
        """Get a token, or the password, that a registry asks for.

        Raises:
            TransportError:  no token is given, or there is no password.
            BuildchainError: the user's files of credentials cannot be used.
        """
        key, _ = self._place(url)
        if key is None:
            raise errors.TransportError(url, "HTTP 401 Unauthorized", _hint(urllib.parse.urlsplit(url).netloc), 401)
        with self._lock:
            renewing = self._renewing.setdefault(key, threading.Lock())
        with renewing:
            if self._secrets.get(key) in (None, sent.get("Authorization")):  # else another thread was faster
                self._secrets[key] = self._secret(url, key, _parse(challenge), sent.get("Authorization"))

    def _place(self, url: str) -> tuple[_Key | None, str]:
        """What secrets for a URL are kept under, and what kind of thing it names; None if it is no registry's."""
        plain = urls.shown(url)
        parts = urllib.parse.urlsplit(plain)
        found = _PATH.fullmatch(parts.path)
        if not found or not any(urls.is_below(plain, top) for top in self._tops):
            return None, ""
        return (f"{parts.scheme}://{parts.netloc}", found["repository"]), found["kind"]

    def _secret(self, url: str, key: _Key, challenges: Mapping[str, Mapping[str, str]], refused: str | None) -> str:
        base, repository = key
        host = base.partition("://")[2]
        credential = self._keyring.find(host, repository)
        if credential and credential.registry_token and refused is None:
            return f"Bearer {credential.registry_token}"
        if "bearer" in challenges:
            return f"Bearer {self._token(url, key, challenges['bearer'], credential)}"
        if "basic" not in challenges:
            why = "asks for a kind of authentication that is neither Bearer nor Basic"
            raise errors.TransportError(url, why, "Choose another mirror.", 401)
        if not (credential and credential.basic):
            why = "HTTP 401: it asks for a user name and password"
            raise errors.TransportError(url, why, self._hint_where(host), 401)
        if credential.basic == refused:
            raise errors.TransportError(url, f"refuses the credentials from {credential.found_in}", _hint(host), 401)
        return credential.basic

    def _token(self, url: str, key: _Key, asked: Mapping[str, str], credential: _credentials.Credential | None) -> str:
        base, repository = key
        realm = asked.get("realm", "")
        self._check_realm(url, base, realm)
        scope = asked.get("scope") or f"repository:{repository}:pull"
        try:
            answer = self._ask(realm, asked.get("service", ""), scope, credential)
        except errors.TransportError as error:
            if error.status not in (400, 401, 403):
                raise
            who = f"the credentials from {credential.found_in}" if credential else "anonymous users"
            why = f"its token server {_shown(realm)} refuses {who} (HTTP {error.status})"
            host = base.partition("://")[2]
            hint = _hint(host) if credential else self._hint_where(host)
            raise errors.TransportError(url, why, hint, error.status) from error
        return _read_token(url, realm, answer.content)

    def _hint_where(self, host: str) -> str:
        """A file that was misspelled, or another user's, is found out by its name only."""
        return f"{_hint(host)} No credentials for it are in {self._keyring}."

    def _check_realm(self, url: str, base: str, realm: str) -> None:
        scheme = realm.partition("://")[0]
        if scheme not in ("http", "https"):
            raise errors.TransportError(url, f"names a token server without a proper URL: {realm[:200]!r}", "", 401)
        if base.startswith("https:") and scheme == "http":
            why = f"names a token server that speaks plain HTTP: {_shown(realm)}"
            raise errors.TransportError(url, why, "Ask the owner of the registry, or choose a mirror.", 401)

    def _ask(self, realm: str, service: str, scope: str, credential: _credentials.Credential | None) -> fetch.Answer:
        scopes = [("scope", each) for each in scope.split()]
        named = [("service", service)] if service else []
        if credential and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": _CLIENT,
                "refresh_token": credential.identity_token,
                "scope": scope,
                **dict(named),
            }
            return fetch.ask(realm, self._options, max_bytes=MAX_TOKEN_BYTES, form=form)
        query = urllib.parse.urlencode([*named, *scopes])
        basic = credential.basic if credential else ""
        return fetch.ask(
            f"{realm}{'&' if '?' in realm else '?'}{query}",
            self._options,
            max_bytes=MAX_TOKEN_BYTES,
            headers={"Authorization": basic} if basic else {},
        )


def _parse(text: str) -> Mapping[str, Mapping[str, str]]:
    """The challenges of a `WWW-Authenticate` header by scheme, in lower case."""
    found: dict[str, Mapping[str, str]] = {}
    for challenge in _CHALLENGE.finditer(text[:MAX_CHALLENGE]):
        parameters = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(challenge["rest"])
        }
        found.setdefault(challenge["scheme"].lower(), parameters)
    return found


def _read_token(url: str, realm: str, content: bytes) -> str:
    try:
        answer: dict[str, typing.Any] = json.loads(content)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    # RFC 6750 section 2.1: what else would stand in a header is another header.
    if not isinstance(token, str) or not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token):
        raise errors.TransportError(url, f"its token server {_shown(realm)} gives no token", "", 401)
    return token


def _shown(realm: str) -> str:
    parts = urllib.parse.urlsplit(realm)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _hint(host: str) -> str:
    return f"Check the repository's name; if it is not public, log in first: podman login {host} (or docker login)."
