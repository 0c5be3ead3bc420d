"""Undoes an unconfirmed change: `python -m dkconf.apply.watcher STATE RUN`.

Waits for the deadline that the journal holds, by the clock that no setting moves, and ends early when the
journal is of another run or gone. RUN "boot": the machine is coming up, so nothing is waited for or told.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from contextlib import suppress

from dkconf.apply.engine import Engine
from dkconf.apply.revert import expired
from dkconf.errors import DkconfError, Locked
from dkconf.operations import commands
from dkconf.operations.context import Context, Outcome
from dkconf.operations.session import look

LOOK_SECONDS = 1.0
"""Between two looks at the journal: a confirmation is another process's doing, and no event for us."""
LOCKED_LOOKS = 3600
"""How often a lock is tried again: an apply that was told to wait for a drain may hold it for long."""


def pause(seconds: float) -> None:
    """Wait; in one place, so that tests need not."""
    select.select([], [], [], seconds)


def wait_for_deadline(engine: Engine, run: str, wait: Callable[[float], None] = pause) -> bool:
    """Return True when the deadline of `run` is over, False when it is no longer of interest."""
    while True:
        journal = engine.journal.read()
        if journal is None or journal.run != run or journal.deadline is None:
            return False
        if expired(engine, journal):
            return True
        left = journal.deadline.boottime - engine.clock.boottime()
        wait(max(0.01, min(LOOK_SECONDS, left)))


def tell(*lines: str) -> None:
    """Write lines to the watcher's log, which is its standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Run as a process; return its exit status."""
    state_dir, run = arguments[:2]  # what a newer dkconf adds behind them is not for us
    ctx = Context(state_dir=state_dir, say=lambda _style, line: tell(line))
    try:
        if run != "boot" and not wait_for_deadline(look(ctx).engine, run):
            return 0
        outcome = _go_back(ctx, boot=run == "boot")
    except DkconfError as exc:
        tell(str(exc))
        return int(exc.status)
    tell(*(line for _, line in outcome.lines))
    return int(outcome.status)


def _go_back(ctx: Context, *, boot: bool) -> Outcome:
    """Undo what was not confirmed; while another run is at work, wait for its end.

    Raises:
        DkconfError: What lies in the state directory is another host's or a newer dkconf's, or the machine said no.
    """
    for _ in range(1 if boot else LOCKED_LOOKS):
        with suppress(Locked):
            return commands.recover(ctx, boot=boot, unattended=True)
        pause(LOOK_SECONDS)
    return commands.recover(ctx, boot=boot, unattended=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
