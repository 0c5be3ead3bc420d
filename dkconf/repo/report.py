"""What one run of `check` found: findings, what was skipped and why, and what a branch changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

from dkconf.errors import Status
from dkconf.inventory.findings import Finding, Skipped, in_order


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a branch changes, in words."""

    kind: str
    """host, filter or domain."""
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    file: str
    """The inventory, as it was named."""
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...] = ()
    silenced: int = 0
    """Findings that `# dkconf: ignore=` comments took away."""
    changes: tuple[Change, ...] | None = None
    """None: not compared with another revision."""
    against: str = ""
    """The revision it was compared with."""
    root: str = ""
    """The top of the repository, or the inventory's folder: paths in a pipeline's formats are relative to it."""
    domains: int = 0
    filters: int = 0
    hosts: int = 0

    @property
    def errors(self) -> int:
        return sum(f.severity == "error" for f in self.findings)

    @property
    def warnings(self) -> int:
        return sum(f.severity == "warning" for f in self.findings)

    def status(self, strict: bool = False) -> Status:
        """Return the exit status: 65 with errors, or with warnings where they count as errors."""
        return Status.INVALID if self.errors or (strict and self.warnings) else Status.OK

    def relative(self, path: str) -> str:
        """Return a file's path from the top of the repository, with slashes; as it is, if it lies outside."""
        if not self.root:
            return path
        relative = os.path.relpath(os.path.abspath(path), self.root)
        return path if relative.startswith("..") else relative.replace(os.sep, "/")


def as_report(thing: Report | Sequence[Finding]) -> Report:
    """Return a report; bare findings become one about their file."""
    if isinstance(thing, Report):
        return thing
    findings = in_order(thing)
    return Report(findings[0].file if findings else "", findings)


def fingerprints(report: Report) -> list[str]:
    """Return one stable name per finding: of its rule, file and path of keys, not of its line.

    Findings that share all three are told apart by their order.
    """
    seen: dict[str, int] = {}
    names = []
    for finding in report.findings:
        # Findings without a path of keys (syntax, key files) are told apart by their message instead.
        what = finding.path or finding.message
        key = "\0".join((finding.rule, report.relative(finding.file), what))
        seen[key] = seen.get(key, 0) + 1
        names.append(hashlib.sha256(octets(f"{key}\0{seen[key]}")).hexdigest())
    return names


def octets(text: str) -> bytes:
    """Return a text as UTF-8; a file name that is none keeps its octets."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
