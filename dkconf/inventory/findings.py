"""What `check` has to say about a file: one `Finding` per problem, each on its very place.

A finding names a rule (`rules.py` says more about it), a path of keys, and a place in a file, counted from 1.
`message` is what was found, `fix` what would be right. Nothing here prints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dkconf import errors

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    rule: str
    """Stable ID, e.g. REF001."""
    severity: Severity
    path: str
    """Keys from the top, joined with dots: domains.example.com.selectors."""
    file: str
    line: int
    """From 1; 0 = the file as a whole."""
    column: int
    """From 1, in characters."""
    message: str
    fix: str
    excerpt: str = ""
    """The line and a caret below it; "" where there is none, or where it might show a key."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        sentence = f"{self.message}; {self.fix}" if self.fix else self.message
        return ": ".join(part for part in (place, self.path, sentence) if part)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check that could not be made here: counted as skipped, never as passed."""

    name: str
    """A rule ID, or the name of the check."""
    reason: str
    """What is missing, e.g. "no git history"."""

    def __str__(self) -> str:
        return f"{self.name}: skipped, {self.reason}"


class InventoryInvalid(errors.InventoryInvalid):
    """The inventory has errors; `findings` holds all of them, warnings included, in file order."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(f) for f in self.findings))


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings in file order, equal ones once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda f: (f.file, f.line, f.column, f.rule, f.path, f.message)))


def quote(text: str, limit: int = 60) -> str:
    """Return `text` in double quotes, fit for one line of a terminal: shortened, control characters escaped.

    Key material is never repeated, not even a part.
    """
    if looks_like_key(text):
        return "(key material, not shown)"
    if len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return f'"{text}"'
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + '"'


_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}")


def looks_like_key(text: str) -> bool:
    """Tell whether a text may hold a part of a private key: a PEM marker, or a long run of base64."""
    if "PRIVATE KEY" in text:
        return True
    return any(
        not run.islower() and not run.isupper() and any(c.isdigit() for c in run) for run in _BASE64.findall(text)
    )
