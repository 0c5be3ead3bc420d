"""`rollback [N]`: the desired state is read from an old generation; the rest is what apply does.

Needs no network, no git and no inventory. The generation's block goes into the present sendmail.mc, which is
rebuilt: what the administrator has written into it since stays. The stored sendmail.cf is used only if m4
fails. The result is a new generation.
"""

from __future__ import annotations

from dataclasses import replace

from dkconf.apply.journal import Journal
from dkconf.apply.observe import observe
from dkconf.apply.revert import undo
from dkconf.errors import Status, UsageProblem
from dkconf.operations.change import carry_out
from dkconf.operations.context import Context, Outcome
from dkconf.operations.hold import ask, change, refuse_while_waiting
from dkconf.operations.session import Session
from dkconf.operations.telling import catch_up, refuse_untold, said_if_stale
from dkconf.operations.unmanaged import paths_of
from dkconf.operations.work import Order
from dkconf.plan.diff import diff


def rollback(
    ctx: Context, number: int | None = None, *, confirm_timeout: int | None = None, drain_timeout: int = 600
) -> Outcome:
    """Put generation `number` in force again; None = the one before the present.

    A change that waits for its confirmation is undone at once, where no number is given.
    """
    with change(ctx, f"rollback {number or ''}".strip()) as session:
        waiting = session.engine.journal.read()
        if number is None and waiting is not None and waiting.deadline is not None:
            return _undone(session, waiting)
        refuse_while_waiting(session)
        catch_up(session, paths_of(session)[0])
        number = number or _before(session)
        store = session.engine.generations
        manifest, last = store.manifest(number), session.last
        desired = replace(store.desired(number), host=session.host_of(manifest.desired))
        actual = observe(session.system, session.machine, desired, last, session.engine.journal.outstanding())
        plan = diff(desired, actual, last, take_over=ctx.take_over, overrides=manifest.overrides)
        if plan.empty and not any(d.matters for d in plan.drift):
            refuse_untold(session, desired.paths, desired)
            line = ("ok", f"the host is as generation {number} has it: nothing to do")
            return Outcome(Status.OK, (line, *said_if_stale(session, desired.paths)), {"changed": False})
        # Records are published, not applied: going back on the host does not undo them.
        order = Order(
            command=f"rollback {number}",
            desired=desired,
            plan=replace(plan, overrides={}),
            actual=actual,
            overrides=manifest.overrides,
            inventory=manifest.inventory,
            inventory_digest=manifest.inventory_digest,
            git_commit=manifest.git_commit,
            git_dirty=manifest.git_dirty,
            mtimes={p: m for p, m in manifest.mtimes.items() if p != desired.paths.sendmail_cf},
            stored_cf=store.content(number, desired.paths.sendmail_cf),
            gates=False,
            take_over=ctx.take_over,
            confirm_seconds=confirm_timeout,
            drain_seconds=drain_timeout,
        )
        return carry_out(session, order)


def _undone(session: Session, waiting: Journal) -> Outcome:
    """Do now what would be done at the deadline."""
    if not ask(session, (("warn", f"{waiting.command} waits for its confirmation; it is undone now"),)):
        return Outcome(Status.ERROR, (("plain", "nothing was changed"),), {"changed": False})
    words = undo(session.engine, waiting, "not to be confirmed")
    return Outcome(Status.OK, (("ok", words),), {"changed": True}, True)


def _before(session: Session) -> int:
    """Return the generation to go back to where none is named."""
    store = session.engine.generations
    current = store.current()
    numbers = store.numbers()
    if current:
        previous = store.manifest(current).previous
        if previous in numbers:
            return previous
    older = [n for n in numbers if not current or n < current]
    if not older:
        raise UsageProblem("no earlier generation on this host; `dkconf generations` lists them")
    return older[-1]
