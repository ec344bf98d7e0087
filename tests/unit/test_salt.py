"""The Salt tree: what is collected, what is refused, and the versions that the formulas read."""

import json
import pathlib
from collections.abc import Sequence

import pytest

from buildchain import digest, errors, lock, manifest, product, salt, source, store, tree, version
from tests.support import salt_tree

RELEASE = version.Version("2", "5", "1", "-dev")
VERSIONS: salt.Versions = {"metalk8s": {"version": "2.5.1-dev"}, "packages": {}, "images": {}, "repositories": {}}


def checkout(root: pathlib.Path, files: dict[str, bytes], listed: Sequence[str] | None = None) -> tuple[str, ...]:
    """Write files and their list; returns them all, as tracked files."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "salt").mkdir(exist_ok=True)
    names = sorted(files) if listed is None else listed
    (root / salt.LIST).write_text("\n".join(["# a comment", "", *names, ""]))
    return (*sorted(files), salt.LIST)


def collected(root: pathlib.Path, files: Sequence[str], versions: salt.Versions = VERSIONS) -> dict[str, tree.Entry]:
    """Collect into a store beside the checkout."""
    found = salt.collect(root, files, held(root), release=RELEASE, versions=versions)
    return {entry.path: entry for entry in found}


def held(root: pathlib.Path) -> store.Store:
    return store.Store(root / ".store")


def content(root: pathlib.Path, entry: tree.Entry) -> bytes:
    assert isinstance(entry, tree.File)
    return held(root).read(entry.content.digest)


def refusal(root: pathlib.Path, files: Sequence[str], versions: salt.Versions = VERSIONS) -> str:
    with pytest.raises(errors.TreeError) as caught:
        collected(root, files, versions)
    return str(caught.value)


def test_listed_files_ship_as_they_are(tmp_path: pathlib.Path) -> None:
    jinja = b"{%- set a = 1 %}\r\n{{ a }} $HOME \xff"
    files = checkout(tmp_path, {"salt/metalk8s/a.sls": jinja, "pillar/b.sls": b"b: 1\n"})
    entries = collected(tmp_path, files)
    assert sorted(entries) == ["pillar/b.sls", "salt/metalk8s/a.sls", salt.KEY, salt.VERSIONS]
    assert content(tmp_path, entries["salt/metalk8s/a.sls"]) == jinja


def test_placeholders_are_rendered_and_the_suffix_goes(tmp_path: pathlib.Path) -> None:
    text = b"@@SALTENV: @@{VERSION}x @@SHORT_VERSION\n{{ jinja }} $VERSION @@@@VERSION\n"
    entries = collected(tmp_path, checkout(tmp_path, {"salt/top.sls.in": text}))
    expected = b"metalk8s-2.5.1-dev: 2.5.1-devx 2.5\n{{ jinja }} $VERSION @@VERSION\n"
    assert content(tmp_path, entries["salt/top.sls"]) == expected
    assert "salt/top.sls.in" not in entries


def test_only_templates_are_rendered(tmp_path: pathlib.Path) -> None:
    entries = collected(tmp_path, checkout(tmp_path, {"salt/a.sls": b"@@UNKNOWN"}))
    assert content(tmp_path, entries["salt/a.sls"]) == b"@@UNKNOWN"


def test_programs_keep_their_bit(tmp_path: pathlib.Path) -> None:
    files = checkout(tmp_path, {"salt/run.sh": b"#!/bin/sh\n", "salt/data": b"1"})
    (tmp_path / "salt/run.sh").chmod(0o700)
    (tmp_path / "salt/data").chmod(0o600)
    entries = collected(tmp_path, files)
    assert [getattr(entries[path], "mode", None) for path in ("salt/run.sh", "salt/data")] == [0o555, 0o444]


def test_the_key_is_that_of_the_medium(tmp_path: pathlib.Path) -> None:
    entry = collected(tmp_path, checkout(tmp_path, {}))[salt.KEY]
    assert entry == tree.Link("salt/metalk8s/repo/files/signing-key.asc", f"../../../../{product.KEY}")


def test_everything_wrong_is_told_at_once(tmp_path: pathlib.Path) -> None:
    present = {
        "salt/stray.sls": b"",
        "salt/top.sls.in": b"fine\n@@NOBODY and @@SOMEBODY\n@@\n",
        "salt/binary.in": b"\xff",
        "salt/untracked.sls": b"",
        "salt/link.sls": b"",
        "salt/use.sls": b'{{ image_name("pause") }} {{ image_name("etcd") }}',
        "salt/removed.sls": b"",
        "salt/metalk8s/versions.json": b"{}",
    }
    listed = [path for path in present if path != "salt/stray.sls"]
    files = checkout(tmp_path, present, [*listed, "salt/gone.sls", "README.md", "salt/use.sls"])
    (tmp_path / "salt/link.sls").unlink()
    (tmp_path / "salt/link.sls").symlink_to("/etc/passwd")
    (tmp_path / "salt/removed.sls").unlink()
    tracked = [path for path in files if path != "salt/untracked.sls"] + ["README.md"]
    text = refusal(tmp_path, tracked, {**VERSIONS, "images": {"etcd": {"version": "3"}}})
    assert text.splitlines() == [
        "the Salt tree: cannot ship",
        "  salt/stray.sls: tracked but not listed",
        "  README.md: listed but not a tracked file below salt/ or pillar/",
        "  salt/gone.sls: listed but not a tracked file below salt/ or pillar/",
        "  salt/untracked.sls: listed but not a tracked file below salt/ or pillar/",
        "  salt/use.sls: listed 2 times",
        "  salt/metalk8s/versions.json: made twice: by the buildchain, or of another file",
        "  salt/link.sls: is a link; the list names plain files",
        "  salt/removed.sls: No such file or directory",
        "  salt/binary.in: is not UTF-8",
        "  salt/top.sls.in:2: no value for @@NOBODY; known: SALTENV, SHORT_VERSION, VERSION",
        "  salt/top.sls.in:3: @@ without a name after it; write @@@@ for two at signs",
        "  salt/use.sls: uses the image pause, which is not on the medium",
        "Mend these files, or their list salt/FILES.",
    ]


def test_nothing_is_stored_when_something_is_wrong(tmp_path: pathlib.Path) -> None:
    refusal(tmp_path, (*checkout(tmp_path, {"salt/a.sls": b""}), "salt/stray"))
    assert not list(held(tmp_path).root.glob("sha256/*/*"))


def test_a_list_that_is_not_there(tmp_path: pathlib.Path) -> None:
    assert "salt/FILES" in refusal(tmp_path, [])


def test_versions_come_from_lock_and_intent(tmp_path: pathlib.Path) -> None:
    locked = lock.Lock(sets=(chosen("debian-12", "runc=1.1", "libc6=2.36"),))
    images = [manifest.ImageSpec("pause", "3.6", ""), manifest.ImageSpec("etcd", "3.4", "")]
    built = {"debian": chosen("own-12", "salt-minion=3008.3").packages}
    families = {"redhat": [], "debian": ["own-12", "debian-12"]}
    versions = salt.versions(RELEASE, locked, images, families, built=built)
    entries = collected(tmp_path, checkout(tmp_path, {}), versions)
    assert json.loads(content(tmp_path, entries[salt.VERSIONS])) == {
        "metalk8s": {"version": "2.5.1-dev"},
        "packages": {"debian": {"runc": {"version": "1.1"}, "salt-minion": {"version": "3008.3"}}, "redhat": {}},
        "images": {"etcd": {"version": "3.4"}, "pause": {"version": "3.6"}},
        "repositories": {"debian": ["debian-12", "own-12"], "redhat": []},
    }


def test_keys_of_others_are_links_to_the_repositories(tmp_path: pathlib.Path) -> None:
    path = "packages/redhat/metalk8s-x-el9/RPM-GPG-KEY-metalk8s-x-el9-1"
    keys = {"x-el9": [path], "own-el9": []}
    versions = salt.versions(RELEASE, lock.Lock(sets=(chosen("x-el9", "x=1"),)), [], {"redhat": ["x-el9"]}, keys)
    entries = collected(tmp_path, checkout(tmp_path, {}), versions)
    link = entries["salt/metalk8s/repo/files/RPM-GPG-KEY-metalk8s-x-el9-1"]
    assert isinstance(link, tree.Link)
    assert link.target == f"../../../../{path}"
    assert versions["keys"] == {"x-el9": [path]}


def test_two_versions_of_a_package_in_one_family_are_refused() -> None:
    locked = lock.Lock(sets=(chosen("debian-12", "runc=1.1"), chosen("debian-13", "runc=1.3")))
    with pytest.raises(errors.BuildchainError, match="several versions of runc in repositories of the family debian"):
        salt.versions(RELEASE, locked, [], {"debian": ["debian-12", "debian-13"]})


def test_this_checkout_ships_whole() -> None:
    listed = (salt_tree.ROOT / salt.LIST).read_text().splitlines()
    names = [line for line in listed if not line.startswith("#")]
    assert names == sorted(names)
    tracked = source.identify(salt_tree.ROOT, "git").files
    assert set(names) == {path for path in tracked if path.startswith(("salt/", "pillar/"))} - {salt.LIST}


def chosen(name: str, *packages: str) -> lock.PackageSet:
    """A set that was asked for its first package only."""
    rows = []
    for package in packages:
        title, number = package.split("=")
        content = digest.Descriptor.of_bytes(package.encode())
        rows.append(lock.Package(title, "amd64", number, title, "debian", f"pool/{package}.deb", content))
    return lock.PackageSet(f"repository {name}", "amd64", (rows[0].name, "apt", "-perl"), tuple(sorted(rows)))
