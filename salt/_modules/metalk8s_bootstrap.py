"""The file bootstrap.yaml of this host: whether it is whole and true, and changes of the archives that it names."""

import pathlib
import typing
from collections.abc import Callable

import yaml
from salt.exceptions import CommandExecutionError

__salt__: dict[str, Callable[..., typing.Any]]
__pillar__: dict[str, typing.Any]


def minion() -> str:
    """The name of the bootstrap node's minion, if bootstrap.yaml says what it must; all that is wrong at once.

    CLI Example::

        salt-call --local metalk8s_bootstrap.minion
    """
    found: list[str] = __pillar__.get("_errors", [])
    if found:
        # Salt adds words of its own before the first problem.
        problems = [problem for error in found for problem in error.split("; ")]
        raise CommandExecutionError("\n".join(problem[problem.find("/") :] for problem in problems))
    return str(__pillar__["metalk8s"]["ca"]["minion"])


def check(medium: str) -> str:
    """Hold the configuration against this host; all that is wrong at once.

    Arguments:
        medium: the folder of the medium that is being installed, which must be one of the archives.

    CLI Example::

        salt-call --local metalk8s_bootstrap.check /srv/scality/metalk8s-2.5.1
    """
    problems: list[str] = []
    _ask(problems, "metalk8s_network.control_plane_ip")
    if _ask(problems, "metalk8s_archives.known") is not None:
        version = _ask(problems, "metalk8s_archives.info", medium)
        if version is not None:
            _ask(problems, "metalk8s_archives.location", version["version"])
        _ask(problems, "metalk8s_solutions.complete")
    if problems:
        raise CommandExecutionError("\n".join(problems))
    return "good"


def add_archive(file: str, path: str) -> None:
    """Name one more archive in a file like bootstrap.yaml; one that is there already is left.

    CLI Example::

        salt-call --local metalk8s_bootstrap.add_archive /etc/metalk8s/bootstrap.yaml /root/metalk8s.iso
    """
    text, found = _archives(file)
    if path not in found:
        _replace(file, text, [*found, path])


def remove_archive(file: str, path: str) -> None:
    """Name one archive less, also if it is not there any more.

    CLI Example::

        salt-call --local metalk8s_bootstrap.remove_archive /etc/metalk8s/bootstrap.yaml /root/metalk8s.iso
    """
    text, found = _archives(file)
    if path not in found:
        raise CommandExecutionError(f"{file}: archives: {path} is not among {', '.join(found) or 'them'}")
    _replace(file, text, [each for each in found if each != path])


def _archives(file: str) -> tuple[str, list[str]]:
    try:
        text = pathlib.Path(file).read_text()
        value = yaml.safe_load(text)["archives"]
        return text, [value] if isinstance(value, str) else [str(each) for each in value]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"{file}: has no list of archives that can be read: {error}") from error


def _replace(file: str, text: str, archives: list[str]) -> None:
    """Write another list of archives; all other text, comments too, stays as the operator wrote it."""
    lines = "".join(f"\n  - {path}" for path in archives) or " []"
    document = yaml.compose(text)
    for key, value in document.value if document else ():
        if key.value == "archives":
            # The end of a list in lines is the next key, beyond comments.
            is_in_lines = isinstance(value, yaml.SequenceNode) and not value.flow_style
            last = value.value[-1] if is_in_lines else value
            before, after = text[: key.end_mark.index], text[last.end_mark.index :]
            pathlib.Path(file).write_text(f"{before}:{lines}\n{after.removeprefix(chr(10))}")


def _ask(problems: list[str], function: str, *arguments: str) -> typing.Any:
    """What a function says, or None if that is a problem."""
    try:
        return __salt__[function](*arguments)
    except CommandExecutionError as error:
        problems += str(error).split("; ")
        return None
