"""Packages to root file systems: what is joined, what is refused, and what the bytes depend on."""

import contextlib
import dataclasses
import io
import lzma
import pathlib
import tarfile
import tracemalloc
from collections.abc import Iterable, Iterator, Mapping

import hypothesis
import pytest
from hypothesis import strategies

from buildchain import debfile, errors, store, tar
from buildchain.rootfs import entries, exclusions, linkage, package, spool
from tests.support import packages

File = bytes | packages.Member


@pytest.fixture(name="source")
def _source(tmp_path: pathlib.Path) -> store.Store:
    return store.Store(tmp_path / "store")


@pytest.fixture(name="contents")
def _contents(source: store.Store) -> Iterator[spool.Spool]:
    with spool.open_spool(source) as contents:
        yield contents


@dataclasses.dataclass
class Reader:
    source: store.Store
    contents: spool.Spool

    def read(self, deb: bytes, name: str = "hello", excluded: Iterable[exclusions.Exclusion] = ()) -> package.Package:
        return package.read(packages.add(self.source, deb, name), self.source, self.contents, tuple(excluded))

    def package(self, files: Mapping[str, File], name: str = "hello") -> package.Package:
        return self.read(packages.make_deb({"Package": name}, files), name)

    def root(self, *each: Mapping[str, File]) -> entries.Rootfs:
        read = [self.package(files, f"package-{number}") for number, files in enumerate(each)]
        return entries.merge("image test", entries.Rootfs(), [found.entries for found in read])

    def layer(self, root: entries.Rootfs) -> bytes:
        stream = io.BytesIO()
        tar.write(entries.members(root.entries, self.contents), stream.write)
        return stream.getvalue()


@pytest.fixture(name="reader")
def _reader(source: store.Store, contents: spool.Spool) -> Reader:
    return Reader(source, contents)


def _refusal(reader: Reader, deb: bytes) -> str:
    with pytest.raises(errors.BuildchainError) as caught:
        reader.read(deb)
    assert caught.value.what == "package hello:amd64=1.0"
    return caught.value.why


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_a_package_is_read_whatever_its_compression(reader: Reader, compression: str) -> None:
    deb = packages.make_deb(
        {"Depends": "libc6"}, {"./usr/bin/hello": packages.Member(b"hi", 0o755)}, built=7, compression=compression
    )
    found = reader.read(deb)
    assert found.built == 7
    assert found.dependencies() == ("libc6",)
    (entry,) = found.entries
    assert isinstance(entry, entries.File)
    assert (entry.path, entry.attributes.mode, entry.origin) == ("usr/bin/hello", 0o755, "hello:amd64=1.0")
    assert reader.contents.read(entry.content) == b"hi"


def test_zstd_is_refused_by_name(reader: Reader) -> None:
    deb = packages.make_ar({"debian-binary": b"2.0\n", "control.tar.zst": b"x", "data.tar.zst": b"x"})
    assert "compressed as 'zst'" in _refusal(reader, deb)


def test_dependencies_are_names_of_all_alternatives(reader: Reader) -> None:
    fields = {"Depends": "libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0,\n lsb-base", "Pre-Depends": "awk"}
    assert set(reader.read(packages.make_deb(fields)).dependencies()) == {
        "libc6",
        "debconf",
        "debconf-2.0",
        "lsb-base",
        "awk",
    }


def test_usr_is_merged(reader: Reader) -> None:
    root = reader.root(
        {"./bin/": packages.directory(), "./bin/sh": packages.link("dash"), "./bin/dash": b"dash"},
        {"./usr/bin/awk": b"awk", "./lib/x/libx.so": b"x"},
        {"./lib64/ld.so": packages.link("/lib/x/ld.so")},
    )
    found = {entry.path: entry for entry in root}
    targets = {path: entry.target for path, entry in found.items() if isinstance(entry, entries.Link)}
    assert targets == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib64",
        "sbin": "usr/sbin",
        "usr/bin/sh": "dash",
        "usr/lib64/ld.so": "/lib/x/ld.so",
    }
    assert {"usr/bin/dash", "usr/bin/awk", "usr/lib/x/libx.so"} <= found.keys()
    assert isinstance(found["usr/sbin"], entries.Directory)


def test_the_link_of_a_merged_usr_may_be_shipped_but_no_other(reader: Reader) -> None:
    root = reader.root({"./bin": packages.link("usr/bin"), "./usr/bin/x": b"x"})
    assert root.by_path()["bin"].origin == "package-0:amd64=1.0"
    assert "nor the link of a merged /usr" in _refusal(reader, packages.make_deb({}, {"./bin": packages.link("opt")}))


def test_entries_are_sorted_and_every_parent_stands(reader: Reader) -> None:
    root = reader.root({"./usr/share/b/é": b"1", "./usr/share/a-b": b"2", "./usr/share/a/c": b"3"})
    paths = [entry.path for entry in root]
    assert paths == sorted(paths, key=str.encode)
    parents = {str(parent) for path in paths for parent in pathlib.PurePosixPath(path).parents} - {"."}
    assert parents <= set(paths)


def test_identical_files_of_two_packages_are_one_with_the_newest_time(reader: Reader) -> None:
    root = reader.root({"./etc/a": packages.Member(b"same", mtime=5)}, {"./etc/a": packages.Member(b"same", mtime=9)})
    assert root.by_path()["etc/a"].attributes.mtime == 9


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (b"one", b"two", "3 bytes"),
        (b"one", packages.Member(b"one", 0o755), "mode 0755"),
        (b"one", packages.link("b"), "a link to b"),
        (packages.link("a"), packages.link("b"), "a link to a"),
        (packages.directory(), packages.directory(0o700), "a directory of mode 0700"),
        (packages.directory(), packages.directory(0o755, gid=50), "owner 0:50"),
    ],
)
def test_two_contents_for_a_path_are_refused_by_name(reader: Reader, first: File, second: File, message: str) -> None:
    with pytest.raises(errors.TreeError, match="image test: packages do not fit together") as caught:
        reader.root({"./etc/a": first}, {"./etc/a": second})
    assert "/etc/a is" in str(caught.value)
    assert message in str(caught.value)
    assert "package-0:amd64=1.0" in str(caught.value)
    assert "package-1:amd64=1.0" in str(caught.value)


def test_nothing_may_stand_below_a_link_or_file(reader: Reader) -> None:
    with pytest.raises(errors.TreeError, match=r"/var/run/x of package-1:amd64=1\.0 lies below a link to /run"):
        reader.root({"./var/run": packages.link("/run")}, {"./var/run/x": b""})


def test_set_user_id_is_kept(reader: Reader) -> None:
    (entry,) = reader.package({"./usr/bin/su": packages.Member(b"su", 0o4755, gid=42)}).entries
    assert (entry.attributes.mode, entry.attributes.gid) == (0o4755, 42)
    with tarfile.open(
        fileobj=io.BytesIO(reader.layer(reader.root({"./usr/bin/su": packages.Member(b"", 0o4755)})))
    ) as layer:
        assert layer.getmember("usr/bin/su").mode == 0o4755


def test_hard_links_stay_hard_links_and_equal_bytes_do_not_become_ones(reader: Reader) -> None:
    root = reader.root({"./bin/perl": b"perl", "./bin/perl5": packages.hard_link("./bin/perl"), "./bin/copy": b"perl"})
    with tarfile.open(fileobj=io.BytesIO(reader.layer(root))) as layer:
        linked = {each.name: each.linkname for each in layer if each.islnk()}
        assert linked == {"usr/bin/perl5": "usr/bin/perl"}
        extracted = layer.extractfile("usr/bin/perl5")
        assert extracted is not None
        assert extracted.read() == b"perl"


def test_a_hard_link_to_something_absent_is_refused(reader: Reader) -> None:
    assert "hard link to './a'" in _refusal(reader, packages.make_deb({}, {"./b": packages.hard_link("./a")}))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../etc/passwd", "not a plain relative path"),
        ("./a/../../b", "not a plain relative path"),
        ("/etc/passwd", "not a plain relative path"),
        ("./a//b", "not a plain relative path"),
        (f"./{'n' * 256}", "longer than a path can be"),
        ("./" + "/".join(["d" * 200] * 21), "longer than a path can be"),
    ],
)
def test_hostile_paths_are_refused(reader: Reader, path: str, message: str) -> None:
    assert message in _refusal(reader, packages.make_deb({}, {path: b"x"}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (b"S", "a sparse file"),
        (b"Z", "unknown type 'Z'"),
    ],
)
def test_what_no_package_may_hold_is_refused(reader: Reader, kind: bytes, message: str) -> None:
    assert message in _refusal(reader, packages.make_deb({}, {"./dev/x": packages.Member(kind=kind)}))


def test_owners_that_differ_between_systems_are_refused(reader: Reader) -> None:
    assert "id 1000" in _refusal(reader, packages.make_deb({}, {"./x": packages.Member(uid=1000)}))


def test_bombs_are_refused(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_DATA", 1 << 20)
    bomb = packages.make_deb({}, {"./zero": bytes(2 << 20)})
    assert len(bomb) < 4096
    assert "unpacks to more than 1048576 bytes" in _refusal(reader, bomb)
    monkeypatch.setattr(debfile, "MAX_MEMBERS", 10)
    crowd = packages.make_deb({}, {f"./{number}": b"" for number in range(20)})
    assert "or 10 files" in _refusal(reader, crowd)


def test_an_extended_header_without_end_is_refused(reader: Reader) -> None:
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    archive = tarfile.TarInfo("./@LongLink")
    archive.type, archive.size = b"L", 6 << 30
    data = archive.tobuf(tarfile.GNU_FORMAT) + bytes(header)
    control = lzma.compress(packages.make_tar({"./control": b"Package: hello\n"}))
    deb = packages.make_ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar": data})
    assert "an extended header of 6442450944 bytes" in _refusal(reader, deb)


def test_xz_that_wants_much_memory_is_refused(reader: Reader) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 256 << 20}]
    control = lzma.compress(packages.make_tar({"./control": b"Package: hello\n"}))
    data = lzma.compress(packages.make_tar({}), filters=filters)
    deb = packages.make_ar({"debian-binary": b"2.0\n", "control.tar.xz": control, "data.tar.xz": data})
    assert "Memory usage limit" in _refusal(reader, deb)


@pytest.mark.parametrize("cut", [4, 70, 300, -3])
def test_a_cut_package_is_refused(reader: Reader, cut: int) -> None:
    assert _refusal(reader, packages.make_deb({}, {"./x": b"x" * 5000})[:cut])


def test_long_and_foreign_names_survive_a_round_trip(reader: Reader) -> None:
    long = "usr/share/" + "/".join(["directory-of-forty-characters-in-its-name"] * 8) + "/file"
    names: dict[str, File] = {
        f"./{long}": b"long",
        "./usr/share/Főtanúsítvány.crt": b"foreign",
        "./usr/l": packages.link("x" * 150),
    }
    archive = reader.layer(reader.root(names))
    with tarfile.open(fileobj=io.BytesIO(archive)) as layer:
        found = {each.name: each for each in layer}
    assert found[long].size == 4
    assert found["usr/share/Főtanúsítvány.crt"].size == 7
    assert found["usr/l"].linkname == "x" * 150
    again = [header.path for header, _ in tar.read(io.BytesIO(archive))]
    assert {path.rstrip("/") for path in again} == found.keys()


def test_plain_names_need_no_extended_header(reader: Reader) -> None:
    archive = reader.layer(reader.root({"./usr/share/" + "/".join(["d" * 30] * 6): b"x"}))
    assert b"PaxHeader" not in archive


def test_large_numbers_are_carried() -> None:
    header = tar.Header("big", tar.Kind.FILE, 0o644, 4_000_000, 0, 1 << 34, 9 << 30)
    with tarfile.open(fileobj=io.BytesIO(tar.encode(header) + bytes(1024))) as archive:
        member = archive.next()
    assert member is not None
    assert (member.size, member.uid, member.mtime) == (9 << 30, 4_000_000, 1 << 34)
    assert next(tar.read(io.BytesIO(tar.encode(header) + bytes(1024))))[0] == header


def test_a_checksum_is_the_sum_of_all_bytes() -> None:
    block = bytearray(tar.encode(tar.Header("a", tar.Kind.FILE, 0o644, 0, 0, 0)))
    block[257:] = b"\xff" * 255  # neither read nor refused, as long as "ustar" is not there
    block[148:156] = b" " * 8
    total = sum(block)
    assert total > 1 << 16
    block[148:156] = b"%06o\0 " % total
    assert [header.path for header, _ in tar.read(io.BytesIO(block + bytes(1024)))] == ["a"]
    for place in (256, 500):
        wrong = block[:place] + bytes([block[place] ^ 1]) + block[place + 1 :]
        with pytest.raises(tar.TarError, match="checksum"):
            list(tar.read(io.BytesIO(wrong + bytes(1024))))


def test_exclusions_leave_no_empty_directory_and_spare_what_they_keep(reader: Reader) -> None:
    rules = [
        exclusions.Exclusion("/usr/share/doc", "a reason here", ("/usr/share/doc/*/copyright",)),
        exclusions.Exclusion("/etc/cron.*", "a reason here"),
    ]
    files: dict[str, File] = {
        "./usr/share/doc/hello/": packages.directory(),
        "./usr/share/doc/hello/copyright": b"licence",
        "./usr/share/doc/hello/examples/": packages.directory(),
        "./usr/share/doc/hello/examples/copyright": b"not at this depth",
        "./etc/cron.d/": packages.directory(),
        "./etc/cron.d/job": b"job",
        "./etc/crontab": b"kept",
        "./usr/share/documents": b"kept",
    }
    found = reader.read(packages.make_deb({}, files), excluded=rules)
    assert [entry.path for entry in found.entries] == [
        "usr/share/doc/hello",
        "usr/share/doc/hello/copyright",
        "etc/crontab",
        "usr/share/documents",
    ]


def test_a_layer_holds_what_is_new_or_changed_and_the_parents(reader: Reader) -> None:
    base = reader.root({"./usr/bin/a": b"a", "./etc/": packages.directory(), "./etc/a": b"a"})
    added = reader.package({"./usr/bin/b": b"b"}, "added")
    full = entries.merge("image test", base, [added.entries])
    assert [entry.path for entry in entries.changes(base, full)] == ["usr", "usr/bin", "usr/bin/b"]
    assert list(entries.changes(full, full)) == []


LOADER = "/lib64/ld-linux-x86-64.so.2"


def _missing(
    reader: Reader, files: Mapping[str, File], architecture: str = "amd64", library_path: str = ""
) -> list[str]:
    faults = linkage.missing(reader.root(files), reader.contents, architecture, library_path)
    return [f"/{fault.path} needs {fault.needs}" for fault in faults]


def _program(
    *needed: str, loader: str = "", runpath: str = "", rpath: str = "", architecture: str = "amd64"
) -> packages.Member:
    elf = packages.make_elf(needed, loader=loader, runpath=runpath, rpath=rpath, architecture=architecture)
    return packages.Member(elf, 0o755)


def test_missing_libraries_and_loaders_are_named(reader: Reader) -> None:
    files: dict[str, File] = {
        "./usr/bin/a": _program("liba.so.1", "libb.so.1", loader=LOADER),
        "./lib/x86_64-linux-gnu/liba.so.1": _program(),
    }
    assert _missing(reader, files) == [f"/usr/bin/a needs {LOADER}", "/usr/bin/a needs libb.so.1"]


def test_libraries_are_found_as_the_loader_finds_them(reader: Reader) -> None:
    files: dict[str, File] = {
        "./opt/bin/a": _program("liba.so", "libb.so", "libc.so", loader=LOADER, runpath="$ORIGIN/../lib:/nowhere"),
        "./opt/lib/liba.so": packages.link("../deep/liba.so.1"),
        "./opt/deep/liba.so.1": _program(),
        "./usr/lib/x86_64-linux-gnu/libb.so": _program(),
        "./srv/libc.so": _program(),
        "./lib64/ld-linux-x86-64.so.2": _program(),
        "./lib/x86_64-linux-gnu/ld.so": _program(),
        "./opt/bin/b": _program("liba.so", rpath="${ORIGIN}/../lib"),
    }
    assert _missing(reader, files, library_path="/srv") == []
    assert _missing(reader, files) == ["/opt/bin/a needs libc.so"]


def test_a_library_in_a_directory_of_ld_so_conf_is_not_found_without_a_cache(reader: Reader) -> None:
    files: dict[str, File] = {
        "./usr/bin/a": _program("liba.so"),
        "./etc/ld.so.conf": b"/opt/lib\n",
        "./opt/lib/liba.so": _program(),
    }
    assert _missing(reader, files) == ["/usr/bin/a needs liba.so"]


def test_a_library_for_another_machine_does_not_count(reader: Reader) -> None:
    files: dict[str, File] = {"./usr/bin/a": _program("liba.so"), "./usr/lib/liba.so": _program(architecture="arm64")}
    assert _missing(reader, files) == [
        "/usr/bin/a needs liba.so",
        "/usr/lib/liba.so needs a machine of type EM_AARCH64",
    ]


def test_interpreters_are_programs_too(reader: Reader) -> None:
    files: dict[str, File] = {
        "./usr/bin/a": packages.Member(b"#!/bin/sh -e\n", 0o755),
        "./usr/bin/b": packages.Member(b"#! /usr/bin/env python3\n", 0o755),
        "./usr/bin/c": packages.Member(b"#!/usr/bin/perl", 0o755),
        "./usr/share/example": packages.Member(b"#!/usr/bin/ruby\n", 0o644),
        "./usr/bin/perl": _program(),
        "./usr/bin/env": _program(),
        "./usr/bin/sh": packages.link("loop"),
        "./usr/bin/loop": packages.link("sh"),
    }
    assert _missing(reader, files) == ["/usr/bin/a needs /bin/sh", "/usr/bin/b needs python3"]


def test_a_damaged_elf_file_is_a_fault_not_a_crash(reader: Reader) -> None:
    (fault,) = _missing(reader, {"./usr/bin/a": _program("liba.so").content[:90]})
    assert fault.startswith("/usr/bin/a needs a sound ELF header")


@hypothesis.given(strategies.data())
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_no_damaged_package_leads_to_anything_but_an_error(reader: Reader, data: strategies.DataObject) -> None:
    """Bytes of the ar and tar headers change, or the file ends early: it is read, or refused with a sentence."""
    deb = bytearray(packages.make_deb({}, {"./usr/bin/a": b"a" * 700, "./l": packages.link("a" * 120)}, compression=""))
    for _ in range(data.draw(strategies.integers(1, 4))):
        deb[data.draw(strategies.integers(0, len(deb) - 1))] = data.draw(strategies.integers(0, 255))
    del deb[data.draw(strategies.integers(0, len(deb))) :]
    with contextlib.suppress(errors.BuildchainError):
        reader.read(bytes(deb))


@hypothesis.given(strategies.binary(max_size=2048))
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_no_damaged_elf_file_leads_to_a_crash(reader: Reader, content: bytes) -> None:
    elf = bytearray(_program("liba.so", loader=LOADER).content)
    elf[20 : 20 + len(content) % 300] = content[: len(content) % 300]
    _missing(reader, {"./usr/bin/a": bytes(elf)})


@hypothesis.given(
    path=strategies.text(
        strategies.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=200
    ),
    target=strategies.text(
        strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300
    ),
    number=strategies.integers(0, 1 << 40),
)
def test_headers_survive_a_round_trip(path: str, target: str, number: int) -> None:
    header = tar.Header(path, tar.Kind.SYMBOLIC_LINK, 0o777, number, number, number, target=target)
    assert [found for found, _ in tar.read(io.BytesIO(tar.encode(header) + bytes(1024)))] == [header]


def test_memory_is_flat(reader: Reader) -> None:
    deb = packages.make_deb({}, {f"./{number}": bytes(16 << 20) for number in range(2)}, compression="gz")
    stored = packages.add(reader.source, deb)
    del deb
    tracemalloc.start()
    found = package.read(stored, reader.source, reader.contents)
    tar.write(entries.members(found.entries, reader.contents), lambda _: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
