"""`check` on a repository: one planted fault per rule, each found at its place, in every format."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dkconf.inventory import RULES
from dkconf.keys.public import PublicHalves
from dkconf.repo import checks, formats
from tests.repo.conftest import ConfigRepository, private_pem

DAY = 86400
Plant = Callable[[ConfigRepository], None]


def _two_weeks_in_test(repository: ConfigRepository) -> None:
    repository.change("s1: {state: active}", "s1: {state: active, testing: true}")
    repository.commit(when=1_600_000_000)
    repository.change("dk:\n", "dk: # a later change\n")


def _percolated_for_an_hour(repository: ConfigRepository) -> None:
    import time

    repository.change("s2: {state: percolating}", "s2: {state: active}")
    repository.commit(when=1_600_000_000)
    repository.change("s2: {state: active}", "s2: {state: percolating}")
    repository.commit(when=int(time.time()) - 3600)
    repository.change("s2: {state: percolating}", "s2: {state: revoked}")


def _stricter_policy(repository: ConfigRepository) -> None:
    repository.change("sign: [dkim, domainkeys]", "sign: [dkim]")
    repository.commit()
    repository.change("sign: [dkim]", "sign: [dkim, domainkeys]")
    repository.change("signs: some", "signs: all")


def _comes_back(repository: ConfigRepository) -> None:
    repository.change("s2: {state: percolating}", "s2: {state: revoked}")
    repository.commit()
    repository.change("s2: {state: revoked}", "s2: {state: active}")
    repository.change("s1: {state: active}", "s1: {state: percolating}")


def _straight_to_active(repository: ConfigRepository) -> None:
    repository.change("s2: {state: percolating}", "s2: {state: planned}")
    repository.commit()
    repository.change("s2: {state: planned}", "s2: {state: percolating}")


REPOSITORY: dict[str, tuple[Plant, str, int]] = {
    "KEY003": (lambda r: (r.top / "notes.txt").write_bytes(b"see\n" + private_pem(1)) and None, "notes.txt", 2),
    "KEY006": (lambda r: (r.top / "keys/example.com/s1.pub.pem").write_text("x") and None, "s1.pub.pem", 1),
    "KEY007": (lambda r: r.key("example.com", "s2", 1) and None, "inventory.yaml", 7),
    "KEY008": (lambda r: r.key("example.com", "s9", 3) and None, "s9.pub.pem", 1),
    "KEY009": (lambda r: (r.top / ".gitignore").write_text("*.tmp\n") and None, ".gitignore", 1),
    "DNS002": (lambda r: (r.top / "keys/example.com/s2.pub.pem").unlink(), "inventory.yaml", 7),
}
"""Rule -> how to break it, the file it is told of, the line."""

HISTORY: dict[str, tuple[Plant, str, int]] = {
    "CHG001": (lambda r: r.write(r.inventory.read_text().replace("filters: [dk]", "filters: []")), "inventory.yaml", 3),
    "CHG002": (_stricter_policy, "inventory.yaml", 9),
    "CHG003": (lambda r: r.change("      s2: {state: percolating}\n", ""), "inventory.yaml", 5),
    "CHG004": (lambda r: r.change("on_failure: tempfail", "workers: 2"), "inventory.yaml", 19),
    "CHG005": (lambda r: r.key("example.com", "s1", 4) and None, "inventory.yaml", 6),
    "CHG006": (_comes_back, "inventory.yaml", 7),
    "CHG007": (lambda r: r.change("on_failure: tempfail", "conditions: {dkim: {bad: reject}}"), "inventory.yaml", 13),
    "CHG008": (_straight_to_active, "inventory.yaml", 7),
    "DNS007": (_two_weeks_in_test, "inventory.yaml", 6),
    "ROT002": (_percolated_for_an_hour, "inventory.yaml", 7),
}  # fmt: skip
PLANTED = {**REPOSITORY, **HISTORY}


def found(repository: ConfigRepository, rule: str, against: str | None = None):
    report = checks.check(repository.inventory, against=against)
    return report, [f for f in report.findings if f.rule == rule]


def test_a_clean_repository_has_no_findings(repository):
    """What the fixture makes is what a repository should be: only what needs a host is skipped."""
    report = checks.check(repository.inventory, against="HEAD")

    assert () == report.findings
    assert () == report.changes
    assert {"needs the host"} == {s.reason for s in report.skipped}


@pytest.mark.parametrize("rule", PLANTED)
def test_planted_fault_is_found_at_its_line(repository, rule):
    """Each fault is found once, in the file and line where a person mends it."""
    plant, file, line = PLANTED[rule]
    plant(repository)
    _, findings = found(repository, rule, "HEAD")

    assert [(file, line)] == [(Path(f.file).name, f.line) for f in findings]
    assert findings[0].message
    assert findings[0].fix


@pytest.mark.parametrize("rule", PLANTED)
@pytest.mark.parametrize("form", list(formats.FORMATS))
def test_planted_fault_is_in_every_format(repository, rule, form, monkeypatch):
    """With its rule, its file from the top of the repository and its line, wherever `check` is run."""
    plant, file, line = PLANTED[rule]
    plant(repository)
    monkeypatch.chdir(repository.top.parent)
    report, findings = found(repository, rule, "HEAD")
    text = formats.render(report, form)
    path = report.relative(findings[0].file)

    assert (repository.top / path).name == file
    assert not path.startswith((".", "/")) or path == ".gitignore"
    assert place_in(form, text, rule) == (path, line) or form == "text"
    assert rule in text


def place_in(form: str, text: str, rule: str) -> tuple[str, int] | None:
    if form == "json":
        return None if not (f := next(x for x in json.loads(text)["findings"] if x["rule"] == rule)) else (
            os.path.relpath(f["file"], "repository"), f["line"])  # fmt: skip
    if form == "github":
        row = next(line for line in text.splitlines() if f"title={rule} " in line)
        properties = dict(p.partition("=")[::2] for p in row.split("::")[1].partition(" ")[2].split(","))
        return properties["file"], int(properties["line"])
    if form == "gitlab":
        issue = next(i for i in json.loads(text) if i["check_name"] == rule)
        return issue["location"]["path"], issue["location"]["lines"]["begin"]
    if form == "sarif":
        result = next(r for r in json.loads(text)["runs"][0]["results"] if r["ruleId"] == rule)
        where = result["locations"][0]["physicalLocation"]
        return where["artifactLocation"]["uri"], where["region"]["startLine"]
    if form == "junit":
        case = next(c for c in ElementTree.fromstring(text).iter("testcase") if c.get("name", "").startswith(rule))
        words = "".join(case.itertext())
        path, line = words.split(":")[:2]
        return path, int(line)
    return None


def test_every_rule_has_a_planted_fault():
    """Rules of the inventory are in tests/broken, rules of a host are for the host's commands; the rest is here."""
    assert {r.id for r in RULES.values() if r.scope in ("repository", "history")} == set(PLANTED)


def test_a_private_key_is_never_shown(repository):
    """The report names the file and line, and holds no part of the key."""
    secret = private_pem(1).decode()
    (repository.top / "id.pem").write_text(secret)
    report, findings = found(repository, "KEY003")
    shown = "".join(formats.render(report, form) for form in formats.FORMATS) + formats.render(
        report, "text", colour=True
    )

    assert findings
    assert not any(line in shown for line in secret.splitlines() if "PRIVATE KEY" not in line)


@pytest.mark.parametrize("name", ["keys/example.com/s1.private", "a file.pem", "-x.pem", "ü.pem", "deep/er/k"])
def test_a_private_key_is_found_wherever_it_lies(repository, name):
    """Tracked, or about to be: any name, any folder; also where .gitignore came too late."""
    path = repository.top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(private_pem(2))
    repository.git("add", "--force", "--", name)

    assert [name] == [os.path.relpath(Path(f.file).resolve(), repository.top) for f in found(repository, "KEY003")[1]]


def test_ignored_keys_and_marked_test_keys_are_passed_over(repository):
    """A key that git does not take is no fault of the repository; test keys are marked in .gitattributes."""
    (repository.top / "here.private").write_bytes(private_pem(2))
    (repository.top / "tests").mkdir()
    (repository.top / "tests/key.pem").write_bytes(private_pem(2))
    (repository.top / ".gitattributes").write_text("tests/** dkconf-test-key\n")

    assert [] == found(repository, "KEY003")[1]


def test_words_about_keys_are_no_keys(repository):
    """A README may say how a private key begins."""
    (repository.top / "README.md").write_text("It begins with -----BEGIN PRIVATE KEY----- and stays on the host.\n")

    assert [] == found(repository, "KEY003")[1]


def test_without_git_the_rules_of_git_are_skipped_by_name(tmp_path):
    """Never passed silently: a folder that is no repository has no say about its history."""
    (tmp_path / "inventory.yaml").write_text("version: 1\nfilters: {}\nhosts: {}\n")
    report = checks.check(tmp_path / "inventory.yaml", against="main")
    skipped = {s.name: s.reason for s in report.skipped}

    assert "not in a git repository" == skipped["KEY003"] == skipped["CHG001"]
    assert "there is no folder keys/ beside the inventory" == skipped["DNS002"]
    assert f"{len(report.skipped)} checks skipped" in formats.render(report, "text")


def test_a_shallow_clone_says_what_it_cannot_know(repository, tmp_path):
    """A comparison that the clone cannot make is skipped, with what to do about it."""
    repository.change("tempfail", "reject")
    repository.commit()
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.top}", str(tmp_path / "clone"))
    report = checks.check(tmp_path / "clone" / "inventory.yaml", against="HEAD~1")

    assert report.changes is None
    assert any(s.name == "CHG001" and "fetch more history" in s.reason for s in report.skipped)


def test_history_that_ends_too_early_is_skipped(repository, tmp_path):
    """t=y since before the clone's beginning: for how long cannot be known."""
    repository.change("s1: {state: active}", "s1: {state: active, testing: true}")
    repository.commit(when=1_600_000_000)
    repository.change("tempfail", "reject")
    repository.commit(when=1_600_000_100)
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.top}", str(tmp_path / "clone"))
    report = checks.check(tmp_path / "clone" / "inventory.yaml", against="HEAD")

    assert any(s.name == "DNS007" and "too short" in s.reason for s in report.skipped)


def test_a_branch_is_judged_by_what_it_changes_itself(repository):
    """What happened on main since the branch left it is not the branch's doing."""
    repository.git("switch", "--quiet", "-c", "branch")
    repository.git("switch", "--quiet", "main")
    repository.change("tempfail", "reject")
    repository.commit()
    repository.git("switch", "--quiet", "branch")

    assert () == checks.check(repository.inventory, against="main").changes


def test_without_the_branch_point_it_says_what_it_compared_with(repository, tmp_path):
    """Two shallow tips have no commit in common: REV itself is compared with, and that is said."""
    repository.git("switch", "--quiet", "-c", "branch")
    repository.change("tempfail", "reject")
    repository.commit()
    clone = ConfigRepository(tmp_path / "clone")
    repository.git("clone", "--quiet", "--depth=1", "--no-single-branch", f"file://{repository.top}", str(clone.top))
    report = checks.check(clone.inventory, against="origin/main")

    assert ["on_failure: tempfail -> reject"] == [c.text for c in report.changes]
    assert "branch point" in {s.name for s in report.skipped}


def test_an_inventory_that_was_not_there_is_all_new(repository):
    """The first commit of an inventory is no fault."""
    repository.git("mv", "inventory.yaml", "old.yaml")
    repository.commit()
    repository.git("mv", "old.yaml", "inventory.yaml")
    report = checks.check(repository.inventory, against="HEAD")

    assert {"is new", "selector s1: new, active", "selector s2: new, percolating"} == {c.text for c in report.changes}


def test_changes_are_told_in_words(repository):
    """Per host, filter and domain."""
    repository.change("[dk]", "[dk]\n    disabled_filters: [dk]")
    repository.change("s2: {state: percolating}", "s2: {state: revoked}")
    repository.change("tempfail", "reject")
    changes = checks.check(repository.inventory, against="HEAD").changes

    assert [
        ("host", "mx1", "dk: called -> defined, not called"),
        ("filter", "dk", "on_failure: tempfail -> reject"),
        ("domain", "example.com", "selector s2: state: percolating -> revoked"),
    ] == [(c.kind, c.name, c.text) for c in changes]


@pytest.mark.parametrize("revision", ["--output=x", "-x", "no-such-branch", "HEAD:inventory.yaml", ""])
def test_a_revision_is_never_an_option(repository, revision):
    """Whatever is given as REV is a name for git, or unknown."""
    report = checks.check(repository.inventory, against=revision)

    assert report.changes is None
    assert not (repository.top / "x").exists()


def test_a_warning_of_the_repository_can_be_ignored(repository):
    """The comment stands in the inventory at the line that the rule names."""
    repository.change("tempfail", "tempfail # dkconf: ignore=CHG007 wanted\n    conditions: {dkim: {bad: reject}}")
    assert ["CHG007"] == [f.rule for f in found(repository, "CHG007", "HEAD")[1]]
    repository.change(" # dkconf: ignore=CHG007 wanted", "")
    repository.change("{bad: reject}}", "{bad: reject}} # dkconf: ignore=CHG007 wanted")
    report = checks.check(repository.inventory, against="HEAD")

    assert [] == [f.rule for f in report.findings if f.rule == "CHG007"]
    assert 1 == report.silenced


def test_a_repository_runs_no_code_of_its_own(repository, tmp_path):
    """fsmonitor, hooks, filters, textconv and pagers that the repository configures stay unused."""
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for setting in (
        "core.fsmonitor",
        "core.pager",
        "diff.x.textconv",
        "filter.x.clean",
        "filter.x.smudge",
        "core.sshCommand",
    ):
        repository.git("config", setting, str(trap))
    (repository.top / ".gitattributes").write_text("* filter=x diff=x\n")
    repository.change("tempfail", "reject")
    checks.check(repository.inventory, against="HEAD")

    assert not (tmp_path / "sprung").exists()


def test_public_key_of_another_kind_is_told(repository):
    """The inventory's algorithm and bits are what the record will say."""
    repository.change("s1: {state: active}", "s1: {state: active, bits: 3072}")

    assert "the key has 2048 bits, and the inventory says 3072" in found(repository, "KEY006")[1][0].message


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes"])
def test_a_pipe_that_git_would_wait_for_is_told(repository, name):
    """Git opens such a file whatever it is, and waits for somebody to write."""
    (repository.top / name).unlink(missing_ok=True)
    os.mkfifo(repository.top / name)

    skipped = {s.name: s.reason for s in checks.check(repository.inventory).skipped}

    assert f"{repository.top / name} is a named pipe" == skipped["KEY003"] == skipped["KEY009"]


def test_a_pipe_in_the_place_of_a_repository(repository):
    """The inventory is checked all the same, at once."""
    shutil.rmtree(repository.top / ".git")
    os.mkfifo(repository.top / ".git")

    assert checks.check(repository.inventory).domains == 1


def test_a_search_that_git_cannot_make_is_skipped_by_name(repository):
    """A file of 3 GB of nothing has git end: that must not look as if no private key lay beside it."""
    (repository.top / "id.pem").write_bytes(private_pem(1))
    with (repository.top / "large").open("wb") as file:
        file.truncate(3 << 30)
    report, findings = found(repository, "KEY003")

    assert [] == findings
    assert "git could not look through the files" in [s.reason for s in report.skipped if s.name == "KEY003"]


def test_a_public_key_that_vanishes_meanwhile(repository, monkeypatch):
    """Its owner works on in his checkout: what is gone between two looks is missing, and no fault of ours."""
    monkeypatch.setattr(PublicHalves, "_open", lambda self, domain, selector: None)

    assert found(repository, "DNS002")[1]
