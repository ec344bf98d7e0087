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

_HINT_KEY = "Set SIGNING_KEY to the path of an exported secret key, or to the fingerprint of a key in your gpg."
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
    """A key that is ready to sign; `fingerprint` is the primary key's, by which a verifier knows it."""

    fingerprint: str
    created: int
    _options: tuple[str, ...]
    _subkey: str
    """Fingerprint of the one (sub)key that signs: gpg's own choice would depend on its version and the date."""

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
        argv += ["--local-user", f"{self._subkey}!", "--armor", form]
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
        command.run([*_QUIET, *options, "--import", source.key], hint=_HINT_KEY)
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
        for option in (("--kill", "all"), ("--remove-socketdir",)):
            with contextlib.suppress(errors.ToolError):
                command.run(["gpgconf", "--homedir", home, *option])
        shutil.rmtree(home, ignore_errors=True)


def _passphrase_options(source: Source) -> tuple[str, ...]:
    if source.passphrase_file is None:
        return ()
    return ("--pinentry-mode", "loopback", "--passphrase-file", str(source.passphrase_file))


def _signer(source: Source, options: tuple[str, ...]) -> Signer:
    argv = [*_QUIET, *options, "--with-colons", "--list-secret-keys"]
    if not source.is_file():
        argv += ["--", source.key]
    try:
        listing = command.run(argv, environment=_gpg_environment()).decode(errors="replace")
    except errors.ToolError as error:
        if error.exit_code is None:
            raise
        raise _refusal(source.key, f"gpg knows no such secret key\n  {error.output.strip()}", _HINT_KEY) from error
    return _choose(listing, source.key, options)


@dataclasses.dataclass(frozen=True, slots=True)
class _Key:
    """A primary key or subkey of a `--with-colons` listing (GnuPG's doc/DETAILS)."""

    kind: str
    validity: str
    bits: int
    algorithm: str
    id: str
    created: int
    expires: int
    can_sign: bool
    fingerprint: str

    @classmethod
    def parse(cls, row: list[str], fingerprint: str) -> "_Key":
        # Field 12 has the key's own capabilities in lower case; field 15 is `#` if only the public part is here.
        can_sign = "s" in row[11] and row[14] != "#"
        return cls(row[0], row[1], int(row[2]), row[3], row[4], int(row[5]), int(row[6] or 0), can_sign, fingerprint)


def _choose(listing: str, name: str, options: tuple[str, ...]) -> Signer:
    """Take the newest key that can sign, of the one primary key that is listed and its subkeys."""
    keys = list(_keys(listing))
    primaries = [key for key in keys if key.kind == "sec"]
    if not primaries:
        raise _refusal(name, "no secret key found", _HINT_KEY)
    if len(primaries) > 1:
        raise _refusal(name, f"{len(primaries)} keys match", "Give SIGNING_KEY a full fingerprint.")
    able = [key for key in keys if key.can_sign]
    good = [key for key in able if not _problem(key)]
    if not good or _end(primaries[0]):
        problems = filter(None, [_end(primaries[0]), *map(_problem, able)])
        why = "; ".join(dict.fromkeys(problems)) or "it cannot sign"
        raise _refusal(name, why, f"Use an RSA key of {MINIMUM_BITS} bits or more that has not expired.")
    chosen = max(good, key=lambda key: (key.created, key.fingerprint))
    return Signer(primaries[0].fingerprint, chosen.created, options, chosen.fingerprint)


def _keys(listing: str) -> Iterator[_Key]:
    """The keys of a listing; the row with a key's fingerprint follows its own."""
    owner: list[str] = []
    for row in (line.split(":") for line in listing.splitlines()):
        if row[0] in ("sec", "ssb"):
            owner = row
        elif row[0] == "fpr" and owner:
            yield _Key.parse(owner, row[9])
            owner = []


def _problem(key: _Key) -> str:
    """Why a key must not sign; empty if it may."""
    if end := _end(key):
        return end
    if key.algorithm not in _RSA:
        return f"key {key.id} is not RSA"
    return f"key {key.id} has only {key.bits} bits" if key.bits < MINIMUM_BITS else ""


def _end(key: _Key) -> str:
    """Why a key's life is over; empty if it is not."""
    if key.validity == "r":
        return f"key {key.id} is revoked"
    # Whether a key has expired is asked of the clock, but the answer is only "refuse": no byte depends on it.
    has_expired = key.validity == "e" or 0 < key.expires < time.time()
    return f"key {key.id} has expired" if has_expired else ""


def _refusal(name: str, why: str, hint: str) -> errors.BuildchainError:
    return errors.BuildchainError(f"signing key {name}", why, hint)


def _gpg_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("GNUPGHOME", "GPG_TTY") if name in os.environ}
