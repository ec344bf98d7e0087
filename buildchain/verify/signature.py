"""Whose signature this is: asks gpg, in a private home that knows nothing but the keys it is given.

A key found on the medium is only ever used to tell who signed; it is trusted when its full fingerprint is the one
that the user gave.
"""

import base64
import binascii
import contextlib
import dataclasses
import enum
import pathlib
import re
import tempfile
from collections.abc import Iterator

from buildchain import command, errors
from buildchain.verify import report

Verdict = report.Verdict

MAX_SIGNATURE_SIZE = 1 << 20
MAX_TEXT_SIZE = 64 << 20

_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_WEAK_DIGESTS = {"1", "2", "3"}  # RFC 4880 section 9.4: MD5, SHA-1, RIPE-MD/160
_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_ARMOUR = re.compile(
    rb"-----BEGIN PGP SIGNATURE-----\n\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2}\n)"
    rb"=([A-Za-z0-9+/]{4})\n-----END PGP SIGNATURE-----\n"
)
_HINT = "A key file holds a public OpenPGP key; a fingerprint has 40 hex digits."


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """Whom the user trusts: keys at hand (files' bytes), or one key by its fingerprint.

    `development` has the fingerprints of published development keys, which vouch for nothing.

    Raises:
        ConfigError: the fingerprint is not one.
    """

    keys: tuple[bytes, ...] = ()
    fingerprint: str | None = None
    development: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        given = [self.fingerprint] if self.fingerprint is not None else []
        wrong = [text for text in (*given, *self.development) if not _FINGERPRINT.fullmatch(text.upper())]
        if wrong:
            raise errors.ConfigError("the trusted key", [("", f"{text!r} is no fingerprint") for text in wrong], _HINT)

    def is_named(self, fingerprint: str) -> bool:
        """Whether the user gave this fingerprint."""
        return self.fingerprint is not None and fingerprint == self.fingerprint.upper()

    def is_development(self, fingerprint: str) -> bool:
        """Whether this is a published development key."""
        return fingerprint in {each.upper() for each in self.development}


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What a signature is worth; `signer` is a primary fingerprint, or empty where the key is not at hand."""

    verdict: Verdict
    what: str = ""
    signer: str = ""
    is_trusted: bool = False


MISFIT = "does not fit the text"
"""What is said of a signature whose key is at hand: it or the text was changed, and which of them nobody can tell."""


class _State(enum.Enum):
    VALID = "is valid"
    BAD = MISFIT
    NO_KEY = "is of a key that is not at hand"
    EXPIRED = "is of an expired key, or has expired itself"
    REVOKED = "is of a revoked key"
    WEAK = "is over a weak digest"


@dataclasses.dataclass(frozen=True, slots=True)
class _Signature:
    state: _State
    signer: str = ""


_STATES = {
    "GOODSIG": _State.VALID,
    "BADSIG": _State.BAD,
    "ERRSIG": _State.NO_KEY,
    "EXPSIG": _State.EXPIRED,
    "EXPKEYSIG": _State.EXPIRED,
    "REVKEYSIG": _State.REVOKED,
}


MAX_REMEMBERED, COUNT_REMEMBERED = 1 << 20, 8
"""Bytes of a clearsigned message, and how many of them, that an authority remembers its judgement of."""


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """Judges signatures: first with the user's keys alone, then with what the medium offers."""

    trust: Trust
    _given: "_Home"
    _offered: "_Home"
    _read: dict[bytes, tuple[Judgement, bytes]] = dataclasses.field(default_factory=dict)

    def judge(self, signature: bytes, text: bytes) -> Judgement:
        """Judge a detached signature in ASCII armour."""
        if not is_intact_armour(signature):
            return Judgement(Verdict.CORRUPT, "is not an intact signature in ASCII armour")
        own = self._given.check(signature, text) if self.trust.keys else []
        if any(each.state is not _State.NO_KEY for each in own):
            return _judgement(own, self.trust, is_given=True)
        return _judgement(self._offered.check(signature, text), self.trust, is_given=False)

    def read_clearsigned(self, message: bytes) -> tuple[Judgement, bytes]:
        """Judge a clearsigned message; also returns the text that is signed."""
        if message in self._read:
            return self._read[message]
        found = self._read_clearsigned(message)
        if len(message) <= MAX_REMEMBERED and len(self._read) < COUNT_REMEMBERED:
            self._read[message] = found
        return found

    def _read_clearsigned(self, message: bytes) -> tuple[Judgement, bytes]:
        if not message.startswith(_BEGIN) or message.count(_BEGIN) != 1 or not message.endswith(b"SIGNATURE-----\n"):
            return Judgement(Verdict.CORRUPT, "is not one clearsigned message and nothing else"), b""
        own, text = self._given.read_clearsigned(message) if self.trust.keys else ([], b"")
        if any(each.state is not _State.NO_KEY for each in own):
            return _judgement(own, self.trust, is_given=True), text
        offered, text = self._offered.read_clearsigned(message)
        return _judgement(offered, self.trust, is_given=False), text


@contextlib.contextmanager
def authority(trust: Trust, offered_key: bytes) -> Iterator[Authority]:
    """Make the private homes for as long as they are needed; `offered_key` is that of the medium, or empty.

    Raises:
        ConfigError: a key of the user's is none.
        ToolError: gpg is missing.
    """
    # Right below /tmp: the socket names of gpg's helpers must not be longer than 108 bytes (unix(7)).
    with tempfile.TemporaryDirectory(prefix="verify-", dir="/tmp") as name:
        given, offered = _Home(pathlib.Path(name) / "g"), _Home(pathlib.Path(name) / "o")
        given.make()
        offered.make()
        for number, key in enumerate(trust.keys, start=1):
            if not given.add(key):
                raise errors.ConfigError("the trusted key", [(f"key {number}", "has no public key")], _HINT)
        if offered_key:
            offered.add(offered_key)
        yield Authority(trust, given, offered)


def is_intact_armour(signature: bytes) -> bool:
    """Whether an armoured signature is in the form gpg writes, with the right checksum.

    OpenPGP lets the armour be changed in many ways that change no meaning; a changed byte shall be found all the same.
    """
    match = _ARMOUR.fullmatch(signature)
    if match is None:
        return False
    body = _unarmour(match[1])
    return body is not None and _unarmour(match[2]) == crc24(body).to_bytes(3, "big")


def crc24(content: bytes) -> int:
    """The checksum of ASCII armour (RFC 4880 section 6.1)."""
    value = 0xB704CE
    for byte in content:
        value ^= byte << 16
        for _ in range(8):
            value <<= 1
            if value & 0x1000000:
                value ^= 0x1864CFB
    return value & 0xFFFFFF


def _unarmour(text: bytes) -> bytes | None:
    """Base64 with nothing left over: a changed bit in the last, half-used letter is a change too."""
    flat = text.replace(b"\n", b"")
    try:
        body = base64.b64decode(flat, validate=True)
    except binascii.Error:
        return None
    return body if base64.b64encode(body) == flat else None


@dataclasses.dataclass(frozen=True, slots=True)
class _Home:
    """A home of gpg without agent, configuration or network."""

    path: pathlib.Path

    def make(self) -> None:
        self.path.mkdir(mode=0o700)

    def add(self, key: bytes) -> bool:
        return "IMPORT_OK" in self._run(["--import"], key)

    def check(self, signature: bytes, text: bytes) -> list[_Signature]:
        (self.path / "signature").write_bytes(signature)
        return _parse(self._run(["--verify", self.path / "signature", "-"], text))

    def read_clearsigned(self, message: bytes) -> tuple[list[_Signature], bytes]:
        output = self.path / "text"
        output.unlink(missing_ok=True)
        status = self._run(["--max-output", str(MAX_TEXT_SIZE), "--output", output, "--decrypt"], message)
        return _parse(status), output.read_bytes() if output.exists() else b""

    def _run(self, arguments: list[command.Argument], stdin: bytes) -> str:
        status = self.path / "status"
        status.write_bytes(b"")
        options = ["--no-options", "--batch", "--no-tty", "--no-autostart", "--no-auto-key-retrieve"]
        options += ["--trust-model", "always", "--no-auto-check-trustdb", "--yes"]
        argv = ["gpg", "--homedir", self.path, *options, "--status-file", status, *arguments]
        try:
            command.run(argv, stdin=stdin)
        except errors.ToolError as error:
            if error.exit_code is None:
                raise
        return status.read_text("utf-8", "replace")


def _parse(status: str) -> list[_Signature]:
    """Read gpg's status lines (GnuPG's doc/DETAILS, section "Format of the --status-fd output")."""
    found: list[_Signature] = []
    state = None
    for line in status.splitlines():
        words = line.removeprefix("[GNUPG:] ").split(" ")
        if words[0] == "NEWSIG":
            state = None
        elif words[0] in _STATES:
            state = _STATES[words[0]]
            # A valid signature counts only with the VALIDSIG line that says by whom.
            if state in {_State.BAD, _State.NO_KEY}:
                found.append(_Signature(state))
        elif words[0] == "VALIDSIG" and state is not None and len(words) > 10:
            found.append(_Signature(_State.WEAK if words[8] in _WEAK_DIGESTS else state, words[10]))
    return found


def _judgement(signatures: list[_Signature], trust: Trust, *, is_given: bool) -> Judgement:
    if not signatures:
        return Judgement(Verdict.CORRUPT, "holds no signature that can be read")
    if any(each.state is _State.BAD for each in signatures):
        return Judgement(Verdict.CORRUPT, f"the signature {_State.BAD.value}")
    for each in signatures:
        if each.state is _State.VALID and (is_given or trust.is_named(each.signer)):
            verdict = Verdict.DEVELOPMENT_KEY if trust.is_development(each.signer) else Verdict.GOOD
            return Judgement(verdict, signer=each.signer, is_trusted=True)
    for each in signatures:
        if each.state is _State.VALID and trust.is_development(each.signer):
            return Judgement(Verdict.DEVELOPMENT_KEY, "is signed by a published development key", each.signer)
    first = signatures[0]
    what = (
        "is signed by a key that you did not name"
        if first.state is _State.VALID
        else f"the signature {first.state.value}"
    )
    return Judgement(Verdict.UNKNOWN_KEY, what, first.signer)
