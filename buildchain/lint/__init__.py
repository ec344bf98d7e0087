"""Find every mistake of a Solution before its customers do: in a project, a staged tree or an ISO.

    path ──subject──▶ Subject ──rules (manifest, images, registry, crds, roles, files, archive)──▶ Findings ──output──▶

Everything that is wrong is found at once, each with its file, line, rule and how to mend it. The media are read by the
judge's own readers (`verify`), so nothing that the makers believe is taken for granted.
"""

import pathlib
from collections.abc import Sequence

from buildchain.lint import (
    archive,
    crds,
    declared,
    files,
    findings,
    images,
    manifest,
    output,
    project,
    registry,
    subject,
)
from buildchain.lint import roles as role_rules

Finding = findings.Finding
Severity = findings.Severity
FORMATS = output.FORMATS
rules = findings.rules


def check(path: pathlib.Path, *, with_nginx: bool = False) -> tuple[Finding, ...]:
    """Everything that is wrong, by file and line.

    Arguments:
        path:       a project's folder, a staged or mounted tree, or an ISO.
        with_nginx: ask the nginx of this host about the registry's configuration, too.

    Raises:
        BuildchainError: the path cannot be read.
    """
    found = findings.Findings()
    of = subject.open_path(path, found)
    if of.kind is subject.Kind.PROJECT:
        _check_project(of, found)
    elif of.kind is subject.Kind.TREE or archive.check_format(of, found):
        _check_medium(of, found, with_nginx=with_nginx)
    return found.sorted()


def has_errors(found: Sequence[Finding]) -> bool:
    """Whether MetalK8s would refuse it or break."""
    return any(each.rule.severity is Severity.ERROR for each in found)


def _check_project(of: subject.Subject, found: findings.Findings) -> None:
    said = project.load(of.path, found)
    if said:
        declared.check(said, found)
    _check_operator(of, said, found)


def _check_operator(of: subject.Subject, said: declared.Declared | None, found: findings.Findings) -> None:
    definitions = crds.check(of, found)
    role_rules.check(of, definitions, found)
    files.check(of, said, found)
    if said:
        crds.check_groups(said, definitions, found)


def _check_medium(of: subject.Subject, found: findings.Findings, *, with_nginx: bool) -> None:
    said = manifest.load(of, found)
    present = images.check(of, found)
    registry.check(of, said.id if said else "solution", found, with_nginx=with_nginx)
    if said:
        declared.check(said, found)
        declared.check_annotations(said, found)
        manifest.check_images(said, (str(each) for each in present), found)
        _check_parts(of, said, present, found)
    _check_operator(of, said, found)
    archive.check_seal(of, found)
    if of.kind is subject.Kind.ISO:
        archive.check(of, said, found)
    images.size(of, found)


def _check_parts(
    of: subject.Subject, said: declared.Declared, present: list[images.Image], found: findings.Findings
) -> None:
    by_name = {str(each): each for each in present}
    operator = by_name.get(str(said.operator.value))
    if operator and isinstance(said.name.value, str):
        images.check_program(of, operator, f"{said.name.value}-operator", found)
    if said.ui and (ui := by_name.get(str(said.ui.value))):
        images.check_ports(ui, found)
