"""One file per mistake in tests/broken; its first line is the rule and the message that we owe for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkconf.inventory import RULES, Finding, InventoryInvalid, load_octets
from dkconf.inventory import load as load_inventory

BROKEN = sorted((Path(__file__).parents[1] / "broken").glob("*.yaml"))


def findings(path: Path) -> list[Finding]:
    try:
        return list(load_inventory(path).findings)
    except InventoryInvalid as invalid:
        return [f for f in invalid.findings if f.severity == "error"]


@pytest.mark.parametrize("path", BROKEN, ids=lambda p: p.stem)
def test_mistake_is_told_once_and_at_its_place(path):
    """Each mistake gives one finding: the one its first line promises."""
    owed = path.read_text().splitlines()[0].removeprefix("# ")
    found = findings(path)

    assert [owed] == [f"{f.rule} {str(f).replace(f'{path}:', '', 1)}" for f in found]
    assert ("warning" if path.stem.startswith("warn-") else "error") == found[0].severity


def test_every_rule_about_the_file_has_its_mistake():
    """No rule is without a file that breaks it; what no text file can hold is tested elsewhere."""
    elsewhere = {"YAML007", "YAML009"}
    shown = {path.read_text().split()[1] for path in BROKEN}

    assert set() == {r.id for r in RULES.values() if r.scope == "inventory"} - shown - elsewhere


@pytest.mark.parametrize("path", BROKEN, ids=lambda p: p.stem)
def test_excerpt_points_at_the_place(path):
    """The excerpt is the line itself, with a caret below the column."""
    for finding in findings(path):
        if finding.rule == "KEY003":
            assert "" == finding.excerpt
            continue
        line, caret = finding.excerpt.split("\n")
        assert line.startswith(f"{finding.line:5d} | ")
        if "…" not in line:
            assert finding.column - 1 == caret.index("^") - len("      | ")


def test_all_mistakes_of_a_file_are_told_in_one_run():
    """A file with five mistakes gives five findings, in file order."""
    text = """\
version: 1
domains:
  exam_ple.com: {ttl: soon}
filters:
  dk: {socket: "8891", on_failur: reject}
hosts:
  mx1: {filters: [kd]}
"""
    with pytest.raises(InventoryInvalid) as caught:
        load_octets(text.encode(), "i.yaml")

    assert [(3, 3), (3, 23), (5, 16), (5, 24), (7, 19)] == [(f.line, f.column) for f in caught.value.findings]
