"""GitHub's workflow commands and GitLab's Code Quality report.

Sources: GitHub docs, "Workflow commands for GitHub Actions" (escaping as in actions/toolkit: % CR LF in data, also
: and , in properties); GitLab docs, "Code Quality report format".
"""

from __future__ import annotations

import json

from dkconf.inventory.rules import RULES

from .report import Report, fingerprints

_GITLAB_SEVERITY = {"error": "critical", "warning": "minor"}


def github(report: Report, strict: bool = False) -> str:
    """Return one `::error` or `::warning` line per finding, a `::notice` per reason for skipping."""
    lines = []
    for finding in report.findings:
        command = "error" if strict else finding.severity
        properties = {"file": report.relative(finding.file)}
        if finding.line:
            properties |= {"line": str(finding.line), "col": str(finding.column)}
        rule = RULES.get(finding.rule)
        properties["title"] = f"{finding.rule} {rule.title}" if rule else finding.rule
        where = f"{finding.path}: " if finding.path else ""
        message = f"{where}{finding.message}; {finding.fix}" if finding.fix else f"{where}{finding.message}"
        shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        lines.append(f"::{command} {shown}::{_data(message)}")
    if report.skipped:
        names = ", ".join(s.name for s in report.skipped)
        lines.append(f"::notice title={_property(f'{len(report.skipped)} checks skipped')}::{_data(names)}")
    return "".join(f"{line}\n" for line in lines)


def _data(text: str) -> str:
    return _printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _printable(text: str) -> str:
    """Return the text with what a log cannot hold replaced: other controls, halves of surrogate pairs."""
    return "".join(c if c.isprintable() or c in "\r\n" else "�" for c in text)


def gitlab(report: Report, strict: bool = False) -> str:
    """Return a Code Quality report: an array, empty if all is well."""
    issues = [
        {
            "description": f"{f.path}: {f.message}; {f.fix}".removeprefix(": ").removesuffix("; "),
            "check_name": f.rule,
            "fingerprint": fingerprint,
            "severity": "critical" if strict else _GITLAB_SEVERITY[f.severity],
            "location": {"path": report.relative(f.file), "lines": {"begin": max(f.line, 1)}},
        }
        for f, fingerprint in zip(report.findings, fingerprints(report), strict=True)
    ]
    return json.dumps(issues, indent=2) + "\n"
