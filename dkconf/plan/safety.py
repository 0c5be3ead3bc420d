"""When a plan must not be applied: every refusal by name, each with the flag or act that goes on."""

from __future__ import annotations

from collections.abc import Collection

from dkconf.errors import Refusal
from dkconf.plan.model import Plan


def refusals(plan: Plan, *, take_over: Collection[str] = ()) -> tuple[Refusal, ...]:
    """Return all that forbids applying the plan; () = nothing does.

    Source: drift is overwritten only where its path is named, whatever else is accepted.
    """
    found = list(plan.problems)
    for drift in plan.drift:
        if drift.matters and drift.path not in take_over:
            found.append(
                Refusal(
                    "",
                    f"{drift.path}: changed since generation {plan.from_generation} wrote it ({drift.what})",
                    f"put the change into the inventory, or overwrite it with --take-over {drift.path}",
                )
            )
    paths = {f.path for f in plan.files} | {d.path for d in plan.drift}
    for name in take_over:
        if name.startswith("/") and name not in paths:
            found.append(Refusal("", f"{name}: nothing of it would be overwritten", "leave it out"))
    return tuple(found)


def without(found: Collection[Refusal], accepted: Collection[str]) -> tuple[Refusal, ...]:
    """Return the refusals that `--accept-risk` does not lift."""
    return tuple(r for r in found if not (r.risk and r.risk in accepted))
