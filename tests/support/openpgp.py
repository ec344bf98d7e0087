"""OpenPGP keys for tests, made at a fixed time in a gpg home of their own.

with openpgp.home() as home:
    fingerprint = home.make("release", expires="20210101T000000")
    secret.write_bytes(home.secret(fingerprint))
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from buildchain import command, signing

MOMENT = "20200101T000000"
EPOCH = 1_577_836_800  # the same


@dataclasses.dataclass(frozen=True)
class Home:
    """A gpg home."""

    path: pathlib.Path

    def run(self, *arguments: str, stdin: bytes = b"", passphrase: str = "", moment: str = MOMENT) -> bytes:
        options = [
            "--homedir",
            str(self.path),
            "--batch",
            "--no-options",
            "--quiet",
            "--faked-system-time",
            f"{moment}!",
        ]
        options += ["--pinentry-mode", "loopback", "--passphrase", passphrase]
        return command.run(["gpg", *options, *arguments], stdin=stdin)

    def make(
        self,
        name: str = "test",
        algorithm: str = "rsa3072",
        usage: str = "sign",
        expires: str = "never",
        passphrase: str = "",
        moment: str = MOMENT,
    ) -> str:
        """Make a key; returns its fingerprint."""
        user = f"{name} <{name}@example.test>"
        arguments = ("--quick-generate-key", user, algorithm, usage, expires)
        self.run(*arguments, passphrase=passphrase, moment=moment)
        return self.fingerprints(user)[0]

    def add_subkey(self, fingerprint: str, algorithm: str, usage: str = "sign", moment: str = MOMENT) -> str:
        """Add a subkey; returns its fingerprint."""
        self.run("--quick-add-key", fingerprint, algorithm, usage, "never", moment=moment)
        return self.fingerprints(fingerprint)[-1]

    def fingerprints(self, name: str) -> list[str]:
        """Of a key and its subkeys, in gpg's order."""
        rows = [line.split(":") for line in self.run("--with-colons", "--list-keys", name).decode().splitlines()]
        return [row[9] for row in rows if row[0] == "fpr"]

    def secret(self, *fingerprints: str, passphrase: str = "", form: str = "--export-secret-keys") -> bytes:
        return self.run("--armor", form, *fingerprints, passphrase=passphrase)

    def public(self, *fingerprints: str) -> bytes:
        return self.run("--armor", "--export", *fingerprints)

    def clearsign(self, content: bytes, fingerprint: str) -> bytes:
        return self.run("--armor", "--local-user", fingerprint, "--clear-sign", stdin=content)


@contextlib.contextmanager
def home() -> Iterator[Home]:
    """A gpg home that is removed together with its agent."""
    with signing.private_home() as path:
        yield Home(path)
