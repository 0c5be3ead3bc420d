"""`dkconf confirm`: a change stays that would go back by itself."""

from __future__ import annotations

from dataclasses import replace

from dkconf.apply.engine import finish
from dkconf.errors import Reverted, Status, UsageProblem
from dkconf.operations.change import after
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.hold import change
from dkconf.operations.session import look
from dkconf.operations.settle import edit_inventory


def confirm(ctx: Context) -> Outcome:
    """Keep what a change with a confirm timeout has done; then drain and stop what is no longer called.

    Raises:
        Reverted: The deadline was over; the previous state is back.
        UsageProblem: Nothing waits for a confirmation.
    """
    before = look(ctx).engine.journal.read()
    with change(ctx, "confirm") as session:
        engine = session.engine
        journal = engine.journal.read()
        if journal is None or journal.deadline is None:
            if before is not None and before.phase == "confirming":
                raise Reverted(f"too late: {before.command} was not confirmed in time and went back")
            raise UsageProblem("nothing waits for a confirmation")
        confirmed = replace(journal, phase="committed", deadline=None)
        engine.journal.write(confirmed)
        finish(engine, confirmed)
        with engine.system.step("disarm"):
            engine.machine.disarm(engine.state_dir)
        lines: tuple[Line, ...] = (("ok", f"confirmed: {journal.command}"),)
        if journal.inventory_edit:
            lines = (*lines, *edit_inventory(engine, journal.inventory_edit))
        done = Outcome(Status.OK, lines, {"generation": journal.generation, "changed": True}, True)
        return after(session, done)
