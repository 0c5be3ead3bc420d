"""The road of every change: refuse, ask, judge, activate, and clear away. Apply, rollback and switches
share it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dkconf.apply.activate import Work, activate
from dkconf.errors import DkconfError, Refused, Status
from dkconf.host.clock import utc
from dkconf.host.machine import Case, FilesOnly, Judged
from dkconf.operations.context import Line, Outcome
from dkconf.operations.hold import ask
from dkconf.operations.session import Session
from dkconf.operations.settle import edit_inventory, settle
from dkconf.operations.telling import refuse_untold
from dkconf.operations.work import Order, work_for
from dkconf.plan import safety
from dkconf.plan.source import wanted_source
from dkconf.plan.text import render
from dkconf.sendmail import mc


def refuse(session: Session, order: Order) -> None:
    """Raise what forbids the change before anything is asked, built or touched.

    Raises:
        DkconfError: The host lacks something.
        Refused: All refusals at once.
    """
    desired = order.desired
    missing = session.machine.preflight(desired.paths, desired.services, emergency=order.emergency)
    if missing:
        raise DkconfError("\n".join(missing))
    if order.plan.touches_sendmail and not order.emergency:
        refuse_untold(session, desired.paths, desired)
    found = safety.refusals(order.plan, take_over=order.take_over)
    found = safety.without(found, session.ctx.accept_risk)
    if found:
        raise Refused(found)
    if order.actual.mc is None:
        raise DkconfError(
            f"{order.desired.paths.sendmail_mc}: not found; set hosts.HOST.paths.sendmail_mc, or install "
            "sendmail's configuration"
        )


def carry_out(session: Session, order: Order) -> Outcome:
    """Carry out a plan that is not empty, and return what came of it.

    Raises:
        Refused: For safety, before anything was changed.
        Reverted, NotReverted: It failed after that.
    """
    refuse(session, order)
    if not ask(session, render(order.plan, refused=False)):
        return Outcome(Status.ERROR, (("plain", "nothing was changed"),), {"changed": False})
    judged = judge(session, order)
    found = safety.without(judged.refusals, session.ctx.accept_risk)
    if found:
        raise Refused(found)
    for note in judged.notes:
        session.ctx.say("dim", note)
    work = work_for(session, order, judged)
    return activated(session, order, work)


def judge(session: Session, order: Order) -> Judged:
    """Have the candidate built and tried, where sendmail or a filter that it calls changes."""
    plan, desired, actual = order.plan, order.desired, order.actual
    live = actual.cf.content if actual.cf else b""
    touched = {c.filter for c in plan.services if c.action != "stop"}
    touched |= {f.filter for f in plan.files if f.filter and f.action != "remove"}
    # Off until now, or said to sign otherwise: also of a filter that somebody else runs.
    touched |= {f.name for f in plan.filters}
    called = {f.name for f in desired.filters if f.enabled}
    if not plan.touches_sendmail and not touched & called:
        return Judged(live)
    if actual.mc is None:
        raise DkconfError(f"{desired.paths.sendmail_mc}: not found")
    now = mc.decode(actual.mc.content)
    source = wanted_source(now, desired, order.take_over)
    fragment = actual.files.get(desired.paths.fragment)
    wanted = next((f.content for f in desired.files if f.role == "fragment"), None)
    live_fragment = fragment.content if fragment is not None and _included(now) else None
    case = Case(
        desired=desired,
        before=session.last.desired if session.last else None,
        mc=mc.encode(source.text),
        fragment=wanted,
        live_mc=actual.mc.content,
        live_fragment=live_fragment,
        live_cf=live,
        changed=frozenset(touched & called),
        taken_over=frozenset(source.taken),
        stored_cf=order.stored_cf,
        gates=order.gates,
        canary=order.canary,
        emergency=order.emergency,
        accepted=session.ctx.accept_risk,
    )
    return tried(session, case)


def tried(session: Session, case: Case) -> Judged:
    """Build and try a candidate configuration, and say so where something is built.

    Raises:
        DkconfError: It cannot be built.
    """
    if not isinstance(session.machine, FilesOnly):
        session.ctx.say("plain", "building and trying the candidate configuration")
    return session.machine.judge(case)


def _included(text: str) -> bool:
    try:
        return mc.block(text) is not None
    except mc.McError:
        return False


def activated(session: Session, order: Order, work: Work) -> Outcome:
    """Activate, then drain and stop what is no longer called."""
    engine = session.engine
    activate(engine, work)
    number = engine.generations.current()
    data: dict[str, Any] = {"generation": number, "changed": True, "command": order.command}
    lines: list[Line] = []
    if number:
        lines.append(("warn", f"generation {number} is written") if engine.untold else
                     ("ok", f"generation {number} is in force"))  # fmt: skip
    journal = engine.journal.read()
    if journal is not None and journal.deadline is not None:
        until = utc(journal.deadline.wall)
        data["confirm_until"] = until
        lines.append(("warn", f"this change goes back by itself at {until} unless `dkconf confirm` comes before"))
        return _interrupted(session, untold(session, Outcome(Status.OK, tuple(lines), data, True)))
    if order.inventory_edit:
        lines += edit_inventory(engine, order.inventory_edit)
    outcome = untold(session, Outcome(Status.OK, tuple(lines), data, True))
    if order.settle and not engine.untold:
        outcome = after(session, outcome)
    return _interrupted(session, outcome)


def untold(session: Session, outcome: Outcome) -> Outcome:
    """Return the outcome with status 4 where the change stays and sendmail was not told of it."""
    why = session.engine.untold
    if not why:
        return outcome
    lines = (*outcome.lines, ("error", f"NOT in force: {why}"), ("error", UNTOLD))
    return replace(outcome, status=Status.NOT_REVERTED, lines=lines, data={**outcome.data, "untold": why})


UNTOLD = (
    "sendmail.cf is written, the running sendmail still has the old one, and the filter runs on: do what is said "
    "above, or give the same command again once sendmail can be found"
)


def after(session: Session, outcome: Outcome, *, seconds: int | None = None) -> Outcome:
    """Return the outcome, having done what was outstanding; status 6 if connections are still open."""
    left = settle(session.engine, seconds=seconds)
    if not left:
        return outcome
    lines = (*outcome.lines, *(("warn", f"still there: {who}") for who in left))
    word = "the filter runs on; run dkconf apply again to stop it when these have ended"
    data = {**outcome.data, "waiting_for": list(left)}
    return replace(outcome, status=Status.WAITING, lines=(*lines, ("warn", word)), data=data)


def _interrupted(session: Session, outcome: Outcome) -> Outcome:
    """Return the outcome with status 130 where a signal came while it had to wait."""
    pending = session.engine.signals.pending
    if not pending or outcome.status != Status.OK:
        return outcome
    line = ("warn", f"signal {pending} came meanwhile; what was begun is done")
    return replace(outcome, status=Status.INTERRUPTED, lines=(*outcome.lines, line))
