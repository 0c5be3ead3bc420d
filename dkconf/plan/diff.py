"""Three states into one plan: wanted, last applied, there now. Pure.

What differs between last applied and now was changed by somebody else: drift, named and never silently
overwritten. What differs between now and wanted is what apply would do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from dkconf.desired.state import DesiredState
from dkconf.plan.actual import ActualState, FileState, LastApplied
from dkconf.plan.files import drift_of, file_changes, sendmail_changes
from dkconf.plan.filters import changed_settings, filter_changes, refusing_filters, service_changes
from dkconf.plan.keys import key_changes, record_changes
from dkconf.plan.model import Plan


def diff(
    desired: DesiredState,
    actual: ActualState,
    last: LastApplied | None,
    *,
    take_over: Collection[str] = (),
    inventory_digest: str = "",
    overrides: Mapping[str, bool] | None = None,
) -> Plan:
    """Return what makes `actual` into `desired`, in order, with what somebody else changed since `last`.

    Args:
        desired: What is wanted; overrides already merged in.
        actual: What is there; `mc` None = the host's sendmail.mc is not looked at.
        take_over: Names of hand-made filter lines, and paths of files edited by hand.
        overrides: Filters set against the inventory, for showing.
    """
    files, problems, notes, taken = file_changes(desired, actual, last, take_over)
    known = {f.filter for f in files} | set(changed_settings(desired, last))
    keys, key_files, key_problems = key_changes(desired, actual, last)
    mc_change, cf_change = sendmail_changes(desired, actual, files, taken)
    services = service_changes(desired, actual, last, known)
    sendmail = [f for f in files if f.role == "fragment"] + [c for c in (mc_change, cf_change) if c]
    going = [f for f in files if f.action == "remove"]
    others = [f for f in files if f.role != "fragment" and f.action != "remove"]
    return Plan(
        host=desired.host,
        desired_digest=desired.digest,
        inventory_digest=inventory_digest,
        from_generation=last.number if last else 0,
        users=tuple(u.name for u in desired.users if u.name not in actual.users),
        files=(*others, *key_files, *sendmail, *going),
        services=services,
        filters=filter_changes(desired, actual, last),
        records=record_changes(desired, last),
        keys=keys,
        drift=drift_of(desired, actual, last),
        overrides=dict(overrides or {}),
        take_over=tuple(sorted(take_over)),
        problems=(*problems, *key_problems, *refusing_filters(desired, actual, last)),
        notes=notes,
    )


def compare(before: DesiredState, after: DesiredState) -> Plan:
    """Return what differs between two generations; the host itself is not looked at."""
    files = {f.path: FileState(f.content, f.mode, f.owner, f.group) for f in before.files}
    digests = {path: state.digest for path, state in files.items()}
    last = LastApplied(0, before, digests)
    users = frozenset(u.name for u in after.users)
    running: dict[str, bool | None] = {s.filter: s.running for s in before.services if s.managed}
    actual = ActualState(files, None, None, running=running, users=users)
    return replace(diff(after, actual, last), problems=())
