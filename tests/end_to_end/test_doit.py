"""The command line that developers and CI jobs know: doit's, under the name ./doit.sh."""

import json
import pathlib
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.end_to_end import conftest

_DEAD = {
    "DEBIAN_MIRROR": "http://127.0.0.1:9/debian",
    "DOCKER_HOST": "unix:///nonexistent",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "NO_PROXY": "",
}
"""No network, no daemon."""

_TASKS = {
    "bench", "deps", "documentation", "format", "images", "iso", "lint", "lock", "packaging", "populate_iso",
    "prove", "prune", "store", "tarball", "test", "verify",
}  # fmt: skip


@pytest.fixture
def built(small: conftest.Small) -> Iterator[conftest.Checkout]:
    """Everything is built, before and after."""
    small.checkout.doit()
    yield small.checkout
    small.checkout.run("git", "checkout", "--quiet", "--", ".")


def _names(listed: str) -> set[str]:
    return {line.split()[0] for line in listed.splitlines()}


def test_list(built: conftest.Checkout) -> None:
    listed = built.doit("list", **_DEAD)
    assert _names(listed) >= _TASKS
    assert all(re.fullmatch(r"\S+ +\S.*", line) for line in listed.splitlines())
    # `test:vm` is no part of `test`, which would run it, so it stands for itself.
    assert not any(name.startswith("_") or ":" in name for name in _names(listed) - {"test:vm"})


def test_list_all_private(built: conftest.Checkout) -> None:
    names = _names(built.doit("list", "--all", "--private", **_DEAD))
    assert names >= {*_TASKS, "_pull", "_iso_build", "images:tool", "packaging:small", "lint:python"}


@pytest.mark.parametrize("lock", [None, "garbage", '{"format": 1, "indexes": [], "sets": [], "packages": []}'])
def test_list_needs_no_lock(built: conftest.Checkout, lock: str | None) -> None:
    path = built.root / "distribution.lock.json"
    path.unlink() if lock is None else path.write_text(lock)
    assert _names(built.doit("list", "--all", **_DEAD)) >= {*_TASKS, "images:tool"}


def test_info(built: conftest.Checkout) -> None:
    said = built.doit("info", "packaging:small", **_DEAD)
    assert "Index the repository small." in said
    assert "up-to-date" in said
    assert "_build/tree/repository-small.json" in said


def test_clean_of_one_task(built: conftest.Checkout) -> None:
    image = built.root / "_build/tree/image-tool.json"
    shown = built.doit("clean", "-n", "images", **_DEAD)
    assert f"removing {image}" in shown
    assert image.exists()
    built.doit("clean", "images", **_DEAD)
    assert not image.exists()
    assert (built.root / "_build/tree/repository-small.json").exists()
    assert built.iso.exists()


def test_clean_needs_no_lock(built: conftest.Checkout) -> None:
    (built.root / "distribution.lock.json").unlink()
    built.doit("clean", **_DEAD)
    assert not (built.root / "_build").exists()
    assert not (built.root / "build.log").exists()
    assert not (built.root / ".doit.db").exists()


def test_prefixes(built: conftest.Checkout) -> None:
    """`.` runs, `--` is up to date, `!!` is ignored; all with a verb and a path, aligned."""
    (built.root / "_build/tree/repository-small.json").unlink()
    built.doit("ignore", "images:tool")
    try:
        said = built.doit("packaging", "images")
    finally:
        built.doit("forget", "images:tool")
    assert re.search(r"^\.  INDEX DEB      _build/root/packages/debian/metalk8s-small$", said, re.MULTILINE)
    assert re.search(r"^-- PULL           packages$", said, re.MULTILINE)
    assert re.search(r"^!! IMAGE          _build/root/images/tool/1\.0$", said, re.MULTILINE)
    assert all(re.fullmatch(r"(\. |--|!!) [A-Z0-9_ ]{14} \S.*", line) for line in said.splitlines()), said


@pytest.mark.parametrize("pattern", ["images:*", "images:to*", "im*"])
def test_wildcards(built: conftest.Checkout, pattern: str) -> None:
    (built.root / "_build/tree/image-tool.json").unlink()
    said = built.doit(pattern)
    assert ".  IMAGE          _build/root/images/tool/1.0" in said
    assert "INDEX" not in said


def test_json_reporter(built: conftest.Checkout) -> None:
    """Standard output holds JSON and nothing else, also while files are pulled; the files are there as ever."""
    report = built.root / "_build/report.json"
    for path in (report, built.root / "build.log"):
        path.unlink()
    (built.root / "_build/SHA256SUM").unlink()
    done = subprocess.run(
        ["./doit.sh", "--reporter", "json"],
        cwd=built.root,
        env={**built.environment, "STORE": f"{built.root.parent}/other"},
        user=built.user,
        group=built.user,
        extra_groups=None if built.user is None else [],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    value = json.loads(done.stdout)
    results = {task["name"]: task["result"] for task in value["tasks"]}
    assert results["_pull"] == "success"
    assert results["_iso_digest"] == "success"
    assert {"name", "result", "out", "err", "error", "started", "elapsed"} <= value["tasks"][0].keys()
    pulled = next(task for task in value["tasks"] if task["name"] == "_pull")
    assert "4 files to pull" in pulled["out"]
    assert json.loads((built.root / "build.log").read_text()) == value
    assert report.exists()


def test_json_reporter_tells_a_failure(built: conftest.Checkout) -> None:
    intent = built.root / "distribution.yaml"
    intent.write_text(intent.read_text().replace('{tag: "1.0"}', '{tag: "2.0", follows: alpha}'))
    done = built.run("./doit.sh", "--reporter", "json", "images")
    assert done.returncode == 1
    (failed,) = [task for task in json.loads(done.stdout)["tasks"] if task["result"] == "fail"]
    assert failed["name"] == "images:tool"
    assert "its tag is 2.0" in failed["error"]


def test_build_log(built: conftest.Checkout) -> None:
    before = time.time()
    (built.root / "_build/tree/image-tool.json").unlink()
    built.doit("images")
    tasks = {task["name"]: task for task in json.loads((built.root / "build.log").read_text())["tasks"]}
    assert tasks["_pull"]["result"] == "up-to-date"
    assert tasks["images:tool"]["result"] == "success"
    assert tasks["images:tool"]["started"] >= before
    assert tasks["images:tool"]["elapsed"] > 0


def test_completion_for_bash(built: conftest.Checkout) -> None:
    script = built.doit("tabcompletion", **_DEAD)
    (built.root.parent / "complete").write_text(script)
    # What bash-completion gives, in two lines.
    given = '_get_comp_words_by_ref() { cur=$2w; cword=1; words=("${COMP_WORDS[@]}"); cur=${COMP_WORDS[1]}; prev=; }\n'
    ask = f'{given} . "{built.root.parent}/complete"; COMP_WORDS=(./doit.sh pop); _doit.sh; echo "${{COMPREPLY[@]}}"'
    assert built.run("bash", "-c", ask).stdout == "populate_iso\n"
    assert re.search(r"^complete .* doit\.sh$", script, re.MULTILINE)


def test_completion_for_zsh(built: conftest.Checkout) -> None:
    script = built.doit("tabcompletion", "--shell", "zsh", **_DEAD)
    assert script.startswith("#compdef doit.sh\n")
    assert "$(${words[1]} list" in script
    assert "__main__" not in script


def test_listing_into_a_closed_pipe(built: conftest.Checkout) -> None:
    for command in ("list --all --private", "clean -n", "tabcompletion"):
        done = built.run("sh", "-c", f"./doit.sh {command} | head -n 1")
        assert "Traceback" not in done.stdout
        assert len(done.stdout.splitlines()) == 1


def test_verify_builds_first(built: conftest.Checkout) -> None:
    built.doit("clean")
    said = built.doit("verify")
    assert "development key" in said
    assert ".  MKISOFS" in said


def test_everything_can_run_in_threads(built: conftest.Checkout, small: conftest.Small) -> None:
    built.doit("clean")
    built.doit("-n", "4")
    assert built.iso_digest() == small.digest


def test_prune_keeps_what_a_build_needs(built: conftest.Checkout) -> None:
    shelf = pathlib.Path(built.environment["STORE"])
    built.doit("prune")
    kept = _files(shelf)
    left = shelf / f"sha256/00/{'0' * 64}"
    assert built.run("sh", "-c", f"mkdir -p {left.parent} && printf 'left over' >{left}").returncode == 0
    assert "   9 B would be freed\n" in built.doit("prune", "--dry-run")
    assert left.exists()
    assert "   9 B freed\n" in built.doit("prune")
    assert _files(shelf) == kept
    assert _is_up_to_date(built.doit())


def test_prune_wants_a_lock_that_covers_the_intent(built: conftest.Checkout) -> None:
    intent = built.root / "distribution.yaml"
    text = intent.read_text()
    kept = _files(pathlib.Path(built.environment["STORE"]))
    try:
        intent.write_text(text.replace("heavy]", "gamma]"))
        done = built.run("./doit.sh", "prune")
    finally:
        intent.write_text(text)
    assert done.returncode == 1
    assert "gamma" in done.stdout
    assert "./doit.sh lock" in done.stdout
    assert _files(pathlib.Path(built.environment["STORE"])) == kept


def _files(folder: pathlib.Path) -> set[pathlib.Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def _is_up_to_date(output: str) -> bool:
    return not [line for line in output.splitlines() if line.startswith(".  ")]
