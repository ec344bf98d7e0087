"""Rules about `registry-config.inc.j2`: the one text of a Solution that all images depend on."""

import pathlib
import re
import tempfile
from collections.abc import Iterator

from buildchain import command, errors
from buildchain.lint import findings, subject
from buildchain.verify import images, medium, nginx, solution
from buildchain.verify import registry as judge

PATH = solution.CONFIG_PATH
_WRONG_NAME = "registry-config.inc"
_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}|\{[%#].*?[%#]\}", re.DOTALL)
_HARMLESS = {
    "add_header",
    "alias",
    "charset",
    "client_max_body_size",
    "default_type",
    "deny",
    "error_page",
    "etag",
    "expires",
    "gzip",
    "gzip_static",
    "if",
    "if_modified_since",
    "internal",
    "limit_except",
    "location",
    "log_not_found",
    "max_ranges",
    "return",
    "rewrite",
    "root",
    "sendfile",
    "set",
    "tcp_nopush",
    "try_files",
    "types",
    "uninitialized_variable_warn",
}
"""What a registry of files is made of. Anything else could open a file, a port or another host in the pod that serves
every image of the cluster; `nginx -t` would open it right here."""
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


def check(of: subject.Subject, found: findings.Findings, *, with_nginx: bool) -> None:
    """Check the template as text, then what it would answer once it is filled in."""
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
    _check_placeholders(template.decode("utf-8", "replace"), found)
    filled = solution.fill_in(template)
    if _check_directives(filled, found) and with_nginx:
        _check_with_nginx(filled, found)
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


def _check_directives(filled: bytes, found: findings.Findings) -> bool:
    """Check what nginx would be told to do; whether it may be asked what it thinks of it."""
    try:
        config = nginx.parse(filled)
    except medium.DamagedError as error:
        found.add("registry-config-syntax", PATH, str(error))
        return False
    text = filled.decode("utf-8", "replace")
    for each in config.block:
        if each.words[0] == "location" and each.words[-1] in ("/v2", "/v2/", "/v2/_catalog", "@404_tag"):
            where = " ".join(each.words)
            found.add("registry-config-constants", PATH, f"has the constant `{where}`", _line_of(text, where))
    strange = [each for each in _directives(config) if each.words[0] not in _HARMLESS]
    for each in strange:
        found.add("registry-config-directive", PATH, f"has `{each.words[0]}`", _line_of(text, each.words[0]))
    for each in _directives(config):
        if each.words[0] in ("alias", "root") and not each.words[-1].startswith("$registry_root"):
            found.add("registry-config-root", PATH, f"serves {each.words[-1]}", _line_of(text, each.words[-1]))
    return not strange


def _directives(block: nginx.Directive) -> Iterator[nginx.Directive]:
    """Every directive, but not the lines of a list of types."""
    for each in block.block:
        yield each
        if each.words[0] != "types":
            yield from _directives(each)


def _line_of(text: str, words: str) -> int:
    before, hit, _ = text.partition(words)
    return before.count("\n") + 1 if hit else 0


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
