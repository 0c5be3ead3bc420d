"""Undoes an unconfirmed change: `python -m dkconf.apply.watcher STATE RUN`.

Waits for the deadline that the journal holds, by the clock that no setting moves, and ends early when the
journal is of another run or gone. RUN "boot": the machine is coming up, so nothing is waited for or told.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable

from dkconf.apply import operations
from dkconf.apply.activate import Engine
from dkconf.apply.context import Context
from dkconf.apply.revert import expired
from dkconf.apply.session import look
from dkconf.errors import DkconfError, Locked

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
    state_dir, run = arguments
    ctx = Context(state_dir=state_dir, say=lambda _style, line: tell(line))
    if run == "boot":
        outcome = operations.recover(ctx, boot=True)
        tell(*(line for _, line in outcome.lines))
        return int(outcome.status)
    if not wait_for_deadline(look(ctx).engine, run):
        return 0
    for _ in range(LOCKED_LOOKS):
        try:
            outcome = operations.recover(ctx)
        except Locked:
            pause(LOOK_SECONDS)
            continue
        except DkconfError as exc:
            tell(str(exc))
            return int(exc.status)
        tell(*(line for _, line in outcome.lines))
        return int(outcome.status)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
