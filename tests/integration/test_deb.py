"""apt chooses from an archive on loopback, and apt installs from the repository we make of what it chose."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterator, Sequence

import pytest
from debian import deb822

from buildchain import command, deb, digest, errors, lock, manifest, signing, stage, store
from tests.support import client, openpgp
from tests.support.archive import DATE, Archive, Deb

pytestmark = pytest.mark.tools("apt-get", "apt-ftparchive", "gpg", "gpgv")

DEVELOPMENT = pathlib.Path(__file__).parents[2] / "packages/keys/development/secret.asc"


@pytest.fixture
def upstream(tmp_path: pathlib.Path, home: openpgp.Home, key: str) -> Iterator[Archive]:
    with Archive(tmp_path / "upstream", home, key) as made:
        yield made


def _source(upstream: Archive, name: str, suite: str, *keys: str) -> deb.Source:
    paths = []
    for fingerprint in keys or (upstream.key,):
        path = upstream.root / f"{fingerprint}.asc"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(upstream.home.public(fingerprint))
        paths.append(path)
    return deb.Source(manifest.Archive(name, "Test", suite, ("main",), tuple(paths)), upstream.url)


def _request(*packages: str, name: str = "x", archives: Sequence[str] = ("main",), **more: object) -> lock.Request:
    values = {"architecture": "amd64", **more}
    return lock.Request(name=name, archives=tuple(archives), packages=packages, **values)  # type: ignore[arg-type]


def _resolve(upstream: Archive, *requests: lock.Request) -> lock.Lock:
    """Resolve with two suites of one mirror, which are the archives `main` and `security`."""
    wanted = {name for request in requests for name in request.archives}
    suites = {"main": "bookworm", "security": "bookworm-security"}
    for suite in suites.values():
        if upstream.packages[suite] and not (upstream.root / "dists" / suite).exists():
            upstream.publish(suite)
    return deb.resolve_all(requests, {name: _source(upstream, name, suites[name]) for name in wanted})


def _names(resolved: lock.Lock, name: str = "x") -> list[str]:
    return [f"{package.name} {package.version}" for package in resolved.set(name).packages]


def _refusal(upstream: Archive, *requests: lock.Request) -> str:
    with pytest.raises(errors.ResolveError) as caught:
        _resolve(upstream, *requests)
    return str(caught.value)


def test_a_closure_with_everything_the_lock_keeps(upstream: Archive) -> None:
    libc = Deb("libc6", "2.36-9+deb12u1", source="glibc (2.36-9)")
    upstream.add("bookworm", Deb("hello", "1:2.0~rc1-1", depends="libc6 (>= 2)"), libc, Deb("unused"))
    resolved = _resolve(upstream, _request("hello"))
    assert _names(resolved) == ["hello 1:2.0~rc1-1", "libc6 2.36-9+deb12u1"]
    assert resolved.packages()[1] == lock.Package(
        "libc6", "amd64", "2.36-9+deb12u1", "glibc", "main",
        "pool/main/l/libc6/libc6_2.36-9+deb12u1_amd64.deb", digest.Descriptor.of_bytes(libc.content()),
    )  # fmt: skip
    inrelease = (upstream.root / "dists/bookworm/InRelease").read_bytes()
    assert resolved.indexes == (lock.Index("main", "bookworm", digest.Digest.of_bytes(inrelease), DATE),)
    (found,) = resolved.sets
    assert (found.requested, found.archives, found.architecture) == (("hello",), ("main",), "amd64")


@pytest.mark.parametrize(
    ("packages", "wanted", "expected"),
    [
        ([Deb("x1", depends="a | b"), Deb("a"), Deb("b")], "x1", ["a 1.0-1", "x1 1.0-1"]),
        ([Deb("x1", depends="a | b"), Deb("b")], "x1", ["b 1.0-1", "x1 1.0-1"]),
        ([Deb("x1", depends="mta"), Deb("exim", provides="mta")], "x1", ["exim 1.0-1", "x1 1.0-1"]),
        ([Deb("exim", provides="mta (= 4), mail")], "mta", ["exim 1.0-1"]),
        ([Deb("x1", "1.9-1"), Deb("x1", "1.10-1")], "x1", ["x1 1.10-1"]),
        ([Deb("x1", "9.0-1"), Deb("x1", "1:0.1-1")], "x1", ["x1 1:0.1-1"]),
        ([Deb("x1", "1.0-1"), Deb("x1", "1.0~rc1-1")], "x1", ["x1 1.0-1"]),
        ([Deb("x1", depends="a (<< 2)"), Deb("a", "1.0"), Deb("a", "2.0", conflicts="x1")], "x1", None),
        ([Deb("libstdc++6", "1.0+b1")], "libstdc++6", ["libstdc++6 1.0+b1"]),
        ([Deb("odd", filename="other%3aname+1~2.deb")], "odd", ["odd 1.0-1"]),
    ],
)  # fmt: skip
def test_choices_are_apts(upstream: Archive, packages: list[Deb], wanted: str, expected: list[str] | None) -> None:
    upstream.add("bookworm", *packages)
    if expected is None:
        assert "x1 : Depends: a (< 2)" in _refusal(upstream, _request(wanted))
        return
    resolved = _resolve(upstream, _request(wanted))
    assert _names(resolved) == expected
    assert all((upstream.root / package.path).is_file() for package in resolved.packages())


def test_bootstrapping_takes_the_essential_set_and_apt(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("base", extra="Essential: yes\n"), Deb("apt"), Deb("hello"), Deb("unused"))
    resolved = _resolve(upstream, _request("hello", bootstraps=True), _request("hello", name="y"))
    assert _names(resolved) == ["apt 1.0-1", "base 1.0-1", "hello 1.0-1"]
    assert _names(resolved, "y") == ["hello 1.0-1"]


def test_another_architecture(upstream: Archive) -> None:
    upstream.add(
        "bookworm", Deb("hello", depends="data"), Deb("hello", "2.0", "arm64", "data"), Deb("data", architecture="all")
    )
    resolved = _resolve(upstream, _request("hello", architecture="arm64"), _request("hello", name="y"))
    assert _names(resolved) == ["data 1.0-1", "hello 2.0"]
    assert [package.architecture for package in resolved.set("x").packages] == ["all", "arm64"]
    assert _names(resolved, "y") == ["data 1.0-1", "hello 1.0-1"]
    assert len(resolved.indexes) == 1


def test_another_suite_is_only_data(upstream: Archive) -> None:
    upstream.add("trixie", Deb("hello", "13.0"))
    upstream.publish("trixie")
    resolved = deb.resolve_all([_request("hello")], {"main": _source(upstream, "main", "trixie")})
    assert _names(resolved) == ["hello 13.0"]
    assert resolved.indexes[0].suite == "trixie"


def test_security_wins_and_each_package_knows_its_archive(upstream: Archive) -> None:
    shared = Deb("same", filename="pool/same.deb")
    upstream.add("bookworm", Deb("hello", "1.0-1", depends="lib, same"), Deb("lib", "3.0"), shared)
    upstream.add("bookworm-security", Deb("hello", "1.0-1+deb12u1", depends="lib, same"), Deb("lib", "2.0"), shared)
    resolved = _resolve(upstream, _request("hello", archives=["main", "security"]))
    assert _names(resolved) == ["hello 1.0-1+deb12u1", "lib 3.0", "same 1.0-1"]
    assert [package.archive for package in resolved.packages()] == ["security", "main", "main"]
    assert [index.archive for index in resolved.indexes] == ["main", "security"]


def test_a_mirror_whose_address_has_unusual_characters(upstream: Archive, tmp_path: pathlib.Path) -> None:
    upstream.add("bookworm", Deb("hello"))
    upstream.publish("bookworm")
    source = _source(upstream, "main", "bookworm")
    (upstream.root / "~a_b+c").symlink_to(".")
    changed = dataclasses.replace(source, url=f"{source.url}/~a_b+c")
    assert _names(deb.resolve_all([_request("hello")], {"main": changed})) == ["hello 1.0-1"]


def test_without(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("hello", depends="perl"), Deb("perl"))
    resolved = _resolve(upstream, _request("hello", without=("perl",)))
    assert _names(resolved) == ["hello 1.0-1"]
    assert resolved.sets[0].requested == ("hello", "-perl")
    assert "not in the closure: awk\nRemove these names" in _refusal(upstream, _request("hello", without=("awk",)))


def test_unknown_packages_of_all_requests_are_named(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("hello"))
    text = _refusal(upstream, _request("helo"), _request("hello", name="good"), _request("nginx", name="y"))
    assert text.startswith("2 package sets: cannot be resolved\nx: apt says\n  E: Unable to locate package helo\n")
    assert "y: apt says\n  E: Unable to locate package nginx\n" in text
    assert text.endswith("Mend the package list in distribution.yaml or in the image's recipe.")


@pytest.mark.parametrize("name", ["hello-", "hel.o", "libfoo+"])
def test_a_name_is_never_a_pattern(upstream: Archive, name: str) -> None:
    upstream.add("bookworm", Deb("hello"), Deb("libfoo"))
    text = _refusal(upstream, _request("hello" if name.startswith("lib") else "libfoo", name))
    assert name in text
    assert "x: apt" in text


def test_an_unsatisfiable_set_is_explained_by_apt(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("hello", depends="libc6 (>= 9)"), Deb("libc6", "2.0"))
    text = _refusal(upstream, _request("hello"))
    assert "\n  hello : Depends: libc6 (>= 9)" in text
    upstream.add("bookworm", Deb("foe", conflicts="friend"), Deb("friend"))
    upstream.publish("bookworm")
    assert "foe : Conflicts: friend" in _refusal(upstream, _request("foe", "friend"))


def _expired(upstream: Archive) -> None:
    upstream.publish("bookworm", valid_until=DATE + 86400)


def _from_the_future(upstream: Archive) -> None:
    upstream.publish("bookworm", date=int(time.time()) + 7 * 86400)


def _unsigned(upstream: Archive) -> None:
    upstream.publish("bookworm", is_signed=False)


def _changed_release(upstream: Archive) -> None:
    path = upstream.root / "dists/bookworm/InRelease"
    path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Evil"))


def _changed_packages(upstream: Archive) -> None:
    for path in (upstream.root / "dists/bookworm/main").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(b"hello", b"evil!") + b"\n")


def _missing(upstream: Archive) -> None:
    (upstream.root / "dists/bookworm/InRelease").unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_expired, "is expired"),
        (_from_the_future, "is not valid yet"),
        (_unsigned, "is not signed"),
        (_changed_release, "BADSIG"),
        (_changed_packages, "has unexpected size"),
        (_missing, "does not have a Release file"),
    ],
)
def test_an_archive_that_cannot_be_trusted(upstream: Archive, harm: object, words: str) -> None:
    assert callable(harm)
    upstream.add("bookworm", Deb("hello"))
    upstream.publish("bookworm")
    assert _names(_resolve(upstream, _request("hello"))) == ["hello 1.0-1"]
    harm(upstream)
    text = _refusal(upstream, _request("hello"))
    assert text.startswith("archives main: apt says\n")
    assert words in text
    assert text.endswith("Check the mirror (DEBIAN_MIRROR and the like in .env) and the keys in distribution.yaml.")


def test_a_key_that_is_not_declared(upstream: Archive, other_key: str) -> None:
    upstream.add("bookworm", Deb("hello"))
    upstream.publish("bookworm", key=other_key)
    assert "NO_PUBKEY" in _refusal(upstream, _request("hello"))


def test_any_of_several_declared_keys_may_sign(upstream: Archive, key: str, other_key: str) -> None:
    upstream.add("bookworm", Deb("hello"))
    for signer in (key, other_key):
        upstream.publish("bookworm", key=signer)
        source = _source(upstream, "main", "bookworm", key, other_key)
        assert _names(deb.resolve_all([_request("hello")], {"main": source})) == ["hello 1.0-1"]


def test_an_archive_without_inrelease_is_refused(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("hello"))
    upstream.publish("bookworm")
    directory = upstream.root / "dists/bookworm"
    text = (directory / "InRelease").read_text().split("\n\n", 1)[1].split("-----BEGIN")[0].encode()
    (directory / "Release").write_bytes(text)
    signature = upstream.home.run("--armor", "--local-user", upstream.key, "--detach-sign", stdin=text)
    (directory / "Release.gpg").write_bytes(signature)
    (directory / "InRelease").unlink()
    assert "archive main: has no InRelease file with a Date" in _refusal(upstream, _request("hello"))


def test_a_stopped_mirror(upstream: Archive) -> None:
    source = _source(upstream, "main", "bookworm")
    dead = dataclasses.replace(source, url="http://127.0.0.1:9")
    with pytest.raises(errors.ResolveError, match=r"127\.0\.0\.1:9"):
        deb.resolve_all([_request("hello")], {"main": dead})


def test_a_replayed_index_is_refused(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("hello"))
    old = _resolve(upstream, _request("hello"))
    upstream.publish("bookworm", date=DATE - 1)
    with pytest.raises(errors.ResolveError, match="a stale mirror, or a replay"):
        lock.check_not_older(old, _resolve(upstream, _request("hello")))


def test_an_index_without_sha256_is_refused(upstream: Archive) -> None:
    upstream.add("bookworm", Deb("hello"))
    upstream.publish("bookworm", hash_name="SHA512")
    assert "names no SHA-256 digest: " in _refusal(upstream, _request("hello"))


def _packages_in(upstream: Archive, packages: store.Store, resolved: lock.Lock) -> list[lock.Package]:
    for package in resolved.packages():
        packages.add_file(upstream.root / package.path)
    return resolved.packages()


def test_a_partial_update_moves_only_what_is_named(upstream: Archive, tmp_path: pathlib.Path) -> None:
    packages = store.Store(tmp_path / "store")
    upstream.add(
        "bookworm", Deb("tool", "1.0", depends="tool-data, lib"), Deb("tool-data", "1.0", source="tool"),
        Deb("lib", "1.0"), Deb("gone", "1.0"),
    )  # fmt: skip
    first = _resolve(upstream, _request("tool", "gone"))
    kept = [package for package in _packages_in(upstream, packages, first) if package.source != "tool"]
    del upstream.packages["bookworm"][3]  # the archive keeps only what is newest
    upstream.add(
        "bookworm", Deb("tool", "2.0", depends="tool-data (>= 2), lib"), Deb("tool-data", "2.0", source="tool"),
        Deb("lib", "2.0"), Deb("gone", "2.0"),
    )  # fmt: skip
    upstream.publish("bookworm", date=DATE + 60)
    source = {"main": _source(upstream, "main", "bookworm")}
    second = deb.resolve_all([_request("tool", "gone")], source, kept=kept, packages=packages)
    assert _names(second) == ["gone 1.0", "lib 1.0", "tool 2.0", "tool-data 2.0"]
    assert set(kept) < set(second.packages())
    assert second.indexes[0].date == DATE + 60
    assert lock.changes(first, second) == ["tool-data:amd64: 1.0 -> 2.0", "tool:amd64: 1.0 -> 2.0"]


def test_a_partial_update_that_needs_more_says_what(upstream: Archive, tmp_path: pathlib.Path) -> None:
    packages = store.Store(tmp_path / "store")
    upstream.add("bookworm", Deb("tool", "1.0", depends="lib"), Deb("lib", "1.0"))
    first = _resolve(upstream, _request("tool"))
    kept = [package for package in _packages_in(upstream, packages, first) if package.name == "lib"]
    upstream.packages["bookworm"] = [Deb("tool", "2.0", depends="lib (>= 2)"), Deb("lib", "2.0")]
    upstream.publish("bookworm")
    source = {"main": _source(upstream, "main", "bookworm")}
    with pytest.raises(errors.ResolveError, match=r"tool : Depends: lib \(>= 2\) but 1\.0 is to be installed"):
        deb.resolve_all([_request("tool")], source, kept=kept, packages=packages)


def _host() -> dict[str, tuple[int, ...]]:
    """Inode, mode, size and time of everything apt and dpkg keep on this machine."""
    folders = [pathlib.Path(name) for name in ("/etc/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/cache/apt")]
    states = {str(path): path.lstat() for folder in folders for path in [folder, *folder.rglob("*")]}
    return {path: (state.st_ino, state.st_mode, state.st_size, state.st_mtime_ns) for path, state in states.items()}


@contextlib.contextmanager
def _nobody_installs() -> Iterator[None]:
    """Hold the host's package locks: another user's apt would change what is compared, and ours must not want them."""
    with contextlib.ExitStack() as stack:
        for name in ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"):
            if os.access(name, os.W_OK):
                fcntl.lockf(stack.enter_context(pathlib.Path(name).open("r+b")), fcntl.LOCK_EX)
        yield


def test_the_host_is_untouched_and_has_no_say(
    upstream: Archive, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add("bookworm", Deb("hello", depends="bash"), Deb("bash", "0.0.1"))
    (tmp_path / "apt.conf").write_text('Dir "/nonexistent";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    with _nobody_installs():
        before = _host()
        assert _names(_resolve(upstream, _request("hello"))) == ["bash 0.0.1", "hello 1.0-1"]
        assert _host() == before


PACKAGES = [
    Deb("hello", "1:2.0~rc1-1", depends="libc6 (>= 2), data"), Deb("libc6", "2.36-9+deb12u1"),
    Deb("data", architecture="all", extra="X-Note: ünïcode\n"), Deb("libstdc++6", "12.2.0-14"),
]  # fmt: skip


@pytest.fixture
def resolved(upstream: Archive) -> lock.Lock:
    upstream.add("bookworm", *PACKAGES)
    return _resolve(upstream, _request("hello", "libstdc++6"))


def _index(upstream: Archive, resolved: lock.Lock, directory: pathlib.Path) -> pathlib.Path:
    """Make the repository and lay it out below a folder."""
    packages = store.Store(directory / "store")
    locked = _packages_in(upstream, packages, resolved)
    with signing.open_signer(signing.Source(str(DEVELOPMENT))) as signer:
        made = deb.index(locked, packages, name="debian-12", label="MetalK8s", epoch=DATE, signer=signer)
    stage.stage(made, packages, directory / "root")
    return directory / "root"


def _client(directory: pathlib.Path, repository: pathlib.Path) -> client.Client:
    made = client.Client(directory / "client", repository, DEVELOPMENT.with_name("public.asc").read_bytes())
    made.prepare()
    return made


def test_apt_installs_from_our_repository_alone(upstream: Archive, resolved: lock.Lock, tmp_path: pathlib.Path) -> None:
    machine = _client(tmp_path, _index(upstream, resolved, tmp_path))
    assert machine.installs("hello", "libstdc++6") == ["data", "hello", "libc6", "libstdc++6"]
    assert machine.downloads("hello") == PACKAGES[0].content()
    assert "release o=MetalK8s,a=debian-12,n=debian-12,l=MetalK8s" in machine.run("apt-cache", "policy")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("InRelease", b"Origin: MetalK8s", b"Origin: MetalK9s", "BADSIG"),
        ("Packages", b"Package: hello", b"Package: hullo", "Hash Sum mismatch"),
        ("pool/hello_2.0~rc1-1_amd64.deb", b"debian-binary", b"debian-bonary", "Hash Sum mismatch"),
    ],
)
def test_apt_refuses_a_changed_repository(
    upstream: Archive, resolved: lock.Lock, tmp_path: pathlib.Path, name: str, old: bytes, new: bytes, words: str
) -> None:
    repository = _index(upstream, resolved, tmp_path)
    content = (repository / name).read_bytes().replace(old, new)
    shutil.rmtree(repository / "by-hash")
    for each in (name, "Packages.gz"):
        (repository / each).unlink()
    (repository / name).write_bytes(content)
    machine = _client(tmp_path, repository)
    with pytest.raises(errors.ToolError) as caught:
        machine.downloads("hello")
    assert words in caught.value.output


def test_a_repository_depends_on_packages_key_and_date_alone(
    upstream: Archive, resolved: lock.Lock, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def snapshot(root: pathlib.Path) -> dict[str, tuple[int, bytes]]:
        return {str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
                for path in root.rglob("*") if path.is_file()}  # fmt: skip

    first = snapshot(_index(upstream, resolved, tmp_path / "first"))
    monkeypatch.setenv("TZ", "America/St_Johns")
    time.tzset()
    os.umask(0o077)
    shuffled = dataclasses.replace(resolved.sets[0], packages=tuple(reversed(resolved.sets[0].packages)))
    second = _index(upstream, dataclasses.replace(resolved, sets=(shuffled,)), tmp_path / "a longer path, with spaces")
    monkeypatch.undo()
    time.tzset()
    assert snapshot(second) == first
    assert b"Date: Tue, 14 Nov 2023 22:13:20 UTC\n" in first["Release"][1]


def test_apt_ftparchive_agrees(upstream: Archive, resolved: lock.Lock, tmp_path: pathlib.Path) -> None:
    repository = _index(upstream, resolved, tmp_path)
    theirs = command.run(["apt-ftparchive", "packages", "pool"], directory=repository).decode()
    ours = (repository / "Packages").read_text(encoding="utf-8")

    def rows(text: str) -> list[tuple[str, ...]]:
        fields = ("Package", "Version", "Architecture", "Depends", "Filename", "Size", "SHA256", "X-Note")
        stanzas = deb822.Packages.iter_paragraphs(text.splitlines(), use_apt_pkg=False)
        return sorted(tuple(stanza.get(field, "") for field in fields) for stanza in stanzas)

    assert rows(ours) == rows(theirs)
    assert len(rows(ours)) == 4


def test_release_lists_what_stands_there(upstream: Archive, resolved: lock.Lock, tmp_path: pathlib.Path) -> None:
    repository = _index(upstream, resolved, tmp_path)
    lines = re.findall(r"^ (\w{64}) +(\d+) (\S+)$", (repository / "Release").read_text(), re.MULTILINE)
    assert {path for _, _, path in lines} == {"Packages", "Packages.gz"}
    for value, size, path in lines:
        content = (repository / path).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (value, int(size))
        assert (repository / "by-hash/SHA256" / value).samefile(repository / path)
    assert (repository / "Release").read_text() in (repository / "InRelease").read_text()
