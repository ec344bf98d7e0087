"""Signatures are functions of key, content and time; keys that must not sign say why."""

import contextlib
import os
import pathlib
import stat
import time
from collections.abc import Iterator

import pytest

from buildchain import command, errors, signing
from tests.support import openpgp

DEVELOPMENT = pathlib.Path(__file__).parents[2] / "packages/keys/development/secret.asc"
EPOCH = 1_700_000_000
TEXT = b"- a line\nFrom me\n  trailing \n"


@pytest.fixture(scope="module")
def home() -> Iterator[openpgp.Home]:
    """A gpg home with several keys."""
    with openpgp.home() as made:
        yield made


@pytest.fixture(scope="module")
def long_key(home: openpgp.Home) -> str:
    """The development key, since long keys take a second to make."""
    home.run("--import", str(DEVELOPMENT))
    return signing.DEVELOPMENT_FINGERPRINT


def _file(directory: pathlib.Path, content: bytes) -> signing.Source:
    path = directory / "key.asc"
    path.write_bytes(content)
    return signing.Source(str(path))


def _refusal(source: signing.Source) -> str:
    with pytest.raises(errors.BuildchainError) as caught, signing.open_signer(source):
        pass
    return str(caught.value)


def _valid(public: bytes, *arguments: str | pathlib.Path, stdin: bytes = b"") -> list[str]:
    """The words of gpg's VALIDSIG (doc/DETAILS): fingerprint, date, time, …, primary key's fingerprint."""
    with openpgp.home() as judge:
        judge.run("--import", stdin=public)
        told = command.run(["gpg", "--homedir", judge.path, "--batch", "--status-fd=1", *arguments], stdin=stdin)
    (line,) = [line for line in told.decode().splitlines() if " VALIDSIG " in line]
    return line.split()[2:]


def test_signatures_are_good_and_dated(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
        (tmp_path / "text.asc").write_bytes(signer.detach(TEXT, EPOCH))
        clear, public = signer.clearsign(TEXT, EPOCH), signer.public_key()
        assert signer.is_development
    valid = _valid(public, "--verify", tmp_path / "text.asc", tmp_path / "text")
    assert (valid[0], valid[2], valid[-1]) == (signer.fingerprint, str(EPOCH), signer.fingerprint)
    assert valid[7] == "8"  # SHA-256
    assert _valid(public, "--verify", stdin=clear)[2] == str(EPOCH)
    assert b"\nSHA256\n" not in clear
    assert b"Version:" not in clear
    assert b"\n- - a line\n- From me\n" in clear


def test_signatures_do_not_depend_on_home_zone_locale_or_umask(monkeypatch: pytest.MonkeyPatch) -> None:
    def sign() -> tuple[bytes, ...]:
        with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
            return signer.detach(TEXT, EPOCH), signer.clearsign(TEXT, EPOCH), signer.public_key()

    first = sign()
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TMPDIR", "/nonexistent" + "/long" * 40)
    monkeypatch.setenv("GNUPGHOME", "/nonexistent")
    os.umask(0o077)
    assert sign() == first


def test_a_signature_is_never_older_than_its_key() -> None:
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
        assert signer.created == 1_577_836_800
        assert signer.detach(TEXT, 0) == signer.detach(TEXT, signer.created)
        assert signer.detach(TEXT, 0) != signer.detach(TEXT, signer.created + 1)


def _agent(home: pathlib.Path) -> int:
    told = command.run(["gpg-connect-agent", "--homedir", home, "--no-autostart", "GETINFO pid", "/bye"])
    return int(told.split()[1])


def _ends(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_the_home_is_private_and_gone_afterwards_with_its_agent() -> None:
    pids = []

    def fail() -> None:
        with signing.private_home() as home:
            assert stat.S_IMODE(home.stat().st_mode) == 0o700
            assert len(str(home / "S.gpg-agent.browser")) < 86
            command.run(["gpg", "--homedir", home, "--batch", "--quiet", "--import", DEVELOPMENT])
            pids.append((home, _agent(home)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    ((home, pid),) = pids
    assert not home.exists()
    assert _ends(pid)


def test_an_agent_with_sockets_elsewhere_leaves_no_folder_there() -> None:
    with signing.private_home() as home:
        with contextlib.suppress(errors.ToolError):  # without /run/user the sockets stand in the home
            command.run(["gpgconf", "--homedir", home, "--create-socketdir"])
        sockets = command.run(["gpgconf", "--homedir", home, "--list-dirs", "socketdir"]).decode().strip()
        assert pathlib.Path(sockets).is_dir()
    assert not pathlib.Path(sockets).exists()


def test_a_passphrase(tmp_path: pathlib.Path) -> None:
    for name in ("open sesame", "open barley"):
        (tmp_path / name).write_text(f"{name}\n")
    with openpgp.home() as home:
        (home.path / "gpg-agent.conf").write_text("s2k-count 65536\n")
        home.run("--import", str(DEVELOPMENT))
        home.run("--change-passphrase", signing.DEVELOPMENT_FINGERPRINT, passphrase="open sesame")
        secret = home.secret(signing.DEVELOPMENT_FINGERPRINT, passphrase="open sesame")
    key = _file(tmp_path, secret).key
    with signing.open_signer(signing.Source(key, tmp_path / "open sesame")) as signer:
        assert signer.detach(TEXT, EPOCH).startswith(b"-----BEGIN PGP SIGNATURE-----")
    wrong = signing.Source(key, tmp_path / "open barley")
    with signing.open_signer(wrong) as signer, pytest.raises(errors.ToolError, match="Bad passphrase") as caught:
        signer.detach(TEXT, EPOCH)
    assert caught.value.hint.startswith("Check SIGNING_KEY and SIGNING_KEY_PASSPHRASE_FILE")


def test_an_absent_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with openpgp.home() as empty:
        monkeypatch.setenv("GNUPGHOME", str(empty.path))
        text = _refusal(signing.Source("nobody@example.test"))
        assert text.startswith("signing key nobody@example.test: gpg knows no such secret key\n")
        assert "Set SIGNING_KEY to the path of an exported secret key" in text
        assert "gpg knows no such secret key" in _refusal(signing.Source("--version"))


def test_a_file_without_a_secret_key(home: openpgp.Home, long_key: str, tmp_path: pathlib.Path) -> None:
    assert "no secret key found" in _refusal(_file(tmp_path, home.public(long_key)))
    assert "no valid OpenPGP data found" in _refusal(_file(tmp_path, b"not a key\n"))
    assert "Set SIGNING_KEY to the path" in _refusal(_file(tmp_path, b""))


def test_a_file_with_two_keys(home: openpgp.Home, long_key: str, tmp_path: pathlib.Path) -> None:
    both = home.secret(long_key, home.make("second", "rsa1024"))
    assert "2 keys match\nGive SIGNING_KEY a full fingerprint." in _refusal(_file(tmp_path, both))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"algorithm": "rsa2048"}, "has only 2048 bits\nUse an RSA key of 3072 bits or more that has not expired."),
        ({"algorithm": "ed25519"}, "is not RSA\n"),
        ({"algorithm": "rsa1024", "expires": "20200201T000000"}, "has expired\n"),
        ({"algorithm": "rsa1024", "usage": "cert"}, "it cannot sign\n"),
    ],
)
def test_keys_that_must_not_sign(home: openpgp.Home, tmp_path: pathlib.Path, changes: dict[str, str], why: str) -> None:
    fingerprint = home.make("-".join(changes.values()), **changes)
    text = _refusal(_file(tmp_path, home.secret(fingerprint)))
    assert text.startswith(f"signing key {tmp_path}/key.asc: ")
    assert why in text


def test_a_revoked_key(home: openpgp.Home, tmp_path: pathlib.Path) -> None:
    fingerprint = home.make("revoked", "rsa1024")
    certificate = (home.path / "openpgp-revocs.d" / f"{fingerprint}.rev").read_bytes().replace(b":-----", b"-----")
    home.run("--import", stdin=certificate)
    assert "is revoked" in _refusal(_file(tmp_path, home.secret(fingerprint)))


def test_the_newest_good_subkey_signs(home: openpgp.Home, long_key: str, tmp_path: pathlib.Path) -> None:
    subkey = home.add_subkey(long_key, "rsa3072", moment="20210101T000000")
    home.add_subkey(long_key, "ed25519", moment="20220101T000000")  # gpg would take this one
    (tmp_path / "text").write_bytes(TEXT)
    for form in ("--export-secret-keys", "--export-secret-subkeys"):  # the second: an offline primary key
        with signing.open_signer(_file(tmp_path, home.secret(long_key, form=form))) as signer:
            assert signer.fingerprint == long_key
            assert signer.created == 1_609_459_200
            (tmp_path / "text.asc").write_bytes(signer.detach(TEXT, EPOCH))
            public = signer.public_key()
        valid = _valid(public, "--verify", tmp_path / "text.asc", tmp_path / "text")
        assert (valid[0], valid[-1]) == (subkey, long_key)


def test_a_key_of_the_users_own_gpg(
    home: openpgp.Home, long_key: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signing.open_signer(_file(tmp_path, home.secret(long_key))) as signer:
        expected = signer.detach(TEXT, EPOCH)
    monkeypatch.setenv("GNUPGHOME", str(home.path))
    for name in (long_key, long_key[-16:], "PUBLIC DEVELOPMENT KEY"):
        with signing.open_signer(signing.Source(name)) as signer:
            assert signer.detach(TEXT, EPOCH) == expected
    for name in ("one", "other"):
        home.make(f"{name}-of-two", "rsa1024")
    assert "keys match" in _refusal(signing.Source("of-two"))
    assert home.path.is_dir()


def test_the_public_key_is_public() -> None:
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
        exported = signer.public_key()
    assert exported.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert b"PRIVATE" not in exported
