"""`dkconf check`: the inventory's own rules, and those of the folder and the repository that it lies in."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dkconf.files.looking import is_folder, look
from dkconf.files.problems import kind
from dkconf.files.reading import FileProblem, read_file
from dkconf.inventory import InventoryInvalid, Loaded, Rule, ignores
from dkconf.inventory import load as load_inventory
from dkconf.inventory.findings import Finding, Skipped, in_order, quote
from dkconf.inventory.model import Inventory
from dkconf.inventory.references import Checker
from dkconf.inventory.rules import RULES

from . import git
from .report import Report

if TYPE_CHECKING:
    from dkconf.keys import PublicHalf

IN_DNS = ("published", "active", "percolating")
"""States of a selector whose record holds a key."""
TEST_KEY = "dkconf-test-key"
"""The attribute that .gitattributes gives to private keys that are meant to be public: those of tests."""
_MARKER = "PRIVATE KEY-----"
MAX_SEARCHED_OCTETS = 32 * 1024 * 1024
"""Of a file in which git found the marker: an inventory may have 20 MiB, and a larger file is told unread."""


def check(path: Path, against: str | None = None) -> Report:
    """Return everything there is to say about an inventory file, where it lies.

    Args:
        path: The inventory, or the folder that holds `inventory.yaml`.
        against: A git revision: what this tree changes since then, and what is dangerous in it.

    Raises:
        NoInventory: The file cannot be read.
    """
    path = path / "inventory.yaml" if is_folder(str(path)) else path
    repository = git.find(path.parent)
    report = Report(str(path), (), root=str(repository.top if repository else path.parent.resolve()))
    try:
        loaded = load_inventory(path)
    except InventoryInvalid as invalid:
        report = replace(report, findings=invalid.findings)
        loaded = None
    report = _with(report, *_repository(repository, path))
    if loaded is not None:
        assert loaded.checker is not None
        inventory = loaded.inventory
        report = replace(
            report,
            findings=(*report.findings, *loaded.findings),
            silenced=loaded.silenced,
            domains=len(inventory.domains),
            filters=len(inventory.filters),
            hosts=len(inventory.hosts),
        )
        report = _about_the_folder(report, loaded, path)
    if against is not None:
        from . import against as comparison

        report = comparison.compare(report, loaded, repository, path, against)
    else:
        report = _with(report, (), [Skipped(r.id, "needs --against REV") for r in _rules("history")])
    report = _with(report, (), [Skipped(r.id, "needs the host") for r in _rules("host")])
    return replace(report, findings=in_order(report.findings))


def _rules(scope: str) -> Iterator[Rule]:
    return (rule for rule in RULES.values() if rule.scope == scope)


def _with(report: Report, findings: tuple[Finding, ...] | list[Finding], skipped: list[Skipped]) -> Report:
    return replace(report, findings=(*report.findings, *findings), skipped=(*report.skipped, *skipped))


def _about_the_folder(report: Report, loaded: Loaded, path: Path) -> Report:
    checker = loaded.checker
    assert checker is not None
    findings, skipped = public_keys(checker, loaded.inventory, path.parent / "keys")
    mine = tuple(checker.source.findings) + tuple(findings)
    kept, silenced = ignores.apply(mine, checker.source, {"repository"})
    return replace(_with(report, kept, skipped), silenced=report.silenced + silenced)


# the repository --------------------------------------------------------------------------------------------


def _repository(repository: git.Repository | None, path: Path) -> tuple[list[Finding], list[Skipped]]:
    names = ("KEY003", "KEY009")
    if repository is None:
        return [], [Skipped(name, "not in a git repository") for name in names]
    if not repository.line("rev-parse", "--git-dir"):
        why = repository.git.problem or "git is not installed, or refuses this repository"
        return [], [Skipped(name, why) for name in names]
    if odd := _odd_file(repository.top, path):
        return [], [Skipped(name, odd) for name in names]
    keys = _private_keys(repository)
    skipped = []
    if keys is None:
        # Silence would say that there is none; and one large file is enough to have git fail.
        skipped = [Skipped("KEY003", "git could not look through the files")]
    return [*(keys or ()), *_kept_out(repository, path)], skipped


def _odd_file(top: Path, path: Path) -> str:
    """Return the words about a file that git would wait for without end, on the way from the top to the inventory."""
    folder = path.parent.resolve()
    for each in (folder, *folder.parents):
        for name in (".gitignore", ".gitattributes"):
            found = look(str(each / name), within=str(top))
            if found and not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
                return f"{each / name} is {kind(found.st_mode)}"
        if each == top:
            break
    return ""


def _private_keys(repository: git.Repository) -> list[Finding] | None:
    """Return a finding per private key in a file that git has, or would take with `git add .`; None: git failed."""
    marked, files = repository.grep(_MARKER), repository.files()
    if marked is None or files is None:
        return None
    hits: dict[str, tuple[int, int]] = {}
    for name, line, column in marked:
        if name not in hits and _holds_a_key(repository.top, name):
            hits[name] = (line, max(1, column - len("-----BEGIN ")))
    for name in files:
        if name.endswith(".private") and name not in hits:
            hits[name] = (1, 1)
    return [
        _burnt(os.path.relpath(repository.top / name), *hits[name])
        for name in sorted(set(hits) - repository.marked(TEST_KEY, sorted(hits)))
    ]


def _burnt(file: str, line: int, column: int) -> Finding:
    return Finding(
        "KEY003",
        "error",
        "",
        file,
        line,
        1 if line == 1 else column,
        "a private key lies in the repository",
        "take its selector out of use and make a new key; then remove it, from the history too",
    )


def _holds_a_key(top: Path, name: str) -> bool:
    """Tell whether a file holds a PEM private key and not only the words: the marker, then a line of base64."""
    from re import search

    try:
        octets = read_file(str(top / name), limit=MAX_SEARCHED_OCTETS, within=str(top))
    except (FileProblem, FileNotFoundError):
        return True  # it cannot be read here; git has it all the same
    pattern = rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(\s|\\n|\\r)*([A-Za-z-]+: [^\n]*\s+)*[A-Za-z0-9+/]{40}"
    return search(pattern, octets) is not None


def _kept_out(repository: git.Repository, path: Path) -> Iterator[Finding]:
    folder = os.path.relpath(path.parent.resolve(), repository.top)
    if not is_folder(str(path.parent / "keys")):
        return
    probe = os.path.normpath(os.path.join(folder, "keys", "example.com", "selector.private"))
    if not repository.keeps_out(probe):
        ignore_file = path.parent / ".gitignore"
        yield Finding(
            "KEY009",
            "warning",
            "",
            str(ignore_file),
            1,
            1,
            "private keys are not kept out of git",
            "write *.private into .gitignore",
        )


# public keys -----------------------------------------------------------------------------------------------


def public_keys(checker: Checker, inventory: Inventory, folder: Path) -> tuple[list[Finding], list[Skipped]]:
    """Return findings about the files below `keys/`; those about the inventory's lines go to the checker."""
    if not is_folder(str(folder)):
        names = ("DNS002", "KEY006", "KEY007", "KEY008")
        return [], [Skipped(name, f"there is no folder {folder.name}/ beside the inventory") for name in names]
    from dkconf.keys import KeyFileError, read_public_halves  # after the folder is known to be there: 8 ms

    findings: list[Finding] = []
    halves = read_public_halves(folder)
    known: dict[str, str] = {}
    there = set(halves)
    for name, domain in inventory.domains.items():
        for selector_name, selector in domain.selectors.items():
            here = ("domains", name, "selectors", selector_name)
            file = folder / name / f"{selector_name}.pub.pem"
            try:
                # What was there a moment ago may be gone: a checkout is somebody's, who goes on working in it.
                half = halves.get((name, selector_name)) if (name, selector_name) in there else None
            except KeyFileError as error:
                findings.append(_about(file, "KEY006", str(error).removeprefix(f"{file}: ")))
                continue
            if half is None:
                if selector.state in IN_DNS:
                    checker.at_key(
                        "DNS002",
                        here,
                        f"the public key of {quote(selector_name)} is not in {folder.name}/",
                        f"`dkconf keys generate` on the signing host writes {file}",
                    )
                continue
            wrong = _differs(half, selector.algorithm, selector.bits)
            if wrong:
                findings.append(_about(file, "KEY006", wrong))
            if half.fingerprint in known:
                checker.at_key(
                    "KEY007",
                    here,
                    f"{quote(selector_name)} has the same key as {known[half.fingerprint]}",
                    "generate a key of its own for it",
                )
            known.setdefault(half.fingerprint, f"{selector_name} of {name}")
    wanted = {(name, s) for name, domain in inventory.domains.items() for s in domain.selectors}
    for name, selector_name in sorted(there - wanted):
        file = folder / name / f"{selector_name}.pub.pem"
        findings.append(
            _about(file, "KEY008", f"the inventory has no selector {quote(selector_name)} of {quote(name)}")
        )
    return findings, []


_FIX = {
    "KEY006": "write it with `dkconf keys generate`, or `openssl pkey -pubout`",
    "KEY008": "remove the file, or add the selector",
}


def _about(file: Path, rule: str, message: str) -> Finding:
    message = message.partition("; write it with")[0]
    return Finding(rule, RULES[rule].severity, "", str(file), 1, 1, message, _FIX[rule])


def _differs(half: PublicHalf, algorithm: str, bits: int) -> str:
    if half.algorithm != algorithm:
        return f"the key is {half.algorithm}, and the inventory says {algorithm}"
    if algorithm == "rsa" and half.bits != bits:
        return f"the key has {half.bits} bits, and the inventory says {bits}"
    return ""
