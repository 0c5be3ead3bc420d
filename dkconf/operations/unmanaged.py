"""A filter that the administrator wrote into sendmail.mc by hand, turned off in an emergency, and on again.

There is no generation for it and no inventory is needed: one marked line of sendmail.mc changes, and
`enable-filter` takes the mark away.
"""

from __future__ import annotations

from dataclasses import replace

from dkconf.apply.activate import Target, Work, activate
from dkconf.desired.platform import PLATFORMS, host_paths
from dkconf.desired.state import DesiredState, HostPaths, MilterFilter
from dkconf.errors import DkconfError, Refused, Status
from dkconf.host.machine import Case
from dkconf.host.system import now_ns
from dkconf.inventory.model import Host, Platform, Timeouts
from dkconf.operations.change import untold
from dkconf.operations.context import Outcome
from dkconf.operations.hold import actor, ask
from dkconf.operations.session import Session
from dkconf.operations.telling import refuse_untold, started_by
from dkconf.operations.wanted import host_name
from dkconf.plan import safety
from dkconf.plan.actual import FileState
from dkconf.plan.text import unified
from dkconf.sendmail import cf, mc

MARKS: dict[str, Platform] = {"/etc/debian_version": "debian", "/etc/redhat-release": "rhel"}
"""A file that only this platform has."""


def paths_of(session: Session) -> tuple[HostPaths, Platform]:
    """Return the host's paths: of the generation in force, else the platform's own."""
    if session.last is not None:
        platform: Platform = session.last.desired.platform  # type: ignore[assignment]  # was checked when built
        return session.last.desired.paths, platform
    found = (p for mark, p in MARKS.items() if session.system.attributes(mark) is not None)
    platform = next(found, "freebsd" if session.system.attributes("/bin/freebsd-version") else "debian")
    return host_paths(host_name(session.ctx), Host(platform=platform)), platform


def by_hand(session: Session, name: str, on: bool) -> bool:
    """Return whether sendmail.mc has a hand-made call of `name` that can be turned off (or on again)."""
    source = session.system.read(paths_of(session)[0].sendmail_mc)
    if source is None:
        return False
    text = mc.decode(source.content)
    if on:
        return name in mc.disabled_lines(text)
    return any(call.name == name and call.called for call in mc.find_filters(text))


def called_by_hand(session: Session) -> list[str]:
    """Return the filters that sendmail.mc calls by itself, in their order."""
    source = session.system.read(paths_of(session)[0].sendmail_mc)
    return [call.name for call in mc.find_filters(mc.decode(source.content)) if call.called] if source else []


def by_hand_off(session: Session) -> list[str]:
    """Return the hand-made calls that an emergency has turned off."""
    source = session.system.read(paths_of(session)[0].sendmail_mc)
    return list(mc.disabled_lines(mc.decode(source.content))) if source else []


def switch_by_hand(session: Session, name: str, on: bool, command: str) -> Outcome:
    """Turn a hand-made filter line off, or on again."""
    system, machine, engine = session.system, session.machine, session.engine
    paths, platform = paths_of(session)
    missing = machine.preflight(paths, emergency=not on)
    if missing:
        raise DkconfError("\n".join(missing))
    if on:
        refuse_untold(session, paths)
    source, live = system.read(paths.sendmail_mc), system.read(paths.sendmail_cf)
    if source is None or live is None:
        raise DkconfError(f"{paths.sendmail_mc} or {paths.sendmail_cf}: not found")
    text = mc.decode(source.content)
    new = mc.encode(mc.enable_line(text, name) if on else mc.disable_line(text, name))
    lines = [("head", f"{paths.sendmail_mc}: filter {name}: {'on' if on else 'off'}")]
    lines += unified(paths.sendmail_mc, source.content, new)
    if not ask(session, tuple(lines)):
        return Outcome(Status.ERROR, (("plain", "nothing was changed"),), {"changed": False})
    fragment = system.read(paths.fragment) if mc.block(text) else None
    desired = _with(session, paths, platform, _as_filter(name, cf.parse(mc.decode(live.content)), on))
    judged = machine.judge(
        Case(
            desired=desired,
            before=session.last.desired if session.last else None,
            mc=new,
            fragment=fragment.content if fragment else None,
            live_mc=source.content,
            live_fragment=fragment.content if fragment else None,
            live_cf=live.content,
            changed=frozenset(),
            taken_over=frozenset({name}),
            gates=False,
            canary=on,
            emergency=not on,
            accepted=session.ctx.accept_risk,
        )
    )
    found = safety.without(judged.refusals, session.ctx.accept_risk)
    if found:
        raise Refused(found)
    for note in judged.notes:
        session.ctx.say("dim", note)
    stamp = now_ns()
    targets = (
        _target(paths.sendmail_mc, source, new, stamp),
        _target(paths.sendmail_cf, live, judged.cf, stamp + 1_000_000),
    )
    work = Work(command, actor(), platform, paths, targets, judged=judged, keep_originals=False, moves=False)
    work = replace(work, overrides=engine.journal.overrides(), started_by=started_by(session), untold_stays=not on)
    # Another filter may still have to be drained and stopped.
    work = replace(work, after=engine.journal.outstanding() or work.after)
    activate(engine, work)
    said = [("ok", f"filter {name} is {'called again' if on else 'no longer called'}")] if not engine.untold else []
    if not on:
        said.append(("warn", "skipped in an emergency: gates, canary, drain; the filter itself runs on"))
        said.append(("plain", f"dkconf enable-filter {name} undoes it"))
    return untold(session, Outcome(Status.OK, tuple(said), {"changed": True, "filter": name, "called": on}, True))


def _target(path: str, now: FileState, content: bytes, stamp: int) -> Target:
    state = replace(now, content=content, mtime_ns=stamp)
    return Target(path, state, sendmail=True, expected=now.digest, planned=True)


def _as_filter(name: str, live: cf.CfModel, on: bool) -> MilterFilter:
    """Return the hand-made filter as a value, from its X line in force."""
    line = live.filters.get(name)
    if line is None:
        raise DkconfError(f"sendmail.cf: filter {name} is in sendmail.mc, but not here; rebuild sendmail.cf first")
    times = line.timeouts
    return MilterFilter(
        name=name,
        socket=line.socket,
        on_failure=line.on_failure,  # type: ignore[arg-type]  # the same four words
        timeouts=Timeouts(times["C"], times["S"], times["R"], times["E"]),
        enabled=on,
        program="external",
        roles=(),
        signs=(),
        internal_hosts=(),
        settings_digest="",
    )


def _with(session: Session, paths: HostPaths, platform: Platform, filter_: MilterFilter) -> DesiredState:
    """Return what is in force with this filter beside it."""
    if session.last is not None:
        desired = session.last.desired
        return replace(desired, filters=(*desired.filters, filter_))
    bare = bare_state(session, paths, platform)
    return replace(bare, filters=(filter_,))


def bare_state(session: Session, paths: HostPaths, platform: Platform) -> DesiredState:
    """Return the state of a host on which dkconf has nothing."""
    return DesiredState(
        host=host_name(session.ctx),
        platform=platform,
        service_group="",
        paths=paths,
        service_manager="direct",
        filters=(),
        files=(),
        records=(),
        keys=(),
        users=(),
        services=(),
        sendmail_argv=(),
        probe_recipient="",
        digest="",
    )


__all__ = ["PLATFORMS", "bare_state", "by_hand", "by_hand_off", "called_by_hand", "paths_of", "switch_by_hand"]
