"""Going back: after a failed activation, after a crash, and when nobody confirmed.

Works from the journal alone. Every step can be repeated, so a run that dies while going back is finished
by the next one. sendmail goes back first, then filters, then what only filters read: the reverse of the
way there.
"""

from __future__ import annotations

from dkconf.apply.engine import Engine, finish
from dkconf.apply.journal import FileStep, Journal
from dkconf.errors import DkconfError, NotTold
from dkconf.plan.actual import FileState


def revert(engine: Engine, *, booting: bool = False) -> tuple[str, ...]:
    """Restore what the journal says was before, tell sendmail, and check; return what is not healthy.

    Args:
        booting: The machine is coming up: sendmail does not run yet and is not started.

    Raises:
        DkconfError, OSError: The machine said no; the journal stays, and the next run tries again.
    """
    journal = engine.journal.read()
    if journal is None:
        return ()
    system, machine = engine.system, engine.machine
    for step in journal.files:
        system.clean(step.path)
    files = list(reversed(journal.files))
    for step in [s for s in files if s.sendmail]:
        _restore(engine, journal, step)
    untold = ""
    if journal.tells_sendmail and not booting:
        with system.step("tell-sendmail-back"):
            untold = _told_back(engine, journal)
    problems: tuple[str, ...] = (untold,) if untold else ()
    for started in reversed(journal.services):
        if untold and not started.was_running:
            problems += (f"filter {started.service.filter} runs on, since sendmail may call it",)
        elif not started.was_running and not booting:
            with system.step(f"stop-back:{started.service.filter}"):
                machine.stop(started.service)
    for step in [s for s in files if not s.sendmail]:
        _restore(engine, journal, step)
    _services_back(engine, journal, booting)
    for path in reversed(journal.directories):
        if system.is_directory(path):
            system.rmdir(path)
    _users_back(engine, journal)
    if journal.tells_sendmail and not booting and not untold:
        problems = machine.check(journal.paths, None)
    generations = engine.generations
    if generations.current() != journal.previous:
        generations.set_current(journal.previous)
    engine.journal.set_overrides(journal.overrides_before)
    if journal.generation:
        generations.remove(journal.generation)
    engine.journal.end()
    if journal.deadline is not None:
        machine.disarm(engine.state_dir)
    return problems


def _told_back(engine: Engine, journal: Journal) -> str:
    """Tell sendmail; return why it could not be told. That is noted, and every later run tries again."""
    untold = ""
    try:
        engine.machine.tell_sendmail(journal.paths, journal.sendmail)
    except NotTold as exc:
        untold = str(exc)
    engine.journal.set_untold(untold)
    return untold


def _services_back(engine: Engine, journal: Journal, booting: bool) -> None:
    if journal.units and journal.services:
        with engine.system.step("read-units-back"):
            engine.machine.read_units(journal.services[0].service)
    if booting:
        return
    for step in journal.services:
        if step.was_running:
            action, act = ("restart", engine.machine.restart) if step.restart else ("reload", engine.machine.reload)
            with engine.system.step(f"{action}-back:{step.service.filter}"):
                act(step.service)


def _users_back(engine: Engine, journal: Journal) -> None:
    """Remove the users that the run made; one that is in use by now stays, and that is told."""
    places = (*journal.directories, *(step.path for step in journal.files))
    for name in reversed(journal.users):
        with engine.system.step(f"user-back:{name}"):
            why = engine.machine.remove_user(name, journal.platform, journal.run, places)
        if why:
            engine.say("warn", f"the system user {name}, made by this run, stays: {why}")


def _restore(engine: Engine, journal: Journal, step: FileStep) -> None:
    """Put one file back as it was: octets, owner, group, mode and time."""
    system = engine.system
    before = engine.journal.before(step)
    now = system.attributes(step.path) if step.attributes_only else system.read(step.path)
    if step.attributes_only:
        if before is not None and now is not None and not _same_attributes(before, now):
            system.set_attributes(step.path, before.mode, before.owner, before.group)
        return
    if now is not None and now.digest not in (step.pre, step.post):
        _keep_edit(engine, step.path, now)
    if before is None:
        if now is not None:
            script = journal.scripts.get(step.path)
            if script is not None:
                with system.step(f"forget-back:{script.filter}"):
                    engine.machine.forget(script)
            system.remove(step.path)
    elif now is None or now.digest != step.pre or now.mtime_ns != before.mtime_ns:
        system.write(step.path, before)


def _same_attributes(a: FileState, b: FileState) -> bool:
    return (a.mode, a.owner, a.group) == (b.mode, b.owner, b.group)


def _keep_edit(engine: Engine, path: str, now: FileState) -> None:
    """Somebody edited the file while it was on its way: keep the edit aside, and say so."""
    folder = f"{engine.state_dir}/edited"
    engine.system.make_private(folder)
    name = f"{folder}/{path.strip('/').replace('/', '_')}"
    engine.system.write(name, FileState(now.content, 0o600, "0", "0"))
    engine.say("warn", f"{path}: was edited meanwhile; the edit is kept in {name}")


def recover(engine: Engine, *, booting: bool = False) -> tuple[str, ...]:
    """Undo or finish a run that died; return what was done, () if there was nothing to do.

    A change that waits for its confirmation is left alone before its deadline, and goes back after it.

    Raises:
        DkconfError: The state on disk is damaged, or the machine said no.
    """
    journal = engine.journal.read()
    if journal is None:
        engine.journal.sweep()
        engine.generations.sweep()
        return ()
    if journal.phase == "committed":
        finish(engine, journal)
        return (f"finished: {journal.command}, generation {journal.generation}",)
    if journal.phase == "confirming" and not expired(engine, journal):
        finish(engine, journal)
        return ()
    why = "interrupted" if journal.phase == "active" else "not confirmed in time"
    return (undo(engine, journal, why, booting=booting),)


def undo(engine: Engine, journal: Journal, why: str, *, booting: bool = False) -> str:
    """Go back from the change in the journal, whatever its deadline; return a sentence that begins with `why`.

    Raises:
        DkconfError: The machine said no, or is not healthy afterwards.
    """
    with engine.signals.held():
        problems = revert(engine, booting=booting)
    words = f"{why}: {journal.command}; the host is as before it"
    if problems:
        raise DkconfError(f"{words}, but: " + "; ".join(problems))
    return words


def expired(engine: Engine, journal: Journal) -> bool:
    """Return whether the deadline of a confirmation is over.

    A reboot ends it at once: whoever could have confirmed has lost the connection, and the time since boot,
    which no clock setting moves, began anew.
    """
    deadline = journal.deadline
    if deadline is None:
        return True
    return deadline.boot_id != engine.clock.boot_id() or engine.clock.boottime() >= deadline.boottime
