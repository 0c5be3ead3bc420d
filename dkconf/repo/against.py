"""`check --against REV`: what a branch changes, in words, and what is dangerous in it.

The inventory at the commit where this branch left REV's is compared with the one in the work tree, value by value.
Findings stand at the lines of the present file.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from dkconf.files.reading import FileProblem, read_file
from dkconf.inventory import RULES, InventoryInvalid, Loaded, ignores, load_octets
from dkconf.inventory.findings import Skipped, quote
from dkconf.inventory.model import Inventory
from dkconf.inventory.references import Checker

from . import git, history
from .changes import differences
from .dangers import LIVE, dangers
from .report import Report

MAX_KEY_OCTETS = 16384
"""RSA-16384 in PEM takes 2.8 KiB; a larger file is no public key."""


def compare(report: Report, new: Loaded | None, repository: git.Repository | None, path: Path, revision: str) -> Report:
    """Return the report with the changes since a revision, and with the findings about them."""
    old, skipped = _at(repository, path, revision)
    if old is None or new is None or new.checker is None:
        reason = skipped or "the inventory has errors"
        names = [rule.id for rule in RULES.values() if rule.scope == "history"]
        return replace(report, skipped=(*report.skipped, *(Skipped(name, reason) for name in names)), against=revision)
    assert repository is not None
    before, commit = old
    checker = Checker(new.checker.source, new.checker.root)
    start = len(checker.source.findings)
    changes = tuple(differences(before, new.inventory))
    dangers(checker, before, new.inventory)
    _keys(checker, before, repository, commit, path)
    more = history.check(checker, before, new.inventory, repository, commit, path)
    if not repository.merge_base(repository.commit(revision)):
        more.append(
            Skipped("branch point", f"the clone does not reach back to it: compared with {revision} as it is now")
        )
    mine = tuple(checker.source.findings[start:])
    kept, silenced = ignores.apply(mine, checker.source, {"history"})
    return replace(
        report,
        findings=(*report.findings, *kept),
        skipped=(*report.skipped, *more),
        silenced=report.silenced + silenced,
        changes=changes,
        against=revision,
    )


def _at(repository: git.Repository | None, path: Path, revision: str) -> tuple[tuple[Inventory, str] | None, str]:
    """Return the inventory at a revision and its commit, or the reason why there is none."""
    if repository is None:
        return None, "not in a git repository"
    commit = repository.commit(revision)
    if not commit:
        hint = "; this clone is shallow, fetch more history" if repository.is_shallow() else ""
        return None, f"this clone has no commit {revision}{hint}"
    # A branch is judged by what it changes, not by what has happened beside it since.
    commit = repository.merge_base(commit) or commit
    name = relative(repository, path)
    octets = repository.blob(commit, name)
    if octets is None:
        if name in repository.blobs(commit, name):
            return None, f"this clone lacks the contents of {revision}, fetch them"
        return (Inventory({}, {}, {}), commit), ""
    try:
        return (load_octets(octets, f"{revision}:{path.name}").inventory, commit), ""
    except InventoryInvalid:
        return None, f"the inventory at {revision} has errors"


def relative(repository: git.Repository, path: Path) -> str:
    """Return a file's name inside its repository, as git writes it."""
    return os.path.relpath(path.resolve(), repository.top).replace(os.sep, "/")


def _keys(checker: Checker, old: Inventory, repository: git.Repository, commit: str, path: Path) -> None:
    """Add a finding per public key that is another one under the same selector."""
    folder = os.path.normpath(os.path.join(relative(repository, path.parent), "keys"))
    for name, blob in repository.blobs(commit, folder).items():
        domain, _, file = os.path.relpath(name, folder).partition("/")
        selector = file.removesuffix(".pub.pem")
        before = old.domains[domain].selectors.get(selector) if domain in old.domains else None
        if before is None or before.state not in LIVE or selector == file:
            continue
        try:
            octets = read_file(str(repository.top / name), limit=MAX_KEY_OCTETS, within=str(repository.top))
        except (FileProblem, FileNotFoundError):
            continue  # DNS002 or KEY006 says what is wrong with it
        if blob != _blob_name(octets, len(blob)):
            checker.at_key(
                "CHG005",
                ("domains", domain, "selectors", selector),
                f"the key of {quote(selector)}, {before.state} until now, is another one",
                "take a new selector for a new key",
            )


def _blob_name(octets: bytes, digits: int) -> str:
    """Return the name git gives to a file's octets: SHA-1, or SHA-256 in repositories of that format."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % len(octets) + octets)
    return digest.hexdigest()
