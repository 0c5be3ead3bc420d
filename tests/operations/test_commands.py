"""The operations on a host in memory: what they change, in which order, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dkconf.errors import DkconfError, NotReverted, PlanStale, Refusal, Refused, Reverted, Status, UsageProblem, Waiting
from dkconf.operations import commands
from dkconf.operations.context import Outcome
from tests.memoryhost import CF_PATH, FRAGMENT, MC, MC_PATH, STATE, Host, build_cf


def text(outcome: Outcome) -> str:
    return "\n".join(line for _, line in outcome.lines)


def test_apply_calls_the_filters(host: Host) -> None:
    """After apply sendmail calls the filters of the inventory, in its order."""
    outcome = commands.apply_plan(host.ctx())

    assert Status.OK == outcome.status
    assert ["signer", "second"] == host.called()
    assert 1 == outcome.data["generation"]
    assert b"include(`/etc/mail/m4/dkconf.m4')dnl" in host.system.files[MC_PATH].content


def test_second_apply_does_nothing(host: Host) -> None:
    """The same inventory again changes nothing and makes no generation."""
    commands.apply_plan(host.ctx())
    before, calls = dict(host.system.files), list(host.machine.calls)

    outcome = commands.apply_plan(host.ctx())

    assert not outcome.changed
    assert calls == host.machine.calls
    assert {p: s for p, s in before.items() if "lock" not in p} == host.system.files


def test_sources_then_cf_then_hup_then_checks(host: Host) -> None:
    """The .cf is written last and is no older than its sources; sendmail is told after it."""
    steps: list[str] = []
    host.system.use(lambda name, edge: steps.append(name) if edge == "before" else None)

    commands.apply_plan(host.ctx())

    order = [
        s for s in steps if s in (f"write:{FRAGMENT}", f"write:{MC_PATH}", f"write:{CF_PATH}", "tell-sendmail", "check")
    ]
    assert [f"write:{FRAGMENT}", f"write:{MC_PATH}", f"write:{CF_PATH}", "tell-sendmail", "check"] == order
    files = host.system.files
    assert files[CF_PATH].mtime_ns > max(files[FRAGMENT].mtime_ns, files[MC_PATH].mtime_ns)


def test_owner_and_mode_of_the_host_are_kept(host: Host) -> None:
    """sendmail.mc and sendmail.cf keep the owner, group and mode that they had."""
    host.system.put(CF_PATH, host.system.files[CF_PATH].content, 0o640, "smmta", "smmsp")

    commands.apply_plan(host.ctx())

    assert (0o640, "smmta", "smmsp") == (
        host.system.files[CF_PATH].mode, host.system.files[CF_PATH].owner, host.system.files[CF_PATH].group
    )  # fmt: skip


def test_a_filter_that_is_down_is_started_before_sendmail_calls_it(host: Host) -> None:
    """Enabling: the filter runs before the .cf names it."""
    host.machine.up.clear()

    commands.apply_plan(host.ctx())

    calls = host.machine.calls
    assert calls.index("start signer") < calls.index("tell")


def test_without_terminal_and_yes_it_is_refused(host: Host) -> None:
    """Nobody to ask: status 8, naming --yes, and nothing changes."""
    before = host.etc()

    with pytest.raises(Refused, match="--yes"):
        commands.apply_plan(host.ctx(yes=False))

    assert before == host.etc()


def test_no_is_no(host: Host) -> None:
    """Who answers no to the plan gets an unchanged host."""
    before = host.etc()

    outcome = commands.apply_plan(host.ctx(yes=False, ask=lambda lines: False))

    assert Status.ERROR == outcome.status
    assert before == host.etc()


def test_a_missing_thing_is_told_before_anything(host: Host) -> None:
    """A sendmail without MILTER, a missing m4: told at once, status 1, nothing touched."""
    host.machine.missing = ("sendmail is built without MILTER", "m4: not found")

    with pytest.raises(DkconfError, match="without MILTER\nm4") as caught:
        commands.apply_plan(host.ctx())

    assert Status.ERROR == caught.value.status
    assert [] == host.machine.calls


def test_refusal_of_the_judge_changes_nothing(host: Host) -> None:
    """A canary that fails is 8 and quotes the reply; --accept-risk goes on."""
    host.machine.refusals = (Refusal("canary", "the canary: 451 4.3.2 Please try again later", "--accept-risk canary"),)
    before = host.etc()

    with pytest.raises(Refused, match=r"451 4\.3\.2"):
        commands.apply_plan(host.ctx())
    assert before == host.etc()

    outcome = commands.apply_plan(host.ctx(accept_risk=frozenset({"canary"})))
    assert Status.OK == outcome.status


@pytest.mark.parametrize("point", ["tell", "check", "start"])
def test_failure_goes_back_and_is_healthy(host: Host, point: str) -> None:
    """Whatever fails after the first change: every file is as before, status 3, no generation."""
    host.machine.up.clear()
    host.machine.fail = point
    before = dict(host.system.files)

    with pytest.raises(Reverted, match="said no"):
        commands.apply_plan(host.ctx())

    after = {p: s for p, s in host.system.files.items() if not p.startswith(STATE)}
    assert {p: s for p, s in before.items() if not p.startswith(STATE)} == after, "times included"
    assert [] == host.called()
    assert set() == host.machine.up
    assert [] == commands.generations(host.ctx()).data["generations"]


def test_worse_ports_go_back(host: Host) -> None:
    """A port that answers worse than before is a failure: back, status 3."""
    host.machine.worse = ("port 25: 451 4.3.2 (before: 250)",)

    with pytest.raises(Reverted, match="port 25"):
        commands.apply_plan(host.ctx())

    assert [] == host.called()


def test_failing_twice_is_not_reverted_and_the_next_run_repairs(host: Host) -> None:
    """If going back fails too it is status 4, and the next run goes back."""
    host.machine.fail, host.machine.fail_once = "tell", False
    before = host.etc()

    with pytest.raises(NotReverted):
        commands.apply_plan(host.ctx())

    host.machine.fail = ""
    commands.recover(host.ctx())
    assert before == host.etc()


def test_disable_filter(host: Host) -> None:
    """disable-filter: sendmail first, then drain, then the filter stops; the inventory follows, comments
    kept."""
    commands.apply_plan(host.ctx())
    host.machine.calls.clear()

    outcome = commands.disable_filter(host.ctx(), "signer")

    assert Status.OK == outcome.status
    assert ["second"] == host.called()
    assert ["judge", "tell", "check", "drain inet:8891@127.0.0.1", "stop signer"] == host.machine.calls
    assert "disabled_filters: [signer]" in host.inventory.read_text()
    assert "# in this order" in host.inventory.read_text()
    assert commands.plan_host(host.ctx()).data["plan"]["empty"], "the inventory says the same now"


def test_disable_leaves_pending_edits_pending(host: Host) -> None:
    """disable-filter changes the generation in force by that filter alone."""
    commands.apply_plan(host.ctx())
    host.edit("inet:8892@127.0.0.1", "inet:8899@127.0.0.1")

    commands.disable_filter(host.ctx(), "signer")

    assert b"8892" in host.system.files[FRAGMENT].content
    assert "8899" in text(commands.plan_host(host.ctx()))


def test_drain_timeout_is_waiting(host: Host) -> None:
    """Connections that do not end: the filter runs on, status 6; the next apply stops it."""
    commands.apply_plan(host.ctx())
    host.machine.connections = ("sendmail 4711",)

    outcome = commands.disable_filter(host.ctx(), "signer")
    assert Status.WAITING == outcome.status
    assert "signer" in host.machine.up

    host.machine.connections = ()
    assert Status.OK == commands.apply_plan(host.ctx()).status
    assert "signer" not in host.machine.up


def test_an_emergency_beside_it_forgets_no_filter_that_drains(host: Host) -> None:
    """A hand-made line is turned off while another filter waits for its last connections: that one still stops."""
    line = "INPUT_MAIL_FILTER(`old-filter', `S=inet:8893@127.0.0.1, F=T')dnl\n"
    source = MC.replace("MAILER_DEFINITIONS\n", line + "MAILER_DEFINITIONS\n").encode()
    host.system.put(MC_PATH, source, group="smmsp")
    host.system.put(CF_PATH, build_cf(source, None), group="smmsp")
    commands.apply_plan(host.ctx())
    host.machine.connections = ("sendmail 4711",)
    commands.disable_filter(host.ctx(), "signer")

    commands.disable_filter(host.ctx(inventory=None), "old-filter", emergency=True)
    host.machine.connections = ()
    commands.recover(host.ctx())

    assert "signer" not in host.machine.up


def test_override_where_the_inventory_cannot_follow(host: Host, tmp_path: Path) -> None:
    """Without a writable inventory an override remains, is shown, holds, and goes when the inventory
    follows."""
    commands.apply_plan(host.ctx())
    saved = host.inventory.read_text()
    host.inventory.unlink()

    outcome = commands.disable_filter(host.ctx(), "signer")
    assert "override" in text(outcome)

    host.inventory.write_text(saved)
    assert "override" in text(commands.plan_host(host.ctx()))
    assert {"signer": False} == commands.status(host.ctx()).data["overrides"]
    assert not commands.apply_plan(host.ctx()).changed
    assert ["second"] == host.called()

    host.edit(
        "    domains: [example.com]\n    services",
        "    disabled_filters: [signer]\n    domains: [example.com]\n    services",
    )
    # It is none any more as soon as the inventory says the same, before any apply.
    assert {} == commands.status(host.ctx()).data["overrides"]
    assert "override" not in text(commands.status(host.ctx()))
    commands.apply_plan(host.ctx())
    assert {} == commands.status(host.ctx(inventory="")).data["overrides"]


def test_enable_again(host: Host) -> None:
    """enable-filter starts the filter, tries it, and only then has sendmail call it."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    host.machine.calls.clear()

    commands.enable_filter(host.ctx(), "signer")

    assert ["signer", "second"] == host.called()
    assert ["judge", "start signer", "tell", "check"] == host.machine.calls
    assert "disabled_filters" not in host.inventory.read_text()


def test_rollback_refuses_while_the_filter_is_broken(host: Host) -> None:
    """rollback refuses with 8 and quotes the reply; cured, it brings the filter back as a new generation."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    host.machine.refusals = (Refusal("canary", "the canary: 451 4.3.2 Please try again later", "--accept-risk canary"),)

    with pytest.raises(Refused, match=r"451 4\.3\.2"):
        commands.rollback(host.ctx())
    assert ["second"] == host.called()

    host.machine.refusals = ()
    outcome = commands.rollback(host.ctx(inventory=None))
    assert 3 == outcome.data["generation"]
    assert ["signer", "second"] == host.called()


def test_rollback_keeps_what_the_host_wrote_since(host: Host) -> None:
    """The generation's block goes into the present sendmail.mc; the host's own edits stay."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    source = host.system.files[MC_PATH]
    host.system.files[MC_PATH] = replace(source, content=b"dnl a new line\n" + source.content)

    commands.rollback(host.ctx(), 1)

    assert host.system.files[MC_PATH].content.startswith(b"dnl a new line\n")


def test_after_a_rollback_it_is_said_what_apply_would_undo(host: Host) -> None:
    """status and plan name the rollback, and in words the filter that the inventory would turn on or off again."""
    commands.apply_plan(host.ctx())
    host.edit("filters: [signer, second]", "filters: [signer, second]\n    disabled_filters: [signer]")
    commands.apply_plan(host.ctx())
    commands.rollback(host.ctx())

    status = [line for _, line in commands.status(host.ctx()).lines]
    plan = [line for _, line in commands.plan_host(host.ctx()).lines]

    words = (
        "generation 3 came by `dkconf rollback 1`, and the inventory wants otherwise: `dkconf apply` would undo that"
    )
    assert words in status
    assert f"note: {words}" in plan
    assert "apply would: filter signer: called by sendmail -> defined, not called" in status
    assert "filter signer: called by sendmail -> defined, not called" in plan


def test_rollback_without_m4(host: Host) -> None:
    """If m4 fails the stored sendmail.cf is used."""
    commands.apply_plan(host.ctx())
    first = host.system.files[CF_PATH].content
    commands.disable_filter(host.ctx(), "signer")
    host.machine.m4_fails = True

    commands.rollback(host.ctx(), 1)

    assert first == host.system.files[CF_PATH].content


def test_drift_is_refused_and_taken_over_by_name(host: Host) -> None:
    """A hand edit since the last apply is drift: shown, refused, overwritten only with --take-over PATH."""
    commands.apply_plan(host.ctx())
    host.system.put(FRAGMENT, b"MAIL_FILTER(`signer', `S=inet:1@127.0.0.1')dnl\n")

    assert "drift" in text(commands.plan_host(host.ctx()))
    with pytest.raises(Refused, match=f"--take-over {FRAGMENT}"):
        commands.apply_plan(host.ctx())

    commands.apply_plan(host.ctx(take_over=frozenset({FRAGMENT})))
    assert ["signer", "second"] == host.called()


def test_drift_of_a_mode_alone(host: Host) -> None:
    """A changed mode or owner is drift too, in words."""
    commands.apply_plan(host.ctx())
    host.system.files[FRAGMENT] = replace(host.system.files[FRAGMENT], mode=0o666)

    assert "mode 0666 (was 0644)" in text(commands.plan_host(host.ctx()))


def test_hand_made_line_is_taken_over(host: Host) -> None:
    """A hand-written call is refused without, and moved with --take-over NAME; release restores it."""
    line = "INPUT_MAIL_FILTER(`signer', `S=inet:8891@127.0.0.1, F=T')dnl\n"
    source = MC.replace("MAILER_DEFINITIONS\n", line + "MAILER_DEFINITIONS\n").encode()
    host.system.put(MC_PATH, source, group="smmsp")
    host.system.put(CF_PATH, build_cf(source, None), group="smmsp")
    before = host.etc()
    host.machine.up.add("signer")

    with pytest.raises(Refused, match="--take-over signer"):
        commands.apply_plan(host.ctx())
    commands.apply_plan(host.ctx(take_over=frozenset({"signer"})))
    assert b"dnl dkconf was: INPUT_MAIL_FILTER" in host.system.files[MC_PATH].content
    assert ["signer", "second"] == host.called()

    commands.release(host.ctx())
    assert before == host.etc()
    assert ["signer"] == host.called()
    assert "signer" in host.machine.up


@pytest.mark.parametrize(
    "socket, stopped",
    [
        ("inet:8891@localhost", True),
        ("local:/run/old.sock", True),
        ("inet:8894@localhost", False),
        ("inet:milter@localhost", False),
    ],
)
def test_release_stops_a_filter_that_nobody_calls_any_more(own: Host, socket: str, stopped: bool) -> None:
    """One that took the place of another program, under its name and on a socket of its own, has nothing to do."""
    line = f"INPUT_MAIL_FILTER(`own', `S={socket}, F=T')dnl\n"
    source = MC.replace("MAILER_DEFINITIONS\n", line + "MAILER_DEFINITIONS\n").encode()
    own.system.put(MC_PATH, source, group="smmsp")
    own.system.put(CF_PATH, build_cf(source, None), group="smmsp")
    before = own.etc()
    commands.apply_plan(own.ctx(take_over=frozenset({"own"})))
    assert "own" in own.machine.up

    commands.release(own.ctx())
    assert ["own"] == own.called()
    assert stopped == ("own" not in own.machine.up)
    assert before.keys() == own.etc().keys()


def test_release_leaves_the_host_as_found(host: Host) -> None:
    """After release the host's files are what they were, times included, and no generation is in force."""
    before = dict(host.system.files)
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "second")

    commands.release(host.ctx())

    assert before == {p: s for p, s in host.system.files.items() if not p.startswith(STATE)}
    assert 0 == commands.status(host.ctx()).data["generation"]


def test_release_leaves_an_empty_fragment_where_make_names_it(host: Host) -> None:
    """Debian's Makefile lists every included file: a missing one would stop make."""
    commands.apply_plan(host.ctx())
    host.system.put("/etc/mail/databases", f"sendmail.cf: {FRAGMENT}\n".encode())

    commands.release(host.ctx())

    assert b"" == host.system.files[FRAGMENT].content


def test_emergency_on_a_hand_written_line(host: Host) -> None:
    """disable-filter --emergency needs neither generation nor inventory, and enable-filter undoes it."""
    line = "INPUT_MAIL_FILTER(`old-filter', `S=inet:8893@127.0.0.1, F=T')dnl\n"
    source = MC.replace("MAILER_DEFINITIONS\n", line + "MAILER_DEFINITIONS\n").encode()
    host.system.put(MC_PATH, source, group="smmsp")
    host.system.put(CF_PATH, build_cf(source, None), group="smmsp")

    with pytest.raises(UsageProblem, match="--emergency"):
        commands.disable_filter(host.ctx(inventory=None), "old-filter")
    with pytest.raises(UsageProblem, match="it has: old-filter"):
        commands.disable_filter(host.ctx(inventory=None), "oldfilter", emergency=True)
    outcome = commands.disable_filter(host.ctx(inventory=None, yes=False), "old-filter", emergency=True)

    assert [] == host.called()
    assert "skipped" in text(outcome)
    assert ["old-filter"] == commands.status(host.ctx(inventory=None)).data["disabled_by_hand"]
    again = commands.disable_filter(host.ctx(inventory=None), "old-filter", emergency=True)
    assert "off already" in text(again)
    assert not again.changed

    commands.enable_filter(host.ctx(inventory=None), "old-filter")
    assert ["old-filter"] == host.called()
    assert source == host.system.files[MC_PATH].content


def test_emergency_on_a_managed_filter_asks_nobody(host: Host) -> None:
    """--emergency: no gates, no canary, no drain, no question, whatever drifted; the filter runs on."""
    commands.apply_plan(host.ctx())
    host.system.put(FRAGMENT, host.system.files[FRAGMENT].content + b"dnl edited\n", group="smmsp")
    host.machine.calls.clear()

    outcome = commands.disable_filter(host.ctx(yes=False), "signer", emergency=True)

    case = host.machine.cases[-1]
    assert (False, False) == (case.gates, case.canary)
    assert ["second"] == host.called()
    assert not any(c.startswith(("drain", "stop")) for c in host.machine.calls)
    assert "skipped" in text(outcome)


def test_confirm_keeps_it(host: Host) -> None:
    """Unconfirmed: apply is 0, other changes are 6, a filter that goes runs on; confirm ends that."""
    commands.apply_plan(host.ctx())
    outcome = commands.disable_filter(host.ctx(), "signer", confirm_timeout=600)

    assert Status.OK == outcome.status
    assert host.machine.armed
    assert "signer" in host.machine.up
    with pytest.raises(Waiting):
        commands.apply_plan(host.ctx())
    assert "confirm_until" in commands.status(host.ctx()).data

    host.clock.boot += 599
    commands.confirm(host.ctx())
    assert "signer" not in host.machine.up
    assert "disabled_filters: [signer]" in host.inventory.read_text()
    host.clock.boot += 10
    assert not commands.recover(host.ctx()).changed


def test_rollback_does_not_wait_for_the_deadline(host: Host) -> None:
    """Whoever sees that the change was wrong goes back at once; to a certain generation only after that."""
    commands.apply_plan(host.ctx())
    before = dict(host.system.files)
    commands.disable_filter(host.ctx(), "signer", confirm_timeout=600)

    with pytest.raises(Waiting, match="rollback"):
        commands.rollback(host.ctx(), 1)
    with pytest.raises(Waiting):
        commands.disable_filter(host.ctx(), "signer", emergency=True)
    outcome = commands.rollback(host.ctx())

    assert "the host is as before it" in text(outcome)
    assert ["signer", "second"] == host.called()
    for path in (MC_PATH, CF_PATH, FRAGMENT):
        assert before[path] == host.system.files[path]
    assert "disarm" in host.machine.calls
    assert commands.apply_plan(host.ctx()).data["changed"] is False


def test_unconfirmed_goes_back_exactly(host: Host) -> None:
    """After the deadline every file is as before, and the generation is gone."""
    before = dict(host.system.files)
    commands.apply_plan(host.ctx(), confirm_timeout=600)
    host.clock.boot += 601

    outcome = commands.recover(host.ctx())

    assert "not confirmed in time" in text(outcome)
    assert before == {p: s for p, s in host.system.files.items() if not p.startswith(STATE)}
    assert [] == host.called()
    with pytest.raises(UsageProblem, match="nothing waits"):
        commands.confirm(host.ctx())


def test_confirm_too_late(host: Host) -> None:
    """confirm after the deadline: status 3, and the change is undone."""
    commands.apply_plan(host.ctx(), confirm_timeout=600)
    host.clock.boot += 601

    with pytest.raises(Reverted, match="too late"):
        commands.confirm(host.ctx())


def test_a_clock_that_jumps_moves_no_deadline(host: Host) -> None:
    """The deadline is counted since boot: setting the clock neither shortens nor lengthens it."""
    commands.apply_plan(host.ctx(), confirm_timeout=600)
    for jump in (+86400.0, -2 * 86400.0):
        host.clock.now += jump
        commands.recover(host.ctx())
        assert ["signer", "second"] == host.called()

    host.clock.boot += 601
    commands.recover(host.ctx())
    assert [] == host.called()


def test_a_reboot_ends_the_wait(host: Host) -> None:
    """After a reboot an unconfirmed change goes back before sendmail starts: nothing is told or started."""
    commands.apply_plan(host.ctx(), confirm_timeout=600)
    host.clock.id, host.clock.boot = "boot-b", 5.0
    host.machine.calls.clear()

    commands.recover(host.ctx(), boot=True)

    assert MC.encode() == host.system.files[MC_PATH].content
    assert [] == [c for c in host.machine.calls if c != "disarm"]


def test_plan_file_is_applied_once_and_only_as_it_is(host: Host, tmp_path: Path) -> None:
    """apply PLAN does exactly that plan: a second time, after an edit of it or of the inventory, it is
    stale (7)."""
    saved = tmp_path / "plan.json"
    saved.write_text(json.dumps(commands.plan_host(host.ctx()).data["plan"]))
    edited = tmp_path / "edited.json"
    edited.write_text(saved.read_text().replace("mx1.example.test", "mx2.example.test"))

    with pytest.raises(PlanStale, match="edited"):
        commands.apply_plan(host.ctx(), str(edited))
    commands.apply_plan(host.ctx(), str(saved))
    with pytest.raises(PlanStale, match="already"):
        commands.apply_plan(host.ctx(), str(saved))

    saved.write_text(json.dumps(commands.plan_host(host.ctx()).data["plan"]))
    host.edit("inet:8892", "inet:8899")
    with pytest.raises(PlanStale, match="inventory has changed"):
        commands.apply_plan(host.ctx(), str(saved))


def test_hand_edit_between_plan_and_apply(host: Host) -> None:
    """A file that is edited while the candidate is judged is not overwritten: stale, nothing changed."""

    def edit() -> None:
        host.system.put(MC_PATH, MC.encode() + b"dnl edited\n", group="smmsp")

    host.machine.before_judging = edit

    with pytest.raises(PlanStale, match="edited since"):
        commands.apply_plan(host.ctx())

    assert MC.encode() + b"dnl edited\n" == host.system.files[MC_PATH].content
    assert FRAGMENT not in host.system.files


def test_plan_writes_nothing(host: Host) -> None:
    """plan and status leave every file as it is, state directory included."""
    before = dict(host.system.files), set(host.system.directories)

    commands.plan_host(host.ctx())
    commands.status(host.ctx())

    assert before == (host.system.files, host.system.directories)


def test_generations_are_pruned_and_pinned_ones_stay(host: Host) -> None:
    """The last 20 stay, and pinned ones; numbers only grow."""
    commands.apply_plan(host.ctx())
    commands.generations_pin(host.ctx(), 1, True)
    for _ in range(12):
        commands.disable_filter(host.ctx(), "signer")
        commands.enable_filter(host.ctx(), "signer")

    numbers = [g["number"] for g in commands.generations(host.ctx()).data["generations"]]
    assert [1, *range(6, 26)] == numbers


def test_generations_diff(host: Host) -> None:
    """`generations diff A B` says in words what changed."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")

    words = text(commands.generations_diff(host.ctx(), 1, 2))

    assert "filter signer: called by sendmail -> defined, not called" in words
    assert "-INPUT_MAIL_FILTER(`signer'" in words


def test_a_filter_that_leaves_the_inventory(host: Host) -> None:
    """A filter that is gone from the inventory is drained and stopped after sendmail has forgotten it."""
    commands.apply_plan(host.ctx())
    host.edit("filters: [signer, second]", "filters: [second]")
    host.edit("      signer: {argv: [/usr/sbin/signer], pid_file: /run/signer.pid}\n", "")
    host.machine.calls.clear()

    commands.apply_plan(host.ctx())

    assert ["second"] == host.called()
    assert ["judge", "tell", "check", "drain inet:8891@127.0.0.1", "stop signer"] == host.machine.calls
