"""Signals that wait, watchers that outlive dkconf, and two runs at once: with real processes where it
matters."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dkconf.errors import DkconfError, Locked, Status
from dkconf.host import timer
from dkconf.host.clock import RealClock
from dkconf.host.signals import Signals
from dkconf.operations import commands
from dkconf.operations.context import Context
from dkconf.operations.session import look
from dkconf.operations.watcher import wait_for_deadline
from tests.memoryhost import MC_PATH, Crash, Host
from tests.operations.test_root import INVENTORY, context, tree, with_key
from tests.patience import LAST_RESORT_SECONDS

__all__ = ["tree"]


@contextmanager
def heeded(number: int, how: object = signal.default_int_handler) -> Iterator[None]:
    """Have a signal end this process like Ctrl-C, or be heeded as `how` says, while the body runs.

    The tests themselves may run where it is ignored: under nohup, or in the background of a shell.
    """
    inherited = signal.signal(number, how)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(number, inherited)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_wait_while_held(number: int) -> None:
    """Outside a signal ends the run like Ctrl-C; while held it is only noted; afterwards all is as before."""
    with heeded(number):
        signals = Signals()
        with signals.watched():
            with signals.held():
                os.kill(os.getpid(), number)
            assert number == signals.pending
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.default_int_handler == signal.getsignal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_is_ignored_stays_ignored(host: Host, number: int) -> None:
    """Under nohup, or in the background of a shell, nobody means dkconf by it: the run goes on to its end."""
    host.system.use(lambda name, edge: os.kill(os.getpid(), number))

    with heeded(number, signal.SIG_IGN):
        outcome = commands.apply_plan(host.ctx())
        assert signal.SIG_IGN == signal.getsignal(number)

    assert Status.OK == outcome.status


def test_a_signal_during_activation_ends_in_130(host: Host) -> None:
    """Ctrl-C between two files: the change is finished, checked, and the status is 130."""

    def hook(name: str, edge: str) -> None:
        if (name, edge) == (f"write:{MC_PATH}", "after"):
            os.kill(os.getpid(), signal.SIGINT)

    host.system.use(hook)

    with heeded(signal.SIGINT):
        outcome = commands.apply_plan(host.ctx())

    assert Status.INTERRUPTED == outcome.status
    assert ["signer", "second"] == host.called()


def test_ctrl_c_while_judging_changes_nothing(host: Host) -> None:
    """Before the first change an interrupt simply ends the run."""

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    host.machine.before_judging = interrupt
    before = host.etc()

    with heeded(signal.SIGINT), pytest.raises(KeyboardInterrupt):
        commands.apply_plan(host.ctx())

    assert before == host.etc()


@dataclass
class Waits:
    """Stands for waiting: moves the host's clock."""

    host: Host
    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.host.clock.boot += seconds
        self.host.clock.now -= 3600  # and somebody sets the clock back


def test_watcher_waits_for_its_own_deadline(host: Host) -> None:
    """It wakes at the deadline, whatever the wall clock says, and not for another run."""
    commands.apply_plan(host.ctx(), confirm_timeout=30)
    engine = look(host.ctx()).engine
    waits = Waits(host)

    assert not wait_for_deadline(engine, "another run", waits)
    assert wait_for_deadline(engine, host.machine.armed, waits)
    assert 29 <= sum(waits.seconds) <= 31


def test_watcher_ends_when_it_is_confirmed(host: Host) -> None:
    """A confirmation ends the watcher: it has nothing to do."""
    commands.apply_plan(host.ctx(), confirm_timeout=30)
    run = host.machine.armed
    commands.confirm(host.ctx())

    assert not wait_for_deadline(look(host.ctx()).engine, run, Waits(host))


def test_the_timer_is_armed_before_the_first_change(host: Host) -> None:
    """A run that dies in the middle of an unconfirmed change is undone by the watcher."""
    before = host.etc()

    def hook(name: str, edge: str) -> None:
        if (name, edge) == (f"write:{MC_PATH}", "after"):
            raise Crash

    host.system.use(hook)
    with pytest.raises(Crash):
        commands.apply_plan(host.ctx(), confirm_timeout=30)
    assert host.machine.armed
    assert wait_for_deadline(look(host.ctx()).engine, host.machine.armed, Waits(host))

    host.system.use(None)
    commands.recover(host.ctx())
    assert before == host.etc()


def test_if_no_timer_can_be_had_nothing_changes(host: Host) -> None:
    """A revert that cannot be promised is refused at the start."""
    host.machine.fail = "arm"
    before = host.etc()

    with pytest.raises(DkconfError, match="arm: said no"):
        commands.apply_plan(host.ctx(), confirm_timeout=30)

    assert before == host.etc()
    assert not commands.recover(host.ctx()).changed


def test_the_watcher_finds_the_package() -> None:
    """The detached watcher starts with this interpreter, from any directory, and ends where nothing waits."""
    done = subprocess.run(
        timer.watcher_argv("/nonexistent/state", "run"),
        env=timer.environment(),
        cwd="/",
        check=False,
        timeout=LAST_RESORT_SECONDS,
    )

    assert 0 == done.returncode


def test_boot_id_is_there() -> None:
    """Each boot has a name, so that a deadline of an earlier one is known as such."""
    assert RealClock().boot_id() == RealClock().boot_id() != ""


def apply_in(root: str, inventory: str, results: multiprocessing.Queue[str]) -> None:
    try:
        outcome = commands.apply_plan(Context(host="mx1.example.test", inventory=inventory, root=root, yes=True))
        results.put(f"{int(outcome.status)} {outcome.changed}")
    except Locked as exc:
        results.put(f"{int(exc.status)} {exc}")


def test_two_applies_at_once(tree: Path) -> None:
    """Of two runs at once one works, the other is told who holds the lock (5) or finds nothing to do."""
    with_key(tree)
    (tree.parent / "inventory.yaml").write_text(INVENTORY)
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = spawn.Queue()
    arguments = (str(tree), str(tree.parent / "inventory.yaml"), results)
    processes = [spawn.Process(target=apply_in, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LAST_RESORT_SECONDS)
    said = sorted(results.get(timeout=LAST_RESORT_SECONDS) for _ in processes)

    assert 1 == said.count("0 True"), said
    assert all(s in ("0 True", "0 False") or s.startswith("5 ") for s in said), said
    numbers = [g["number"] for g in commands.generations(context(tree)).data["generations"]]
    assert [1] == numbers
