"""What a release engineer relies on: the same bytes everywhere, nothing done twice, nothing left behind."""

import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess

from buildchain import fetch
from tests.end_to_end import conftest

_DEAD_MIRRORS = {"DEBIAN_MIRROR": "http://127.0.0.1:9/debian", "DEBIAN_SECURITY_MIRROR": "http://127.0.0.1:9/security"}


def test_outputs(first: conftest.Checkout) -> None:
    build = first.root / "_build"
    subprocess.run(["sha256sum", "--check", "SHA256SUM"], cwd=build, check=True, capture_output=True)
    assert re.fullmatch(r"[0-9a-f]{64}  metalk8s\.iso\n", (build / "SHA256SUM").read_text())
    assert (build / "SHA256SUM.asc").read_text().startswith("-----BEGIN PGP SIGNATURE-----")
    assert json.loads((first.root / "build.log").read_text())["tasks"]
    report = json.loads((build / "report.json").read_text())
    assert {"repository-debian-12", "image-nginx", "image-etcd", "iso"} <= {
        each["name"] for each in report["artifacts"]
    }
    assert report["totals"]["saved_bytes"] > 0
    assert sum(group["bytes"] for group in report["space"]) == report["totals"]["unique_bytes"]
    assert report["packages"][0]["licences"]
    page = (build / "report.html").read_text()
    assert f"<dd>{fetch.size_text(report['totals']['unique_bytes'])}</dd>" in page
    assert report["product"]["git"] in page


def test_two_builds_are_identical(first: conftest.Checkout, second: conftest.Checkout) -> None:
    assert first.iso_digest() == second.iso_digest()
    for name in ("SHA256SUM", "SHA256SUM.asc"):
        assert (first.root / "_build" / name).read_bytes() == (second.root / "_build" / name).read_bytes()


def test_second_run_does_nothing_and_asks_nobody(first: conftest.Checkout) -> None:
    reports = [first.root / "_build/report.json", first.root / "_build/report.html"]
    written = [path.stat().st_mtime_ns for path in reports]
    before = first.iso.stat()
    printed = first.doit(**_DEAD_MIRRORS)
    assert [line for line in printed.splitlines() if line.startswith(". ")] == []
    after = first.iso.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [path.stat().st_mtime_ns for path in reports] == written


def test_offline_rebuild_from_the_store(first: conftest.Checkout) -> None:
    before = first.iso_digest()
    first.doit("clean")
    first.doit(OFFLINE="1", **_DEAD_MIRRORS)
    assert first.iso_digest() == before


def test_offline_without_the_store_names_what_is_missing(first: conftest.Checkout) -> None:
    done = first.run("./doit.sh", OFFLINE="1", STORE="../empty", BUILD_ROOT="../other")
    assert done.returncode == 1
    assert "libc6:amd64=" in done.stdout
    assert "OFFLINE" in done.stdout
    assert "Traceback" not in done.stdout


def test_clean_leaves_nothing_but_the_store(second: conftest.Checkout) -> None:
    shown = second.doit("clean", "-n")
    assert second.iso.exists()
    assert "metalk8s.iso" in shown
    second.doit("clean")
    left = second.run("git", "status", "--porcelain", "--ignored").stdout
    assert {line for line in left.splitlines() if "__pycache__" not in line} <= {"!! .doit.lock", "!! .venv/"}
    second.doit("-n", "4", OFFLINE="1")


def test_readme_commit_changes_no_image_and_no_repository(second: conftest.Checkout) -> None:
    parts = second.root / "_build/tree"
    before = {path.name: path.read_bytes() for path in parts.iterdir()}
    (second.root / "README.md").write_text("Other words.\n")
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    committed = second.run(
        "git", *author, "commit", "-qam", "docs: say it otherwise", GIT_COMMITTER_DATE="2030-01-01T00:00:00Z"
    )
    assert committed.returncode == 0, committed.stdout
    printed = second.doit()
    after = {path.name: path.read_bytes() for path in parts.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"product.json", "medium.json"}
    assert not re.search(r"^\. +(INDEX|IMAGE|PULL)", printed, re.MULTILINE)
    second.run("git", "reset", "-q", "--hard", "HEAD~1")
    second.doit()


def test_release_tarball_builds_the_same(first: conftest.Checkout, tmp_path: pathlib.Path) -> None:
    digest = first.iso_digest()
    first.doit("tarball")
    (tarball,) = (first.root / "_build").glob("metalk8s-*-source.tar.gz")
    tmp_path.chmod(0o777)
    subprocess.run(["tar", "-xzf", tarball, "-C", tmp_path], check=True)
    (root,) = tmp_path.iterdir()
    assert not (root / ".git").exists()
    shutil.copytree(first.root / ".venv", root / ".venv", symlinks=True)
    site = next((root / ".venv/lib").glob("python*/site-packages/buildchain.pth"))
    site.write_text(f"{root}\n{root}/static-container-registry\n")
    copy = conftest.Checkout(root, {**first.environment, "PYTHONDONTWRITEBYTECODE": "1"})
    copy.doit(OFFLINE="1")
    assert copy.iso_digest() == digest
    (root / "README.md").write_text("altered\n")
    copy.doit("populate_iso", OFFLINE="1")
    assert re.search(r"^GIT=[0-9a-f]{40}-dirty$", (root / "_build/root/product.txt").read_text(), re.MULTILINE)


def test_damaged_store_entry_is_found_and_healed(small: conftest.Small) -> None:
    checkout = small.checkout
    packages = json.loads((checkout.root / "distribution.lock.json").read_text())["packages"]
    content = next(package["digest"] for package in packages if package["name"] == "beta")
    hex_digest = content.removeprefix("sha256:")
    entry = pathlib.Path(checkout.environment["STORE"]) / "sha256" / hex_digest[:2] / hex_digest
    damaged = bytearray(entry.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    entry.chmod(0o644)
    entry.write_bytes(damaged)
    shutil.rmtree(checkout.root / "_build")
    done = checkout.run("./doit.sh")
    assert done.returncode == 1
    assert hex_digest in done.stdout
    checkout.doit()
    assert checkout.iso_digest() == small.digest


def test_lock_that_does_not_cover_the_intent_is_refused(second: conftest.Checkout) -> None:
    intent = second.root / "distribution.yaml"
    text = intent.read_text()
    intent.write_text(text.replace("      - xfsprogs\n", "      - xfsprogs\n      - zsh\n"))
    done = second.run("./doit.sh")
    intent.write_text(text)
    assert done.returncode == 1
    assert "repository debian-12: zsh is wanted but not locked" in done.stdout
    assert "./doit.sh lock" in done.stdout
    assert "Traceback" not in done.stdout


def test_release_refuses_the_development_key(second: conftest.Checkout) -> None:
    version = second.root / "VERSION"
    text = version.read_text()
    version.write_text(text.replace("-dev", ""))
    done = second.run("./doit.sh")
    version.write_text(text)
    assert done.returncode == 1
    assert "the published development key must not sign a release" in done.stdout


def test_mistake_in_a_file_is_a_sentence(second: conftest.Checkout) -> None:
    intent = second.root / "distribution.yaml"
    text = intent.read_text()
    intent.write_text(text + "unexpected: 1\n")
    done = second.run("./doit.sh", "list")
    intent.write_text(text)
    assert done.returncode == 1
    assert "distribution.yaml: 1 problem" in done.stdout
    assert "unexpected" in done.stdout
    assert "Traceback" not in done.stdout


def test_killed_build_goes_on(small: conftest.Small) -> None:
    """Killed at the start, among the makers, and at the end."""
    checkout = small.checkout
    for delay in (0.8, 1.6, 2.8, 5):
        shutil.rmtree(checkout.root / "_build", ignore_errors=True)
        process = subprocess.Popen(
            ["./doit.sh"],
            cwd=checkout.root,
            env=dict(checkout.environment),
            user=checkout.user,
            group=checkout.user,
            extra_groups=None if checkout.user is None else [],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        checkout.doit()
        assert checkout.iso_digest() == small.digest


def test_two_runs_at_once_are_refused(second: conftest.Checkout) -> None:
    with (second.root / ".doit.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = second.run("./doit.sh")
        looked = second.run("./doit.sh", "list")
    assert done.returncode == 1
    assert "another ./doit.sh runs in this checkout" in done.stdout
    assert looked.returncode == 0, looked.stdout
