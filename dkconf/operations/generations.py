"""`dkconf generations`: what was in force on this host, listed, compared, and kept."""

from __future__ import annotations

from dkconf.errors import Status
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.hold import change
from dkconf.operations.session import look
from dkconf.plan.diff import compare
from dkconf.plan.text import render


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
