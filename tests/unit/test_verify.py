"""The judges that take values: listings, repositories, images, registry, and what the report makes of it."""

import base64
import gzip
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Callable

import pytest

from buildchain import errors
from buildchain.verify import beside, folder, hashing, images, listing, packages, registry, report, signature
from buildchain.verify import medium as verify_medium
from tests.support import keys, medium

Verdict = report.Verdict
SIGNER = "A" * 40
REPOSITORY = medium.REPOSITORY
IMAGE = "images/nginx/1.27"


class Clearsigner(keys.Key):
    """Signs nothing: the repository judge is told what the signature is worth."""

    def clearsign(self, content: bytes) -> bytes:
        return b"signed:" + content

    def sign(self, content: bytes, *options: str) -> bytes:
        return b"signature"

    @property
    def public(self) -> bytes:
        return b"key"


def good() -> medium.Entries:
    return medium.good(Clearsigner(pathlib.Path(), SIGNER), has_index=True)


def judge_clearsigned(message: bytes) -> tuple[signature.Judgement, bytes]:
    return signature.Judgement(Verdict.GOOD, signer=SIGNER, is_trusted=True), message.removeprefix(b"signed:")


def judge(entries: medium.Entries, signer: str | None = SIGNER) -> list[str]:
    """Every fault of the judges below, as text."""
    contents = medium.as_contents(entries)
    found, faults, _ = images.judge(contents)
    faults += packages.judge(contents, judge_clearsigned, signer)
    faults += registry.judge(contents, found)
    return [str(fault) for fault in faults]


def content(entries: medium.Entries, path: str) -> bytes:
    entry = entries[path]
    assert isinstance(entry, medium.File)
    return entry.content


def replace(path: str, old: bytes, new: bytes) -> Callable[[medium.Entries], medium.Entries]:
    def change(entries: medium.Entries) -> medium.Entries:
        before = content(entries, path)
        assert old in before
        return entries | {path: medium.File(before.replace(old, new, 1))}

    return change


def put(path: str, text: bytes) -> Callable[[medium.Entries], medium.Entries]:
    return lambda entries: entries | {path: medium.File(text)}


def drop(path: str) -> Callable[[medium.Entries], medium.Entries]:
    return lambda entries: {each: entry for each, entry in entries.items() if each != path}


def test_good_medium_has_no_fault() -> None:
    entries = good()
    assert judge(entries) == []
    assert listing.judge(medium.as_contents(entries), content(entries, medium.SUMS)) == []


def test_part_of_an_index_may_be_left_out() -> None:
    _, faults, notes = images.judge(medium.as_contents(good()))
    assert (faults, notes) == ([], ["images/multi/1: 1 of 2 images of the index are not here"])


POOLED = f"{REPOSITORY}/pool/one_1.0_amd64.deb"
BY_HASH = next(path for path in good() if "/by-hash/" in path)
BLOB = next(path for path in sorted(good()) if re.fullmatch(f"{IMAGE}/[0-9a-f]{{64}}", path))
CHILD = next(path for path in good() if path.endswith(".manifest.json"))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        # Repositories, in both directions
        (drop(POOLED), f"{POOLED}: is missing: {REPOSITORY}/Packages lists it"),
        (put(POOLED, b"other"), f"{POOLED}: its content is not that of {REPOSITORY}/Packages"),
        (put(f"{REPOSITORY}/pool/x.deb", b"x"), f"{REPOSITORY}/pool/x.deb: is not listed in {REPOSITORY}/Packages"),
        (drop(BY_HASH), f"{BY_HASH}: is missing: {REPOSITORY}/Release lists"),
        (put(BY_HASH, b"other"), f"{BY_HASH}: its content is not that of its name"),
        (put(f"{REPOSITORY}/by-hash/SHA256/{'0' * 64}", b""), f"{'0' * 64}: is not listed in {REPOSITORY}/Release"),
        (drop(f"{REPOSITORY}/Release"), f"{REPOSITORY}/Release: is missing"),
        (drop(f"{REPOSITORY}/InRelease"), f"{REPOSITORY}/InRelease: is missing"),
        (drop(f"{REPOSITORY}/Packages"), f"{REPOSITORY}/Packages: is missing"),
        (replace(f"{REPOSITORY}/InRelease", b"base", b"bass"), "InRelease: its text is not that of Release"),
        (replace(f"{REPOSITORY}/Release", b"yes", b"no"), "Release: does not offer Acquire-By-Hash"),
        (replace(f"{REPOSITORY}/Release", b" Packages\n", b" ../Packages\n"), "Release: has a wrong line in SHA256"),
        (replace(f"{REPOSITORY}/Release", b" Packages\n", b" Package\n"), "Release: does not list Packages"),
        (replace(f"{REPOSITORY}/Packages", b"./pool", b"../pool"), "Packages: stanza 1 has no usable Filename"),
        (replace(f"{REPOSITORY}/Packages", b"SHA256", b"SHA1"), "Packages: stanza 1 has no usable Filename"),
        (replace(f"{REPOSITORY}/Packages", b"two_", b"one_"), "Packages: names pool/one_1.0_amd64.deb twice"),
        (replace(f"{REPOSITORY}/Packages", b"Version", b"Package"), "Packages: line 2 is no field"),
        (put(f"{REPOSITORY}/Packages.gz", b"\x1f\x8b rubbish"), "Packages.gz: cannot be unpacked"),
        (
            put(f"{REPOSITORY}/Packages.gz", gzip.compress(bytes(9 << 20))),
            "Packages.gz: its content is not that of Pac",
        ),
        (put(f"{REPOSITORY}/Packages.gz", gzip.compress(b"")[:-1]), "Packages.gz: ends early"),
        (put(f"{REPOSITORY}/Packages.gz", gzip.compress(b"") + b"x"), "Packages.gz: has bytes after its end"),
        (put("packages/debian/empty/note", b""), "packages/debian/empty/Release: is missing"),
        # Images
        (drop(BLOB), f"{BLOB}: is missing: manifest.json names it"),
        (put(BLOB, b"short"), f"{BLOB}: has 5 bytes, manifest.json says"),
        (lambda entries: put(BLOB, b"x" * len(content(entries, BLOB)))(entries), "its content is not that of its name"),
        (put(f"{IMAGE}/{'0' * 64}", b"x"), f"{'0' * 64}: is not named by manifest.json"),
        (drop(f"{IMAGE}/version"), f"{IMAGE}/version: is missing"),
        (put(f"{IMAGE}/version", b"2"), f"{IMAGE}/version: is not 'Directory Transport Version: 1.1'"),
        (replace(f"{IMAGE}/manifest.json", b"{", b"{{"), f"{IMAGE}/manifest.json: is not proper JSON"),
        (
            replace(f"{IMAGE}/manifest.json", b"{", b'{"layers": [], '),
            "manifest.json: is not proper JSON: a key stands",
        ),
        (replace(f"{IMAGE}/manifest.json", b"oci", b"odd"), "manifest.json: is of the unknown media type"),
        (replace(f"{IMAGE}/manifest.json", b"sha256:", b"sha512:"), "manifest.json: has a wrong descriptor"),
        (replace(f"{IMAGE}/manifest.json", b'"size": ', b'"size": -'), "manifest.json: has a wrong descriptor"),
        (put(f"{IMAGE}/manifest.json", b"[" * 100_000), "manifest.json: is not proper JSON"),
        (drop(CHILD), "images/multi/1/manifest.json: is an index, and none of its images is here"),
        (put(CHILD, b"{}"), f"{CHILD}: has 2 bytes, manifest.json says"),
        # Registry
        (drop(medium.REGISTRY), f"{medium.REGISTRY}: is missing"),
        (drop(registry.COMMON_PATH), f"{registry.COMMON_PATH}: is missing"),
        (
            replace(medium.REGISTRY, b"/manifests/1.27 ", b"/manifests/1.28 "),
            "does not serve metalk8s-2.5.1/nginx/mani",
        ),
        (replace(medium.REGISTRY, b"/manifests/1.27 ", b"/manifests/1.28 "), "names metalk8s-2.5.1/nginx 1.28, which"),
        (replace(medium.REGISTRY, b"manifests/sha256:", b"manifests/sha256:0"), "/etcd/manifests/sha256:"),
        (replace(medium.REGISTRY, b'Digest "sha256:', b'Digest "sha256:0'), "with the digest sha256:0"),
        (
            replace(medium.REGISTRY, b"/nginx/1.27/;", b"/nginx/1.26/;"),
            "from $metalk8s_images/nginx/1.26/manifest.json,",
        ),
        (replace(medium.REGISTRY, b"/nginx/1.27/;", b"/multi/1/;"), "images/multi/1/manifest.json, which has another"),
        (replace(medium.REGISTRY, b"/nginx/1.27/;", b"/../etc/;"), "from $metalk8s_images/../etc/manifest.json, which"),
        (
            replace(medium.REGISTRY, b"image.manifest.v1", b"image.index.v1"),
            " as application/vnd.oci.image.index.v1+js",
        ),
        (replace(medium.REGISTRY, b"nginx/blobs", b"xginx/blobs"), "does not serve metalk8s-2.5.1/nginx/blobs/sha256:"),
        (replace(medium.REGISTRY, b"3.5.16/$1", b"3.5/$1"), "/library/etcd/blobs/sha256:"),
        (replace(medium.REGISTRY, b'"1.27"]', b'"1.26"]'), "lists other tags of metalk8s-2.5.1/nginx than are on"),
        (replace(medium.REGISTRY, b"nginx/tags/", b"xginx/tags/"), "does not list the tags of metalk8s-2.5.1/nginx"),
        (replace(medium.REGISTRY, b"([a-f0-9]{64})", b"((a+)+)"), "has a pattern that is not understood"),
        (replace(medium.REGISTRY, b"([a-f0-9]{64})", b"([a-f0-9]{64}"), "has a pattern that is not understood"),
        (replace(medium.REGISTRY, b"}", b""), "ends within a directive"),
        (replace(medium.REGISTRY, b"}", b"}}"), "has an unexpected }"),
        (put(medium.REGISTRY, b"a {" * 100_000), "has an unexpected {"),
        (put(medium.REGISTRY, b'"'), "cannot be read from character 0 on"),
    ],
)
def test_fault(change: Callable[[medium.Entries], medium.Entries], fault: str) -> None:
    faults = judge(change(good()))
    assert any(fault in each for each in faults), faults


def test_repository_of_another_key() -> None:
    assert judge(good(), "B" * 40) == [f"{REPOSITORY}/InRelease: is signed by {SIGNER}, the medium by {'B' * 40}"]
    assert judge(good(), None) == []


def test_image_without_media_type_and_without_prefix() -> None:
    """OCI lets the media type be left out; a registry may serve images under their own names."""
    entries = {path: entry for path, entry in good().items() if path.startswith((f"{IMAGE}/", "salt/metalk8s/repo/"))}
    before = content(entries, f"{IMAGE}/manifest.json")
    after = json.dumps({key: value for key, value in json.loads(before).items() if key != "mediaType"}).encode()
    config = medium.registry(entries).replace(_hex(before), _hex(after)).replace(medium.PREFIX.encode(), b"")
    config = config.replace(re.escape(medium.PREFIX).encode(), b"")
    changed = entries | {f"{IMAGE}/manifest.json": medium.File(after), medium.REGISTRY: medium.File(config)}
    assert judge(changed) == []


def _hex(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"0" * 64 + b" a\n", "line 1 is not '<digest>  <path>'"),
        (b"0" * 63 + b"  a\n", "line 1 is not"),
        (b"\\" + b"0" * 64 + b"  a\n", "line 1 is not"),
        (b"A" * 64 + b"  a\n", "line 1 is not"),
        (b"0" * 64 + b"  ../a\n", "line 1 is not"),
        (b"0" * 64 + b"  /a\n", "line 1 is not"),
        (b"0" * 64 + b"  a//b\n", "line 1 is not"),
        (b"0" * 64 + b"  ./a\n", "line 1 is not"),
        (b"\n", "line 1 is not"),
        (b"0" * 64 + b"  a", "its last line has no end"),
        ((b"0" * 64 + b"  a\n") * 2, "is listed twice"),
    ],
)
def test_wrong_line_of_the_digests(line: bytes, fault: str) -> None:
    _, faults = listing.parse_sums(line)
    assert len(faults) == 1
    assert fault in faults[0].what


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"./a type=file mode=0444 size=x", "no number"),
        (b"./a type=file mode=444 size=1", "no number"),
        (b"./a type=file size=1", "fields of a file"),
        (b"./a type=dir mode=0755 size=1", "fields of a dir"),
        (b"./a type=link mode=0777 link=b", "fields of a link"),
        (b"./a type=file mode=0444 mode=0444", "fields of a file"),
        (b"./a type=char mode=0444", "is not './path"),
        (b"a type=dir mode=0755", "is not './path"),
        (b"./a/../b type=dir mode=0755", "its path is not plain"),
        (b"./a\\40 type=dir mode=0755", "backslash that starts no octal"),
        (b"./a\\777 type=dir mode=0755", "backslash that starts no octal"),
        (b"", "is not './path"),
    ],
)
def test_wrong_line_of_the_listing(line: bytes, fault: str) -> None:
    _, faults = listing.parse_entries(b"#mtree\n. type=dir mode=0755\n" + line + b"\n")
    assert [each.what[:7] for each in faults] == ["line 3:"]
    assert fault in faults[0].what


def test_listing_reads_octal_and_unsized() -> None:
    text = b"#mtree\n./a\\040\\303\\251 type=file mode=0555\n./l type=link link=a\\075\\134b\n"
    assert listing.parse_entries(text) == (
        {
            "a é": listing.Expected(verify_medium.Kind.FILE, 0o555),
            "l": listing.Expected(verify_medium.Kind.LINK, target="a=\\b"),
        },
        [],
    )
    assert listing.parse_entries(b"")[1] == [report.Fault("CONTENTS.mtree", "does not start with #mtree")]


@pytest.mark.parametrize(
    ("verdict", "is_trusted", "code"),
    [
        (Verdict.GOOD, True, 0),
        (Verdict.DEVELOPMENT_KEY, True, 0),
        (Verdict.DEVELOPMENT_KEY, False, 1),
        (Verdict.UNKNOWN_KEY, False, 1),
        (Verdict.UNSIGNED, False, 1),
        (Verdict.CORRUPT, True, 1),
    ],
)
def test_exit_code(verdict: Verdict, is_trusted: bool, code: int) -> None:
    assert report.Report(pathlib.Path("x"), verdict, is_trusted=is_trusted).exit_code == code


def test_report_is_one_line_a_fault() -> None:
    faults = (report.Fault("a\nb", "is \x1b[31m missing"), report.Fault("\udce9", "is odd"))
    text = str(report.Report(pathlib.Path("x.iso"), Verdict.CORRUPT, faults, ("left out",), "MetalK8s 2.5.1"))
    assert text == (
        "a\\nb: is \\x1b[31m missing\n"
        "\\udce9: is odd\n"
        "note: left out\n"
        "x.iso (MetalK8s 2.5.1): corrupt: do not use this medium\n"
    )


def test_worst_verdict_wins() -> None:
    assert report.worst([Verdict.GOOD, Verdict.UNKNOWN_KEY, Verdict.DEVELOPMENT_KEY]) is Verdict.UNKNOWN_KEY
    assert report.worst([]) is Verdict.UNSIGNED


@pytest.mark.parametrize("text", ["", "abc", "0" * 39, "0" * 41, "0x" + "0" * 38, "g" * 40])
def test_trust_refuses_what_is_no_fingerprint(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="is no fingerprint"):
        signature.Trust(fingerprint=text)


def test_trust_refuses_a_file_without_key() -> None:
    trust = signature.Trust((b"no key",))
    with pytest.raises(errors.ConfigError, match="key 1: has no public key"), signature.authority(trust, b""):
        pass


def test_intact_armour_shows_every_changed_bit() -> None:
    body, checksum = b"a signature", signature.crc24(b"a signature").to_bytes(3, "big")
    lines = ["-----BEGIN PGP SIGNATURE-----", "", base64.b64encode(body).decode()]
    text = "\n".join([*lines, f"={base64.b64encode(checksum).decode()}", "-----END PGP SIGNATURE-----", ""]).encode()
    assert signature.is_intact_armour(text)
    for place in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[place] ^= 1 << bit
            assert not signature.is_intact_armour(bytes(changed)), (place, bit)


def test_crc24_of_the_standard() -> None:
    # The check value of CRC-24/OPENPGP.
    assert signature.crc24(b"123456789") == 0x21CF02


def test_folder_with_what_no_medium_has(tmp_path: pathlib.Path) -> None:
    """A pipe does not hang the judge, a link out of the folder is not followed, a broken name is a fault."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    nodes, faults = folder.scan(tmp_path)
    kinds = {path: node.kind.value for path, node in nodes.items()}
    assert kinds == {".": "dir", "pipe": "other", "out": "link", os.fsdecode(b"caf\xe9"): "file"}
    assert [str(fault) for fault in faults] == ["caf\\udce9: its name is not UTF-8"]


def test_folder_counts_its_entries(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_medium, "MAX_ENTRIES", 3)
    for name in "abcdef":
        (tmp_path / name).write_bytes(b"")
    _, faults = folder.scan(tmp_path)
    assert [str(fault) for fault in faults] == [".: has more than 3 entries"]


def test_file_that_changes_is_a_fault(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    found = verify_medium.Content.of_file(path, path.stat())
    path.unlink()
    os.mkfifo(path)
    (error,) = hashing.digests([found]).values()
    assert str(error) == "changed while it was judged"
    path.unlink()
    (error,) = hashing.digests([found]).values()
    assert str(error) == "cannot be read: No such file or directory"


def test_every_inode_is_hashed_once(tmp_path: pathlib.Path) -> None:
    first = tmp_path / "a"
    first.write_bytes(b"x" * (1 << 20))
    (tmp_path / "b").hardlink_to(first)
    nodes, _ = folder.scan(tmp_path)
    seen: list[tuple[int, int]] = []
    work = [node.content for node in nodes.values() if node.content]
    digests = hashing.digests(work, 2, lambda done, total: seen.append((done, total)))
    assert len(digests) == 1
    assert seen[-1] == (1 << 20, 1 << 20)


def test_text_that_is_too_large_is_not_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(verify_medium.DamagedError, match="has 1099511627776 bytes, more than 67108864: not read"):
        verify_medium.read_bytes(verify_medium.Content.of_file(path, path.stat()))


def test_beside_speaks_of_another_image() -> None:
    sums = beside.Sums(b"0" * 64 + b"  other.iso\n", b"")
    faults, notes = beside.judge(sums, "x.iso", "1" * 64)
    assert faults == []
    assert "were not judged" in notes[0]
    faults, notes = beside.judge(sums, "other.iso", "1" * 64)
    assert ([fault.path for fault in faults], notes) == (["other.iso"], [])


def _with_referrer(entries: medium.Entries, subject: bytes) -> medium.Entries:
    """What refers to the image beside it: a manifest that no index names."""
    empty = b"{}"
    row = {"digest": f"sha256:{hashlib.sha256(empty).hexdigest()}", "size": 2}
    document = {
        "schemaVersion": 2,
        "mediaType": medium.MANIFEST_TYPE,
        "config": row,
        "layers": [],
        "subject": {"digest": f"sha256:{hashlib.sha256(subject).hexdigest()}", "size": len(subject)},
    }
    manifest = json.dumps(document).encode()
    return {
        **entries,
        f"{IMAGE}/{hashlib.sha256(manifest).hexdigest()}.manifest.json": medium.File(manifest),
        f"{IMAGE}/{hashlib.sha256(empty).hexdigest()}": medium.File(empty),
    }


def test_a_referrer_belongs_to_its_image() -> None:
    manifest = content(good(), f"{IMAGE}/manifest.json")
    entries = _with_referrer(good(), manifest)
    found, faults, _ = images.judge(medium.as_contents(entries))
    assert faults == []
    (nginx,) = [each for each in found if (each.name, each.tag) == ("nginx", "1.27")]
    ((referrer, media_type),) = nginx.children
    assert f"{IMAGE}/{referrer}.manifest.json" in entries
    assert media_type == medium.MANIFEST_TYPE
    assert hashlib.sha256(b"{}").hexdigest() in nginx.blobs


def test_a_manifest_that_refers_to_nothing_here_is_a_stray() -> None:
    _, faults, _ = images.judge(medium.as_contents(_with_referrer(good(), b"something else")))
    assert len(faults) == 2
    assert all("is not named by manifest.json" in str(fault) for fault in faults)


def test_a_damaged_referrer_is_a_fault() -> None:
    entries = _with_referrer(good(), content(good(), f"{IMAGE}/manifest.json"))
    entries.pop(f"{IMAGE}/{hashlib.sha256(b'{}').hexdigest()}")
    _, faults, _ = images.judge(medium.as_contents(entries))
    assert [str(fault) for fault in faults if "is missing" in str(fault)]
