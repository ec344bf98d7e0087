"""Rules about `registry-config.inc.j2`: the one text of a Solution that all images depend on."""

import functools
import importlib.util
import pathlib
import re
import tempfile
import types

from buildchain import command, errors
from buildchain.lint import findings, subject
from buildchain.solution import shipped
from buildchain.verify import images, medium, nginx, solution
from buildchain.verify import registry as judge

PATH = solution.CONFIG_PATH
_WRONG_NAME = "registry-config.inc"
_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}|\{[%#].*?[%#]\}", re.DOTALL)
_RULES = {
    "syntax": "registry-config-syntax",
    "directive": "registry-config-directive",
    "folder": "registry-config-root",
    "name": "registry-config-reach",
    "variable": "registry-config-reach",
}
"""By what a problem is about, as the node's own code says it."""
_MAIN = """\
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen unix:{folder}/socket; set $registry_root /; include {folder}/registry.inc; }}
}}
"""


def check(of: subject.Subject, identifier: str, found: findings.Findings, *, with_nginx: bool) -> None:
    """Check the template as text, then what the node says to it, then what it would answer once it is filled in.

    Arguments:
        identifier: NAME-VERSION.
    """
    if not of.contents.has_file(PATH):
        if of.contents.has_file(_WRONG_NAME):
            found.add("registry-config-name", _WRONG_NAME, f"is not called {PATH}")
        else:
            found.add("registry-config-missing", PATH, "is not there")
        return
    try:
        template = of.contents.read(PATH)
    except medium.DamagedError as error:
        found.add("registry-config-syntax", PATH, str(error))
        return
    text = template.decode("utf-8", "replace")
    _check_placeholders(text, found)
    is_accepted = _is_accepted_by_node(text, identifier, found)
    _check_constants(template, found, is_accepted=is_accepted)
    if is_accepted and with_nginx:
        # Not before: nginx would open what a directive names, right here.
        _check_with_nginx(solution.fill_in(template), found)
    _check_answers(of, found)


def _check_placeholders(text: str, found: findings.Findings) -> None:
    names = set()
    for match in _PLACEHOLDER.finditer(text):
        names.add(match[1])
        if match[1] not in ("repository", "registry_root"):
            line = text.count("\n", 0, match.start()) + 1
            found.add("registry-config-placeholder", PATH, f"{match[0]!r} would not be filled in", line)
    if "repository" not in names:
        found.add("registry-config-prefix", PATH, "has no {{ repository }}")
    if "registry_root" not in names:
        found.add("registry-config-root", PATH, "has no {{ registry_root }}")


def _check_constants(template: bytes, found: findings.Findings, *, is_accepted: bool) -> None:
    try:
        config = nginx.parse(solution.fill_in(template))
    except medium.DamagedError as error:
        if is_accepted:
            found.add("registry-config-syntax", PATH, str(error))
        return
    text = template.decode("utf-8", "replace")
    for each in config.block:
        if each.words[0] == "location" and each.words[-1] in ("/v2", "/v2/", "/v2/_catalog", "@404_tag"):
            where = " ".join(each.words)
            found.add("registry-config-constants", PATH, f"has the constant `{where}`", _line_of(text, where))


def _line_of(text: str, words: str) -> int:
    before, hit, _ = text.partition(words)
    return before.count("\n") + 1 if hit else 0


def _is_accepted_by_node(template: str, identifier: str, found: findings.Findings) -> bool:
    """Ask the code that the bootstrap node asks at import."""
    answer = _node().render(template, identifier, f"/srv/scality/{identifier}/images")
    for row in answer["problems"]:
        found.add(_RULES[row["about"]], PATH, row["what"], row["line"])
    return not answer["problems"]


@functools.cache
def _node() -> types.ModuleType:
    path = shipped.node_modules() / "metalk8s_registry.py"
    spec = importlib.util.spec_from_file_location("metalk8s_registry", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _check_with_nginx(filled: bytes, found: findings.Findings) -> None:
    # In /tmp whatever TMPDIR says: a socket's path has less than 108 characters, and nginx -t binds it.
    with tempfile.TemporaryDirectory(prefix="nginx-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        (folder / "registry.inc").write_bytes(filled)
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder))
        try:
            command.run(["nginx", "-t", "-q", "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"])
        except errors.ToolError as error:
            lines = [line for line in error.output.splitlines() if "[emerg]" in line] or [error.why]
            message, _, line = lines[0].replace(str(folder), "").partition("registry.inc:")
            found.add("registry-config-syntax", PATH, f"nginx: {message}".rstrip(" in/"), int(line or 0))


def _check_answers(of: subject.Subject, found: findings.Findings) -> None:
    understood, _, _ = images.judge(of.contents)
    for fault in judge.judge_solution(of.contents, understood):
        is_extra = fault.what.startswith("names ")
        is_syntax = not is_extra and not fault.what.startswith(("does not", "serves", "lists"))
        if not is_syntax:
            found.add("registry-config-extra" if is_extra else "registry-config-image", PATH, fault.what)
