"""What the command line calls: one function per command that works on a host.

Each takes a `Context` and returns an `Outcome`; refusals and failures are exceptions that carry their exit
status. `plan_host` and `status` take no lock and cannot write; every other one holds the host's lock, and
first repairs what an interrupted run has left.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import Any

from dkconf import __version__
from dkconf.apply.engine import finish
from dkconf.apply.observe import observe
from dkconf.apply.owner import refusal as other_host
from dkconf.errors import PlanStale, Refusal, Reverted, Status, UsageProblem
from dkconf.files.problems import said
from dkconf.files.reading import FileProblem, read_given
from dkconf.host.clock import utc
from dkconf.operations.change import after, carry_out
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.release import release
from dkconf.operations.rollback import rollback
from dkconf.operations.session import (
    Session,
    Wanted,
    change,
    ledger,
    ledger_path,
    look,
    refuse_while_waiting,
    wanted,
)
from dkconf.operations.settle import edit_inventory
from dkconf.operations.status import status
from dkconf.operations.switch import disable_filter, enable_filter
from dkconf.operations.telling import catch_up, left_over, refuse_untold, said_if_stale, started_by
from dkconf.operations.unmanaged import paths_of
from dkconf.operations.work import Order
from dkconf.plan import forms, safety
from dkconf.plan.actual import FileState
from dkconf.plan.diff import compare, diff
from dkconf.plan.model import Plan, saved_digest
from dkconf.plan.text import render

__all__ = [
    "apply_plan",
    "confirm",
    "disable_filter",
    "enable_filter",
    "generations",
    "generations_diff",
    "generations_pin",
    "plan_host",
    "recover",
    "release",
    "rollback",
    "status",
]

MAX_PLAN_OCTETS = 256 * 1024 * 1024
"""Of a plan file: one host with 10,000 domains takes 18 MB, and the largest inventory has 80,000."""


def plan_host(ctx: Context) -> Outcome:
    """Return what apply would change on this host; nothing is written, anywhere."""
    session = look(ctx)
    order = _order(session, "apply", ctx.take_over)
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


def _order(session: Session, command: str, take_over: frozenset[str]) -> Order:
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
        order = _order(session, "apply", take_over)
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


def generations(ctx: Context) -> Outcome:
    """Return the list of the host's generations, the newest last."""
    store = look(ctx).engine.generations
    current, pinned = store.current(), store.pinned()
    lines: list[Line] = []
    rows = []
    for number in store.numbers():
        manifest = store.manifest(number)
        marks = [w for w, on in (("in force", number == current), ("pinned", number in pinned)) if on]
        off = [f.name for f in manifest.desired.filters if not f.enabled]
        words = f"{number:>6}  {manifest.created}  {manifest.actor}  {manifest.command}"
        words += f"  off: {', '.join(off)}" if off else ""
        if manifest.git_commit:
            words += f"  git {manifest.git_commit[:12]}{'+' if manifest.git_dirty else ''}"
        words += f"  ({', '.join(marks)})" if marks else ""
        lines.append(("ok" if number == current else "plain", words))
        rows.append(
            {
                "number": number,
                "created": manifest.created,
                "actor": manifest.actor,
                "command": manifest.command,
                "in_force": number == current,
                "pinned": number in pinned,
                "git": {"commit": manifest.git_commit, "dirty": manifest.git_dirty},
                "filters": {f.name: "called" if f.enabled else "defined" for f in manifest.desired.filters},
            }
        )
    return Outcome(Status.OK, tuple(lines) or (("plain", "no generation yet"),), {"generations": rows})


def generations_diff(ctx: Context, a: int, b: int) -> Outcome:
    """Return what differs between the generations `a` and `b`."""
    store = look(ctx).engine.generations
    plan = compare(store.desired(a), store.desired(b))
    if plan.empty:
        return Outcome(Status.OK, (("ok", f"generations {a} and {b} are the same"),), {"changed": False})
    lines = [("head", f"from generation {a} to {b}"), *render(plan)[1:]]
    return Outcome(Status.OK, tuple(lines), {"plan": plan.to_json(), "changed": True}, True)


def generations_pin(ctx: Context, number: int, pinned: bool) -> Outcome:
    """Keep generation `number` for good, or let it grow old again."""
    with change(ctx, "generations pin") as session:
        session.engine.generations.pin(number, pinned)
    word = "pinned" if pinned else "no longer pinned"
    return Outcome(Status.OK, (("ok", f"generation {number} is {word}"),), {"changed": True}, True)
