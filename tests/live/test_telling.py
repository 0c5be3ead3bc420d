"""sendmail is found by what it is, told, and seen to have heard; whatever its pid file says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, Ran, inventory
from tests.lab.filters import Fault
from tests.lab.lab import SENDMAIL, eventually
from tests.lab.trees import mail_host

pytestmark = pytest.mark.live
TRY_AGAIN = "451 4.3.2 Please try again later"
PID_FILE = "/run/sendmail/mta/sendmail.pid"
PROGRAM = "/usr/libexec/sendmail/sendmail"
CF = "/etc/mail/sendmail.cf"


@contextmanager
def calling(
    directory: Path, extra_mc: str = "", more: str = "", start: Callable[[Lab], None] | None = None
) -> Iterator[tuple[Lab, Fault]]:
    """A lab whose sendmail calls a filter by dkconf, and gets nothing but "try again" from it.

    Args:
        more: YAML below the host.
        start: How sendmail is started; None = as a service manager does.
    """
    require()
    with Lab(directory / "lab", extra_mc=extra_mc) as lab:
        (start or Lab.start_sendmail)(lab)
        fault = Fault(lab).start()
        yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
        inventory.write(lab, yaml, ["fault"], domains=(), host=more)
        applied = lab.dkconf("apply", "--yes")
        assert applied.status == 0, applied
        fault.order("tempfail eom")
        assert TRY_AGAIN == lab.send().final
        yield lab, fault


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[tuple[Lab, Fault]]:
    with calling(tmp_path) as made:
        yield made


def refused(lab: Lab) -> bool:
    """Return whether mail is refused by the filter; False also while sendmail restarts."""
    try:
        return lab.send().final == TRY_AGAIN
    except OSError:
        return False


def through(lab: Lab) -> None:
    """Assert that mail goes through, and past the filter."""
    assert [] == lab.deliver("through").fields("X-Fault-Filter")


def said(ran: Ran) -> str:
    return ran.out + ran.err


def master_of(lab: Lab) -> int:
    """Return the process in the lab that accepts connections."""
    for line in lab.run("ps", "-eo", "pid,args").out.splitlines():
        if "accepting connections" in line:
            return int(line.split()[0])
    raise AssertionError("no sendmail accepts connections")


# — wherever the pid file is, and whatever it says —


@pytest.mark.parametrize("switch", [("disable-filter", "fault", "--yes"), ("disable-filter", "fault", "--emergency")])
@pytest.mark.parametrize("path", ["/run/mta.pid", "/run/sendmail/mta/$m.pid", "/run/sendmail/mta/$p.pid"])
def test_a_pid_file_of_another_name(tmp_path: Path, switch: tuple[str, ...], path: str) -> None:
    """define(`confPID_FILE'): sendmail is told, and mail goes through."""
    with calling(tmp_path, f"define(`confPID_FILE', `{path}')dnl\n") as (lab, _):
        assert not lab.path(PID_FILE).exists()

        switched = lab.dkconf(*switch)

        assert 0 == switched.status, switched
        through(lab)


FILES = {
    "removed": "rm $1",
    "another process": "rm $1; printf '%s\\n/usr/sbin/sendmail -bd\\n' \"$2\" > $1",
    "a number of nobody": "rm $1; printf '4194304\\n' > $1",
    "words": "rm $1; echo 'no number' > $1",
    "pipe": "rm $1; mkfifo $1",
    "link": "ln -sf /etc/shadow $1",
    "folder": "rm $1; mkdir $1",
    "3 GB": "rm $1; truncate -s 3G $1",
}
"""What the mail user, whose folder it is, may make of the pid file; $2 is a process of root's."""


@pytest.mark.parametrize("what", FILES)
def test_a_pid_file_is_a_claim(broken: tuple[Lab, Fault], what: str) -> None:
    """sendmail is told all the same, nobody waits, and no other process gets a signal."""
    lab, _ = broken
    other = lab.spawn("sleep", "1000")
    number = lab.run("pgrep", "-x", "sleep").out.split()[0]
    assert 0 == lab.run("sh", "-c", FILES[what], "sh", PID_FILE, number).status

    disabled = lab.dkconf("disable-filter", "fault", "--yes", timeout=60)

    assert 0 == disabled.status, disabled
    assert "root:" not in said(disabled)
    through(lab)
    assert other.process.poll() is None


def test_a_program_that_was_replaced(tmp_path: Path) -> None:
    """After a package upgrade the running program is "(deleted)": it still is the master."""
    copy = "/etc/lab/sendmail"

    def start(lab: Lab) -> None:
        assert 0 == lab.run("cp", PROGRAM, copy).status
        assert 0 == lab.run(copy, *SENDMAIL[1:]).status
        lab.wait_for_port(25)

    with calling(tmp_path, more=f"paths: {{sendmail: {copy}}}", start=start) as (lab, _):
        assert 0 == lab.run("sh", "-c", f"cp {PROGRAM} {copy}.new && mv {copy}.new {copy}").status
        exe = lab.run("readlink", f"/proc/{master_of(lab)}/exe").out.strip()
        assert exe == f"{copy} (deleted)"
        assert "replaced" in lab.dkconf("status").out

        disabled = lab.dkconf("disable-filter", "fault", "--yes")

        assert 0 == disabled.status, disabled
        through(lab)


def test_root_in_a_container_sees_less(broken: tuple[Lab, Fault]) -> None:
    """Without CAP_SYS_PTRACE root sees neither program nor sockets of sendmail: users, title and listeners will do."""
    lab, _ = broken
    before = master_of(lab)
    less = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    assert 0 != lab.run(*less, "readlink", f"/proc/{before}/exe").status

    disabled = lab.run(*less, "dkconf", "disable-filter", "fault", "--yes")

    assert 0 == disabled.status, disabled
    through(lab)
    assert not lab.path(f"/proc/{before}").exists()


def test_the_sendmail_of_a_container_is_not_ours(broken: tuple[Lab, Fault]) -> None:
    """One in another network writes its number into the pid file: ours is told, that one is not."""
    lab, _ = broken
    ours = master_of(lab)
    lab.spawn("unshare", "--net", "sh", "-c", f"ip link set lo up; rm -f {PID_FILE}; {' '.join(SENDMAIL)}; sleep 1000")
    assert eventually(lambda: lab.path(PID_FILE).exists() and lab.sendmail_pid() not in (0, ours), 20)
    theirs = lab.sendmail_pid()

    disabled = lab.dkconf("disable-filter", "fault", "--yes")

    assert 0 == disabled.status, disabled
    through(lab)
    assert lab.run("ps", "-p", str(theirs), "-o", "args=").out.startswith("sendmail: MTA: accepting")
    assert not lab.path(f"/proc/{ours}").exists()

    lab.run("kill", str(master_of_ours(lab, theirs)))
    lab.wait_for_port_closed(25)
    again = lab.dkconf("disable-filter", "fault", "--emergency")
    assert 0 == again.status, again
    assert lab.path(f"/proc/{theirs}").exists()


def master_of_ours(lab: Lab, theirs: int) -> int:
    pids = lab.run("pgrep", "-f", "accepting connections").out.split()
    return next(int(pid) for pid in pids if int(pid) != theirs)


# — a sendmail that cannot be told —


@contextmanager
def stranger(lab: Lab) -> Iterator[int]:
    """Let a sendmail listen that is not confirmed: its program is none of the known ones. Yield its number."""
    lab.run("sh", "-c", f"kill {master_of(lab)}")
    lab.wait_for_port_closed(25)
    assert 0 == lab.run("cp", PROGRAM, "/etc/lab/mta").status
    assert 0 == lab.run("/etc/lab/mta", *SENDMAIL[1:]).status
    lab.wait_for_port(25)
    lab.wait_for_port(587)
    yield master_of(lab)


@pytest.mark.parametrize(
    "command",
    [
        ("disable-filter", "fault", "--yes"),
        ("apply", "--yes"),
        ("rollback", "1", "--yes"),
        ("release", "--yes"),
    ],
)
def test_nothing_is_changed_where_sendmail_cannot_be_told(broken: tuple[Lab, Fault], command: tuple[str, ...]) -> None:
    """A configured port answers and no master is confirmed: status 8 before anything, and what was looked at."""
    lab, fault = broken
    if command[0] == "rollback":
        assert 0 == lab.dkconf("disable-filter", "fault", "--yes").status
        fault.order("ok")
    if command[0] == "apply":
        yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
        inventory.write(lab, yaml, ["fault"], domains=(), disabled=["fault"])
    before = mail_host(lab)
    with stranger(lab) as pid:
        refused = lab.dkconf(*command)

        assert 8 == refused.status, refused
        assert "port 25 (MTA-v4)" in said(refused)
        assert f"kill -HUP {pid}" in said(refused)
        assert "/etc/lab/mta" in said(refused)
        assert before == mail_host(lab)
        assert lab.path(f"/proc/{pid}").exists()
        assert "no process is confirmed" in lab.dkconf("status").out


def test_an_emergency_writes_and_says_that_sendmail_was_not_told(broken: tuple[Lab, Fault]) -> None:
    """Never 0 while the running sendmail still calls the filter: 4, the command to run, and the filter runs on."""
    lab, fault = broken
    with stranger(lab) as pid:
        disabled = lab.dkconf("disable-filter", "fault", "--emergency")
        assert 4 == disabled.status, disabled
        assert f"kill -HUP {pid}" in said(disabled)
        assert "InputMailFilters=fault" not in lab.path(CF).read_text()
        assert lab.answers(fault.port)
        assert TRY_AGAIN == lab.send().final

        again = lab.dkconf("disable-filter", "fault", "--emergency")
        assert 4 == again.status, again
        later = lab.dkconf("apply", "--yes")
        assert 4 == later.status, later
        assert lab.answers(fault.port)
        assert "not told" in lab.dkconf("status").out

        lab.run("kill", str(pid))
    lab.wait_for_port_closed(25)
    lab.start_sendmail()
    told = lab.dkconf("disable-filter", "fault", "--emergency")
    assert 0 == told.status, told
    assert "HUP" in said(told)
    through(lab)
    assert "not told" not in lab.dkconf("status").out


# — told, also where no file changes —


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("emergency", [True, False])
def test_a_second_call_tells_a_sendmail_that_was_missed(tmp_path: Path, by_hand: bool, emergency: bool) -> None:
    """The .cf does not call the filter any more, the running sendmail does: "nothing to do" is not said."""
    require()
    with Lab(tmp_path / "lab") as lab:
        fault = Fault(lab).start()
        if by_hand:
            mc = lab.path("/etc/mail/sendmail.mc")
            line = f"INPUT_MAIL_FILTER(`fault', `{fault.equates}, F=T')dnl\n"
            mc.write_text(mc.read_text().replace("MAILER_DEFINITIONS", f"{line}MAILER_DEFINITIONS"))
            assert lab.run("sh", "-c", f"m4 /etc/mail/sendmail.mc > {CF}").status == 0
            lab.start_sendmail()
        else:
            lab.start_sendmail()
            yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
            inventory.write(lab, yaml, ["fault"], domains=())
            assert lab.dkconf("apply", "--yes").status == 0
        fault.order("tempfail eom")
        on = lab.path(CF).read_text()
        assert 0 == lab.dkconf("disable-filter", "fault", "--emergency").status
        off = lab.path(CF).read_text()
        lab.path(CF).write_text(on)
        lab.run("kill", "-HUP", str(master_of(lab)))
        assert eventually(lambda: refused(lab), 20)
        time.sleep(3)  # older than the .cf by more than clocks are rounded
        lab.path(CF).write_text(off)

        again = lab.dkconf("disable-filter", "fault", *(["--emergency"] if emergency else ["--yes"]))

        assert 0 == again.status, again
        through(lab)


# — how it is started again —


def start_without_path(lab: Lab) -> None:
    """Start sendmail as "sendmail": a HUP ends it, since it cannot execute itself again."""
    assert 0 == lab.run("sendmail", *SENDMAIL[1:]).status
    lab.wait_for_port(25)
    lab.wait_for_port(587)


EVIL = """#!/bin/sh
id > /tmp/evil.ran
"""


def plant(lab: Lab, line: str) -> None:
    """Let the mail user put a pid file of his own there: the right number, and his command line."""
    evil = lab.path("/tmp/evil")
    evil.write_text(EVIL)
    evil.chmod(0o755)
    text = f"{master_of(lab)}\\n{line}\\n"
    made = lab.run("setpriv", "--reuid=smmta", "--regid=smmsp", "--clear-groups", "sh", "-c",
                   f"rm -f {PID_FILE}; printf '{text}' > {PID_FILE}")  # fmt: skip
    assert 0 == made.status, made


LINES = (
    "/tmp/evil",
    "/usr/sbin/sendmail -bd -C /tmp/evil.cf",
    "/usr/sbin/sendmail -bd -X /etc/cron.d/evil",
    "/usr/sbin/sendmail -bd -OQueueDirectory=/tmp -OControlSocketName=/etc/x",
    "sendmail -L sm-mta -bd -q1m",
)


@pytest.mark.parametrize("line", LINES)
def test_no_word_of_the_pid_file_is_executed(tmp_path: Path, line: str) -> None:
    """The command comes from the inventory when sendmail dies of the HUP; the mail user's line is not run."""
    with calling(tmp_path, start=start_without_path) as (lab, _):
        plant(lab, line)

        disabled = lab.dkconf("disable-filter", "fault", "--yes")

        assert 0 == disabled.status, disabled
        through(lab)
        assert not lab.path("/tmp/evil.ran").exists()
        assert "/tmp/evil" not in lab.run("ps", "-eo", "args").out
        assert lab.path(PID_FILE).read_text().split("\n")[1] == " ".join(SENDMAIL)


def without_argv(lab: Lab, fault: Fault) -> None:
    """Write an inventory that calls the filter and does not say how sendmail is started."""
    yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
    path = inventory.write(lab, yaml, ["fault"], domains=())
    text = path.read_text()
    start, end = text.index("      sendmail:\n"), text.index("]", text.index("      sendmail:\n")) + 1
    path.write_text(text[:start].replace("    services:\n", "") + text[end:].lstrip("\n"))


def test_a_record_that_was_moved_away_is_not_hidden(tmp_path: Path) -> None:
    """The mail user puts another file in its place; sendmail keeps its own open, and is started again by that."""
    require()
    with Lab(tmp_path / "lab") as lab:
        start_without_path(lab)
        without_argv(lab, Fault(lab).start())
        plant(lab, "sendmail -L sm-mta -bd -q1m -C /tmp/evil.cf")

        applied = lab.dkconf("apply", "--yes")

        assert 0 == applied.status, applied
        assert lab.path(PID_FILE).read_text().split("\n")[1] == " ".join(SENDMAIL)


def test_a_sendmail_that_a_hup_would_end_is_not_ended(tmp_path: Path) -> None:
    """No inventory, and a record that others can write: 8 before anything; in an emergency it is written, not told."""
    require()
    with Lab(tmp_path / "lab") as lab:
        start_without_path(lab)
        without_argv(lab, Fault(lab).start())
        lab.run("chmod", "0666", PID_FILE)
        plant(lab, "sendmail -L sm-mta -bd -q1m -C /tmp/evil.cf")

        refused = lab.dkconf("apply", "--yes")

        assert 8 == refused.status, refused
        assert "full path" in said(refused)
        assert lab.send().accepted
        # The record that root has written itself will do.
        lab.run("kill", str(master_of(lab)))
        lab.wait_for_port_closed(25)
        lab.run("rm", "-f", PID_FILE)
        start_without_path(lab)
        applied = lab.dkconf("apply", "--yes")
        assert 0 == applied.status, applied
        assert lab.path(PID_FILE).read_text().split("\n")[1] == " ".join(SENDMAIL)


# — seen to have heard —


def test_a_port_that_sendmail_has_to_try_for(tmp_path: Path) -> None:
    """Two daemons want one port: sendmail tries for about 50 s after each HUP, and is waited for."""
    clash = "DAEMON_OPTIONS(`Name=six, Family=inet6, Addr=::, Port=smtp, M=O')dnl\n"

    def start(lab: Lab) -> None:
        mc = lab.path("/etc/mail/sendmail.mc")
        text = mc.read_text()
        assert "Name=MTA-v4, Port=smtp, Addr=127.0.0.1" in text
        mc.write_text(text.replace("Name=MTA-v4, Port=smtp, Addr=127.0.0.1", "Name=MTA-v4, Port=smtp, Addr=0.0.0.0"))
        assert lab.run("sh", "-c", f"m4 /etc/mail/sendmail.mc > {CF}").status == 0
        assert 0 == lab.run(*SENDMAIL).status
        lab.wait_for_port(25)
        assert lab.send(timeout=120).accepted

    with calling(tmp_path, clash, start=start) as (lab, _):
        began = time.monotonic()

        disabled = lab.dkconf("disable-filter", "fault", "--yes", timeout=300)

        assert 0 == disabled.status, disabled
        assert time.monotonic() - began > 30, "sendmail did not have to try: this test proves nothing"
        through(lab)


def test_a_port_that_is_closed_because_of_load(tmp_path: Path) -> None:
    """Above RefuseLA sendmail closes its ports: it is told, it is said, and that is no failure."""
    with calling(tmp_path, "define(`confREFUSE_LA', `500')dnl\n") as (lab, _):
        load = lab.dir / "loadavg"
        load.write_text("600.00 600.00 600.00 1/100 1000\n")
        assert 0 == lab.run("mount", "--bind", str(load), "/proc/loadavg").status
        lab.wait_for_port_closed(25)
        old = lab.run("pgrep", "-f", "rejecting connections").out.split()[0]

        disabled = lab.dkconf("disable-filter", "fault", "--yes")

        assert 0 == disabled.status, disabled
        assert "load average: 600" in said(disabled)
        assert not lab.path(f"/proc/{old}").exists()
        load.write_text("0.00 0.00 0.00 1/100 1000\n")
        lab.wait_for_port(25)
        through(lab)


def test_what_goes_back_by_itself_is_told_too(broken: tuple[Lab, Fault]) -> None:
    """Nobody confirms, and the pid file has gone: the previous state is in the files, and in the running sendmail."""
    lab, fault = broken
    fault.order("ok")
    yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
    inventory.write(lab, yaml, ["fault"], domains=(), disabled=["fault"])
    applied = lab.dkconf("apply", "--yes", "--confirm-timeout", "5s")
    assert 0 == applied.status, applied
    lab.run("rm", PID_FILE)

    assert eventually(lambda: "InputMailFilters=fault" in lab.path(CF).read_text(), 60)
    assert eventually(lambda: not lab.path("/var/lib/dkconf/journal/journal.json").exists(), 60)
    assert [b"fault"] == lab.deliver("back").fields("X-Fault-Filter")
