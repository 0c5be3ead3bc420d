"""Telling sendmail, apart from a change: of an earlier one that it was not told of, and again in an emergency."""

from __future__ import annotations

from dataclasses import replace

from dkconf.apply.activate import TOLD_MARGIN_SECONDS
from dkconf.apply.engine import Engine
from dkconf.desired.state import DesiredState, HostPaths
from dkconf.errors import NotTold, Refused
from dkconf.host.machine import StartedBy
from dkconf.operations.context import Line
from dkconf.operations.session import Session


def started_by(session: Session, desired: DesiredState | None = None) -> StartedBy:
    """Return what is known of how sendmail is started here: by the wanted state, else by the one in force."""
    last = session.last
    known = desired or (last.desired if last else None)
    noted = session.engine.generations.manifest(last.number).sendmail_argv if last else ()
    if known is None:
        return StartedBy(remembered=noted)
    return StartedBy(known.sendmail_argv, known.service_manager, noted)


def refuse_untold(session: Session, paths: HostPaths, desired: DesiredState | None = None) -> None:
    """Raise `Refused` where sendmail answers and could not be told: before anything is changed."""
    found = session.machine.untold(paths, started_by(session, desired))
    if found:
        raise Refused(found)


def tell_again(session: Session, paths: HostPaths) -> None:
    """Have sendmail read its configuration again; what runs on until then is drained from now on.

    Raises:
        NotTold: It answers, and could not be told. That is noted.
    """
    engine = session.engine
    sendmail = session.machine.sendmail(paths, started_by(session))
    told_at = engine.clock.wall() + TOLD_MARGIN_SECONDS
    try:
        with engine.system.step("tell-sendmail-again"):
            session.machine.tell_sendmail(paths, sendmail)
    except NotTold as exc:
        engine.journal.set_untold(str(exc))
        raise
    engine.journal.set_untold("")
    _drain_from(engine, told_at)


def left_over(session: Session) -> tuple[Line, ...]:
    """Return what an earlier run has left to do, which the next `dkconf apply` does though no file changes."""
    lines: list[Line] = []
    after = session.engine.journal.outstanding()
    if after is not None:
        names = ", ".join(step.service.filter for step in after.stop) or "-"
        lines.append(("warn", f"not stopped yet: {names}; the next `dkconf apply` does it once nobody is connected"))
    if session.engine.journal.untold():
        lines.append(("error", "sendmail was not told of the last change; the next run of dkconf tries it first"))
    return tuple(lines)


def said_if_stale(session: Session, paths: HostPaths) -> tuple[Line, ...]:
    """Return a warning where sendmail runs on an older sendmail.cf than the one that is there.

    It is not told here: somebody may have built that file to take effect later.
    """
    if not session.machine.sendmail(paths, started_by(session)).stale:
        return ()
    words = (
        f"sendmail has read its configuration before {paths.sendmail_cf} was last written; `dkconf status` says more"
    )
    return (("warn", words),)


def _drain_from(engine: Engine, told_at: float) -> None:
    after = engine.journal.outstanding()
    if after is not None:
        engine.journal.set_outstanding(replace(after, hup_time=told_at))


def catch_up(session: Session, paths: HostPaths) -> None:
    """Tell sendmail of an earlier change where it was not told then.

    Raises:
        NotTold: It still cannot be told: nothing else is done before that, since a filter could be stopped that it
            still calls.
    """
    if session.engine.journal.untold():
        session.ctx.say("warn", "sendmail was not told of an earlier change; telling it now")
        tell_again(session, paths)
