"""What an attacker or an accident does to a good medium, and the verdict it must get: one table for every judge."""

import dataclasses
from collections.abc import Callable

from buildchain import verify
from tests.support import keys, medium

Verdict = verify.Verdict


@dataclasses.dataclass(frozen=True)
class Keys:
    """`release` is the key that the user trusts."""

    release: keys.Key
    stranger: keys.Key
    development: keys.Key


@dataclasses.dataclass(frozen=True)
class Attack:
    """`path` is what a fault must name; empty: no fault."""

    name: str
    change: Callable[[medium.Entries, Keys], medium.Entries]
    verdict: Verdict
    path: str = ""


def _flip(path: str) -> Attack:
    def change(entries: medium.Entries, _: Keys) -> medium.Entries:
        content = bytearray(content_of(entries, path))
        content[len(content) // 2] ^= 1
        return entries | {path: dataclasses.replace(_file(entries, path), content=bytes(content))}

    # A flipped byte of the listing or its signature does not tell which other file was meant.
    return Attack(f"flip a byte of {path}", change, Verdict.CORRUPT, "SHA256SUM" if path == medium.SUMS else path)


def content_of(entries: medium.Entries, path: str) -> bytes:
    return _file(entries, path).content


def _file(entries: medium.Entries, path: str) -> medium.File:
    entry = entries[path]
    assert isinstance(entry, medium.File)
    return entry


def _without(entries: medium.Entries, *paths: str) -> medium.Entries:
    return {path: entry for path, entry in entries.items() if path not in paths}


def _swap(entries: medium.Entries, _: Keys) -> medium.Entries:
    return entries | {_DEB: entries[_OTHER_DEB], _OTHER_DEB: entries[_DEB]}


def _rename(entries: medium.Entries, _: Keys) -> medium.Entries:
    return _without(entries, _DEB) | {_DEB.replace("one", "tow"): entries[_DEB]}


def _forge(entries: medium.Entries, signers: Keys) -> medium.Entries:
    """New contents, sealed with another key; the key on the medium is left as it was."""
    return medium.seal(entries | {"product.txt": medium.File(b"NAME=MetalK8s\nVERSION=9.9\n")}, signers.stranger)


_DEB = f"{medium.REPOSITORY}/pool/one_1.0_amd64.deb"
_OTHER_DEB = f"{medium.REPOSITORY}/pool/two_1.0_amd64.deb"
_BLOB = next(path for path in medium.image("nginx", "1.27") if len(path.rpartition("/")[2]) == 64)

FLIPPED = (
    "verify.sh",
    "product.txt",
    medium.KEY,
    medium.LISTING,
    "documents/lëtter 中.txt",
    "documents/a #1 note.txt",
    "documents/large",
    _DEB,
    f"{medium.REPOSITORY}/Packages",
    f"{medium.REPOSITORY}/Packages.gz",
    f"{medium.REPOSITORY}/Release",
    f"{medium.REPOSITORY}/InRelease",
    "images/nginx/1.27/manifest.json",
    "images/nginx/1.27/version",
    _BLOB,
    medium.REGISTRY,
    medium.SIGNATURE,
)

TABLE = (
    *map(_flip, FLIPPED),
    Attack(
        "flip a digest of SHA256SUM",
        lambda entries, _: (
            entries | {medium.SUMS: medium.File(content_of(entries, medium.SUMS).replace(b"a", b"b", 1))}
        ),
        Verdict.CORRUPT,
        medium.SIGNATURE,
    ),
    Attack("nothing", lambda entries, _: entries, Verdict.GOOD),
    Attack("add a file", lambda entries, _: entries | {"evil.sh": medium.File(b"")}, Verdict.CORRUPT, "evil.sh"),
    Attack("add a link", lambda entries, _: entries | {"salt/evil": medium.Link("/etc")}, Verdict.CORRUPT, "salt/evil"),
    Attack(
        "add a directory",
        lambda entries, _: entries | {"evil/file": medium.File(b"x")},
        Verdict.CORRUPT,
        "evil",
    ),
    Attack("remove a file", lambda entries, _: _without(entries, _DEB), Verdict.CORRUPT, _DEB),
    Attack("remove a link", lambda entries, _: _without(entries, "salt/latest"), Verdict.CORRUPT, "salt/latest"),
    Attack("remove the listing", lambda entries, _: _without(entries, medium.LISTING), Verdict.CORRUPT, medium.LISTING),
    Attack("remove the digests", lambda entries, _: _without(entries, medium.SUMS), Verdict.CORRUPT, medium.SUMS),
    Attack("rename a file", _rename, Verdict.CORRUPT, _DEB),
    Attack("swap two files", _swap, Verdict.CORRUPT, _DEB),
    Attack(
        "change a mode",
        lambda entries, _: entries | {"product.txt": dataclasses.replace(_file(entries, "product.txt"), mode=0o555)},
        Verdict.CORRUPT,
        "product.txt",
    ),
    Attack(
        "set a set-user-id bit",
        lambda entries, _: entries | {"verify.sh": dataclasses.replace(_file(entries, "verify.sh"), mode=0o4555)},
        Verdict.CORRUPT,
        "verify.sh",
    ),
    Attack(
        "change a link",
        lambda entries, _: entries | {"salt/latest": medium.Link("../evil")},
        Verdict.CORRUPT,
        "salt/latest",
    ),
    Attack(
        "put a link in a file's place",
        lambda entries, _: entries | {"product.txt": medium.Link("/etc/hostname")},
        Verdict.CORRUPT,
        "product.txt",
    ),
    Attack(
        "put a file in a link's place",
        lambda entries, _: entries | {"salt/latest": medium.File(b"metalk8s/repo")},
        Verdict.CORRUPT,
        "salt/latest",
    ),
    Attack(
        "remove the signature",
        lambda entries, _: _without(entries, medium.SIGNATURE),
        Verdict.UNSIGNED,
        medium.SIGNATURE,
    ),
    Attack(
        "empty the signature",
        lambda entries, _: entries | {medium.SIGNATURE: medium.File(b"")},
        Verdict.CORRUPT,
        medium.SIGNATURE,
    ),
    Attack("make it all anew", lambda _, signers: medium.good(signers.stranger), Verdict.UNKNOWN_KEY, medium.SIGNATURE),
    Attack("forge the contents and sign them", _forge, Verdict.UNKNOWN_KEY, medium.SIGNATURE),
    Attack(
        "sign with the development key",
        lambda _, signers: medium.good(signers.development),
        Verdict.DEVELOPMENT_KEY,
        medium.SIGNATURE,
    ),
    Attack(
        "sign with a weak digest",
        lambda entries, signers: (
            entries
            | {
                medium.SIGNATURE: medium.File(
                    signers.release.sign(content_of(entries, medium.SUMS), "--digest-algo", "SHA1")
                )
            }
        ),
        Verdict.UNKNOWN_KEY,
        medium.SIGNATURE,
    ),
    Attack(
        "put another's signature there",
        lambda entries, signers: entries | {medium.SIGNATURE: medium.File(signers.stranger.sign(b"another text"))},
        Verdict.UNKNOWN_KEY,
        medium.SIGNATURE,
    ),
    Attack(
        "put an older signature there",
        lambda entries, signers: entries | {medium.SIGNATURE: medium.File(signers.release.sign(b"another text"))},
        Verdict.CORRUPT,
        medium.SIGNATURE,
    ),
    Attack(
        "go back to an older version", lambda _, signers: medium.good(signers.release, version="2.5.0"), Verdict.GOOD
    ),
)
