"""`dkconf plan`: what apply would change. It takes no lock and cannot write."""

from __future__ import annotations

import secrets
from dataclasses import replace

from dkconf import __version__
from dkconf.apply.observe import observe
from dkconf.apply.owner import refusal as other_host
from dkconf.errors import Refusal, Status
from dkconf.host.clock import utc
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.session import Session, look
from dkconf.operations.telling import left_over, started_by
from dkconf.operations.wanted import Wanted, wanted
from dkconf.operations.work import Order
from dkconf.plan import safety
from dkconf.plan.diff import diff
from dkconf.plan.text import render


def plan_host(ctx: Context) -> Outcome:
    """Return what apply would change on this host; nothing is written, anywhere."""
    session = look(ctx)
    order = order_for(session, "apply", ctx.take_over)
    return _shown(session, order)


def _shown(session: Session, order: Order) -> Outcome:
    plan = order.plan
    clock = session.engine.clock
    refusals = safety.without(
        (*_other_host(session), *safety.refusals(plan, take_over=order.take_over)), session.ctx.accept_risk
    )
    shown = replace(plan, problems=(*refusals, *_cannot_be_told(session, order)))
    lines: list[Line] = [*_under_way(session), *render(shown), *left_over(session)]
    saved = shown.to_json(
        plan_id=secrets.token_hex(16),
        created=utc(clock.wall()),
        dkconf_version=__version__,
        inventory=order.inventory,
        git={"commit": order.git_commit, "dirty": order.git_dirty},
    )
    changed = not plan.empty or any(d.matters for d in plan.drift)
    return Outcome(Status.OK, tuple(lines), {"plan": saved, "changed": changed}, changed)


def _under_way(session: Session) -> tuple[Line, ...]:
    """Return a warning, above the plan, where an earlier change is not over: what is compared may be half of it."""
    journal = session.engine.journal.read()
    if journal is None:
        return ()
    words = (
        "was interrupted, and this plan compares with what it left; `dkconf recover` repairs that"
        if journal.phase != "confirming"
        else "waits for its confirmation, and until then apply is answered with 6: see `dkconf status`"
    )
    return (("warn", f"{journal.command} {words}"),)


def _cannot_be_told(session: Session, order: Order) -> tuple[Refusal, ...]:
    """Return why apply would refuse, whatever the plan says: the running sendmail could not be told."""
    paths = order.desired.paths
    if session.system.read(paths.sendmail_cf) is None:
        return ()
    return session.machine.untold(paths, started_by(session, order.desired))


def _other_host(session: Session) -> tuple[Refusal, ...]:
    owner = session.foreign()
    return (other_host(session.engine.state_dir, owner, session.name),) if owner else ()


def order_for(session: Session, command: str, take_over: frozenset[str]) -> Order:
    """Return the plan that the inventory asks for, and what its manifest will say."""
    journal = session.engine.journal
    want: Wanted = wanted(session.ctx, journal.overrides())
    if want.commit.problem:
        # Told, and no note of the plan: another user's look at the same repository may end otherwise.
        session.ctx.say("warn", f"the inventory's commit is not known: {want.commit.problem}")
    desired, last = want.desired, session.last
    actual = observe(session.system, session.machine, desired, last, journal.outstanding())
    plan = diff(
        desired,
        actual,
        last,
        take_over=take_over,
        inventory_digest=want.inventory.digest,
        overrides=want.overrides,
    )
    back = (session.went_back,) if session.went_back and not plan.empty else ()
    return Order(
        command=command,
        desired=desired,
        plan=replace(plan, notes=(*plan.notes, *desired.warnings, *back)),
        actual=actual,
        overrides=want.overrides,
        inventory=want.path,
        inventory_digest=want.inventory.digest,
        git_commit=want.commit.commit,
        git_dirty=want.commit.dirty,
        take_over=take_over,
    )
