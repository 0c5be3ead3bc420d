"""`status`: what is in force on the host, whether the filters answer, and who changed what since."""

from __future__ import annotations

import tomllib
from typing import Any

from dkconf.apply.observe import observe
from dkconf.apply.owner import refusal as other_host
from dkconf.errors import DkconfError, Status
from dkconf.host.clock import utc
from dkconf.host.machine import FilesOnly
from dkconf.operations.context import Context, Line, Outcome
from dkconf.operations.session import Session, look
from dkconf.operations.telling import left_over, started_by
from dkconf.operations.unmanaged import paths_of
from dkconf.operations.wanted import wanted
from dkconf.plan.actual import ActualState, LastApplied
from dkconf.plan.diff import diff
from dkconf.plan.model import Plan
from dkconf.sendmail import cf, mc

ANSWER_SECONDS = 2.0
CALLED = {True: "called by sendmail", False: "defined, not called"}


def status(ctx: Context) -> Outcome:
    """Return the state of the host; reads only, takes no lock."""
    session = look(ctx)
    lines: list[Line] = []
    data: dict[str, Any] = {}
    plan, pending = _plans(session)
    _owner(session, lines, data)
    _generation(session, lines, data)
    _under_way(session, pending, lines, data)
    _sendmail(session, lines, data)
    _filters(session, lines, data)
    _keys(session, lines, data)
    changed = _drift(session, plan, pending, lines, data)
    return Outcome(Status.OK, tuple(lines), data, changed)


def _owner(session: Session, lines: list[Line], data: dict[str, Any]) -> None:
    """Whose state it is, where it is another host's."""
    owner = session.foreign()
    data["other_host"] = owner.host if owner else ""
    if owner is not None:
        lines.append(("error", str(other_host(session.engine.state_dir, owner, session.name))))


def _generation(session: Session, lines: list[Line], data: dict[str, Any]) -> None:
    last = session.last
    data["generation"] = last.number if last else 0
    if last is None:
        lines.append(("plain", "no generation is in force: dkconf manages nothing on this host"))
        return
    manifest = session.engine.generations.manifest(last.number)
    lines.append(
        (
            "head",
            f"{last.desired.host}: generation {last.number}, {manifest.created}, {manifest.actor}: {manifest.command}",
        )
    )
    data["host"] = last.desired.host
    data["applied"] = {"created": manifest.created, "actor": manifest.actor, "command": manifest.command}


def _under_way(session: Session, pending: Plan | None, lines: list[Line], data: dict[str, Any]) -> None:
    """A change that is not over: interrupted, unconfirmed, or with a filter still to be stopped."""
    journal = session.engine.journal.read()
    if journal is not None and journal.phase == "confirming" and journal.deadline is not None:
        until = utc(journal.deadline.wall)
        lines.append(("warn", f"{journal.command} goes back by itself at {until} unless `dkconf confirm` comes before"))
        data["confirm_until"] = until
    elif journal is not None:
        lines.append(("error", f"{journal.command} was interrupted; `dkconf recover` or the next change repairs it"))
        data["interrupted"] = journal.command
    after = session.engine.journal.outstanding()
    if after is not None:
        data["outstanding"] = [step.service.filter for step in after.stop]
    lines += left_over(session)
    # One that the inventory follows by now is none any more.
    overrides = session.engine.journal.overrides() if pending is None else dict(pending.overrides)
    for name, on in sorted(overrides.items()):
        lines.append(("warn", f"override: {name} is {'on' if on else 'off'} on this host, whatever the inventory says"))
    data["overrides"] = overrides


def _sendmail(session: Session, lines: list[Line], data: dict[str, Any]) -> None:
    """Whether the running sendmail is found, and has read what is there."""
    paths, _ = paths_of(session)
    data["untold"] = session.engine.journal.untold()
    if session.system.read(paths.sendmail_cf) is None:
        return
    style, words = session.machine.sendmail_words(paths, started_by(session))
    if words:
        lines.append((style, words))
    data["sendmail"] = words


def _filters(session: Session, lines: list[Line], data: dict[str, Any]) -> None:
    paths, _ = paths_of(session)
    live = session.system.read(paths.sendmail_cf)
    model = cf.parse(mc.decode(live.content)) if live else None
    last = session.last
    ours = {f.name: f for f in last.desired.filters} if last else {}
    services = {s.filter: s for s in last.desired.services} if last else {}
    watching = {
        f.filter
        for f in (last.desired.files if last else ())
        if f.role == "filter-settings" and tomllib.loads(f.content.decode()).get("observe")
    }
    names = [*ours, *(n for n in (model.filters if model else ()) if n not in ours)]
    rows = []
    for name in names:
        called = name in model.input_filters if model else ours[name].enabled
        socket = ours[name].socket if name in ours else model.filters[name].socket if model else ""
        why = session.machine.wait_answers(socket, ANSWER_SECONDS) if socket else ""
        running = session.machine.running(services[name]) if name in services else None
        there = model is None or name in model.filters
        words = CALLED[called] if there else "absent from sendmail.cf"
        if not isinstance(session.machine, FilesOnly):
            words += ", answers" if not why else f", does not answer ({why})"
        words += "" if name in ours else ", written by hand"
        words += ", only observes: changes and refuses nothing" if name in watching else ""
        style = "error" if called and why else "plain"
        lines.append((style, f"filter {name}: {words}"))
        rows.append(
            {
                "name": name, "called": called, "answers": not why, "why": why, "running": running,
                "socket": socket, "managed": name in ours, "observes": name in watching,
            }
        )  # fmt: skip
    source = session.system.read(paths.sendmail_mc)
    off = mc.disabled_lines(mc.decode(source.content)) if source else []
    for name in off:
        lines.append(("warn", f"filter {name}: off by `disable-filter --emergency`, in sendmail.mc itself"))
    data["filters"] = rows
    data["disabled_by_hand"] = off


def _keys(session: Session, lines: list[Line], data: dict[str, Any]) -> None:
    last = session.last
    rows = []
    for key in last.desired.keys if last else ():
        state = session.system.attributes(key.path)
        there = "" if state is not None else ", missing on this host"
        lines.append(
            (
                "plain" if not there else "error",
                f"key {key.selector}._domainkey.{key.domain}: {key.algorithm} sha256 {key.fingerprint}{there}",
            )
        )
        rows.append(
            {
                "domain": key.domain, "selector": key.selector, "algorithm": key.algorithm,
                "fingerprint": key.fingerprint, "path": key.path, "there": state is not None,
            }
        )  # fmt: skip
    data["keys"] = rows


def _drift(session: Session, plan: Plan | None, pending: Plan | None, lines: list[Line], data: dict[str, Any]) -> bool:
    """Two columns per file: changed since we last wrote it, and what apply would do."""
    if plan is None:
        data["files"] = []
        return False
    drifted = {d.path: d.what for d in plan.drift}
    would = {f.path: f.action for f in pending.files} if pending else {}
    rows = []
    for path in sorted({*drifted, *would}):
        rows.append({"path": path, "since_written": drifted.get(path, ""), "apply_would": would.get(path, "")})
    if rows:
        lines.append(("head", f"{'changed since written':<32} {'apply would':<12} file"))
        for row in rows:
            left, right = row["since_written"] or "-", row["apply_would"] or "-"
            lines.append(("warn" if row["since_written"] else "plain", f"{left:<32} {right:<12} {row['path']}"))
    else:
        lines.append(("ok", "files: as they were written, and as the inventory wants them" if pending else
                      "files: as they were written"))  # fmt: skip
    lines += _filters_would(session, pending)
    if pending is not None and not pending.empty and not would and not pending.filters:
        lines.append(("plain", "apply would change records, keys or services: see `dkconf plan`"))
    data["files"] = rows
    data["inventory"] = pending is not None
    return bool(drifted) or (pending is not None and not pending.empty)


def _filters_would(session: Session, pending: Plan | None) -> list[Line]:
    """What apply would do to each filter, in words; above all where it would undo a rollback."""
    if pending is None or pending.empty:
        return []
    back = session.went_back
    lines: list[Line] = [("warn", back)] if back else []
    for change in pending.filters:
        becomes = change.becomes if change.was != change.becomes else ", ".join(change.settings)
        lines.append(("warn" if back else "plain", f"apply would: filter {change.name}: {change.was} -> {becomes}"))
    return lines


def _plans(session: Session) -> tuple[Plan | None, Plan | None]:
    """Return the generation in force against the host, and the inventory against it; None where there is
    none."""
    last: LastApplied | None = session.last
    journal = session.engine.journal
    outstanding = journal.outstanding()
    pending: Plan | None = None
    if session.ctx.inventory:
        try:
            want = wanted(session.ctx, journal.overrides())
            actual: ActualState = observe(session.system, session.machine, want.desired, last, outstanding)
            pending = diff(want.desired, actual, last, overrides=want.overrides)
        except DkconfError as exc:
            session.ctx.say("warn", f"the inventory was not compared: {exc}")
    if last is None:
        return pending, pending
    actual = observe(session.system, session.machine, last.desired, last, outstanding)
    return diff(last.desired, actual, last), pending
