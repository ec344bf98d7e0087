"""RPM as a format, without rpm: headers, the metadata of archives, and what hosts hold."""

import io
import pathlib
import struct
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildchain import bases, digest, errors, lock, manifest, rpm, store
from buildchain.rpm import header, keys, metadata, repository, stub

_REGION = 62
_FIELDS = {
    1000: header.Field(6, 1, b"tool\0"),
    1003: header.Field(4, 1, b"\0\0\0\7"),
    1004: header.Field(9, 2, b"one\0two\0"),
    1022: header.Field(3, 2, b"\0\1\0\2"),
    1030: header.Field(5, 1, b"\0" * 7 + b"\1"),
    1100: header.Field(header.BINARY, 3, b"abc"),
}


def _file(fields: header.Header) -> bytes:
    signatures = header.dump({1008: header.Field(header.BINARY, 5, bytes(5))}, _REGION)
    lead = header.LEAD_MAGIC + bytes(header.LEAD_SIZE - 4)
    return lead + signatures + bytes(-len(signatures) % 8) + header.dump(fields, 63) + b"payload"


def test_a_header_is_read_as_it_was_written() -> None:
    front = header.read_front(io.BytesIO(_file(_FIELDS)))
    fields = header.without(header.parse(front.header), [63])
    assert fields == _FIELDS
    assert header.dump(fields, 63) == front.header
    assert (fields[1000].text(), fields[1003].number(), fields[1004].text()) == ("tool", 7, "one")


@given(st.dictionaries(st.integers(1000, 5000), st.binary(max_size=40), max_size=9))
def test_any_fields_survive(values: dict[int, bytes]) -> None:
    fields = {tag: header.Field(header.BINARY, len(value), value) for tag, value in values.items()}
    assert header.without(header.parse(header.dump(fields, 63)), [63]) == fields


@given(st.integers(0, 400), st.binary(min_size=1, max_size=9))
def test_a_damaged_file_is_refused_or_read_but_never_a_bug(at: int, harm: bytes) -> None:
    content = bytearray(_file(_FIELDS))
    content[at : at + len(harm)] = harm
    for broken in (bytes(content), bytes(content[:at])):
        try:
            front = header.read_front(io.BytesIO(broken))
            for field in header.parse(front.header).values():
                field.text()
                field.number()
        except header.DamagedError:
            continue


def test_sizes_beyond_rpms_own_limits_are_not_read() -> None:
    content = _file({})
    at = header.LEAD_SIZE + len(header.MAGIC)
    for counts in ((header.MAX_ENTRIES + 1, 0), (1, header.MAX_DATA + 1)):
        with pytest.raises(header.DamagedError, match="too large"):
            header.read_front(io.BytesIO(content[:at] + struct.pack(">II", *counts) + content[at + 8 :]))


def test_entries_that_share_bytes_are_refused() -> None:
    content = bytearray(
        header.dump({1000: header.Field(6, 1, b"x" * 50 + b"\0"), 1001: header.Field(6, 1, b"y\0")}, 63)
    )
    second = 16 + 2 * 16 + 8
    content[second : second + 4] = bytes(4)
    with pytest.raises(header.DamagedError, match="overlap"):
        header.parse(bytes(content))


def test_what_a_package_is(tmp_path: pathlib.Path) -> None:
    texts = {1000: "tool", 1001: "1.0~rc1", 1002: "3.el9", 1022: "x86_64", 1044: "tool-suite-2-3.el9.src.rpm"}
    fields = {tag: header.Field(6, 1, text.encode() + b"\0") for tag, text in texts.items()}
    source = store.Store(tmp_path)
    package = rpm.package_of(source.add_bytes(_file(fields)), source)
    assert (package.key, package.source) == ("tool:x86_64=1.0~rc1-3.el9", "tool-suite")
    assert package.path == "tool-1.0~rc1-3.el9.x86_64.rpm"
    assert rpm.licence_of(package.content, source) == ""
    del fields[1044]
    assert rpm.package_of(source.add_bytes(_file(fields)), source).architecture == "src"
    del fields[1001]
    with pytest.raises(errors.BuildchainError, match="has no name, version or architecture"):
        rpm.package_of(source.add_bytes(_file(fields)), source)


def test_key_files() -> None:
    assert rpm.key_paths("x-el9", 2) == [
        "RPM-GPG-KEY-metalk8s-x-el9",
        "RPM-GPG-KEY-metalk8s-x-el9-1",
        "RPM-GPG-KEY-metalk8s-x-el9-2",
    ]
    assert repository.source_name("a-b-1-2.src.rpm") == "a-b"


_DIGEST = "ab" * 32
_DATA = """\
<data type="{kind}"><checksum type="sha256">{digest}</checksum><location href="repodata/{kind}.xml.gz"/>
<timestamp>{time}</timestamp><size>10</size></data>
"""


def _repomd(*kinds: str, time: str = "1700000000") -> str:
    rows = "".join(_DATA.format(kind=kind, digest=_DIGEST, time=time) for kind in kinds)
    return f'<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>{rows}</repomd>'


def test_a_repomd() -> None:
    text = _repomd("primary", "filelists", "other", "modules", "primary_db", time="1700000000.5")
    records, date = metadata.parse_repomd(text.encode())
    assert [record.kind for record in records] == ["filelists", "modules", "primary"]
    assert records[0].path == "repodata/filelists.xml.gz"
    assert (records[0].content.digest.hex, records[0].content.size) == (_DIGEST, 10)
    assert date == 1_700_000_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not XML"),
        (_repomd("primary"), "names no primary or no filelists"),
        (_repomd("primary", "filelists", time="0"), "has no timestamp"),
        (_repomd("primary", "filelists", time="soon"), "invalid literal"),
        (_repomd("primary", "filelists").replace("sha256", "sha1"), "has no SHA-256 digest and size of primary"),
        (_repomd("primary", "filelists").replace("<size>10", "<size>-1"), "has no SHA-256 digest and size"),
        (_repomd("primary", "filelists").replace("repodata/", "../"), "has no usable location of primary"),
        (_repomd("primary", "filelists").replace("repodata/", "/"), "has no usable location of primary"),
        (_repomd("primary", "filelists").replace(_DIGEST, "ab"), "not a sha256 digest"),
        (f'<!DOCTYPE x [<!ENTITY a "b">]>{_repomd("primary", "filelists")}', "has a document type"),
    ],
)
def test_a_repomd_that_cannot_be_used(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metadata.parse_repomd(text.encode())


@pytest.mark.parametrize(
    ("version", "parts"),
    [("1-2", ("0", "1", "2")), ("3:1~rc1-2.el9", ("3", "1~rc1", "2.el9")), ("1.0", ("0", "1.0", ""))],
)
def test_versions(version: str, parts: tuple[str, str, str]) -> None:
    assert stub.split(version) == parts


def test_what_rpmkeys_says_is_told_by_package() -> None:
    package = lock.Package("x", "noarch", "1-1", "x", "a", "x.rpm", digest.Descriptor.of_bytes(b""))
    said = textwrap.dedent(
        """\
        0.rpm:
            Header V4 RSA/SHA256 Signature, key ID 83fef8e7: NOKEY
            Header SHA256 digest: OK
        1.rpm:
            Header RSA signature: NOTFOUND
            Payload SHA256 digest: OK
        2.rpm:
            Header V4 RSA/SHA256 Signature, key ID 83fef8e7: OK
            Payload SHA256 digest: OK
        """
    )
    assert keys._findings([package] * 3, said) == [
        "x:noarch=1-1 of archive a: Header V4 RSA/SHA256 Signature, key ID 83fef8e7: NOKEY",
        "x:noarch=1-1 of archive a: it has no signature",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("family: suse\narchitecture: x86_64\npackages: {}\n", "'suse' is not one of"),
        ("family: redhat\narchitecture: x86_64\npackages: {bash: {}}\n", "'version' is a required property"),
        ("family: redhat\narchitecture: x86_64\npackages: {bash: {version: '1 2'}}\n", "is not a version"),
        ("family: redhat\npackages: {bash: {version: '1', provides: ['a,b']}}\n", "is not a name"),
    ],
)
def test_bases_are_checked(tmp_path: pathlib.Path, text: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(errors.ConfigError, match=words):
        bases.load(path)


def test_the_committed_bases_load() -> None:
    found = {path.stem: bases.load(path) for path in pathlib.Path(__file__).parents[2].glob("packages/bases/*.yaml")}
    assert {name: base.family for name, base in found.items()} == {
        "debian-12-minimal": manifest.FAMILIES[manifest.DEB],
        "el-9-minimal": manifest.FAMILIES[manifest.RPM],
    }
    assert all(len(base.packages) > 100 for base in found.values())
