"""`# dkconf: ignore=ID reason`: a warning that somebody decided to live with.

It silences the rule on its own line, or, standing alone, on the next line that is no comment. A comment
that silences nothing is told, so that it cannot hide the next finding.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from .findings import Finding, in_order, quote
from .rules import RULES
from .source import Place, Source

_COMMENT = re.compile(r"(?:^|[ \t])#[ \t]*dkconf:[ \t]*ignore=([A-Za-z0-9_,-]+)[ \t]*(.*)$")


@dataclass(frozen=True, slots=True)
class Ignore:
    rule: str
    reason: str
    line: int
    """Line of the comment, from 0."""
    column: int
    target: int
    """Line whose findings it silences, from 0."""


def comments(source: Source) -> Iterator[Ignore]:
    """Yield what the ignore comments of a file ask for, one per rule named."""
    if "dkconf: ignore=" not in source.text and "ignore=" not in source.text:
        return
    for number, line in enumerate(source.lines):
        match = _COMMENT.search(line)
        if not match:
            continue
        target = number
        if line.lstrip().startswith("#"):
            target = next(
                (
                    n
                    for n in range(number + 1, len(source.lines))
                    if source.lines[n].strip() and not source.lines[n].lstrip().startswith("#")
                ),
                number,
            )
        for rule in match[1].split(","):
            if rule:
                yield Ignore(rule, match[2].strip(), number, line.index("#", match.start()), target)


def apply(findings: Sequence[Finding], source: Source, scopes: Collection[str]) -> tuple[tuple[Finding, ...], int]:
    """Return the findings that remain, with those about the comments themselves, and how many were silenced.

    Args:
        findings: Those of the rules in `scopes`, about `source`.
        scopes: Which rules have been looked at, so that only their comments can be without use.
    """
    wanted = list(comments(source))
    if not wanted:
        return tuple(findings), 0
    used: set[Ignore] = set()
    kept = []
    silenced = 0
    for finding in findings:
        matching = [
            i
            for i in wanted
            if i.rule == finding.rule
            and i.target + 1 == finding.line
            and finding.file == source.file
            and finding.severity == "warning"
        ]
        if matching:
            used.update(matching)
            silenced += 1
        else:
            kept.append(finding)
    about = Source(source.file, source.text)
    for ignore in wanted:
        place = Place(ignore.line, ignore.column)
        rule = RULES.get(ignore.rule)
        if rule is None:
            if "inventory" in scopes:
                about.add("IGN003", place, (), f"there is no rule {quote(ignore.rule)}", "see `dkconf explain-rule`")
        elif rule.scope not in scopes:
            continue
        elif ignore in used:
            if not ignore.reason:
                about.add(
                    "IGN002",
                    place,
                    (),
                    f"no reason is given for ignoring {rule.id}",
                    "write it after the ID",
                )
        elif rule.severity == "error":
            about.add("IGN003", place, (), f"{rule.id} is an error and cannot be ignored", "mend what it says")
        else:
            about.add("IGN001", place, (), f"ignoring {rule.id} silences nothing here", "take the comment out")
    return in_order((*kept, *about.findings)), silenced
