"""JUnit XML, as Jenkins and GitLab read it: one test case per finding, per skipped check, and one that passed if none.

Source: the Jenkins xUnit plugin's junit-10.xsd. Attributes that hold a time or a host name are left out: the same
inventory gives the same octets.
"""

from __future__ import annotations

from html import escape

from dkconf.inventory.rules import RULES

from .report import Report


def junit(report: Report, strict: bool = False) -> str:
    """Return a JUnit report; a warning is a failure only where warnings count as errors."""
    cases = []
    failures = 0
    for finding in report.findings:
        failed = strict or finding.severity == "error"
        failures += failed
        place = f"{report.relative(finding.file)}:{finding.line}:{finding.column}"
        title = RULES[finding.rule].title
        name = _attribute(f"{finding.rule} {title}: {finding.path or place}")
        message = f"{place}: {finding.path}: {finding.message}".replace(": : ", ": ")
        body = _text(f"{message}\n{finding.fix}")
        if failed:
            inner = f"<failure type={_attribute(finding.rule)} message={_attribute(message)}>{body}</failure>"
        else:
            inner = f"<system-out>{body}</system-out>"
        cases.append(
            f"    <testcase classname={_attribute(report.relative(finding.file))} name={name}>{inner}</testcase>"
        )
    if not cases:
        cases.append(f'    <testcase classname={_attribute(report.relative(report.file))} name="inventory"/>')
    cases += [
        f'    <testcase classname="skipped" name={_attribute(s.name)}>'
        f"<skipped message={_attribute(s.reason)}/></testcase>"
        for s in report.skipped
    ]
    counts = f'tests="{len(cases)}" failures="{failures}" errors="0"'
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n  <testsuite name="dkconf" {counts} '
    return f'{head}skipped="{len(report.skipped)}">\n' + "\n".join(cases) + "\n  </testsuite>\n</testsuites>\n"


def _allowed(text: str) -> str:
    """Return the text with what XML 1.0 cannot hold replaced (section 2.2, Char)."""
    return "".join(
        c if c in "\t\n\r" or "\x20" <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" else "�"
        for c in text
    )


def _text(text: str) -> str:
    return escape(_allowed(text), quote=False).replace("\r", "&#13;")


def _attribute(text: str) -> str:
    # A parser turns a bare line end or tab in an attribute into a blank (XML 1.0 section 3.3.3).
    quoted = escape(_allowed(text), quote=True)
    return '"' + quoted.replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;") + '"'
