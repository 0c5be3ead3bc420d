"""Wanted, last applied, there now: which changes follow, in which order, and what is drift."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dkconf.desired.state import MilterFilter
from dkconf.plan import safety
from dkconf.plan.actual import ActualState, KeyState
from dkconf.plan.diff import compare, diff
from dkconf.sendmail import mc
from tests.plan.conftest import KEY, PATHS, SETTINGS, SOURCE, applied, before_dkconf, cf_text, milter, state

Edit = Callable[[ActualState, str, bytes], ActualState]


def test_first_plan_is_in_the_order_of_writing(signer: MilterFilter) -> None:
    """Settings first, then fragment, sendmail.mc, and sendmail.cf last."""
    desired = state(signer)

    plan = diff(desired, before_dkconf(desired), None)

    assert [SETTINGS, PATHS.fragment, PATHS.sendmail_mc, PATHS.sendmail_cf] == [f.path for f in plan.files]
    assert ["create", "create", "update", "rebuild"] == [f.action for f in plan.files]
    assert [("signer", "start")] == [(s.filter, s.action) for s in plan.services]
    assert [("signer", "absent", "called by sendmail")] == [(f.name, f.was, f.becomes) for f in plan.filters]
    assert ["create"] == [r.action for r in plan.records]
    assert ["use"] == [k.action for k in plan.keys]


def test_nothing_to_do(signer: MilterFilter) -> None:
    """The state that was applied, unchanged, gives an empty plan."""
    desired = state(signer)
    actual, last = applied(desired)

    plan = diff(desired, actual, last)

    assert plan.empty
    assert () == plan.drift


def test_disable_in_words(signer: MilterFilter) -> None:
    """A filter that goes off is "called by sendmail -> defined, not called", and stops last."""
    actual, last = applied(state(signer))

    plan = diff(state(replace(signer, enabled=False)), actual, last)

    assert [("called by sendmail", "defined, not called")] == [(f.was, f.becomes) for f in plan.filters]
    assert ["stop"] == [s.action for s in plan.services]


def test_settings_in_words(signer: MilterFilter) -> None:
    """Another socket, another F=, another key: each is said."""
    actual, last = applied(state(signer))
    other = replace(signer, socket="inet:9@127.0.0.1", on_failure="reject", signs=(), settings_digest="2")

    (change,) = diff(state(other), actual, last).filters

    assert (
        "socket inet:8891@127.0.0.1 -> inet:9@127.0.0.1",
        "mail is refused when it fails (F=R)",
        "signs no more: dkim s1._domainkey.example.com",
    ) == change.settings


def test_what_a_reload_leaves_alone_is_restarted(signer: MilterFilter) -> None:
    """Where both are known; a generation that does not say it gets a reload, as it got when it was made."""
    for before, after, action in (("1", "2", "restart"), ("2", "2", "reload"), ("", "2", "reload")):
        actual, last = applied(state(replace(signer, start_digest=before)))
        plan = diff(state(replace(signer, start_digest=after, settings_digest="2")), actual, last)

        assert [("signer", action)] == [(s.filter, s.action) for s in plan.services]


def test_refusing_mail_is_a_risk_of_its_own(signer: MilterFilter) -> None:
    """F=R is refused where it begins, by name; where sendmail calls the filter so already, or not at all, it is not."""
    refusing = replace(signer, on_failure="reject")
    actual, last = applied(state(signer))

    plan = diff(state(refusing), actual, last)

    (refusal,) = safety.refusals(plan)
    assert "fail-reject" == refusal.risk
    assert "--accept-risk fail-reject" in refusal.way_on
    assert () == safety.without((refusal,), {"fail-reject"})
    assert () == safety.refusals(diff(state(replace(refusing, enabled=False)), actual, last))
    actual, last = applied(state(refusing))
    assert () == safety.refusals(diff(state(refusing), actual, last))


def test_order_alone_is_a_change(signer: MilterFilter) -> None:
    """Filters called in another order: said, and rebuilt."""
    second = milter("second", 8892)
    actual, last = applied(state(signer, second))

    plan = diff(state(second, signer), actual, last)

    assert ["second, signer"] == [f.name for f in plan.filters]
    assert plan.touches_sendmail


def test_drift_is_told_apart_from_pending(signer: MilterFilter, edited: Edit) -> None:
    """A file edited since is drift; one that the inventory changes is a change; one may be both."""
    desired = state(signer)
    actual, last = applied(desired)
    actual = edited(actual, SETTINGS, b"a = 2\n")

    plan = diff(desired, actual, last)
    assert [(SETTINGS, "content", True)] == [(d.path, d.what, d.matters) for d in plan.drift]
    assert "--take-over " + SETTINGS in str(safety.refusals(plan)[0])
    assert () == safety.refusals(plan, take_over={SETTINGS})

    files = tuple(replace(f, content=b"a = 2\n") if f.path == SETTINGS else f for f in desired.files)
    plan = diff(replace(desired, files=files), actual, last)
    assert [False] == [d.matters for d in plan.drift], "as wanted now: nothing would be overwritten"
    assert () == safety.refusals(plan)


def test_a_removed_file_is_drift_and_comes_back(signer: MilterFilter) -> None:
    """A file that somebody removed is written again; nothing is lost by that."""
    desired = state(signer)
    actual, last = applied(desired)
    actual = replace(actual, files={**actual.files, SETTINGS: None})

    plan = diff(desired, actual, last)

    assert ["removed"] == [d.what for d in plan.drift]
    assert ["create"] == [f.action for f in plan.files]
    assert () == safety.refusals(plan)


def test_edits_of_the_hosts_own_lines_are_no_drift(signer: MilterFilter) -> None:
    """sendmail.mc is the host's; dkconf's block in it is not."""
    desired = state(signer)
    actual, last = applied(desired)
    assert actual.mc is not None
    own = replace(actual.mc, content=b"dnl mine\n" + actual.mc.content)
    without = replace(actual.mc, content=SOURCE.encode())

    assert () == diff(desired, replace(actual, mc=own), last).drift
    plan = diff(desired, replace(actual, mc=without), last)
    assert ["dkconf's block was removed"] == [d.what for d in plan.drift]
    assert [PATHS.sendmail_mc, PATHS.sendmail_cf] == [f.path for f in plan.files]


def test_a_cf_that_does_not_call_the_filter_is_rebuilt(signer: MilterFilter) -> None:
    """Somebody rebuilt sendmail.cf without the fragment: the plan says so."""
    desired = state(signer)
    actual, last = applied(desired)
    assert actual.cf is not None

    plan = diff(desired, replace(actual, cf=replace(actual.cf, content=cf_text())), last)

    assert [PATHS.sendmail_cf] == [f.path for f in plan.files]
    assert [("absent", "called by sendmail")] == [(f.was, f.becomes) for f in plan.filters]


def test_a_file_that_is_not_ours_is_not_overwritten(signer: MilterFilter) -> None:
    """An existing file with settings is refused until taken over; a package's file of comments is not."""
    desired = state(signer)
    host = before_dkconf(desired)
    from dkconf.plan.actual import FileState

    there = FileState(b"# stock\nOPTS=-x\n", 0o644, "root", "root")
    found = safety.refusals(diff(desired, replace(host, files={**host.files, SETTINGS: there}), None))
    assert [f"--take-over {SETTINGS}"] == [r.way_on for r in found]

    stock = replace(there, content=b"# only\n\n# comments\n")
    assert () == safety.refusals(diff(desired, replace(host, files={**host.files, SETTINGS: stock}), None))


def test_hand_made_lines_are_refused_or_taken_over(signer: MilterFilter) -> None:
    """The administrator's own call of a filter: named with its line, moved only when asked."""
    desired = state(signer)
    host = before_dkconf(desired)
    assert host.mc is not None
    by_hand = SOURCE.replace("MAILER_D", "INPUT_MAIL_FILTER(`signer', `S=inet:1@127.0.0.1')dnl\nMAILER_D")
    host = replace(host, mc=replace(host.mc, content=by_hand.encode()))

    (refusal,) = safety.refusals(diff(desired, host, None))
    assert "sendmail.mc:2" in refusal.sentence
    assert "--take-over signer" == refusal.way_on

    plan = diff(desired, host, None, take_over={"signer"})
    assert () == safety.refusals(plan, take_over={"signer"})
    new = next(f.after for f in plan.files if f.path == PATHS.sendmail_mc)
    assert "dnl dkconf was: INPUT_MAIL_FILTER(`signer'" in mc.decode(new)


def test_a_list_made_by_hand_is_refused(signer: MilterFilter) -> None:
    """define(`confINPUT_MAIL_FILTERS') and per-daemon lists cannot be worked beside: refused with their
    line."""
    desired = state(signer)
    host = before_dkconf(desired)
    assert host.mc is not None
    for line in (
        "define(`confINPUT_MAIL_FILTERS', `signer')dnl\n",
        "DAEMON_OPTIONS(`Port=25, Name=MTA, InputMailFilters=a;b')dnl\n",
    ):
        text = SOURCE.replace("MAILER_D", line + "MAILER_D")
        found = safety.refusals(diff(desired, replace(host, mc=replace(host.mc, content=text.encode())), None))
        assert any("sendmail.mc:2" in r.sentence for r in found), line


def test_keys(signer: MilterFilter) -> None:
    """A missing key and another key are refused; a wrong owner is set right, without reading the key."""
    desired = state(signer)
    actual, last = applied(desired)

    (missing,) = safety.refusals(diff(desired, replace(actual, keys={KEY: None}), last))
    assert "not there" in missing.sentence
    other = KeyState(0o600, "dkconf", "dkconf", "cd" * 32)
    (differs,) = safety.refusals(diff(desired, replace(actual, keys={KEY: other}), last))
    assert "is another key" in differs.sentence
    roots = KeyState(0o600, "root", "root", "ab" * 32)
    (change,) = diff(desired, replace(actual, keys={KEY: roots}), last).files
    assert (KEY, "attributes", b"", b"") == (change.path, change.action, change.before, change.after)


def test_records_are_compared_by_name(signer: MilterFilter) -> None:
    """A record that changes or goes is a change of its own."""
    desired = state(signer)
    actual, last = applied(desired)
    changed = replace(desired, records=(replace(desired.records[0], value=b"v=DKIM1; p="),))

    assert ["update"] == [r.action for r in diff(changed, actual, last).records]
    assert ["delete"] == [r.action for r in diff(replace(desired, records=()), actual, last).records]


def test_another_root_builds_nothing(signer: MilterFilter) -> None:
    """Where sendmail.cf is not built it is no change, so that the host's own make builds it."""
    desired = state(signer)

    plan = diff(desired, replace(before_dkconf(desired), builds=False), None)

    assert PATHS.sendmail_cf not in [f.path for f in plan.files]


def test_compare_generations(signer: MilterFilter) -> None:
    """Two generations are compared without the host."""
    plan = compare(state(signer), state(replace(signer, enabled=False)))

    assert [("called by sendmail", "defined, not called")] == [(f.was, f.becomes) for f in plan.filters]
    assert [PATHS.fragment] == [f.path for f in plan.files]
    assert compare(state(signer), state(signer)).empty
