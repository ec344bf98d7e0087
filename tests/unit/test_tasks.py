"""What the tasks share: the action wrapper, cleaning, fragments, and what the reporter prints."""

import contextlib
import dataclasses
import io
import json
import pathlib
import typing

import doit.exceptions
import doit.task
import pytest

from buildchain import builder, digest, errors, manifest, settings, store, tree
from buildchain.tasks import __main__ as program
from buildchain.tasks import action, context, fragment, quality, reporter, vagrant


def test_an_error_fails_the_task_and_a_bug_does_not_hide() -> None:
    def fail() -> None:
        raise errors.BuildchainError("this", "is wrong", "Do that.")

    def bug() -> None:
        raise ZeroDivisionError

    function, arguments = action.run(fail)
    ended = function(*arguments)
    assert isinstance(ended, doit.exceptions.TaskFailed)
    assert ended.get_msg().strip() == "this: is wrong\nDo that."
    function, arguments = action.run(bug)
    with pytest.raises(ZeroDivisionError):
        function(*arguments)


def test_title_is_aligned_and_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert action.title("MKDIR", tmp_path / "a/b")(None) == "MKDIR          a/b"
    assert action.title("PULL", "packages")(None) == "PULL           packages"


def test_removal(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_text("")
    (folder / "below").mkdir(parents=True)
    link.symlink_to(folder)
    (remove,) = action.removal(file, link, folder, tmp_path / "absent")
    remove(True)
    assert capsys.readouterr().out == f"removing {file}\nremoving {link}\nremoving {folder}\n"
    assert folder.exists()
    remove(False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_whole_or_not_at_all(tmp_path: pathlib.Path) -> None:
    action.write(tmp_path / "new/file", b"content")
    assert (tmp_path / "new/file").read_bytes() == b"content"
    (tmp_path / "taken").mkdir()
    with pytest.raises(errors.BuildchainError, match="taken: Is a directory"):
        action.write(tmp_path / "taken", b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "taken"]


class Here:
    """As much of a context as a fragment needs."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.store = store.Store(folder / "store")
        self.folder = folder

    def fragment(self, name: str) -> pathlib.Path:
        return self.folder / f"{name}.json"


def test_a_fragment_is_fresh_while_the_store_has_all_of_it(tmp_path: pathlib.Path) -> None:
    here = typing.cast(context.Context, Here(tmp_path))
    made = tree.build([tree.File("a", here.store.add_bytes(b"a")), tree.File("b", here.store.add_bytes(b"b"))])
    task = fragment.task(here, "part", lambda: made, identity=1, verb="MAKE", subject="part")
    (function, arguments) = task["actions"][0]
    saved = function(*arguments)
    assert saved == {"files": 2, "bytes": 2, "digest": str(digest.Digest.of_bytes(tree.dump(made)))}
    assert fragment.load(tmp_path / "part.json") == made
    assert fragment.is_held(here, tmp_path / "part.json")
    here.store.remove(digest.Digest.of_bytes(b"a"))
    assert not fragment.is_held(here, tmp_path / "part.json")
    (tmp_path / "part.json").write_text("[")
    assert not fragment.is_held(here, tmp_path / "part.json")


def test_what_a_task_is_made_of_is_told_in_words(tmp_path: pathlib.Path) -> None:
    """`info` prints it; recipes have whole files in them."""
    here = typing.cast(context.Context, Here(tmp_path))
    task = fragment.task(here, "part", tree.Tree, identity="x" * 10000, verb="MAKE", subject="part")
    assert all(len(repr(each)) < 200 for each in task["uptodate"])


class Task:
    """As much of a doit task as the reporter looks at."""

    def __init__(self, name: str, *, has_actions: bool = True) -> None:
        self.name = name
        self.actions = [type("Action", (), {"out": "out", "err": "err"})()] if has_actions else []
        self.values: dict[str, int] = {}
        self.verbosity = 2

    def title(self) -> str:
        return f"MAKE           {self.name}"


def test_reporter_prints_a_line_a_task_and_one_block_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = io.StringIO()
    told = reporter.Reporter(stream, {})
    done, fresh, ignored, group, broken = Task("a"), Task("b"), Task("c"), Task("d", has_actions=False), Task("e")
    told.execute_task(done)
    told.add_success(done)
    told.skip_uptodate(fresh)
    told.skip_ignore(ignored)
    told.execute_task(group)
    told.add_success(group)
    told.execute_task(broken)
    told.add_failure(broken, doit.exceptions.TaskFailed("what: why\nhint"))
    told.complete_run()
    assert stream.getvalue().splitlines() == [
        ".  MAKE           a",
        "-- MAKE           b",
        "!! MAKE           c",
        ".  MAKE           e",
        "",
        "e failed",
        "what: why",
        "hint",
    ]
    log = json.loads((tmp_path / "build.log").read_text())
    assert {row["name"]: row["result"] for row in log["tasks"]} == {
        "a": "success",
        "b": "up-to-date",
        "c": "ignore",
        "d": "success",
        "e": "fail",
    }


@pytest.mark.parametrize(
    ("words", "is_info", "unknown"),
    [
        (["iso", "_build_*:*/rpm"], False, None),
        (["_build_*:*/nothing"], False, "_build_*:*/nothing"),
        (["iso", "no*"], False, "no*"),
        (["lock", "python3*"], False, None),
        (["iso"], True, None),
        (["nothing"], True, "nothing"),
    ],
)
def test_a_word_that_stands_for_no_task_is_refused(words: list[str], is_info: bool, unknown: str | None) -> None:
    """doit itself does nothing for such a pattern, and ends well."""
    tasks = [doit.task.Task(name, None) for name in ("iso", "_build_rpm_packages:tree/rpm")]
    tasks.append(doit.task.Task("lock", None, pos_arg="names"))
    with pytest.raises(doit.exceptions.InvalidCommand) if unknown else contextlib.nullcontext() as caught:
        program.check_words(words, tasks, is_info=is_info)
    assert (caught.value.not_found if caught else None) == unknown


def test_recipes_are_held_against_the_intent() -> None:
    wanted = manifest.load(context.ROOT / manifest.FILE_NAME)
    salt = builder.recipe.load(context.ROOT / "packages", "salt", "1.0")
    made = {name: salt for each in wanted.repositories for name in each.builds}
    context.check_recipes(wanted, made)
    content = digest.Descriptor.of_bytes(b"")
    pulled = (builder.recipe.Pulled("a.tar", "other", "a.tar", content),)
    made["salt"] = dataclasses.replace(salt, families=("debian",), pulled=pulled)
    with pytest.raises(errors.ConfigError) as caught:
        context.check_recipes(wanted, made)
    assert caught.value.problems == (
        ("repositories.scality.builds", "packages/salt.yaml makes no package of the family redhat"),
        ("packages/salt.yaml, pulled.a.tar.archive", "no archive 'other'"),
    )


def test_missing_packages_are_told_by_program(monkeypatch: pytest.MonkeyPatch) -> None:
    table = "# comment\none  here,there  why\n\ntwo  gone,here  why\n"
    monkeypatch.setattr("buildchain.command.is_installed", lambda program: program != "gone")
    assert quality.missing_packages(table) == {"two": ["gone"]}


def test_docker_keeps_no_snapshots() -> None:
    wanted = settings.load(context.ROOT, {"VAGRANT_PROVIDER": "docker", "VAGRANT_BIN": "there-is-no-such-program"})
    vagrant._snapshot(wanted)
    with pytest.raises(errors.BuildchainError, match=r"docker keeps none[\s\S]*clean vagrant_up"):
        vagrant._restore(wanted)


def test_vagrant_is_given_the_arguments_of_the_user(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "vagrant"
    program.write_text(f'#!/bin/sh\necho "$VAGRANT_CWD" "$@" >>{tmp_path}/said\n')
    program.chmod(0o755)
    environment = {"VAGRANT_BIN": str(program), "VAGRANT_PROVIDER": "libvirt", "VAGRANT_SNAPSHOT_NAME": "before"}
    vagrant._snapshot(settings.load(context.ROOT, environment))
    said = (tmp_path / "said").read_text().splitlines()
    assert [line.partition(" ")[2] for line in said] == [
        "snapshot list bootstrap",
        "up --no-destroy-on-error --parallel --provider libvirt --no-provision bootstrap",
        "halt bootstrap",
        "snapshot save --force bootstrap before",
    ]


def test_clean_destroys_the_machines_of_the_checkout_if_there_are_any(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "vagrant"
    program.write_text(f'#!/bin/sh\necho "$VAGRANT_CWD" "$@" >>{tmp_path}/said\n')
    program.chmod(0o755)
    wanted = dataclasses.replace(settings.load(context.ROOT, {"VAGRANT_BIN": str(program)}), root=tmp_path)
    destroy = vagrant._destruction(wanted)
    destroy(False)
    machine = tmp_path / ".vagrant/machines/node1/libvirt/id"
    machine.parent.mkdir(parents=True)
    machine.touch()
    destroy(True)
    assert not (tmp_path / "said").exists()
    destroy(False)
    assert (tmp_path / "said").read_text() == f"{tmp_path} destroy --force\n"
