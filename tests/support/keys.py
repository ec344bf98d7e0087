"""OpenPGP keys for tests: small, quick to make, each in a home of its own that is removed with its agent."""

import contextlib
import dataclasses
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

from buildchain import command

DEVELOPMENT = pathlib.Path(__file__).parents[2] / "packages" / "keys" / "development"
"""The committed development key: secret.asc and public.asc."""


@dataclasses.dataclass(frozen=True)
class Key:
    home: pathlib.Path
    fingerprint: str
    moment: str = ""
    """Time of signatures, as gpg's --faked-system-time takes it; empty: now."""

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        options = ["--homedir", str(self.home), "--batch", "--quiet", "--armor", "--pinentry-mode", "loopback"]
        options += ["--passphrase", ""]
        options += ["--faked-system-time", f"{self.moment}!"] if self.moment else []
        return command.run(["gpg", *options, *arguments], stdin=stdin)

    @property
    def public(self) -> bytes:
        return self._gpg("--export", self.fingerprint)

    @property
    def public_binary(self) -> bytes:
        return self._gpg("--no-armor", "--export", self.fingerprint)

    def sign(self, content: bytes, *options: str) -> bytes:
        return self._gpg(*options, "--detach-sign", stdin=content)

    def clearsign(self, content: bytes) -> bytes:
        return self._gpg("--clear-sign", stdin=content)


@contextlib.contextmanager
def generate(name: str = "release", *, expires: str = "never", moment: str = "") -> Iterator[Key]:
    """A fresh key; with `expires` and a past `moment` it has expired by now."""
    with _home() as home:
        key = Key(home, "", moment)
        key._gpg("--quick-generate-key", f"{name} <{name}@example.test>", "ed25519", "sign", expires)
        yield Key(home, _fingerprint(key), moment)


@contextlib.contextmanager
def development() -> Iterator[Key]:
    """The published development key."""
    with _home() as home:
        key = Key(home, "")
        key._gpg("--import", str(DEVELOPMENT / "secret.asc"))
        yield Key(home, _fingerprint(key))


def revoke(key: Key) -> bytes:
    """The public key of `key` with the revocation that gpg makes in advance."""
    certificate = (key.home / "openpgp-revocs.d" / f"{key.fingerprint}.rev").read_text()
    certificate = certificate[certificate.index(":-----BEGIN") + 1 :]
    with _home() as home:
        other = Key(home, key.fingerprint)
        other._gpg("--import", stdin=key.public)
        other._gpg("--import", stdin=certificate.encode())
        return other.public


def _fingerprint(key: Key) -> str:
    found = re.search(r"^fpr:+([0-9A-F]{40}):", key._gpg("--with-colons", "--list-secret-keys").decode(), re.MULTILINE)
    assert found
    return found[1]


@contextlib.contextmanager
def _home() -> Iterator[pathlib.Path]:
    # Not below TMPDIR: the path of an agent's socket must be short.
    home = pathlib.Path(tempfile.mkdtemp(prefix="key-", dir="/tmp"))
    try:
        yield home
    finally:
        command.run(["gpgconf", "--homedir", home, "--kill", "all"])
        shutil.rmtree(home)
