"""A process is held, looked at, confirmed and signalled as that very one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from dkconf.probe import process
from dkconf.probe.process import Expected, Process, differs, hold, look
from tests.patience import LAST_RESORT_SECONDS

SLEEPER = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
EXECUTABLE = os.path.realpath(sys.executable)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps, and has begun to."""
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
        running.kill()


@pytest.fixture(params=["pidfd", "no pidfd"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both with and without pidfds, as on FreeBSD."""
    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")


def test_what_is_seen_of_a_process(child: subprocess.Popen[bytes]) -> None:
    """Who, what program, when, by whom."""
    seen = look(child.pid)

    assert seen is not None
    assert (child.pid, {os.getuid()}, EXECUTABLE, os.getpid()) == (
        seen.pid, seen.uids, seen.executable, seen.parent,
    )  # fmt: skip
    assert tuple(SLEEPER) == seen.argv
    assert process.start_at(time.time() - 30) < seen.start <= process.start_now()
    assert process.own_namespace() == seen.namespace


@pytest.mark.usefixtures("either")
def test_a_held_process_is_signalled_and_waited_for(child: subprocess.Popen[bytes]) -> None:
    """It ends by the signal, and that is noticed though nobody has collected it yet."""
    with hold(child.pid) as held:
        assert held is not None
        assert not held.ended(0)
        assert held.signal(signal.SIGTERM)
        assert held.ended(20)
    assert -signal.SIGTERM == child.wait(LAST_RESORT_SECONDS)


@pytest.mark.usefixtures("either")
def test_a_number_that_is_no_process_is_not_held(child: subprocess.Popen[bytes]) -> None:
    """Gone, a zombie, a group, a thread: none of them is held, so none is signalled."""
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        for number in (child.pid, 0, -1, thread.native_id):
            assert number is not None
            with hold(number) as held:
                assert held is None, number
    finally:
        stop.set()
        thread.join()


@pytest.mark.usefixtures("either")
def test_a_signal_to_what_has_ended_goes_nowhere(child: subprocess.Popen[bytes]) -> None:
    """Between the look and the signal it may end; its number may be somebody else's then."""
    with hold(child.pid) as held:
        assert held is not None
        child.kill()
        child.wait(LAST_RESORT_SECONDS)
        assert not held.signal(signal.SIGTERM)
        assert held.ended(0)


def test_without_pidfds_a_reused_number_is_not_signalled(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is looked at again directly before kill(2)."""
    monkeypatch.delattr(os, "pidfd_open")
    with hold(child.pid) as held:
        assert held is not None
        held.process = replace(held.process, start=held.process.start - 1)
        assert not held.signal(signal.SIGKILL)
    assert child.poll() is None


RESPAWNING = """
import os, signal, sys
def worker():
    if not os.fork():
        os.write(1, b"%d\\n" % os.getpid())
        signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    worker()
while True:
    os.wait()
    worker()
"""


@pytest.mark.parametrize("leader_lives", [True, False])
def test_a_session_ends_whole(child: subprocess.Popen[bytes], leader_lives: bool) -> None:
    """Also one whose leader replaces whoever ends, or has ended and is not yet collected; others are left alone."""
    leader = subprocess.Popen([sys.executable, "-c", RESPAWNING], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert leader.stdout is not None
        workers = [int(leader.stdout.readline()) for _ in range(3)]
        seen = look(leader.pid)
        assert seen is not None
        if leader_lives:
            process.end_session(leader.pid, seen.start + 1)
            assert [worker for worker in workers if look(worker)] == workers
            process.end_session(leader.pid, seen.start)
        else:
            os.kill(leader.pid, signal.SIGKILL)
            os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
            process.end_members(leader.pid, seen.start)

        assert not [one for one in map(look, process.numbers()) if one and one.session == leader.pid]
        assert -signal.SIGKILL == leader.wait(LAST_RESORT_SECONDS)
    finally:
        leader.kill()
        leader.wait()
        leader.stdout.close()
    assert child.poll() is None


def test_who_leads_no_session_is_left_alone(child: subprocess.Popen[bytes]) -> None:
    """Its session is ours."""
    seen = look(child.pid)
    assert seen is not None
    process.end_session(child.pid, seen.start)

    assert child.poll() is None


SEEN = Process(77, 5000, frozenset({110}), "/usr/sbin/filter", 4, 77, ("filter",))


@pytest.mark.parametrize(
    "expected,words",
    [
        (Expected(), ""),
        (Expected((110,), ("/usr/sbin/filter",), 5000, 4, 5000), ""),
        (Expected((110, 0)), ""),
        (Expected((111,)), "process 77 belongs to user 110, not to 111"),
        (Expected((0,)), "process 77 belongs to user 110, not to 0"),
        (Expected(executables=("/bin/sh",)), "process 77 runs /usr/sbin/filter, not /bin/sh"),
        (Expected(start=5001), "process 77 is another one by now: it started at another time"),
        (Expected(not_before=5001), "process 77 is older than it could be"),
        (Expected(not_after=4999), "process 77 is younger than what it would have to be"),
        (Expected(parent=1), "process 77 was not started by process 1"),
    ],
)
def test_each_thing_that_differs_is_said(expected: Expected, words: str) -> None:
    """No words for the same; else the first thing that is not as it must be."""
    assert words == differs(SEEN, expected)


@pytest.mark.parametrize("uids", [{0}, {0, 110}, {110, 111}])
def test_a_process_that_can_be_another_user_again_is_not_the_users(uids: set[int]) -> None:
    """Real, effective and saved user must all be the one: a set-user-id program of root's is root's."""
    assert "belongs to user" in differs(replace(SEEN, uids=frozenset(uids)), Expected((110,)))


def test_a_program_that_is_not_to_be_seen() -> None:
    """A container's root may lack CAP_SYS_PTRACE: then only a known start time can stand for it."""
    hidden = replace(SEEN, executable="")
    assert "does not show" in differs(hidden, Expected(executables=("/usr/sbin/filter",)))
    assert "" == differs(hidden, Expected(executables=("/usr/sbin/filter",), start=5000, may_hide=True))


def test_a_process_of_a_container_is_not_ours() -> None:
    """Its number there is another one's number here."""
    assert "lives in a container" in differs(replace(SEEN, namespace="pid:[1]"), Expected())


def test_a_replaced_executable_keeps_its_path(tmp_path: object) -> None:
    """A package upgrade puts another file there; the kernel says " (deleted)" of the old one."""
    program = f"{tmp_path}/sleeper"
    with open("/bin/sleep", "rb") as file, open(program, "wb") as copy:
        copy.write(file.read())
    os.chmod(program, 0o755)
    with subprocess.Popen([program, "600"]) as running:
        os.unlink(program)
        seen = look(running.pid)
        running.kill()

    assert seen is not None
    assert program == seen.executable


@pytest.mark.parametrize(
    "said,binary,seen",
    [
        (
            "Is 1 812 110 110 110 Sat Nov 28 05:40:50 2026 /usr/local/bin/python3.11 filter --config x\n",
            "  812 python3.11 1400097 /usr/local/bin/python3.11\n",
            (812, 1, 812, {110}, "/usr/local/bin/python3.11", ("/usr/local/bin/python3.11", "filter", "--config", "x")),
        ),
        ("Is 1 812 110 0 110 Sat Nov  8 05:40:50 2026 x\n", "", (812, 1, 812, {110, 0}, "", ("x",))),
    ],
)
def test_what_ps_says(said: str, binary: str, seen: tuple[object, ...]) -> None:
    """FreeBSD has no /proc as a rule."""
    found = process.parse_ps(812, said, binary)

    assert found is not None
    assert seen == (found.pid, found.parent, found.session, found.uids, found.executable, found.argv)
    assert time.localtime(found.start)[:2] == (2026, 11)


@pytest.mark.parametrize(
    "said",
    ["", "\n", "ps: no such process", "Is 1 2", "Z+ 1 812 110 110 110 Sat Nov 28 05:40:50 2026 <defunct>",
     "Is 1 812 110 110 110 Sat Foo 28 05:40:50 2026 x"],
)  # fmt: skip
def test_what_ps_does_not_say(said: str) -> None:
    """No process, a zombie, or words that nobody understands: nothing is signalled."""
    assert process.parse_ps(812, said, "") is None
