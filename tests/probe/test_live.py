"""Naming a process for good, and reading sendmail's pid file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dkconf.probe import live


def test_master_from_its_pid_file(tmp_path: Path) -> None:
    """The second line is the command line: /proc/PID/cmdline holds the process title of a sendmail."""
    pid_file = tmp_path / "sendmail.pid"
    pid_file.write_text(f"{os.getpid()}\n/usr/sbin/sendmail -L sm-mta -bd -q10m\n")

    master = live.find_master(str(pid_file))

    assert master is not None
    assert ("/usr/sbin/sendmail", "-L", "sm-mta", "-bd", "-q10m") == master.argv
    assert master.alive
    assert master == live.find_master(str(pid_file))


@pytest.mark.parametrize("text", ["", "x\n", "999999999\n/usr/sbin/sendmail\n", "-1\n"])
def test_no_master(tmp_path: Path, text: str) -> None:
    """An empty, broken or stale pid file names nobody."""
    (tmp_path / "pid").write_text(text)

    assert live.find_master(str(tmp_path / "pid")) is None
    assert live.find_master(str(tmp_path / "none")) is None


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


def test_stop_waits_for_the_end() -> None:
    """SIGTERM, and the process is gone when it returns."""
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    state = live.stat_of(child.pid)
    assert state is not None
    live.stop(live.Master(child.pid, (), state[1], state[0], (0, 0)))

    assert live.stat_of(child.pid) is None
    child.wait()


def test_hup_to_a_process_that_is_gone() -> None:
    """The number may be another's by now: nothing is sent."""
    with pytest.raises(live.NotReady, match="is gone"):
        live.hup(live.Master(os.getpid(), (), 1, 1, (0, 0)))
