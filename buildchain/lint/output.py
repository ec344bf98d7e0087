"""Findings as text for people, and as JSON, SARIF and JUnit for programs."""

import json
import typing
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

from buildchain.lint import findings
from buildchain.verify import report

Findings = Sequence[findings.Finding]

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def text(found: Findings) -> str:
    """A line for each finding, how to mend each rule once, and a sum."""
    lines = []
    told: set[str] = set()
    for each in found:
        words = f"{each.place}: {each.rule.severity.value}: {each.message} [{each.rule.id}]"
        lines.append(report.printable(words))
        if each.rule.id not in told and each.rule.severity is not findings.Severity.NOTE:
            lines.append(f"    {each.rule.mend}")
        told.add(each.rule.id)
    counts = {severity: sum(each.rule.severity is severity for each in found) for severity in findings.Severity}
    total = ", ".join(f"{count} {severity.value}{'s' * (count != 1)}" for severity, count in counts.items())
    return "\n".join([*lines, total, ""])


def as_json(found: Findings) -> str:
    """A list of objects."""
    rows = [
        {
            "path": each.path,
            "line": each.line or None,
            "rule": each.rule.id,
            "severity": each.rule.severity.value,
            "message": each.message,
            "mend": each.rule.mend,
        }
        for each in found
    ]
    # ASCII alone: a file's name may be no Unicode, and a terminal obeys some characters.
    return json.dumps(rows, indent=1) + "\n"


def sarif(found: Findings) -> str:
    """SARIF 2.1.0, as code review sites read it."""
    used = sorted({each.rule.id: each.rule for each in found}.items())
    rules = [
        {
            "id": name,
            "shortDescription": {"text": rule.what},
            "fullDescription": {"text": rule.why},
            "help": {"text": rule.mend},
            "defaultConfiguration": {"level": rule.severity.value},
        }
        for name, rule in used
    ]
    driver = {"name": "buildchain solution lint", "rules": rules}
    runs = [{"tool": {"driver": driver}, "results": [_result(each) for each in found]}]
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": runs}, indent=1) + "\n"


def _result(each: findings.Finding) -> dict[str, typing.Any]:
    place: dict[str, typing.Any] = {"artifactLocation": {"uri": urllib.parse.quote(each.path, errors="surrogatepass")}}
    if each.line:
        place["region"] = {"startLine": each.line}
    return {
        "ruleId": each.rule.id,
        "level": each.rule.severity.value,
        "message": {"text": each.message},
        "locations": [{"physicalLocation": place}],
    }


def junit(found: Findings) -> str:
    """JUnit's XML: a test for each rule, failed by its findings."""
    rules = findings.rules()
    broken = {each.rule.id for each in found if each.rule.severity is findings.Severity.ERROR}
    suite = ET.Element("testsuite", name="solution lint", tests=str(len(rules)), failures=str(len(broken)))
    for name, rule in rules.items():
        case = ET.SubElement(suite, "testcase", classname="solution", name=name)
        lines = [report.printable(f"{each.place}: {each.message}") for each in found if each.rule is rule]
        if name in broken:
            # One for each test, as its readers count; the others stand in its text.
            failure = ET.SubElement(case, "failure", message=lines[0], type=name)
            failure.text = "\n".join([*lines, rule.mend])
        elif lines:
            ET.SubElement(case, "system-out").text = "\n".join(lines)
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: Mapping[str, Callable[[Findings], str]] = {"text": text, "json": as_json, "sarif": sarif, "junit": junit}
