"""Telling sendmail, with processes that stand for it: what was seen, what was sent, how long is waited."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dkconf.errors import NotTold, Status
from dkconf.probe import live, logs, master
from dkconf.probe.facts import Facts, Site
from dkconf.sendmail.cf import parse_daemon

DAEMON = """
import os, signal, socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def again(*_):
    os.set_inheritable(s.fileno(), False)
    os.execv(sys.executable, [sys.executable, "-S", "-c", sys.argv[2], str(s.getsockname()[1]), sys.argv[2]])
signal.signal(signal.SIGHUP, signal.SIG_DFL if "end" in sys.argv else again)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
print(s.getsockname()[1], flush=True)
while True:
    link, _ = s.accept()
    link.sendall(b"220 here\\r\\n")
    link.close()
"""
"""Listens, greets, and on a HUP executes itself again in the same process, as `sendmail -bD` does."""

BACKGROUND = """
import os, sys
if os.fork(): os._exit(0)
os.setsid()
null = os.open("/dev/null", os.O_RDWR)
for number in (0, 1, 2): os.dup2(null, number)
exec(sys.argv[2])
"""


@contextmanager
def daemon(*more: str) -> Iterator[tuple[subprocess.Popen[bytes], Site]]:
    """Run it; yield it, and the site on which it is the master."""
    child = subprocess.Popen([sys.executable, "-S", "-c", DAEMON, "0", DAEMON, *more], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        yield child, site(int(child.stdout.readline()))
    finally:
        child.kill()
        child.communicate()


def site(port: int, own_id: int | None = None) -> Site:
    program = os.readlink("/proc/self/exe")
    made = parse_daemon(f"Name=X, Port={port}, Addr=127.0.0.1")
    own = os.getuid() if own_id is None else own_id
    return Site(frozenset({program}), (made,), ("/nonexistent.pid",), own_id=own)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_a_hup_is_seen_to_be_heard() -> None:
    """The same process, number and start, and yet another image with other sockets: it has executed itself again."""
    with daemon() as (child, here):
        said: list[str] = []
        before = master.find(here).master
        assert before is not None

        now = live.tell(here, live.How(), told=said.append)

        assert now is not None
        assert now.pid == child.pid == before.pid
        assert before.same_process(now)
        assert not before.same_run(now)
        assert [f"HUP to sendmail {child.pid}"] == said


def test_one_that_dies_of_it_is_started_again() -> None:
    """By the command that is handed in; without one it is said what to do, and that it is off."""
    with daemon("end") as (child, here):
        with pytest.raises(live.NotReady, match="start it by hand at once"):
            live.tell(here, live.How())
        assert -signal.SIGHUP == child.wait(10)
    port = here.daemons[0].port
    # A program that goes into the background, as sendmail -bd does.
    argv = (sys.executable, "-S", "-c", BACKGROUND, str(port), DAEMON)
    now = live.tell(here, live.How(argv))
    assert now is not None
    os.kill(now.pid, signal.SIGKILL)


def test_one_that_was_off_stays_off() -> None:
    """Nothing is started that did not run."""
    assert live.tell(site(free_port()), live.How(("/bin/false",), ran=False)) is None


def test_a_port_that_answers_untold_is_told() -> None:
    """Somebody else's process: it gets no signal, and what was looked at and what to do is said."""
    with daemon() as (child, here):
        other = site(here.daemons[0].port, own_id=os.getuid() + 1)

        with pytest.raises(NotTold) as raised:
            live.tell(other, live.How())

        words = str(raised.value)
        assert f"port {here.daemons[0].port} (X) answers" in words
        assert f"kill -HUP {child.pid}" in words
        assert "does not run as root" in words
        assert "/nonexistent.pid is not there" in words
        assert raised.value.status == Status.NOT_REVERTED
        assert child.poll() is None


def test_a_listener_that_takes_no_connection_answers_all_the_same() -> None:
    """Its queue is full, as that of a sendmail with too many clients may be: it is told all the same, or not 0."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen(0)
        port = busy.getsockname()[1]
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        try:
            with pytest.raises(NotTold, match=f"port {port} .X. answers"):
                live.tell(site(port, own_id=os.getuid() + 1), live.How(ran=False))
        finally:
            for one in waiting:
                one.close()
        for given in ("Addr=127.0.0.2", "Family=inet6, Addr=::1"):
            assert [] == master.answering([parse_daemon(f"Name=X, Port={port}, {given}")])


def test_a_daemon_without_a_full_path_is_not_ended_where_it_cannot_be_started() -> None:
    """A HUP would end it: nothing is sent."""
    with daemon("end") as (child, here):
        with pytest.raises(NotTold, match="full path"):
            live.tell(here, live.How(full_path=False))
        assert child.poll() is None


class Clock:
    """Moves by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.log: list[str] = []
        monkeypatch.setattr(live.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(logs, "texts", lambda mark, pids: list(self.log))

    def waited(self, watch: live.Watch, *, starting: bool = False, every: str = "") -> float:
        """Return the seconds until the time is over; `every` is logged every five seconds, for a minute and a half."""
        began, last = self.now, 0.0
        while not watch.over(live.READY_SECONDS, starting):
            self.now += 1
            if every and self.now - last >= 5 and self.now - began < 90:
                self.log.append(every)
                last = self.now
        return self.now - began


RETRY = "SYSERR(root): opendaemonsocket: daemon MTA: cannot bind: Address already in use"


@pytest.mark.parametrize(
    ("starting_up", "every", "least", "most"),
    [
        (False, "", 60, 61),
        (False, "starting daemon", 60, 61),
        (False, RETRY, 90, 120),
        (True, "", 180, 181),
        (True, RETRY, 180, 181),
    ],
)
def test_how_long_is_waited(
    monkeypatch: pytest.MonkeyPatch, starting_up: bool, every: str, least: float, most: float
) -> None:
    """A minute; longer while sendmail starts or its log says that it tries again; three minutes at most."""
    clock = Clock(monkeypatch)
    watch = live.Watch(site(1), (), None, logs.Mark("", 0, 0, 0.0))

    assert least <= clock.waited(watch, starting=starting_up, every=every) <= most


def test_ended_process_is_gone_even_as_a_zombie() -> None:
    """A zombie holds its number, and runs no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert live.stat_of(child.pid) is None
    child.wait()


def test_start_that_fails_says_why() -> None:
    """Status and words of the program; no command line; no program."""
    program = "import sys; print('451 4.0.0 InputFilter x not defined'); sys.exit(78)"
    with pytest.raises(live.NotReady, match=r"status 78: 451 4\.0\.0 InputFilter x not defined"):
        live.start([sys.executable, "-c", program])
    with pytest.raises(live.NotReady, match="no command line is known"):
        live.start([])
    with pytest.raises(live.NotReady, match="/nonexistent"):
        live.start(["/nonexistent/sendmail", "-bD"])


def test_the_master_may_have_another_start_time() -> None:
    """The number of a process that has ended, given to another one: nothing is sent."""
    with daemon() as (child, here):
        found = master.find(here).master
        assert found is not None
        older = Facts(**{**{n: getattr(found, n) for n in Facts.__slots__}, "start": found.start - 1})

        with pytest.raises(master.NotConfirmed, match="no signal was sent"):
            master.send(older, here, signal.SIGTERM)
        assert child.poll() is None
