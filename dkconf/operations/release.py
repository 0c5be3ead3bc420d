"""`release`: dkconf leaves a host, and leaves it as it was found.

The block goes out of sendmail.mc, lines that were taken over are in force again, files that were there before
come back. Keys stay: they are the administrator's. Generations stay too, for `rollback` to come back.
"""

from __future__ import annotations

import os
from dataclasses import replace

from dkconf.apply.activate import Target, Work
from dkconf.apply.journal import Outstanding, ServiceStep
from dkconf.apply.observe import observe
from dkconf.desired.state import DesiredState, MilterFilter
from dkconf.errors import DkconfError, Refusal, Refused, Status
from dkconf.host.machine import Case, Judged
from dkconf.host.system import now_ns
from dkconf.inventory.model import Timeouts
from dkconf.operations.change import activated, tried
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.hold import actor, ask, change, refuse_while_waiting
from dkconf.operations.session import Session, need_generation
from dkconf.operations.settle import forget_originals
from dkconf.operations.telling import catch_up, refuse_untold, started_by
from dkconf.operations.work import SCRIPT_ROLE, UNIT_ROLES, Order
from dkconf.plan import safety
from dkconf.plan.actual import ActualState, FileState, LastApplied
from dkconf.plan.diff import diff
from dkconf.plan.model import FileChange, FilterChange, Plan
from dkconf.plan.text import render
from dkconf.sendmail import cf, endpoint, mc


def release(ctx: Context, *, drain_timeout: int = 600) -> Outcome:
    """Take dkconf out of this host."""
    with change(ctx, "release") as session:
        refuse_while_waiting(session)
        last = need_generation(session)
        catch_up(session, last.desired.paths)
        desired = last.desired
        actual = observe(session.system, session.machine, desired, last, session.engine.journal.outstanding())
        if actual.mc is None or actual.cf is None:
            raise DkconfError(f"{desired.paths.sendmail_mc} or {desired.paths.sendmail_cf}: not found")
        text, restored = released_source(mc.decode(actual.mc.content))
        plan = _plan(session, last, actual, text, restored)
        _refuse(session, plan, ctx)
        if not ask(session, render(plan, refused=False)):
            return Outcome(Status.ERROR, (("plain", "nothing was changed"),), {"changed": False})
        judged = _judge(session, last, actual, text, restored)
        found = safety.without(judged.refusals, ctx.accept_risk)
        if found:
            raise Refused(found)
        work = _work(session, last, actual, text, restored, judged, drain_timeout)
        order = Order("release", desired, plan, actual, drain_seconds=drain_timeout)
        outcome = activated(session, order, work)
        if session.engine.journal.outstanding() is None:
            forget_originals(session.engine)
        kept: list[Line] = [("ok", "dkconf is out of this host")]
        kept += [("dim", f"left where it is: {key.path}") for key in desired.keys]
        kept += [("dim", f"left: system user {user.name}, who owns the keys") for user in desired.users]
        return replace(outcome, lines=(*outcome.lines, *kept))


def released_source(text: str) -> tuple[str, tuple[str, ...]]:
    """Return sendmail.mc without dkconf, and the filters whose hand-made lines are in force again."""
    names = tuple(mc.taken_over(text))
    for name in names:
        text = mc.restore(text, name)
    return mc.remove_block(text), names


def _plan(session: Session, last: LastApplied, actual: ActualState, text: str, restored: tuple[str, ...]) -> Plan:
    desired, originals = last.desired, session.engine.originals
    drift = diff(desired, replace(actual, keys={}), last).drift
    files = []
    for file in desired.files:
        now, found = actual.files.get(file.path), originals.state(file.path)
        if now is None:
            continue
        if found is None:
            files.append(FileChange(file.path, "remove", now.digest, None, file.role, file.filter, now.content))
        elif found.digest != now.digest:
            files.append(
                FileChange(
                    file.path,
                    "update",
                    now.digest,
                    found.digest,
                    file.role,
                    file.filter,
                    now.content,
                    found.content,
                )
            )
    if actual.mc is not None:
        content = mc.encode(text)
        post = replace(actual.mc, content=content).digest
        path = desired.paths.sendmail_mc
        files.append(FileChange(path, "update", actual.mc.digest, post, "sendmail.mc", "", actual.mc.content, content))
    pre = actual.cf.digest if actual.cf else None
    files.append(
        FileChange(desired.paths.sendmail_cf, "rebuild", pre, None, "sendmail.cf", why="rebuilt without dkconf")
    )
    words = {True: "called by sendmail", False: "defined, not called"}
    filters = tuple(
        FilterChange(f.name, words[f.enabled], "as written by hand" if f.name in restored else "absent")
        for f in desired.filters
    )
    return Plan(
        desired.host, "", "", last.number, files=tuple(files), filters=filters, drift=drift,
        notes=("the private keys and the generations stay",),
    )  # fmt: skip


def _refuse(session: Session, plan: Plan, ctx: Context) -> None:
    missing = session.machine.preflight(need_generation(session).desired.paths)
    if missing:
        raise DkconfError("\n".join(missing))
    refuse_untold(session, need_generation(session).desired.paths)
    found: list[Refusal] = list(safety.refusals(plan, take_over=ctx.take_over))
    if found:
        raise Refused(found)


def _judge(session: Session, last: LastApplied, actual: ActualState, text: str, restored: tuple[str, ...]) -> Judged:
    desired = last.desired
    fragment = actual.files.get(desired.paths.fragment)
    case = Case(
        desired=replace(desired, filters=_restored_filters(text, desired, restored)),
        before=desired,
        mc=mc.encode(text),
        fragment=None,
        live_mc=actual.mc.content if actual.mc else b"",
        live_fragment=fragment.content if fragment else None,
        live_cf=actual.cf.content if actual.cf else b"",
        changed=frozenset(),
        accepted=session.ctx.accept_risk,
    )
    return tried(session, case)


def _restored_filters(text: str, desired: DesiredState, restored: tuple[str, ...]) -> tuple[MilterFilter, ...]:
    """Return the filters as their hand-made lines have them."""
    ours = {f.name: f for f in desired.filters}
    found = []
    for call in mc.find_filters(text):
        if call.name not in restored or call.name not in ours:
            continue
        line = cf.parse_x(f"X{call.name}, {call.equates}")
        times = line.timeouts
        found.append(
            replace(
                ours[call.name],
                socket=line.socket,
                on_failure=line.on_failure,  # type: ignore[arg-type]  # the same four words
                timeouts=Timeouts(times["C"], times["S"], times["R"], times["E"]),
                enabled=call.called,
            )
        )
    return tuple(found)


def _going_on(restored: tuple[MilterFilter, ...], desired: DesiredState) -> frozenset[str]:
    """Return the filters that their hand-made lines call where they run now.

    One that took the place of another program, on a socket of its own, is called by nobody afterwards.
    """
    ours = {f.name: f.socket for f in desired.filters}
    return frozenset(f.name for f in restored if not _surely_elsewhere(f.socket, ours[f.name]))


def _surely_elsewhere(one: str, other: str) -> bool:
    """Return whether two S= name two places, in whatever spelling: a filter in use must not be stopped."""
    try:
        first, second = endpoint.parse(one), endpoint.parse(other)
    except endpoint.EndpointError:
        return False
    if first.path and second.path:
        return os.path.realpath(first.path) != os.path.realpath(second.path)
    # A host has more than one name, and a port may be given by that of a service.
    numbers = first.port.isdigit() and second.port.isdigit()
    return bool(first.path or second.path) or (numbers and int(first.port) != int(second.port))


def _work(
    session: Session,
    last: LastApplied,
    actual: ActualState,
    text: str,
    restored: tuple[str, ...],
    judged: Judged,
    drain_seconds: int,
) -> Work:
    desired, originals, paths = last.desired, session.engine.originals, last.desired.paths
    stamp = now_ns()
    goes_on = _going_on(_restored_filters(text, desired, restored), desired)
    stays = {f.path for f in desired.files if f.filter in goes_on}
    targets: list[Target] = []
    for file in desired.files:
        # Of a filter that goes on under its hand-made line, the settings as they were found.
        if file.path in stays and actual.files.get(file.path) is not None:
            targets.append(Target(file.path, originals.state(file.path)))
    targets += _sendmail_targets(session, actual, text, judged, paths.sendmail_mc, paths.sendmail_cf, stamp)
    remove = [f.path for f in desired.files if f.path not in stays and f.role != "fragment"]
    fragment = _fragment_target(session, desired)
    # Behind sendmail.mc: until that is in place it still includes the fragment.
    targets.insert(len(targets) - 1, fragment)
    sockets = {f.name: f.socket for f in desired.filters}
    managed = {s.filter: s for s in desired.services if s.managed}
    running = {n: s for n, s in managed.items() if actual.running.get(n)}
    reload = tuple(ServiceStep(s, True, sockets.get(n, "")) for n, s in running.items() if n in goes_on)
    stop = tuple(ServiceStep(s, True, sockets.get(n, "")) for n, s in running.items() if n not in goes_on)
    unit_filters = [f.filter for f in desired.files if f.path in remove and f.role in UNIT_ROLES]
    return Work(
        command="release",
        actor=actor(),
        platform=desired.platform,
        paths=paths,
        targets=tuple(targets),
        services=reload if any(t.path in stays for t in targets) else (),
        after=Outstanding(
            paths=paths,
            stop=stop,
            remove=tuple(remove),
            written={p: d for p, d in last.files.items() if p not in session.ctx.take_over},
            scripts={
                f.path: managed[f.filter]
                for f in desired.files
                if f.path in remove and f.role == SCRIPT_ROLE and f.filter in managed
            },
            drain_timeout_seconds=drain_seconds,
            units=next((managed[n] for n in unit_filters if n in managed), None),
        ),
        judged=judged,
        keep_originals=False,
        started_by=started_by(session),
    )


def _sendmail_targets(
    session: Session, actual: ActualState, text: str, judged: Judged, mc_path: str, cf_path: str, stamp: int
) -> list[Target]:
    """Return sendmail.mc and sendmail.cf: the very files that were found, if they say the same."""
    source, live, content = actual.mc, actual.cf, mc.encode(text)
    if source is None or live is None:
        return []
    found_mc = session.engine.originals.state(mc_path)
    found_cf = session.engine.originals.state(cf_path)
    new_mc = replace(source, content=content, mtime_ns=stamp)
    new_cf = replace(live, content=judged.cf, mtime_ns=stamp + 1_000_000)
    if found_mc is not None and found_cf is not None and found_mc.content == content:
        same = not cf.difference(cf.parse(mc.decode(found_cf.content)), cf.parse(mc.decode(judged.cf)))
        if same:
            new_mc, new_cf = found_mc, found_cf
    return [
        Target(mc_path, new_mc, sendmail=True, expected=source.digest, planned=True),
        Target(cf_path, new_cf, sendmail=True, expected=live.digest, planned=True),
    ]


def _fragment_target(session: Session, desired: DesiredState) -> Target:
    """Return the fragment's end: gone, or empty where the host's Makefile has come to name it."""
    path = desired.paths.fragment
    folder = desired.paths.sendmail_mc.rpartition("/")[0]
    for name in ("Makefile", "databases"):
        # Debian lists every included file there; a missing one stops every later make.
        found = session.system.read(f"{folder}/{name}")
        if found is not None and path.encode() in found.content:
            return Target(path, FileState(b"", 0o644, "root", desired.paths.mail_group), sendmail=True)
    return Target(path, session.engine.originals.state(path), sendmail=True)
