"""Never 0 while the running sendmail was not told: refused before, said and noted in an emergency, told later."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from dkconf.apply.journal import Journal, JournalStore
from dkconf.desired.state import HostPaths
from dkconf.errors import NotReverted, NotTold, Refused, Status
from dkconf.host.machine import Sendmail, StartedBy
from dkconf.operations import commands
from dkconf.operations.context import Context, Outcome
from dkconf.operations.telling import started_by
from dkconf.plan.actual import FileState
from tests.memory import MemorySystem
from tests.memoryhost import CF_PATH, MC, MC_PATH, STATE, Host, build_cf

LOST = "port 25 (MTA-v4) answers, but no process is confirmed as sendmail's master"
UNTOLD = f"{STATE}/untold.json"
EVIL = ("/usr/sbin/sendmail", "-bd", "-C", "/tmp/evil.cf")


def text(outcome: Outcome) -> str:
    return "\n".join(line for _, line in outcome.lines)


def by_hand(host: Host) -> None:
    """Give the host a filter line of the administrator's own."""
    line = "INPUT_MAIL_FILTER(`old-filter', `S=inet:8893@127.0.0.1, F=T')dnl\n"
    source = MC.replace("MAILER_DEFINITIONS\n", line + "MAILER_DEFINITIONS\n").encode()
    host.system.put(MC_PATH, source, group="smmsp")
    host.system.put(CF_PATH, build_cf(source, None), group="smmsp")


COMMANDS: dict[str, Callable[[Context], Outcome]] = {
    "apply": commands.apply_plan,
    "disable": lambda ctx: commands.disable_filter(ctx, "signer"),
    "enable": lambda ctx: commands.enable_filter(ctx, "second"),
    "rollback": lambda ctx: commands.rollback(ctx, 1),
    "release": commands.release,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_refused_before_anything_is_changed(host: Host, command: str) -> None:
    """A configured port answers and no master is confirmed: status 8, and every file is as it was."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "second")
    if command == "apply":
        host.edit("disabled_filters: [second]", "disabled_filters: [second, signer]")
    host.machine.lost = LOST
    host.machine.calls.clear()
    before = dict(host.system.files)

    with pytest.raises(Refused, match="no process is confirmed") as refused:
        COMMANDS[command](host.ctx())

    assert Status.REFUSED == refused.value.status
    assert before == host.system.files
    assert [] == host.machine.calls


def test_an_enabled_line_by_hand_is_refused_too(host: Host) -> None:
    """enable-filter of a hand-written line needs a sendmail that can be told."""
    by_hand(host)
    commands.disable_filter(host.ctx(inventory=None), "old-filter", emergency=True)
    host.machine.lost = LOST

    with pytest.raises(Refused):
        commands.enable_filter(host.ctx(inventory=None), "old-filter")


@pytest.mark.parametrize("hand", [False, True])
def test_an_emergency_stays_and_is_not_called_done(host: Host, hand: bool) -> None:
    """The .cf loses the filter, the filter is not stopped, the status is 4, and the words say what to do."""
    if hand:
        by_hand(host)
    else:
        commands.apply_plan(host.ctx())
    name = "old-filter" if hand else "signer"
    host.machine.lost = LOST
    host.machine.calls.clear()

    outcome = commands.disable_filter(host.ctx(), name, emergency=True)

    assert Status.NOT_REVERTED == outcome.status
    assert outcome.changed
    assert LOST in text(outcome)
    assert LOST == outcome.data["untold"]
    assert "no longer called" not in text(outcome)
    assert name.encode() not in host.system.files[CF_PATH].content.split(b"\nX")[0]
    assert not any(call.startswith(("stop", "drain")) for call in host.machine.calls)
    assert LOST == commands.status(host.ctx()).data["untold"]


@pytest.mark.parametrize("later", ["emergency", "disable", "apply", "rollback", "release", "recover"])
def test_what_was_not_told_is_told_by_the_next_run(host: Host, later: str) -> None:
    """Before anything else, since a filter could be stopped that sendmail still calls; until then it is 4."""
    commands.apply_plan(host.ctx())
    host.machine.lost = LOST
    commands.disable_filter(host.ctx(), "signer", emergency=True)
    run: dict[str, Callable[[], Outcome]] = {
        "emergency": lambda: commands.disable_filter(host.ctx(), "signer", emergency=True),
        "disable": lambda: commands.disable_filter(host.ctx(), "signer"),
        "apply": lambda: commands.apply_plan(host.ctx()),
        "rollback": lambda: commands.rollback(host.ctx()),
        "release": lambda: commands.release(host.ctx()),
        "recover": lambda: commands.recover(host.ctx()),
    }
    host.machine.calls.clear()

    with pytest.raises(NotTold) as still:
        run[later]()
    assert Status.NOT_REVERTED == still.value.status
    assert "signer" in host.machine.up
    assert UNTOLD in host.system.files

    host.machine.lost = ""
    host.machine.calls.clear()
    outcome = run[later]()
    assert Status.OK == outcome.status
    assert "tell" == host.machine.calls[0]
    assert UNTOLD not in host.system.files


def test_a_filter_is_not_stopped_while_sendmail_may_call_it(host: Host) -> None:
    """Whatever road leads to the stopping: what waits to be stopped waits on."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer", confirm_timeout=600)
    host.system.put(UNTOLD, json.dumps({"why": LOST}).encode())

    outcome = commands.confirm(host.ctx())

    assert Status.WAITING == outcome.status
    assert LOST in text(outcome)
    assert "signer" in host.machine.up


def test_a_reboot_tells_by_itself(host: Host) -> None:
    """sendmail reads what is there when it starts."""
    commands.apply_plan(host.ctx())
    host.system.put(UNTOLD, json.dumps({"why": LOST}).encode())
    host.machine.lost = LOST

    commands.recover(host.ctx(), boot=True)

    assert UNTOLD not in host.system.files


@pytest.mark.parametrize("hand", [False, True])
@pytest.mark.parametrize(
    ("emergency", "ran", "stale", "told"),
    [
        (True, True, False, True),
        (True, True, True, True),
        (True, False, False, False),
        (False, True, False, False),
        (False, True, True, True),
        (False, False, False, False),
    ],
)
def test_nothing_to_do_is_not_said_of_the_files_alone(
    host: Host, hand: bool, emergency: bool, ran: bool, stale: bool, told: bool
) -> None:
    """An emergency tells a running sendmail always; without it, one that has read an older .cf."""
    if hand:
        by_hand(host)
    else:
        commands.apply_plan(host.ctx())
    name = "old-filter" if hand else "signer"
    commands.disable_filter(host.ctx(), name, emergency=True)
    host.machine.ran, host.machine.stale = ran, stale
    host.machine.calls.clear()
    # The files say that it is off; the running sendmail was restarted with other ones.
    host.machine.loaded = b"O InputMailFilters=signer, old-filter\n"

    outcome = commands.disable_filter(host.ctx(), name, emergency=emergency)

    assert Status.OK == outcome.status
    assert told == ("tell" in host.machine.calls)
    assert told == ("nothing to do" not in text(outcome))
    if told:
        assert name not in host.called()


def test_nothing_to_do_is_refused_where_sendmail_cannot_be_found(host: Host) -> None:
    """Also where the files are right: 0 would say that mail goes through."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    host.machine.lost = LOST

    with pytest.raises(Refused, match="no process is confirmed"):
        commands.disable_filter(host.ctx(), "signer")


@pytest.mark.parametrize("command", ["apply", "rollback"])
def test_no_change_at_all_is_no_reason_for_0(host: Host, command: str) -> None:
    """The same where nothing has to change; a sendmail with an older .cf is named, and not told unasked."""
    commands.apply_plan(host.ctx())
    host.machine.lost = LOST
    with pytest.raises(Refused, match="no process is confirmed"):
        COMMANDS[command](host.ctx())
    host.machine.lost = ""
    host.machine.stale = True
    host.machine.calls.clear()

    outcome = COMMANDS[command](host.ctx())

    assert Status.OK == outcome.status
    assert "has read its configuration before" in text(outcome)
    assert "tell" not in host.machine.calls


def test_going_back_where_sendmail_cannot_be_told(host: Host) -> None:
    """The files are back and the run is over; that sendmail does not know is said (4), and told by the next run."""
    commands.apply_plan(host.ctx())
    before = host.system.files[CF_PATH].content

    def lose() -> None:
        host.machine.lost = LOST

    host.machine.before_judging = lose

    with pytest.raises(NotReverted, match="no process is confirmed"):
        commands.disable_filter(host.ctx(), "signer")

    assert before == host.system.files[CF_PATH].content
    assert UNTOLD in host.system.files
    host.machine.lost = ""
    host.machine.before_judging = None
    assert Status.OK == commands.disable_filter(host.ctx(), "signer").status


def test_a_filter_that_was_started_runs_on_where_sendmail_was_not_told_to_go_back(host: Host) -> None:
    """It may have been told of the change itself, and call it: stopping it would cost mail."""
    host.machine.up.clear()
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    assert "signer" not in host.machine.up
    host.machine.worse = ("port 25 (MTA-v4): MAIL: 451",)
    told = host.machine.tell_sendmail

    def once(paths: HostPaths, sendmail: Sendmail) -> None:
        told(paths, sendmail)
        host.machine.lost = LOST

    host.machine.tell_sendmail = once  # type: ignore[method-assign]

    with pytest.raises(NotReverted, match="filter signer runs on"):
        commands.enable_filter(host.ctx(), "signer")

    assert "signer" in host.machine.up


def store(system: MemorySystem) -> JournalStore:
    return JournalStore(system, STATE)


def journal(paths: HostPaths, **more: object) -> dict[str, object]:
    """Return a journal as JSON; of an older dkconf without the newer keys."""
    base = {
        "phase": "active", "run": "r", "command": "apply", "actor": "root", "generation": 0, "previous": 0,
        "paths": {name: getattr(paths, name) for name in HostPaths.__slots__}, "files": [],
    }  # fmt: skip
    return {**base, **more}


def test_a_journal_of_an_older_version_does_not_say_what_is_executed(host: Host) -> None:
    """Its command line came from the pid file: it ran, and the command is looked at before it is believed."""
    commands.apply_plan(host.ctx())
    manifest = json.loads(host.system.files[f"{STATE}/generations/000001/manifest.json"].content)
    paths = HostPaths(**manifest["desired"]["paths"])
    path = f"{STATE}/journal/journal.json"
    host.system.put(path, json.dumps(journal(paths, sendmail_argv=EVIL)).encode())

    found = store(host.system).read()

    assert isinstance(found, Journal)
    assert Sendmail(ran=True, start=EVIL, sure=False) == found.sendmail
    new = json.dumps(journal(paths, sendmail_argv=EVIL, sendmail_ran=True, sendmail_full_path=False)).encode()
    host.system.write(path, FileState(new, 0o600, "root", "root"))
    again = store(host.system).read()
    assert again is not None
    assert Sendmail(ran=True, start=EVIL, full_path=False) == again.sendmail


def test_how_it_is_started_comes_from_the_inventory_and_the_last_healthy_state(host: Host) -> None:
    """The inventory's argv and manager; and what was noted when the generation in force was made."""
    from dkconf.operations.session import look

    host.machine.argv = ("systemctl", "restart", "sendmail.service")
    host.edit("    services:\n", "    services:\n      sendmail: {argv: [/usr/sbin/sendmail, -bd, -q1h]}\n")
    commands.apply_plan(host.ctx())

    assert StartedBy(
        ("/usr/sbin/sendmail", "-bd", "-q1h"), "direct", ("systemctl", "restart", "sendmail.service")
    ) == started_by(look(host.ctx()))


def test_plan_shows_that_apply_would_be_refused(host: Host) -> None:
    """Also where no file changes: "nothing to do" alone would be half of the truth."""
    commands.apply_plan(host.ctx())
    assert [] == commands.plan_host(host.ctx()).data["plan"]["refusals"]
    host.machine.lost = LOST

    planned = commands.plan_host(host.ctx())

    assert f"refused: {LOST}" in text(planned)
    assert [LOST] == [refusal["reason"] for refusal in planned.data["plan"]["refusals"]]


def test_plan_shows_what_an_emergency_left_over(host: Host) -> None:
    """As status does: a filter that the next apply stops, and a sendmail that it tells first."""
    commands.apply_plan(host.ctx())
    host.machine.lost = LOST
    commands.disable_filter(host.ctx(), "signer", emergency=True)
    host.machine.lost = ""

    for shown in (commands.plan_host(host.ctx()), commands.status(host.ctx())):
        assert "not stopped yet: signer" in text(shown)
        assert "sendmail was not told of the last change" in text(shown)

    commands.apply_plan(host.ctx())
    for shown in (commands.plan_host(host.ctx()), commands.status(host.ctx())):
        assert "not stopped yet" not in text(shown)
        assert "not told" not in text(shown)


@pytest.mark.parametrize("emergency", [False, True])
def test_that_sendmail_does_not_run_is_said(host: Host, emergency: bool) -> None:
    """Where no file has to change, and nobody was told: 0 does not hide that no mail is taken."""
    commands.apply_plan(host.ctx())
    commands.disable_filter(host.ctx(), "signer")
    assert "does not run" not in text(commands.disable_filter(host.ctx(), "signer", emergency=emergency))
    host.machine.ran = False

    outcome = commands.disable_filter(host.ctx(), "signer", emergency=emergency)

    assert Status.OK == outcome.status
    assert "sendmail does not run; it reads sendmail.cf when it starts" in text(outcome)
