"""The judge of RPM repositories: whatever is wrong with one on a medium becomes a fault that names the file."""

import gzip
import hashlib
from collections.abc import Callable

import pytest

from buildchain.verify import medium as verify_medium
from buildchain.verify import redhat, report, signature
from tests.support import medium

SIGNER = "A" * 40
NAME = "metalk8s-tools-el9"
ROOT = f"packages/redhat/{NAME}"
REPOMD = f"{ROOT}/repodata/repomd.xml"
KEY = f"{ROOT}/RPM-GPG-KEY-{NAME}"
ONE = f"{ROOT}/Packages/one-1.0-1.el9.noarch.rpm"
RPMS = {name: f"package {name}".encode() * 50 for name in ("one", "two")}

_PACKAGE = """\
<package type="rpm"><name>{name}</name><checksum type="sha256" pkgid="YES">{digest}</checksum>
<size package="{size}" installed="1" archive="1"/><location href="Packages/{name}-1.0-1.el9.noarch.rpm"/>
<format><rpm:provides><rpm:entry name="{name}"/></rpm:provides></format></package>
"""
_DATA = """\
<data type="{kind}"><checksum type="sha256">{digest}</checksum><location href="repodata/{kind}.xml.gz"/>
<size>{size}</size><open-size>{plain}</open-size></data>
"""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _primary() -> str:
    rows = "".join(_PACKAGE.format(name=name, digest=_digest(rpm), size=len(rpm)) for name, rpm in RPMS.items())
    return f'<metadata xmlns:rpm="http://example.test/rpm">{rows}</metadata>'


def _repository(primary: str = "", packed: bytes | None = None) -> medium.Entries:
    """A good repository, but for its primary or the compressed form of that."""
    texts = {"primary": (primary or _primary()).encode(), "filelists": b"<filelists/>", "other": b"<otherdata/>"}
    files = {f"{ROOT}/Packages/{name}-1.0-1.el9.noarch.rpm": rpm for name, rpm in RPMS.items()}
    records = ""
    for kind, text in texts.items():
        content = packed if packed is not None and kind == "primary" else gzip.compress(text, mtime=0)
        files[f"{ROOT}/repodata/{kind}.xml.gz"] = content
        records += _DATA.format(kind=kind, digest=_digest(content), size=len(content), plain=len(text))
    files[REPOMD] = f"<repomd><revision>1</revision>{records}</repomd>".encode()
    files |= {f"{REPOMD}.asc": b"signature", KEY: b"key", verify_medium.KEY_NAME: b"key"}
    return {path: medium.File(content) for path, content in files.items()}


def _judge(entries: medium.Entries, *, verdict: report.Verdict = report.Verdict.GOOD, by: str = SIGNER) -> list[str]:
    def detached(_signature: bytes, _text: bytes) -> signature.Judgement:
        return signature.Judgement(verdict, "is wrong", signer=by, is_trusted=True)

    return [str(fault) for fault in redhat.judge(medium.as_contents(entries), detached, SIGNER)]


def _content(entries: medium.Entries, path: str) -> bytes:
    entry = entries[path]
    assert isinstance(entry, medium.File)
    return entry.content


def test_a_good_repository_has_no_fault() -> None:
    assert _judge(_repository()) == []
    text = _primary().encode()
    assert _judge(_repository(packed=gzip.compress(text[:99]) + gzip.compress(text[99:]))) == []


def test_the_signature() -> None:
    assert _judge(_repository(), verdict=report.Verdict.CORRUPT) == [f"{REPOMD}.asc: is wrong"]
    assert _judge(_repository(), by="B" * 40) == [f"{REPOMD}.asc: is signed by {'B' * 40}, the medium by {SIGNER}"]


Change = Callable[[medium.Entries], medium.Entries]


def _drop(path: str) -> Change:
    return lambda entries: {each: entry for each, entry in entries.items() if each != path}


def _put(path: str, content: bytes) -> Change:
    return lambda entries: entries | {path: medium.File(content)}


def _replace(path: str, old: bytes, new: bytes) -> Change:
    def change(entries: medium.Entries) -> medium.Entries:
        assert old in _content(entries, path)
        return entries | {path: medium.File(_content(entries, path).replace(old, new, 1))}

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_drop(ONE), f"{ONE}: is missing: {ROOT}/repodata/primary.xml.gz lists it"),
        (_put(ONE, b"other"), f"{ONE}: its content is not that of {ROOT}/repodata/primary.xml.gz"),
        (_put(ONE, RPMS["one"].upper()), f"{ONE}: its content is not that of"),
        (_put(f"{ROOT}/Packages/x.rpm", b""), f"{ROOT}/Packages/x.rpm: is not listed in"),
        (_put(f"{ROOT}/x.rpm", b""), f"{ROOT}/x.rpm: is not listed in"),
        (_put(f"{ROOT}/repodata/x.xml", b""), f"{ROOT}/repodata/x.xml: is not listed in {REPOMD}"),
        (_drop(REPOMD), f"{REPOMD}: is missing"),
        (_drop(f"{REPOMD}.asc"), f"{REPOMD}.asc: is missing"),
        (_drop(f"{ROOT}/repodata/other.xml.gz"), f"{ROOT}/repodata/other.xml.gz: is missing: {REPOMD} lists it"),
        (_put(f"{ROOT}/repodata/other.xml.gz", b""), "other.xml.gz: its content is not that of"),
        (_replace(REPOMD, b'"other"', b'"others"'), f"{REPOMD}: does not list other"),
        (_replace(REPOMD, b'"other"', b'"primary"'), "has no usable location, SHA-256 checksum and size of 'primary'"),
        (_replace(REPOMD, b'"sha256"', b'"sha1"'), "has no usable location, SHA-256 checksum and size of 'primary'"),
        (_replace(REPOMD, b"repodata/", b"../"), "has no usable location"),
        (_replace(REPOMD, b"open-size>", b"open-sighs>"), "is not XML"),
        (_replace(REPOMD, b"<open-size>", b"<open-size>9"), "does not unpack to the size"),
        (_replace(REPOMD, b"<open-size>", b"<open-size>99999999"), "not read"),
        (_replace(REPOMD, b"<repomd>", b'<!DOCTYPE x [<!ENTITY a "b">]><repomd>'), "has a document type"),
        (_put(REPOMD, b"\xff\xfe"), f"{REPOMD}: is not XML"),
        (_drop(KEY), f"{KEY}: is missing"),
        (_put(KEY, b"another"), f"{KEY}: is not {verify_medium.KEY_NAME}"),
        (_put("packages/redhat/empty/note", b""), "packages/redhat/empty/repodata/repomd.xml: is missing"),
    ],
)
def test_every_fault_names_its_file(change: Change, fault: str) -> None:
    assert fault in "\n".join(_judge(change(_repository())))


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        (_repository(_primary().replace("Packages/two", "Packages/one")), "primary.xml.gz: names Packages/one-1.0-1"),
        (_repository(_primary().replace("Packages/two", "../two")), "package 2 has no usable location"),
        (_repository(_primary().replace("sha256", "md5")), "package 1 has no usable location, SHA-256 checksum"),
        (_repository(_primary().replace("<location ", '<location xml:base="http://x.test" ')), "no usable location"),
        (_repository(_primary()[:-9]), "primary.xml.gz: is not XML"),
        (_repository(packed=b"rubbish"), "primary.xml.gz: cannot be unpacked"),
        (_repository(packed=gzip.compress(bytes(9 << 20))), "does not unpack to the size"),
        (_repository(packed=gzip.compress(_primary().encode())[:-3]), "does not unpack to the size"),
    ],
)
def test_a_primary_that_cannot_be_used(entries: medium.Entries, fault: str) -> None:
    assert fault in "\n".join(_judge(entries))
