"""`dkconf apply`: the host becomes what the inventory says, or stays as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from dkconf.errors import PlanStale, Status, UsageProblem
from dkconf.files.problems import said
from dkconf.files.reading import FileProblem, read_given
from dkconf.operations.change import after, carry_out
from dkconf.operations.context import Context, Outcome
from dkconf.operations.hold import change, refuse_while_waiting
from dkconf.operations.plan import order_for
from dkconf.operations.session import Session, ledger, ledger_path
from dkconf.operations.telling import catch_up, refuse_untold, said_if_stale
from dkconf.operations.unmanaged import paths_of
from dkconf.plan import forms
from dkconf.plan.actual import FileState
from dkconf.plan.model import Plan, saved_digest

MAX_PLAN_OCTETS = 256 * 1024 * 1024
"""Of a plan file: one host with 10,000 domains takes 18 MB, and the largest inventory has 80,000."""


def apply_plan(
    ctx: Context,
    plan_file: str | None = None,
    *,
    confirm_timeout: int | None = None,
    drain_timeout: int = 600,
) -> Outcome:
    """Make the host what the inventory says; with `plan_file`, only if that is exactly the plan.

    Args:
        plan_file: A plan that `plan --out` has saved.
        confirm_timeout: Seconds after which the change goes back unless it is confirmed.
        drain_timeout: Seconds that a filter which is off may wait for its last connections.

    Raises:
        PlanStale: The plan was applied before, was edited, or is no longer what would be done.
    """
    saved = _read_plan(plan_file) if plan_file else None
    with change(ctx, "apply") as session:
        refuse_while_waiting(session)
        catch_up(session, paths_of(session)[0])
        take_over = ctx.take_over | frozenset(saved["take_over"] if saved else ())
        order = order_for(session, "apply", take_over)
        order = replace(order, confirm_seconds=confirm_timeout, drain_seconds=drain_timeout)
        if saved is not None:
            _compare(session, saved, order.plan)
        if order.plan.empty and not any(d.matters for d in order.plan.drift):
            refuse_untold(session, order.desired.paths, order.desired)
            session.engine.journal.set_overrides(order.overrides)
            lines = (("ok", f"{order.plan.host}: nothing to do"), *said_if_stale(session, order.desired.paths))
            done = Outcome(Status.OK, lines, {"changed": False})
            return after(session, done, seconds=drain_timeout)
        outcome = carry_out(session, order)
        if saved is not None and outcome.changed:
            _remember(session, str(saved["plan_id"]))
        return outcome


def _read_plan(path: str) -> dict[str, Any]:
    try:
        saved = json.loads(read_given(path, limit=MAX_PLAN_OCTETS))
    except (FileProblem, FileNotFoundError) as exc:
        raise UsageProblem(str(exc) if isinstance(exc, FileProblem) else f"{path}: {said(exc)}") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageProblem(f"{path}: not a plan: {exc}; `dkconf plan --out FILE` writes one") from exc
    keys = {"plan_id", "digest", "take_over", "host", "format"}
    forms.refuse_newer(forms.PLAN, path, saved)
    if not isinstance(saved, dict) or saved.get("format") != forms.PLAN.format or not keys <= set(saved):
        raise UsageProblem(f"{path}: not a plan of this version; `dkconf plan --out FILE` writes one")
    if saved_digest(saved) != saved["digest"]:
        raise PlanStale(f"{path}: was edited after it was made; make a new plan")
    return saved


def _compare(session: Session, saved: dict[str, Any], plan: Plan) -> None:
    """Raise `PlanStale` unless the saved plan is the one that would be made now, and was never applied."""
    if saved["plan_id"] in ledger(session.engine):
        raise PlanStale("this plan was applied already; make a new one")
    if saved["digest"] == plan.digest:
        return
    now = plan.to_json()
    reasons = [words for key, words in _STALE.items() if saved.get(key) != now.get(key)]
    raise PlanStale(f"the plan is stale: {', '.join(reasons) or 'it differs'}; make a new one")


_STALE = {
    "host": "it is for another host",
    "inventory_digest": "the inventory has changed",
    "from_generation": "another generation is in force",
    "files": "files would change in another way",
    "drift": "a file was edited since",
    "services": "a filter was started or stopped since",
    "keys": "keys have changed",
    "records": "records have changed",
    "users": "users have changed",
}


def _remember(session: Session, plan_id: str) -> None:
    ids = [*ledger(session.engine), plan_id][-1000:]
    content = forms.octets(forms.LEDGER, {"plans": ids})
    session.system.write(ledger_path(session.engine), FileState(content, 0o600, "0", "0"))
