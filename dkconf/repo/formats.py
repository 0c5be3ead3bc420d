"""A report as text: for a person, or in the format of a pipeline.

`render(report, form)` is the one door. Every format is built so that no name in an inventory can break out of it:
each value goes through that format's own quoting, never into a template by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import groupby

from dkconf.inventory.findings import Finding

from .report import Report, as_report, fingerprints

RED, YELLOW, DIM, BOLD, PLAIN = "\x1b[1;31m", "\x1b[33m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


def by_environment(environ: Mapping[str, str] | None = None) -> str:
    """Return the format that suits where we run: github or gitlab in their pipelines, else text."""
    environ = os.environ if environ is None else environ
    if environ.get("GITHUB_ACTIONS") == "true":
        return "github"
    if environ.get("GITLAB_CI") == "true":
        return "gitlab"
    return "text"


def render(
    thing: Report | Sequence[Finding],
    form: str,
    *,
    colour: bool = False,
    excerpts: bool = False,
    strict: bool = False,
) -> str:
    """Return a report in one of the formats text, json, github, gitlab, sarif, junit; it ends in a line end.

    Args:
        thing: A report, or bare findings.
        colour: For text: with colours.
        excerpts: For text: with the line of each finding and a caret below its column.
        strict: Warnings count as errors.
    """
    report = as_report(thing)
    if form == "text":
        return text(report, colour=colour, excerpts=excerpts, strict=strict)
    return FORMATS[form](report, strict)


def text(report: Report, *, colour: bool = False, excerpts: bool = False, strict: bool = False) -> str:
    """Return a report for a person."""
    lines = []
    for finding in report.findings:
        label = "error" if finding.severity == "error" or strict else "warning"
        lines.append(f"{_painted(str(finding), RED if label == 'error' else YELLOW, colour)}  [{finding.rule}]")
        if excerpts and finding.excerpt:
            lines += [_painted(line, DIM, colour) for line in finding.excerpt.split("\n")]
    if report.changes is not None:
        lines.append(_painted(f"changes since {report.against}:", BOLD, colour))
        for (kind, name), changes in groupby(report.changes, key=lambda c: (c.kind, c.name)):
            lines.append(f"  {kind} {name}")
            lines += [f"    {change.text}" for change in changes]
        if not report.changes:
            lines.append("  none")
    for reason, names in _by_reason(report):
        lines.append(_painted(f"skipped, {reason}: {', '.join(names)}", DIM, colour))
    lines.append(summary(report))
    return "\n".join(lines) + "\n"


def _painted(line: str, style: str, colour: bool) -> str:
    return f"{style}{line}{PLAIN}" if colour else line


def _by_reason(report: Report) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for skipped in report.skipped:
        reasons.setdefault(skipped.reason, []).append(skipped.name)
    return list(reasons.items())


def summary(report: Report) -> str:
    """Return the last line: how much was looked at, and what came of it."""
    counts = [_count(report.errors, "error"), _count(report.warnings, "warning")]
    if report.silenced:
        counts.append(f"{report.silenced} silenced")
    if report.skipped:
        counts.append(f"{_count(len(report.skipped), 'check')} skipped")
    size = ""
    if report.hosts or report.filters or report.domains:
        size = (
            f" ({_count(report.domains, 'domain')}, {_count(report.filters, 'filter')}, {_count(report.hosts, 'host')})"
        )
    return f"{report.file}: {', '.join(counts)}{size}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _json(report: Report, strict: bool) -> str:
    status = report.status(strict)
    data = {
        "code": int(status),
        "reason": "the inventory has errors" if status else "ok",
        "file": report.file,
        "errors": report.errors,
        "warnings": report.warnings,
        "silenced": report.silenced,
        "findings": [
            {
                "rule": f.rule,
                "severity": f.severity,
                "path": f.path,
                "file": f.file,
                "line": f.line,
                "column": f.column,
                "message": f.message,
                "fix": f.fix,
                "excerpt": f.excerpt,
                "fingerprint": fingerprint,
            }
            for f, fingerprint in zip(report.findings, fingerprints(report), strict=True)
        ],
        "skipped": [{"check": s.name, "reason": s.reason} for s in report.skipped],
    }
    if report.changes is not None:
        data["against"] = report.against
        data["changes"] = [{"kind": c.kind, "name": c.name, "text": c.text} for c in report.changes]
    return json.dumps(data, indent=2) + "\n"


def _github(report: Report, strict: bool) -> str:
    from .annotations import github

    return github(report, strict) + _notice(summary(report))


def _elsewhere(module: str, name: str) -> Callable[[Report, bool], str]:
    """Return a format of another module, which is loaded only when it is asked for."""

    def write(report: Report, strict: bool) -> str:
        made: str = getattr(import_module(f".{module}", __package__), name)(report, strict)
        return made

    return write


FORMATS: dict[str, Callable[[Report, bool], str]] = {
    "text": lambda report, strict: text(report, strict=strict),
    "json": _json,
    "github": _github,
    "gitlab": _elsewhere("annotations", "gitlab"),
    "sarif": _elsewhere("sarif", "sarif"),
    "junit": _elsewhere("junit", "junit"),
}


def _notice(line: str) -> str:
    """Return a line for the job's log that the runner cannot take for a command."""
    return line.lstrip(":#").replace("\r", " ").replace("\n", " ") + "\n"
