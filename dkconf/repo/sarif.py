"""SARIF 2.1.0 (OASIS), as code scanning takes it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from dkconf import __version__
from dkconf.inventory.rules import RULES

from .report import Report, fingerprints, octets

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(report: Report, strict: bool = False) -> str:
    """Return a SARIF log with one run; rules only as far as they are named."""
    named = sorted({f.rule for f in report.findings})
    index = {rule: i for i, rule in enumerate(named)}
    results = []
    for finding, fingerprint in zip(report.findings, fingerprints(report), strict=True):
        where = f"{finding.path}: " if finding.path else ""
        region = {"startLine": finding.line, "startColumn": finding.column} if finding.line else {"startLine": 1}
        results.append(
            {
                "ruleId": finding.rule,
                "ruleIndex": index[finding.rule],
                "level": "error" if strict else finding.severity,
                "message": {"text": where + finding.message + (f"; {finding.fix}" if finding.fix else "")},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": _uri(report.relative(finding.file)), "uriBaseId": "%SRCROOT%"},
                            "region": region,
                        }
                    }
                ],
                "partialFingerprints": {"dkconf/v1": fingerprint},
            }
        )
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "dkconf", "version": __version__, "rules": [_rule(r) for r in named]}},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {
                        "level": "note",
                        "descriptor": {"id": "skipped"},
                        "message": {"text": f"{s.name}: skipped, {s.reason}"},
                    }
                    for s in report.skipped
                ],
            }
        ],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(name: str) -> dict[str, Any]:
    rule = RULES[name]
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.text},
        "help": {"text": rule.text},
        "defaultConfiguration": {"level": rule.severity},
    }


def _uri(path: str) -> str:
    """Return a relative path as a URI reference; a first part with a colon would read as a scheme."""
    return quote(octets(path), safe="/")
