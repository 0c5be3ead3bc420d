"""One run that may change the host: it holds the lock, repairs what an earlier run left, and asks before it acts."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from dkconf.apply.engine import Engine
from dkconf.apply.owner import OTHER_HOST, Owner
from dkconf.apply.owner import refusal as other_host
from dkconf.apply.revert import recover
from dkconf.errors import DkconfError, Refusal, Refused, Waiting
from dkconf.host.clock import utc
from dkconf.host.disk import RealSystem
from dkconf.host.steps import hook_from_environment
from dkconf.host.system import System
from dkconf.operations.context import Context, Line
from dkconf.operations.session import Session, engine_for, ledger, never_failing, refuse_unsafe, state_dir
from dkconf.plan import forms


@contextmanager
def change(
    ctx: Context, command: str, *, booting: bool = False, emergency: bool = False, unattended: bool = False
) -> Iterator[Session]:
    """Hold the host's lock, repair what an earlier run left, and yield a session that may change things.

    Args:
        booting: The machine is coming up: no service is told.
        emergency: State of another host does not stop it.
        unattended: Nobody gave --host: where the state does not say on which machine it was made, it counts as ours.

    Raises:
        Locked: Another run is at work.
        NewerForm: A newer dkconf wrote what lies in the state directory.
        Refused: It is the state of another host.
    """
    ctx = replace(ctx, say=never_failing(ctx.say))
    if ctx.system is None and ctx.root == "/" and os.geteuid() != 0:
        raise DkconfError(f"this user may not change the mail system: run dkconf {command} as root")
    system = ctx.system or RealSystem(ctx.root, hook_from_environment())
    directory = state_dir(ctx, system)
    make_state_dir(system, directory)
    holder = forms.stamped(
        forms.LOCK, {"pid": os.getpid(), "command": f"dkconf {command}", "user": actor(), "since": ""}
    )
    engine = engine_for(ctx, system, directory)
    holder["since"] = utc(engine.clock.wall())
    with system.lock(f"{directory}/lock", holder), engine.signals.watched():
        refuse_newer(engine)
        session = _go_on(Session(ctx, engine, engine.generations.last_applied()), emergency, unattended)
        for words in recover(engine, booting=booting):
            session.ctx.say("warn", words)
        yield replace(session, last=engine.generations.last_applied())


def _go_on(session: Session, emergency: bool, unattended: bool) -> Session:
    """Return the session, if its state is this host's, or the user (or an emergency) goes on all the same.

    Raises:
        Refused: It is another host's.
    """
    owner = session.foreign()
    if owner is None or (unattended and not owner.machine):
        return session
    engine, name = session.engine, session.name
    refusal = other_host(engine.state_dir, owner, name)
    if emergency:
        session.ctx.say("warn", f"{refusal.sentence}; in an emergency it goes on all the same")
    elif OTHER_HOST in session.ctx.accept_risk:
        engine.owner.write(Owner(name, engine.this_machine))
        before = owner.host or owner.machine
        session.ctx.say("warn", f"{engine.state_dir}: was the state of {before}, and is {name}'s from now on")
    else:
        raise Refused([refusal])
    return replace(session, new_host=name)


def refuse_newer(engine: Engine) -> None:
    """Refuse before anything is touched what a newer dkconf has written; every file is named.

    What is only damaged is told by whoever needs it.

    Raises:
        NewerForm: At least one file has a form that this dkconf does not know.
    """
    readers: tuple[Callable[[], object], ...] = (
        engine.journal.read,
        engine.journal.outstanding,
        engine.journal.overrides,
        engine.originals.all,
        engine.owner.read,
        lambda: engine.generations.manifest(current) if (current := engine.generations.current()) else None,
        lambda: ledger(engine),
    )
    found: list[Refusal] = []
    for read in readers:
        try:
            read()
        except forms.NewerForm as exc:
            found += exc.refusals
        except DkconfError:
            continue
    if found:
        raise forms.NewerForm(found)


def refuse_while_waiting(session: Session) -> None:
    """Raise `Waiting` while an earlier change waits for its confirmation."""
    journal = session.engine.journal.read()
    if journal is None or journal.deadline is None:
        return
    until = utc(journal.deadline.wall)
    raise Waiting(
        f"{journal.command} waits for its confirmation until {until}; `dkconf confirm` keeps it, "
        "`dkconf rollback` undoes it now; without either it goes back by itself"
    )


def make_state_dir(system: System, path: str) -> None:
    """Make the state directory, for root alone, and what is missing above it."""
    refuse_unsafe(system, path)
    missing = []
    above = path
    while above not in ("", "/") and not system.is_directory(above):
        missing.append(above)
        above = above.rpartition("/")[0]
    for folder in reversed(missing):
        system.mkdir(folder, 0o700 if folder == path else 0o755, "0", "0")


def actor() -> str:
    """Return who runs this: the user, and the user behind sudo."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"{name} ({behind})" if behind and behind != name else name


def ask(session: Session, lines: tuple[Line, ...]) -> bool:
    """Show the plan and return whether to go on.

    Raises:
        Refused: There is nobody to ask.
    """
    ctx = session.ctx
    if ctx.yes:
        for style, line in lines:
            ctx.say(style, line)
        return True
    if ctx.ask is None:
        raise Refused([Refusal("", "there is no terminal to ask on", "--yes goes on without asking")])
    return ctx.ask(lines)
