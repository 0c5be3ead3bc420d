"""`disable-filter` and `enable-filter`: the generation in force, changed by one filter alone.

Other edits of the inventory stay pending. The inventory is made to follow when the host is healthy; until
it does, an override keeps apply from turning the filter back. In an emergency nothing outside the host is
asked, and a line that the administrator wrote by hand will do as well.
"""

from __future__ import annotations

import os
from dataclasses import replace

from dkconf.apply.observe import observe
from dkconf.desired.state import DesiredState, ManagedFile
from dkconf.errors import DkconfError, Refusal, Status, UsageProblem
from dkconf.host.machine import FilesOnly
from dkconf.operations.change import carry_out
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.hold import change, refuse_while_waiting
from dkconf.operations.session import Session
from dkconf.operations.telling import catch_up, refuse_untold, started_by, tell_again
from dkconf.operations.unmanaged import by_hand, by_hand_off, called_by_hand, paths_of, switch_by_hand
from dkconf.operations.work import Order
from dkconf.plan import forms
from dkconf.plan.actual import LastApplied
from dkconf.plan.diff import diff
from dkconf.plan.files import SENDMAIL_ROLES
from dkconf.plan.model import Plan
from dkconf.sendmail import mc

SKIPPED = (
    "skipped in an emergency: DNS and policy gates, the canary, draining; the filter itself runs on "
    "until the next `dkconf apply`"
)


def disable_filter(
    ctx: Context,
    name: str,
    *,
    emergency: bool = False,
    confirm_timeout: int | None = None,
    drain_timeout: int = 600,
) -> Outcome:
    """Have sendmail call the filter no more, then drain it and stop it.

    Args:
        emergency: On the host alone, at once: no gates, canary or drain; also for a line written by hand.
    """
    if not emergency:
        return _switch(ctx, name, False, False, confirm_timeout, drain_timeout)
    try:
        return _switch(replace(ctx, yes=True), name, False, True, confirm_timeout, drain_timeout)
    except forms.NewerForm as exc:
        raise forms.NewerForm([*exc.refusals, _by_hand(name)]) from None
    except forms.Damaged as exc:
        raise forms.Damaged(f"{exc}\n{_by_hand(name)}") from None


def _by_hand(name: str) -> Refusal:
    """Return the way that is left where the state cannot be read."""
    return Refusal(
        "",
        "until then the mail can be let through by hand",
        f"in /etc/mail/m4/dkconf.m4 (or where the inventory has it) change INPUT_MAIL_FILTER(`{name}' to "
        f"MAIL_FILTER(`{name}', rebuild sendmail.cf with m4 (`make -C /etc/mail`), and restart sendmail",
    )


def enable_filter(ctx: Context, name: str, *, confirm_timeout: int | None = None, drain_timeout: int = 600) -> Outcome:
    """Have sendmail call the filter again, once it answers and the canary has passed."""
    return _switch(ctx, name, True, False, confirm_timeout, drain_timeout)


def _switch(
    ctx: Context, name: str, on: bool, emergency: bool, confirm_timeout: int | None, drain_timeout: int
) -> Outcome:
    command = f"{'enable' if on else 'disable'}-filter {name}"
    with change(ctx, command, emergency=emergency) as session:
        refuse_while_waiting(session)
        if not emergency:
            catch_up(session, paths_of(session)[0])
        last = session.last
        if last is None or all(f.name != name for f in last.desired.filters):
            if by_hand(session, name, on) and (emergency or on):
                return switch_by_hand(session, name, on, command)
            if not on and name in by_hand_off(session):
                return _told_all_the_same(session, (("ok", f"filter {name} is off already"),), emergency)
            raise UsageProblem(_unknown(session, name, on))
        order = _order(session, last, name, on, command)
        order = replace(order, confirm_seconds=confirm_timeout, drain_seconds=drain_timeout)
        if emergency:
            order = replace(order, gates=False, canary=False, settle=False, emergency=True)
            order = replace(order, take_over=_all_drift(order.plan), plan=_running_on(order.plan))
        if order.plan.empty:
            return _nothing(session, order, name, on)
        outcome = carry_out(session, order)
        if emergency and outcome.changed:
            outcome = replace(outcome, lines=(*outcome.lines, ("warn", SKIPPED)))
        return outcome


def _nothing(session: Session, order: Order, name: str, on: bool) -> Outcome:
    """Return that the files are as they should be, having seen to it that sendmail has read them."""
    from dkconf.operations.settle import edit_inventory

    lines = [("ok", f"sendmail.cf {'calls' if on else 'does not call'} filter {name}: no file has to change")]
    outcome = _told_all_the_same(session, tuple(lines), order.emergency)
    if order.inventory_edit:
        outcome = replace(outcome, lines=(*outcome.lines, *edit_inventory(session.engine, order.inventory_edit)))
    return outcome


def _told_all_the_same(session: Session, lines: tuple[Line, ...], emergency: bool) -> Outcome:
    """Return that no file changes, having told sendmail in an emergency, or where it runs on older files.

    The files say nothing about the running sendmail: it may have been missed when they were written.

    Raises:
        Refused, NotTold: It answers, and cannot be told.
    """
    paths = paths_of(session)[0]
    if not emergency:
        refuse_untold(session, paths)
    sendmail = session.machine.sendmail(paths, started_by(session))
    if not sendmail.ran and not isinstance(session.machine, FilesOnly):
        lines = (*lines, ("warn", "sendmail does not run; it reads sendmail.cf when it starts"))
    if not sendmail.ran or not (emergency or sendmail.stale):
        return Outcome(Status.OK, (*lines, ("ok", "nothing to do")), {"changed": False})
    tell_again(session, paths)
    told = ("ok", "sendmail has read its configuration again, and its ports answer")
    return Outcome(Status.OK, (*lines, told), {"changed": False, "told": True})


def _order(session: Session, last: LastApplied, name: str, on: bool, command: str) -> Order:
    desired = replace(switched(last.desired, name, on), host=session.host_of(last.desired))
    engine = session.engine
    actual = observe(session.system, session.machine, desired, last, engine.journal.outstanding())
    if not on:
        # A filter must be possible to turn off whatever is wrong with a key.
        actual = replace(actual, keys={})
    overrides = {**engine.journal.overrides(), name: on}
    plan = _alone(diff(desired, actual, last, overrides=overrides), last.desired, name)
    manifest = engine.generations.manifest(last.number)
    path = os.path.abspath(session.ctx.inventory) if session.ctx.inventory else manifest.inventory
    return Order(
        command=command,
        desired=desired,
        plan=plan,
        actual=actual,
        overrides=overrides,
        inventory=manifest.inventory,
        inventory_digest=manifest.inventory_digest,
        git_commit=manifest.git_commit,
        git_dirty=manifest.git_dirty,
        take_over=session.ctx.take_over,
        inventory_edit=(path, desired.host, name, "on" if on else "off") if path else (),
    )


def _alone(plan: Plan, desired: DesiredState, name: str) -> Plan:
    """Return the plan without what does not concern this filter: that stays as it is, drifted or not."""
    own = {f.path for f in desired.files if f.filter == name or f.role == "fragment"}
    own.add(desired.paths.sendmail_mc)
    keys = {k.path for k in desired.keys}
    return replace(
        plan,
        files=tuple(f for f in plan.files if f.role in SENDMAIL_ROLES or f.path in own | keys),
        services=tuple(s for s in plan.services if s.filter == name),
        filters=tuple(f for f in plan.filters if f.name == name),
        drift=tuple(d for d in plan.drift if d.path in own),
        overrides={},
    )


def _running_on(plan: Plan) -> Plan:
    """Return the plan with the words for a filter that is not stopped now."""
    why = "not now; in an emergency it runs on until the next `dkconf apply`"
    return replace(plan, services=tuple(replace(s, why=why) if s.action == "stop" else s for s in plan.services))


def _all_drift(plan: Plan) -> frozenset[str]:
    return frozenset(d.path for d in plan.drift)


def _unknown(session: Session, name: str, on: bool) -> str:
    if by_hand(session, name, on):
        return f"filter {name} is written by hand in sendmail.mc: disable-filter {name} --emergency turns it off"
    last = session.last
    known = [f.name for f in last.desired.filters] if last else []
    known += [other for other in called_by_hand(session) if other not in known]
    return f"filter {name}: not on this host; it has: {', '.join(known) or 'none'}"


def switched(desired: DesiredState, name: str, on: bool) -> DesiredState:
    """Return the state in which filter `name` is called, or only defined; nothing else differs."""
    return replace(
        desired,
        filters=tuple(replace(f, enabled=on) if f.name == name else f for f in desired.filters),
        services=tuple(replace(s, running=on) if s.filter == name and s.managed else s for s in desired.services),
        files=tuple(_switched_fragment(f, name, on) if f.role == "fragment" else f for f in desired.files),
    )


def _switched_fragment(file: ManagedFile, name: str, on: bool) -> ManagedFile:
    text = mc.decode(file.content)
    for call in mc.find_filters(text, fragment=True):
        if call.name == name:
            macro = mc.CALLED if on else mc.DEFINED
            text = text[: call.start] + macro + text[call.start + len(call.kind) :]
            return replace(file, content=mc.encode(text))
    raise DkconfError(f"{file.path}: does not define filter {name}")
