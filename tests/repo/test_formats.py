"""Reports in the formats of pipelines: valid, stable, and closed to whatever a name holds.

The structures below are those that the formats' owners publish (SARIF 2.1.0, OASIS; GitLab's Code Quality report;
the Jenkins xUnit plugin's junit-10.xsd), as far as dkconf uses them, written down here again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkconf.inventory import RULES, Finding, InventoryInvalid, Skipped, load_octets
from dkconf.inventory import load as load_inventory
from dkconf.repo import formats
from dkconf.repo.report import Report, fingerprints

BROKEN = sorted((Path(__file__).parents[1] / "broken").glob("*.yaml"))
TEXT = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": {"type": "string"}},
    "additionalProperties": False,
}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool"],
                "additionalProperties": False,
                "properties": {
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id"],
                                            "additionalProperties": False,
                                            "properties": {
                                                "id": {"type": "string"},
                                                "shortDescription": TEXT,
                                                "fullDescription": TEXT,
                                                "help": TEXT,
                                                "defaultConfiguration": {
                                                    "type": "object",
                                                    "additionalProperties": False,
                                                    "properties": {"level": LEVEL},
                                                },
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["message"],
                            "additionalProperties": False,
                            "properties": {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": LEVEL,
                                "message": TEXT,
                                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                                "locations": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "additionalProperties": False,
                                        "properties": {
                                            "physicalLocation": {
                                                "type": "object",
                                                "required": ["artifactLocation"],
                                                "additionalProperties": False,
                                                "properties": {
                                                    "artifactLocation": {
                                                        "type": "object",
                                                        "additionalProperties": False,
                                                        "properties": {
                                                            "uri": {
                                                                "type": "string",
                                                                "pattern": r"^[A-Za-z0-9._~/%-]+$",
                                                            },
                                                            "uriBaseId": {"type": "string"},
                                                        },
                                                    },
                                                    "region": {
                                                        "type": "object",
                                                        "additionalProperties": False,
                                                        "properties": {
                                                            "startLine": {"type": "integer", "minimum": 1},
                                                            "startColumn": {"type": "integer", "minimum": 1},
                                                        },
                                                    },
                                                },
                                            }
                                        },
                                    },
                                },
                            },
                        },
                    },
                    "invocations": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["executionSuccessful"],
                            "additionalProperties": False,
                            "properties": {
                                "executionSuccessful": {"type": "boolean"},
                                "toolExecutionNotifications": {
                                    "type": "array",
                                    "items": {
                                        "type": "object",
                                        "required": ["message"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "level": LEVEL,
                                            "message": TEXT,
                                            "descriptor": {
                                                "type": "object",
                                                "required": ["id"],
                                                "additionalProperties": False,
                                                "properties": {"id": {"type": "string"}},
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
GITLAB = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "not": {"pattern": r"^(\./|/)"}},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
JUNIT = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": ({"name"}, {"name", "classname", "time", "group"}, {"skipped", "error", "failure", "system-out"}),
    "failure": (set(), {"type", "message"}, set()),
    "skipped": (set(), {"type", "message"}, set()),
    "system-out": (set(), set(), set()),
}
"""Element -> (attributes it needs, attributes it may have, elements it may hold)."""


def must_be_valid(form: str, text: str) -> None:
    if form == "sarif":
        jsonschema.validate(json.loads(text), SARIF)
    elif form == "gitlab":
        jsonschema.validate(json.loads(text), GITLAB)
        prints = [i["fingerprint"] for i in json.loads(text)]
        assert len(set(prints)) == len(prints)
    elif form == "junit":
        root = ElementTree.fromstring(text.encode())
        for element in root.iter():
            needed, allowed, inside = JUNIT[element.tag]
            assert needed <= set(element.attrib) <= allowed
            assert {child.tag for child in element} <= inside
        suite = root[0]
        assert suite.get("tests") == str(len(suite.findall("testcase")))
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
    elif form == "json":
        assert json.loads(text)["findings"] is not None


def report_of(path: Path) -> Report:
    try:
        found = load_inventory(path).findings
    except InventoryInvalid as invalid:
        found = invalid.findings
    return Report(str(path), tuple(found), (Skipped("DNS001", "needs the host"),), root=str(path.parent))


@pytest.mark.parametrize("form", ["json", "gitlab", "sarif", "junit"])
@pytest.mark.parametrize("path", BROKEN, ids=lambda p: p.stem)
def test_every_mistake_is_valid_in_every_format(path, form):
    """Each rule of the inventory, in each format, holds to the format's structure."""
    must_be_valid(form, formats.render(report_of(path), form))


@pytest.mark.parametrize("form", ["json", "gitlab", "sarif", "junit"])
def test_nothing_found_is_valid_too(form):
    """An empty report is a report."""
    must_be_valid(form, formats.render(Report("inventory.yaml", ()), form))


def test_github_has_one_command_per_finding_at_its_place():
    """file, line and column from the top of the repository, and the rule's title."""
    finding = Finding(
        "MC006", "warning", "filters.dk.on_failure", "/r/inventory.yaml", 5, 17, "is F=R", "write tempfail"
    )
    text = formats.render(Report("inventory.yaml", (finding,), root="/r"), "github")

    assert (
        "::warning file=inventory.yaml,line=5,col=17,title=MC006 F=R%3A a filter that is down refuses all mail"
        "::filters.dk.on_failure: is F=R; write tempfail" == text.splitlines()[0]
    )


HOSTILE = st.text(
    alphabet=st.one_of(st.sampled_from("\r\n:,%<>&\"'|`]\\x00\u2028\ud800\x1b#*@/-{}$"), st.characters()), max_size=40
)
FINDINGS = st.builds(
    Finding,
    rule=st.sampled_from(sorted(RULES)),
    severity=st.sampled_from(["error", "warning"]),
    path=HOSTILE,
    file=HOSTILE.filter(lambda t: bool(t) and "\0" not in t and not t.startswith("/")),
    line=st.integers(0, 9),
    column=st.integers(1, 9),
    message=HOSTILE.filter(bool),
    fix=HOSTILE,
)


@given(st.lists(FINDINGS, max_size=4), st.lists(st.builds(Skipped, HOSTILE, HOSTILE), max_size=2))
@settings(max_examples=60, deadline=None)
def test_no_name_breaks_out_of_a_format(findings, skipped):
    """Hostile names, paths and messages give as many entries as there are findings, and nothing else."""
    report = Report("inventory.yaml", tuple(findings), tuple(skipped))
    github = formats.render(report, "github").split("\n")
    commands = [line for line in github if line.startswith("::")]

    assert len(findings) + bool(skipped) == len(commands)
    assert len(commands) + 2 == len(github)
    assert all(re.fullmatch(r"::(error|warning|notice) [^\r\n]*", line) for line in commands)
    for line in commands:
        properties = line[2:].split("::", 1)[0].partition(" ")[2].split(",")
        assert {p.split("=", 1)[0] for p in properties} <= {"file", "line", "col", "title"}
    assert len(findings) == len(json.loads(formats.render(report, "json"))["findings"])
    assert len(findings) == len(json.loads(formats.render(report, "gitlab")))
    assert len(findings) == len(json.loads(formats.render(report, "sarif"))["runs"][0]["results"])
    junit = ElementTree.fromstring(formats.render(report, "junit").encode())
    assert max(len(findings), 1) + len(skipped) == len(junit.findall("testsuite/testcase"))


def test_a_fingerprint_survives_moved_lines():
    """Three lines more above it: the same finding has the same name, its line aside."""
    path = next(p for p in BROKEN if p.stem == "warn-refuses-when-down")
    text = path.read_text()
    reports = [
        Report("i", load_octets(t.encode(), "i").findings)
        for t in (text, text.replace("\nfilters:", "\n# a\n# b\n# c\nfilters:"))
    ]

    assert [12, 15] == [r.findings[0].line for r in reports]
    assert fingerprints(reports[0]) == fingerprints(reports[1])


def test_fingerprints_of_two_findings_differ():
    """Another rule or another key is another finding."""
    one = Finding("MC006", "warning", "filters.a.on_failure", "i", 1, 1, "m", "f")
    others = (
        Finding("MC006", "warning", "filters.b.on_failure", "i", 1, 1, "m", "f"),
        Finding("MC007", "warning", "filters.a.on_failure", "i", 1, 1, "m", "f"),
        Finding("MC006", "warning", "filters.a.on_failure", "i", 2, 1, "m", "f"),
    )

    assert 4 == len(set(fingerprints(Report("i", (one, *others)))))


@pytest.mark.parametrize(
    "environ, form",
    [({}, "text"), ({"GITHUB_ACTIONS": "true"}, "github"), ({"GITLAB_CI": "true"}, "gitlab"), ({"CI": "true"}, "text")],
)
def test_the_format_is_chosen_by_the_pipeline(environ, form):
    """GitHub and GitLab say who they are."""
    assert form == formats.by_environment(environ)


def test_strict_turns_warnings_into_errors_in_every_format():
    """With --strict a warning fails the run, and each format shows it as what it is."""
    report = Report("i", (Finding("MC006", "warning", "p", "i", 1, 1, "m", "f"),))

    assert 65 == report.status(strict=True) == json.loads(formats.render(report, "json", strict=True))["code"]
    assert formats.render(report, "github", strict=True).startswith("::error ")
    assert "<failure" in formats.render(report, "junit", strict=True)
    assert "<failure" not in formats.render(report, "junit")
