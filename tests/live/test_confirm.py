"""--confirm-timeout: what is not confirmed goes back by itself, whoever has died and whatever the clock says."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.lab import Lab, inventory
from tests.lab.filters import Fault
from tests.lab.lab import HERE, eventually
from tests.lab.trees import changes, mail_host
from tests.patience import LAST_RESORT_SECONDS

pytestmark = pytest.mark.live
SECONDS = 15
"""Time for a run of dkconf on a busy machine, with a deadline that still stands."""


@pytest.fixture
def pending(lab: Lab) -> Lab:
    """A lab whose sendmail calls the fault milter, and an inventory that wants it off."""
    fault = Fault(lab).start()
    yaml = inventory.external("fault", fault.port, roles="verify", schemes="")
    inventory.write(lab, yaml, ["fault"], domains=())
    applied = lab.dkconf("apply", "--yes")
    assert applied.status == 0, applied
    inventory.write(lab, yaml, ["fault"], domains=(), disabled=["fault"])
    return lab


def is_called(lab: Lab) -> bool:
    return "InputMailFilters=fault" in lab.path("/etc/mail/sendmail.cf").read_text()


def watchers(lab: Lab) -> list[int]:
    """Return dkconf's processes in the lab, by their numbers there."""
    listed = lab.run("ps", "-eo", "pid,args").out.splitlines()
    lab_own = ("lab/inside", "faultmilter", "ps -eo")
    return [int(line.split()[0]) for line in listed if "dkconf" in line and not any(own in line for own in lab_own)]


def test_unconfirmed_goes_back_by_itself(pending: Lab) -> None:
    """apply returns 0 and is gone; status shows the deadline, other changes wait with 6; then the old state is back."""
    before = mail_host(pending)

    applied = pending.dkconf("apply", "--yes", "--confirm-timeout", f"{SECONDS * 3}s")
    assert 0 == applied.status, applied
    assert not is_called(pending)
    assert "confirm" in pending.dkconf("status").out
    waiting = pending.dkconf("enable-filter", "fault", "--yes")
    assert 6 == waiting.status, waiting

    assert eventually(lambda: is_called(pending), LAST_RESORT_SECONDS)
    assert eventually(lambda: before == mail_host(pending), LAST_RESORT_SECONDS), changes(before, mail_host(pending))
    assert eventually(lambda: not watchers(pending), LAST_RESORT_SECONDS)
    assert [b"fault"] == pending.deliver("back").fields("X-Fault-Filter")


def test_confirmed_stays(pending: Lab) -> None:
    """`dkconf confirm` in time keeps the change; nothing goes back later."""
    assert 0 == pending.dkconf("apply", "--yes", "--confirm-timeout", f"{LAST_RESORT_SECONDS:g}s").status

    confirmed = pending.dkconf("confirm")

    assert 0 == confirmed.status, confirmed
    assert eventually(lambda: not watchers(pending), LAST_RESORT_SECONDS)
    assert not is_called(pending)
    assert [] == pending.deliver("stays").fields("X-Fault-Filter")
    assert "nothing to do" in pending.dkconf("apply", "--yes").out


def test_with_everything_of_dkconf_killed_the_next_run_goes_back(pending: Lab) -> None:
    """The deadline is on disk: with the watcher killed too, the next run of dkconf after it restores the old state."""
    before = mail_host(pending)
    assert 0 == pending.dkconf("apply", "--yes", "--confirm-timeout", f"{SECONDS}s").status
    for pid in watchers(pending):
        pending.run("kill", "-KILL", str(pid))
    assert not is_called(pending)
    pending.run("sleep", f"{SECONDS + 0.2}")  # the deadline itself; nothing can be waited on, since nobody is left

    recovered = pending.dkconf("recover")

    assert recovered.status in (0, 3), recovered
    assert before == mail_host(pending), changes(before, mail_host(pending))
    assert [b"fault"] == pending.deliver("back").fields("X-Fault-Filter")


def test_dkconf_killed_after_activation_still_goes_back(pending: Lab) -> None:
    """kill -9 as soon as the deadline is armed: the watcher reverts without it."""
    before = mail_host(pending)
    trace = pending.dir / "trace"
    running = pending.spawn(
        "dkconf", "apply", "--yes", "--confirm-timeout", f"{SECONDS}s", env={"DKCONF_TRACE_STEPS": str(trace)}
    )
    assert eventually(
        lambda: trace.exists() and "tell-sendmail:after" in trace.read_text(), LAST_RESORT_SECONDS, every=0.005
    )
    running.stop(signal.SIGKILL)

    assert eventually(lambda: is_called(pending), LAST_RESORT_SECONDS)
    assert eventually(lambda: before == mail_host(pending), LAST_RESORT_SECONDS), changes(before, mail_host(pending))


@pytest.fixture(scope="session")
def shifted_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to preload that moves the wall clock by the seconds that stand in the file $SHIFT_CLOCK."""
    require("gcc")
    target = tmp_path_factory.mktemp("clock") / "shiftclock.so"
    source = str(HERE / "shiftclock.c")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(target), source], check=True)
    return target


@pytest.mark.parametrize("jump_seconds", [86400, -86400])
def test_a_jump_of_the_clock_moves_no_deadline(pending: Lab, shifted_clock: Path, jump_seconds: int) -> None:
    """A day forward does not revert early, a day back does not revert late: the time left is what was asked for."""
    before = mail_host(pending)
    shutil.copy(shifted_clock, pending.dir / "shiftclock.so")
    shift = pending.dir / "shift"
    shift.write_text("0")
    env = {"LD_PRELOAD": str(pending.dir / "shiftclock.so"), "SHIFT_CLOCK": str(shift)}
    assert 0 == pending.dkconf("apply", "--yes", "--confirm-timeout", f"{SECONDS * 2}s", env=env).status

    shift.write_text(str(jump_seconds))

    early = pending.dkconf("status", env=env)
    assert "confirm" in early.out, early
    assert not is_called(pending)
    assert eventually(lambda: is_called(pending), LAST_RESORT_SECONDS)
    assert eventually(lambda: before == mail_host(pending), LAST_RESORT_SECONDS), changes(before, mail_host(pending))
