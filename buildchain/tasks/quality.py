"""Tasks for those who change the code: lint, format, documentation, tests, benchmarks, and what these need."""

import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

from buildchain import command, source
from buildchain.tasks import action, context

_PYTHON = ("buildchain", "static-container-registry", "salt", "packages", "tests", "dodo.py", "docs/conf.py")
_TYPED = ("buildchain", "static-container-registry/static_container_registry", "tests", "dodo.py")
_SALT_TYPED = ("--explicit-package-bases", "salt/_modules", "salt/_states", "salt/_pillar")
_SUITES = {
    # They are short and need nothing of each other: whoever is done takes over what another has yet to do.
    "unit": ("the unit tests: no root, no network", ["-n", "auto", "--dist", "worksteal", "tests/unit"]),
    "integration": (
        "the tests with real tools",
        # They wait more than they work: two at a time, on any machine, each file in one place, the longest first.
        [
            "-n",
            "2",
            "--dist",
            "loadfile",
            "--no-loadscope-reorder",
            "tests/integration",
            "static-container-registry/tests",
        ],
    ),
    "end_to_end": (
        "the tests that build, read and install from whole media",
        ["-n", "2", "--dist", "loadgroup", "tests/end_to_end"],
    ),
}
"""What each suite is, and what pytest is told."""


def task_lint() -> Iterator[action.Task]:
    """Run the linting tools."""
    yield {"name": None, "doc": "Run the linting tools."}
    here = context.load()
    python = sys.executable
    folders = [folder for folder in _PYTHON if (here.settings.root / folder).exists()]
    yield _check("python", "Run ruff on the Python code.", [python, "-m", "ruff", "check", *folders])
    yield _check(
        "format", "Check the format of the Python code.", [python, "-m", "ruff", "format", "--check", *folders]
    )
    yield _check("types", "Check the types of the Python code.", [python, "-m", "mypy", *_TYPED])
    yield _check("salt", "Check the types of Salt's modules.", [python, "-m", "mypy", *_SALT_TYPED])
    yield _check("shell", "Run shellcheck on the shell scripts.", ["shellcheck", *_shell_scripts(here.source)])
    yield _check("yaml", "Run yamllint on the YAML files.", [python, "-m", "yamllint", "--strict", *_yaml(here.source)])


def task_format() -> action.Task:
    """Format the Python code."""
    argv = [sys.executable, "-m", "ruff", "format", *_PYTHON]
    return {"title": action.title("FORMAT", "Python"), "actions": [action.run(_call, argv)], "verbosity": 2}


def task_documentation() -> action.Task:
    """Build the documentation as HTML; a warning is an error."""
    here = context.load()
    html = here.build_root / "documentation"
    argv = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-b", "html", "docs", str(html)]
    return {
        "title": action.title("DOC HTML", html),
        "actions": [action.run(_call, argv)],
        "task_dep": ["_build_root"],
        "clean": action.removal(html),
        "verbosity": 2,
    }


def task_deps() -> action.Task:
    """Tell what the full tests need and this machine lacks; deps --install installs it."""
    return {
        "title": action.title("DEPS", "requirements/debian.txt"),
        "actions": [action.run(_deps)],
        "params": [{"name": "install", "long": "install", "type": bool, "default": False, "help": "install it"}],
        "uptodate": [False],
        "verbosity": 2,
    }


def task_test() -> Iterator[action.Task]:
    """Lint, build the documentation, and run all tests."""
    yield {
        "name": None,
        "doc": "Lint, build the documentation, and run all tests.",
        "task_dep": ["_test_tools", "lint", "documentation"],
    }
    for suite, (doc, arguments) in _SUITES.items():
        yield {
            "name": suite,
            "doc": f"Run {doc}.",
            "title": action.title("TEST", suite),
            "actions": [action.run(_call, [sys.executable, "-m", "pytest", "--quiet", *arguments])],
            "task_dep": ["_test_tools"],
            "uptodate": [False],
            "verbosity": 2,
        }


def task__test_vm() -> Iterator[action.Task]:
    """Run the test in an emulated computer, which is no part of `test`."""
    shown = ["--verbose", "--capture=no", "--durations=0", "--durations-min=1"]
    yield {
        "basename": "test:vm",
        "doc": "Install a node from the ISO on an emulated computer; the full tests leave it out.",
        "title": action.title("TEST", "vm"),
        "actions": [action.run(_call, [sys.executable, "-m", "pytest", *shown, "tests/vm"])],
        "task_dep": ["iso"],
        "uptodate": [False],
        "verbosity": 2,
    }


def task__test_tools() -> action.Task:
    """With CI=true or TEST_INSTALL=1, install what the full tests need; otherwise list what will be left out."""
    return {
        "title": action.title("DEPS", "requirements/debian.txt"),
        "actions": [action.run(_deps_for_tests)],
        "uptodate": [False],
        "verbosity": 2,
    }


def task_bench() -> action.Task:
    """Measure speed and memory against other tools, side by side in one run."""
    return {
        "title": action.title("BENCH", "tests/bench"),
        "actions": [action.run(_call, [sys.executable, "-m", "tests.bench"])],
        "uptodate": [False],
        "verbosity": 2,
    }


def _check(name: str, doc: str, argv: Sequence[str]) -> action.Task:
    return {
        "name": name,
        "doc": doc,
        "title": action.title("LINT", name),
        "actions": [action.run(_call, argv)],
        "uptodate": [False],
        "verbosity": 2,
    }


def _call(argv: Sequence[str]) -> None:
    """Run a tool; a missing one is left out by hand, and an error in CI."""
    if command.is_installed(argv[0]) or _is_ci():
        command.call(argv)
    else:
        sys.stdout.write(f"   left out: {argv[0]} is not installed (./doit.sh deps)\n")


def _deps(install: bool) -> None:
    missing = missing_packages(pathlib.Path("requirements/debian.txt").read_text())
    if not missing:
        sys.stdout.write("   nothing is missing\n")
        return
    argv = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.getuid() != 0:
        argv.insert(0, "sudo")
    if install:
        _install(argv)
    else:
        lines = [f"   {package}: {', '.join(programs)}" for package, programs in missing.items()]
        sys.stdout.write("\n".join(["   missing", *lines, f"   install with: {' '.join(argv)}", ""]))


def _deps_for_tests() -> None:
    _deps(install=_is_ci() or os.environ.get("TEST_INSTALL") == "1")


def _install(argv: Sequence[str]) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    command.call([*argv[: argv.index("install")], "update", "--quiet"], environment=quiet)
    # Services of the packages (nginx, containerd) are not wanted, only their programs.
    command.call([*argv, "--quiet"], environment={**quiet, "RUNLEVEL": "1"})


def missing_packages(table: str) -> Mapping[str, list[str]]:
    """The packages of the table whose programs are not all installed, with the missing programs."""
    found = {}
    for line in table.splitlines():
        if line and not line.startswith("#"):
            package, programs = line.split()[:2]
            missing = [program for program in programs.split(",") if not command.is_installed(program)]
            if missing:
                found[package] = missing
    return found


def _is_ci() -> bool:
    return os.environ.get("CI") == "true"


def _shell_scripts(origin: source.Source) -> list[str]:
    return [path for path in origin.files if path.endswith((".sh", ".sh.in")) or path == ".ci/run"]


def _yaml(origin: source.Source) -> list[str]:
    return [path for path in origin.files if path.endswith((".yaml", ".yml"))]
