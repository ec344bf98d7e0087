"""OpenPGP signatures: made with one named key, at a time that is an input.

gpg runs in a short private home that is removed together with its agent, unless the key lives in the user's own gpg
(agent, smart card), which is then used as it is. RSA signatures (RFC 8017, section 8.2) are functions of key, content
and time, so signed texts are reproducible.
"""

import contextlib
import dataclasses
import datetime
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Iterator

from buildchain import command, errors

DEVELOPMENT_FINGERPRINT = "833C8D64E36969C987D86A412743477F83FEF8E7"
"""The published development key in packages/keys/development: it proves nothing, and everything says so."""

MINIMUM_BITS = 3072
_RSA = {"1", "3"}  # RFC 4880, section 9.1: public-key algorithms

_QUIET = ("gpg", "--batch", "--no-options", "--no-tty", "--quiet")


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """Where the secret key is: a file with an exported key, or the user's own gpg."""

    key: str
    passphrase_file: pathlib.Path | None = None

    def is_file(self) -> bool:
        """Whether the key is an exported secret key; otherwise it is the name of a key in the user's gpg."""
        return pathlib.Path(self.key).is_file()


@dataclasses.dataclass(frozen=True, slots=True)
class Signer:
    """A key that is ready to sign."""

    fingerprint: str
    created: int
    _options: tuple[str, ...]

    @property
    def is_development(self) -> bool:
        """Whether this is the published development key."""
        return self.fingerprint == DEVELOPMENT_FINGERPRINT

    def detach(self, content: bytes, epoch: int) -> bytes:
        """An armoured detached signature, dated `epoch` or the key's creation if that is later."""
        return self._sign("--detach-sign", content, epoch)

    def clearsign(self, content: bytes, epoch: int) -> bytes:
        """The content with its signature around it (RFC 4880, section 7), as InRelease wants it."""
        return self._sign("--clear-sign", content, epoch)

    def public_key(self) -> bytes:
        """The armoured public key, without signatures by others."""
        argv = [*_QUIET, *self._options, "--armor", "--export-options", "export-minimal", "--export", self.fingerprint]
        return command.run(argv, environment=_gpg_environment())

    def _sign(self, form: str, content: bytes, epoch: int) -> bytes:
        moment = datetime.datetime.fromtimestamp(max(epoch, self.created), datetime.UTC)
        argv = [*_QUIET, *self._options, "--faked-system-time", f"{moment:%Y%m%dT%H%M%S}!", "--digest-algo", "SHA256"]
        argv += ["--local-user", self.fingerprint, "--armor", form]
        hint = "Check SIGNING_KEY and SIGNING_KEY_PASSPHRASE_FILE, and that gpg can use the key."
        return command.run(argv, stdin=content, environment=_gpg_environment(), hint=hint)


@contextlib.contextmanager
def open_signer(source: Source) -> Iterator[Signer]:
    """Make a key ready to sign for the length of a `with` block.

    Raises:
        BuildchainError: the key is absent, expired, too short or not RSA.
    """
    if not source.is_file():
        yield _signer(source, _passphrase_options(source))
        return
    with private_home() as home:
        options = ("--homedir", str(home), *_passphrase_options(source))
        hint = "SIGNING_KEY must name an exported OpenPGP secret key, or a key of your own gpg."
        command.run([*_QUIET, *options, "--import", source.key], hint=hint)
        yield _signer(source, options)


@contextlib.contextmanager
def private_home() -> Iterator[pathlib.Path]:
    """A gpg home of our own, removed together with its agent.

    It stands in /tmp whatever TMPDIR says: gpg-agent's socket needs a path of less than 86 characters.
    """
    home = pathlib.Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))
    try:
        yield home
    finally:
        with contextlib.suppress(errors.ToolError):
            command.run(["gpgconf", "--homedir", home, "--kill", "all"])
        shutil.rmtree(home, ignore_errors=True)


def _passphrase_options(source: Source) -> tuple[str, ...]:
    if source.passphrase_file is None:
        return ()
    return ("--pinentry-mode", "loopback", "--passphrase-file", str(source.passphrase_file))


def _signer(source: Source, options: tuple[str, ...]) -> Signer:
    argv = [*_QUIET, *options, "--with-colons", "--list-secret-keys"]
    if not source.is_file():
        argv.append(source.key)
    hint = "Set SIGNING_KEY to the path of an exported secret key, or to the fingerprint of a key in your gpg."
    listing = command.run(argv, environment=_gpg_environment(), hint=hint).decode(errors="replace")
    return _choose(listing, source.key, options)


def _choose(listing: str, name: str, options: tuple[str, ...]) -> Signer:
    """Read `--with-colons` output (GnuPG's doc/DETAILS): the first primary key and its signing keys."""
    rows = [line.split(":") for line in listing.splitlines()]
    primaries = [index for index, row in enumerate(rows) if row[0] == "sec"]
    if not primaries:
        raise errors.BuildchainError(f"signing key {name}", "no secret key found", "Check SIGNING_KEY.")
    if len(primaries) > 1:
        raise errors.BuildchainError(
            f"signing key {name}", f"{len(primaries)} keys match", "Give SIGNING_KEY a full fingerprint."
        )
    fingerprint = next(row[9] for row in rows if row[0] == "fpr")
    able = [row for row in rows if row[0] in ("sec", "ssb") and "s" in row[11]]
    problems = [problem for row in able for problem in _problems(row)]
    if not able or len(problems) >= len(able):
        why = "; ".join(problems) or "it cannot sign"
        hint = f"Use an RSA key of {MINIMUM_BITS} bits or more that has not expired."
        raise errors.BuildchainError(f"signing key {name}", why, hint)
    return Signer(fingerprint, max(int(row[5]) for row in able), options)


def _problems(row: list[str]) -> list[str]:
    kind = f"key {row[4]}"
    if row[1] == "r":
        return [f"{kind} is revoked"]
    # Whether a key has expired is asked of the clock, but the answer is only "refuse": no byte depends on it.
    if row[1] == "e" or (row[6] and int(row[6]) < time.time()):
        return [f"{kind} has expired"]
    if row[3] not in _RSA:
        return [f"{kind} is not RSA"]
    if int(row[2]) < MINIMUM_BITS:
        return [f"{kind} has only {row[2]} bits"]
    return []


def _gpg_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("GNUPGHOME", "GPG_TTY") if name in os.environ}
