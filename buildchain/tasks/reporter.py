"""What a run prints, and build.log: one readable line a task, one readable block a failure."""

import contextlib
import io
import json
import pathlib
import sys
import time
import typing

import doit.exceptions
import doit.reporter

from buildchain.tasks import context, report

LOG_NAME = "build.log"


class Reporter(doit.reporter.ConsoleReporter):  # type: ignore[misc]
    """doit's console reporter with failures printed once, times taken, and a log written at the end.

    Groups (tasks without actions) are not printed, private tasks are: they do the work.
    """

    desc = "aligned lines, and build.log"

    def __init__(self, outstream: typing.TextIO, options: dict[str, typing.Any]) -> None:
        super().__init__(outstream, options)
        self.rows: dict[str, dict[str, typing.Any]] = {}

    def execute_task(self, task: typing.Any) -> None:
        """A task starts."""
        self.rows[task.name] = {"started": time.time()}
        if task.actions:
            self.write(f".  {task.title()}\n")
            self.outstream.flush()

    def skip_uptodate(self, task: typing.Any) -> None:
        """A task has nothing to do."""
        self._finish(task, "up-to-date")
        if task.actions:
            self.write(f"-- {task.title()}\n")

    def skip_ignore(self, task: typing.Any) -> None:
        """A task is ignored on the user's wish."""
        self._finish(task, "ignore")
        if task.actions:
            self.write(f"!! {task.title()}\n")

    def add_success(self, task: typing.Any) -> None:
        """A task is done."""
        self._finish(task, "success")

    def add_failure(self, task: typing.Any, fail: doit.exceptions.BaseFail) -> None:
        """A task failed: a sentence for the user, or a traceback if it is a bug."""
        if not fail.report:
            return
        self._finish(task, "fail", error=fail.get_msg())
        self.failures.append({"task": task, "exception": fail})

    def complete_run(self) -> None:
        """Print all failures and write the log."""
        for failure in self.failures:
            self.write(f"\n{failure['task'].name} failed\n{failure['exception'].get_msg().rstrip()}\n")
            output = "".join(action.err or "" for action in failure["task"].actions)
            if output and failure["task"].verbosity < 1:
                self.write(output)
        for message in self.runtime_errors:
            self.write(f"{message}\n")
        if self.rows.get("_iso_digest", {}).get("result") == "success" and not self.failures:
            report.write(context.load(), self.rows)
        with contextlib.suppress(OSError):
            pathlib.Path(LOG_NAME).write_text(self.log())

    def log(self) -> str:
        """What was done, in the form of doit's own JSON reporter."""
        tasks = [{"name": name, **row} for name, row in self.rows.items() if "result" in row]
        value = {"tasks": tasks, "out": "", "err": "\n".join(self.runtime_errors)}
        return json.dumps(value, indent=1) + "\n"

    def _finish(self, task: typing.Any, result: str, error: str | None = None) -> None:
        row = self.rows.setdefault(task.name, {"started": None})
        started = row["started"]
        row["result"] = result
        row["is_group"] = not task.actions
        row["values"] = dict(task.values)
        row["elapsed"] = None if started is None else round(time.time() - started, 3)
        row["out"] = "".join(action.out or "" for action in task.actions)
        row["err"] = "".join(action.err or "" for action in task.actions)
        row["error"] = error


class JsonReporter(Reporter):
    """The log on standard output, and nothing else; files are written as ever."""

    desc = "the log on standard output, and build.log"

    def __init__(self, outstream: typing.TextIO, options: dict[str, typing.Any]) -> None:
        super().__init__(outstream, options)
        self._stdout = sys.stdout
        sys.stdout = io.StringIO()  # what tasks say stands in the log

    def write(self, text: str) -> None:
        """Say nothing."""

    def complete_run(self) -> None:
        """Print the log."""
        super().complete_run()
        sys.stdout = self._stdout
        self.outstream.write(self.log())
