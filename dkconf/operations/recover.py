"""`dkconf recover`: a run that was cut off is finished or undone."""

from __future__ import annotations

from dataclasses import replace

from dkconf.errors import Status
from dkconf.host.clock import utc
from dkconf.operations.change import after
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.hold import change
from dkconf.operations.telling import catch_up
from dkconf.operations.unmanaged import paths_of


def recover(ctx: Context, *, boot: bool = False, unattended: bool = False) -> Outcome:
    """Finish or undo a run that was cut off, and honour a deadline that has passed.

    Args:
        boot: The machine is coming up: only files change, and no service is told.
        unattended: A timer asks, and nobody is there to answer.
    """
    said: list[Line] = []
    told = replace(ctx, say=lambda style, line: said.append((style, line)))
    with change(told, "recover", booting=boot, unattended=boot or unattended) as session:
        if boot:
            session.engine.journal.set_untold("")  # it will read what is there when it starts
        journal = session.engine.journal.read()
        if not boot and (journal is None or journal.deadline is None):
            catch_up(session, paths_of(session)[0])
        if journal is not None and journal.deadline is not None:
            until = utc(journal.deadline.wall)
            said.append(("warn", f"{journal.command} waits for its confirmation until {until}"))
        elif not boot and session.engine.journal.outstanding() is not None:
            outcome = Outcome(Status.OK, tuple(said), {"changed": True}, True)
            return after(session, outcome)
    done = bool(said)
    return Outcome(Status.OK, tuple(said) or (("ok", "nothing to recover"),), {"changed": done}, done)
