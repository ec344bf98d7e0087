"""Programs run in a fixed environment, and whatever goes wrong with them is one sentence."""

import os
import pathlib
import signal
import sys

import pytest

from buildchain import command, errors


def _python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_standard_input_goes_in_and_output_comes_back() -> None:
    assert command.run(["cat"], stdin=b"a\0b\xff") == b"a\0b\xff"
    assert command.run(["cat"]) == b""


def test_the_environment_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "LANG": "de_DE",
        "LC_ALL": "de_DE",
        "TZ": "Asia/Kolkata",
        "GIT_DIR": "/x",
        "HOME": "/h",
    }.items():
        monkeypatch.setenv(name, value)
    lines = set(command.run(["env"], environment={"MORE": "1"}).decode().splitlines())
    assert {"LC_ALL=C.UTF-8", "TZ=UTC", "MORE=1", "HOME=/h", f"PATH={os.environ['PATH']}"} <= lines
    assert not any(line.startswith(("LANG=", "GIT_DIR=")) for line in lines)


def test_a_failure_shows_what_was_run_and_what_it_said() -> None:
    with pytest.raises(errors.ToolError) as caught:
        command.run(_python("import sys; sys.stderr.write('no such thing\\n'); sys.exit(3)"), hint="Try another.")
    assert caught.value.exit_code == 3
    assert f"failed with exit code 3: {sys.executable} -c" in str(caught.value)
    assert str(caught.value).endswith("no such thing\nTry another.")


def test_both_outputs_explain_a_failure_the_error_last() -> None:
    with pytest.raises(errors.ToolError) as caught:
        command.run(_python("import sys; sys.stderr.write('E: broken\\n'); print('a depends on b'); sys.exit(1)"))
    assert caught.value.output == "a depends on b\nE: broken\n"


def test_a_program_that_is_killed() -> None:
    with pytest.raises(errors.ToolError, match="was ended by signal 9"):
        command.run(_python(f"import os; os.kill(os.getpid(), {signal.SIGKILL:d})"))


def test_a_program_that_is_not_installed() -> None:
    with pytest.raises(errors.ToolError) as caught:
        command.run(["no-such-program"])
    assert str(caught.value).startswith("no-such-program: not found on this machine\nInstall no-such-program, or run")
    with pytest.raises(errors.ToolError, match="not found on this machine\nOwn hint"):
        command.call(["no-such-program"], hint="Own hint")
    assert not command.is_installed("no-such-program")
    assert command.is_installed("cat")
    assert command.is_installed("/bin/ca*")
    assert not command.is_installed("/bin/no-such-*")


def test_a_program_that_cannot_be_started(tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\0not a program")
    broken.chmod(0o755)
    with pytest.raises(errors.ToolError, match="cannot be started: Exec format error"):
        command.run([broken])
    with pytest.raises(errors.ToolError, match="cannot be started: Argument list too long"):
        command.run(["cat", "x" * (1 << 20)])
    with pytest.raises(errors.ToolError, match=f"cannot be started: No such file or directory: .*{tmp_path}/gone"):
        command.run(["cat"], directory=tmp_path / "gone")


def test_call_hands_the_output_on(capfd: pytest.CaptureFixture[str]) -> None:
    command.call(["sh", "-c", 'echo "$GREETING"'], environment={"GREETING": "hello"})
    assert capfd.readouterr().out == "hello\n"
    with pytest.raises(errors.ToolError, match="failed with exit code 7"):
        command.call(["sh", "-c", "exit 7"])


def test_a_working_directory(tmp_path: pathlib.Path) -> None:
    assert command.run(["pwd", "-P"], directory=tmp_path).decode() == f"{tmp_path.resolve()}\n"
