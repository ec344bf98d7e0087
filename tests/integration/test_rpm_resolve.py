"""dnf chooses from an archive on loopback; what is forged, stale or unsigned is refused."""

import contextlib
import dataclasses
import gzip
import pathlib
from collections.abc import Callable, Iterator

import pytest

from buildchain import bases, digest, errors, fetch, lock, manifest, rpm, store
from tests.support import openpgp, rpms
from tests.support.rpms import DATE, Archive, Rpm

pytestmark = pytest.mark.tools("dnf", "rpm", "rpmbuild", "rpmkeys", "rpmsign", "createrepo_c", "modifyrepo_c", "gpg")

OPTIONS = fetch.Options(attempts=1, first_wait_s=0.01)


@pytest.fixture
def upstream(tmp_path: pathlib.Path, home: openpgp.Home, key: str) -> Iterator[Archive]:
    with Archive(tmp_path / "upstream", home, key) as made:
        yield made


@dataclasses.dataclass(frozen=True)
class Site:
    """Who resolves: a store, and the archives that the intent names."""

    packages: store.Store
    sources: dict[str, rpm.Source]

    @classmethod
    def of(cls, directory: pathlib.Path, *upstreams: Archive, modules: tuple[str, ...] = ()) -> "Site":
        sources = {}
        for number, each in enumerate(upstreams):
            name = f"archive-{number}"
            archive = manifest.Archive(name, "", "", (), (each.key_file(),), manifest.RPM, modules=modules)
            sources[name] = rpm.Source(archive, each.url)
        return cls(store.Store(directory / "store"), sources)

    def wants(self, *names: str, base: bases.Base | None = None) -> rpm.Wanted:
        modules = tuple(sorted({one for source in self.sources.values() for one in source.archive.modules}))
        archives = tuple(sorted(self.sources))
        word = base.word if base else ""
        request = lock.Request("repository x-el9", "x86_64", archives, names, modules=modules, base=word)
        return rpm.Wanted(request, manifest.Repository("x", archives, "x86_64", False, names, "el9", base))

    def resolve(self, *wanted: rpm.Wanted, kept: tuple[lock.Package, ...] = ()) -> lock.Lock:
        return rpm.resolve_all(wanted, self.sources, self.packages, OPTIONS, kept=kept)

    def names(self, *names: str) -> list[str]:
        return _names(self.resolve(self.wants(*names)))

    def pull(self, locked: lock.Lock) -> None:
        requests = [
            fetch.Request(each.key, each.content, (f"{self.sources[each.archive].url}/{each.path}",))
            for each in locked.packages()
        ]
        fetch.pull(requests, self.packages, OPTIONS, fetch.NullProgress())

    def check(self, locked: lock.Lock) -> None:
        self.pull(locked)
        rpm.check(locked.packages(), {name: each.archive for name, each in self.sources.items()}, self.packages)


def _names(resolved: lock.Lock) -> list[str]:
    return [f"{package.name} {package.version}" for package in resolved.sets[0].packages]


def test_a_closure_with_everything_the_lock_keeps(upstream: Archive, tmp_path: pathlib.Path) -> None:
    lib = Rpm("lib", "2.0-1.el9", "x86_64", epoch=1)
    upstream.add(Rpm("hello", requires=["lib >= 1:1"]), lib, Rpm("unused"))
    upstream.publish()
    site = Site.of(tmp_path, upstream)
    resolved = site.resolve(site.wants("hello"))
    assert _names(resolved) == ["hello 1.0-1.el9", "lib 1:2.0-1.el9"]
    content = digest.Descriptor.of_bytes((upstream.pool / lib.file_name).read_bytes())
    assert resolved.packages()[1] == lock.Package(
        "lib", "x86_64", "1:2.0-1.el9", "lib", "archive-0", f"pool/{lib.file_name}", content
    )
    repomd = (upstream.repodata / "repomd.xml").read_bytes()
    assert resolved.indexes == (lock.Index("archive-0", "", digest.Digest.of_bytes(repomd), DATE),)
    site.check(resolved)
    again = lock.parse(lock.dump(resolved))
    assert again == resolved


@pytest.mark.parametrize(
    ("packages", "wanted", "expected"),
    [
        pytest.param([Rpm("a", "1.9-1"), Rpm("a", "1.10-1")], "a", ["a 1.10-1"], id="two versions"),
        pytest.param([Rpm("a", "9-1"), Rpm("a", "0.1-1", epoch=1)], "a", ["a 1:0.1-1"], id="epoch"),
        pytest.param([Rpm("a", "1-1"), Rpm("a", "1~rc1-1")], "a", ["a 1-1"], id="tilde"),
        pytest.param(
            [Rpm("a", requires=["b"]), Rpm("b"), Rpm("c", "2-1", extra=["Obsoletes: b < 2", "Provides: b = 2"])],
            "a", ["a 1.0-1.el9", "c 2-1"], id="obsoletes",
        ),
        pytest.param([Rpm("old"), Rpm("new", extra=["Obsoletes: old < 2"])], "old", ["new 1.0-1.el9"], id="obsoleted"),
        pytest.param(
            [Rpm("a", requires=["c", "(b if c else d)", "(x or e)"]), Rpm("b"), Rpm("c"), Rpm("d"), Rpm("e")], "a",
            ["a 1.0-1.el9", "b 1.0-1.el9", "c 1.0-1.el9", "e 1.0-1.el9"], id="rich",
        ),
        pytest.param(
            [Rpm("a", requires=["/usr/bin/x", "/opt/y"]), Rpm("x", files=["/usr/bin/x"]), Rpm("y", files=["/opt/y"])],
            "a", ["a 1.0-1.el9", "x 1.0-1.el9", "y 1.0-1.el9"], id="files",
        ),
        pytest.param(
            [Rpm("a", architecture="x86_64"), Rpm("a", "2-1", "i686"), Rpm("b", requires=["a"])], "b",
            ["a 1.0-1.el9", "b 1.0-1.el9"], id="twin",
        ),
        pytest.param([Rpm("a", extra=["Recommends: b"]), Rpm("b")], "a", ["a 1.0-1.el9"], id="weak"),
    ],
)  # fmt: skip
def test_choices_are_dnfs(
    upstream: Archive, tmp_path: pathlib.Path, packages: list[Rpm], wanted: str, expected: list[str]
) -> None:
    upstream.add(*packages)
    upstream.publish()
    assert Site.of(tmp_path, upstream).names(wanted) == expected


def test_the_twin_that_is_asked_for(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add(Rpm("a", architecture="x86_64"), Rpm("a", architecture="i686"))
    upstream.publish()
    assert Site.of(tmp_path, upstream).names("a", "a.i686") == ["a 1.0-1.el9", "a 1.0-1.el9"]


def test_sources_are_never_chosen(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add(Rpm("a"))
    source = rpms.build_source(Rpm("a", "2.0-1.el9"), tmp_path)
    rpms.sign([source], upstream.home, upstream.key)
    source.rename(upstream.pool / source.name)
    upstream.publish()
    assert source.name in gzip.decompress(next(upstream.repodata.glob("*-primary.xml.gz")).read_bytes()).decode()
    assert Site.of(tmp_path, upstream).names("a") == ["a 1.0-1.el9"]


def test_one_solution_for_all_names(upstream: Archive, tmp_path: pathlib.Path) -> None:
    """`dnf download` solves for each name alone, and would bring lib in two versions."""
    upstream.add(Rpm("a", requires=["lib"]), Rpm("b", requires=["lib < 2"]), Rpm("lib", "1-1"), Rpm("lib", "2-1"))
    upstream.publish()
    assert Site.of(tmp_path, upstream).names("a", "b") == ["a 1.0-1.el9", "b 1.0-1.el9", "lib 1-1"]


def test_what_cannot_be_resolved_is_named(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add(Rpm("a", requires=["nowhere >= 3"]), Rpm("b"))
    upstream.publish()
    site = Site.of(tmp_path, upstream)
    with pytest.raises(errors.ResolveError) as caught:
        site.resolve(site.wants("a"), site.wants("b", "hello", "helo"))
    text = str(caught.value)
    assert text.startswith("2 package sets: cannot be resolved\nrepository x-el9: dnf says\n")
    assert "nothing provides nowhere >= 3 needed by a-1.0-1.el9.noarch" in text
    assert "  No package hello available.\n  No package helo available." in text
    assert text.endswith("Mend the package list in distribution.yaml.")


def _module(stream: str, package: Rpm) -> str:
    nevra = f"{package.name}-0:{package.version}.{package.architecture}"
    return f"""\
---
document: modulemd
version: 2
data:
  name: tool
  stream: "{stream}"
  version: 1
  context: abcdef12
  arch: x86_64
  summary: A module
  description: Of a test
  license:
    module: [MIT]
  dependencies:
  - requires:
      platform: [el9]
  artifacts:
    rpms: ["{nevra}"]
...
"""


def test_module_streams(upstream: Archive, tmp_path: pathlib.Path) -> None:
    streams = {"1": Rpm("tool", "1-1.module_el9"), "2": Rpm("tool", "2-1.module_el9")}
    upstream.add(*streams.values())
    upstream.publish(modules="".join(_module(stream, package) for stream, package in streams.items()))
    for stream in streams:
        assert Site.of(tmp_path, upstream, modules=(f"tool:{stream}",)).names("tool") == [f"tool {stream}-1.module_el9"]
    site = Site.of(tmp_path, upstream, modules=("tool:2",))
    assert site.resolve(site.wants("tool")).sets[0].requested == ("tool", "@tool:2")
    with pytest.raises(errors.ResolveError, match=r"dnf says\n(.*\n)*.*missing groups or modules: tool:9"):
        Site.of(tmp_path, upstream, modules=("tool:9",)).names("tool")


def _base(directory: pathlib.Path, rows: str) -> bases.Base:
    path = directory / "el-9.yaml"
    path.write_text(f"family: redhat\narchitecture: x86_64\npackages:\n{rows}")
    return bases.load(path)


def test_what_the_hosts_hold_is_not_shipped(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add(
        Rpm("a", requires=["/bin/sh", "libx.so.1()(64bit)", "lib", "(zlib or zlib-ng)", "newer >= 2"]),
        Rpm("lib", "9-1"), Rpm("newer", "2-1"),
    )  # fmt: skip
    upstream.publish()
    base = _base(
        tmp_path,
        "  bash: {version: 5-1, provides: [/bin/sh]}\n  x-libs: {version: 1-1, provides: ['libx.so.1()(64bit)']}\n"
        "  lib: {version: 1-1}\n  zlib: {version: '1:1-1'}\n  newer: {version: 1-1}\n  unneeded: {version: 1-1}\n",
    )
    site = Site.of(tmp_path, upstream)
    resolved = site.resolve(site.wants("a", base=base))
    assert _names(resolved) == ["a 1.0-1.el9", "newer 2-1"]
    assert resolved.sets[0].assumes == ("bash", "lib", "x-libs", "zlib")
    assert lock.parse(lock.dump(resolved)) == resolved


def test_several_archives(tmp_path: pathlib.Path, home: openpgp.Home, key: str, other_key: str) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Archive(tmp_path / "first", home, key))
        second = stack.enter_context(Archive(tmp_path / "second", home, other_key))
        first.add(Rpm("a", requires=["b"]))
        second.add(Rpm("b"), Rpm("a", "0.9-1"))
        for each in (first, second):
            each.publish()
        site = Site.of(tmp_path, first, second)
        resolved = site.resolve(site.wants("a"))
        assert [package.archive for package in resolved.packages()] == ["archive-0", "archive-1"]
        site.check(resolved)


def test_a_partial_update_moves_only_what_is_named(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add(Rpm("tool", "1-1", requires=["lib"]), Rpm("lib", "1-1"))
    upstream.publish()
    site = Site.of(tmp_path, upstream)
    first = site.resolve(site.wants("tool"))
    site.pull(first)
    for path in upstream.pool.iterdir():
        path.unlink()  # the archive keeps only what is newest
    upstream.add(Rpm("tool", "2-1", requires=["lib"]), Rpm("lib", "2-1"))
    upstream.publish()
    kept = tuple(package for package in first.packages() if package.name != "tool")
    second = site.resolve(site.wants("tool"), kept=kept)
    assert _names(second) == ["lib 1-1", "tool 2-1"]
    assert second.packages()[0] == first.packages()[0]


def test_what_is_kept_of_one_archive_says_nothing_of_another(
    tmp_path: pathlib.Path, home: openpgp.Home, key: str
) -> None:
    with Archive(tmp_path / "el8", home, key) as first, Archive(tmp_path / "el9", home, key) as second:
        first.add(Rpm("tool", "3-1.el8"))
        second.add(Rpm("tool", "1-1.el9"), Rpm("tool", "2-1.el9"))
        for each in (first, second):
            each.publish()
        site = Site.of(tmp_path, first, second)
        wanted = []
        for name in sorted(site.sources):
            whole = site.wants("tool")
            wanted.append(dataclasses.replace(whole, request=dataclasses.replace(whole.request, archives=(name,))))
        before = site.resolve(*wanted)
        site.pull(before)
        after = site.resolve(*wanted, kept=tuple(before.packages()))
        assert [each.packages[0].version for each in after.sets] == ["3-1.el8", "2-1.el9"]


@pytest.mark.parametrize(
    ("signed_by", "words"),
    [("", "it has no signature"), ("other", "NOKEY"), ("wrong", "BAD")],
)
def test_a_package_that_no_declared_key_signed(
    upstream: Archive, tmp_path: pathlib.Path, other_key: str, signed_by: str, words: str
) -> None:
    upstream.add(Rpm("good"))
    upstream.add(Rpm("bad", requires=["good"]), key={"other": other_key, "wrong": None}.get(signed_by, ""))
    if signed_by == "wrong":
        _forge(upstream.pool / Rpm("bad").file_name)
    upstream.publish()
    site = Site.of(tmp_path, upstream)
    with pytest.raises(errors.ResolveError) as caught:
        site.check(site.resolve(site.wants("bad")))
    text = str(caught.value)
    assert text.startswith("a package: not signed by a declared key\n  bad:noarch=1.0-1.el9 of archive archive-0: ")
    assert words in text


def _forge(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"Tester", b"Taster"))


def _unsigned(upstream: Archive, _key: str) -> None:
    (upstream.repodata / "repomd.xml.asc").unlink()


def _other_signer(upstream: Archive, other_key: str) -> None:
    upstream.sign(other_key)


def _changed_repomd(upstream: Archive, _key: str) -> None:
    path = upstream.repodata / "repomd.xml"
    path.write_bytes(path.read_bytes().replace(b"<revision>", b"<revision>9"))


def _changed_primary(upstream: Archive, _key: str) -> None:
    (path,) = upstream.repodata.glob("*-primary.xml.*")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"hello", b"hullo")))


def _weak_digests(upstream: Archive, key: str) -> None:
    upstream.publish(options=["--checksum=sha1"], key=upstream.key)


def _expired_signature(upstream: Archive, _key: str) -> None:
    content = (upstream.repodata / "repomd.xml").read_bytes()
    options = ("--local-user", upstream.key, "--default-sig-expire", "2", "--detach-sign")
    (upstream.repodata / "repomd.xml.asc").write_bytes(upstream.home.run("--armor", *options, stdin=content))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_unsigned, "its repomd.xml is not signed"),
        (_other_signer, "No public key"),
        (_changed_repomd, "BAD signature"),
        (_changed_primary, "primary.xml"),
        (_weak_digests, "has no SHA-256 digest and size of"),
        (_expired_signature, "Expired signature"),
    ],
)
def test_an_archive_that_cannot_be_trusted(
    upstream: Archive, tmp_path: pathlib.Path, other_key: str, harm: Callable[[Archive, str], None], words: str
) -> None:
    upstream.add(Rpm("hello"))
    upstream.publish()
    harm(upstream, other_key)
    with pytest.raises(errors.BuildchainError) as caught:
        Site.of(tmp_path, upstream).names("hello")
    assert words in str(caught.value)


def test_a_replayed_index_is_refused(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add(Rpm("hello"))
    upstream.publish()
    site = Site.of(tmp_path, upstream)
    old = site.resolve(site.wants("hello"))
    upstream.publish(date=DATE - 1)
    with pytest.raises(errors.ResolveError, match="a stale mirror, or a replay"):
        lock.check_not_older(old, site.resolve(site.wants("hello")))


def test_without_dnf_the_message_says_what_to_do(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    site = Site(store.Store(tmp_path / "store"), {})
    with pytest.raises(errors.ToolError, match="a build needs none"):
        site.resolve(site.wants("hello"))
