"""What comes after a change: a filter that is no longer called is drained, stopped, and its files cleared
away.

Kept on disk until it is done, so that the next run goes on with it. Nothing here is needed for mail to
flow: a filter that runs on for nothing does no harm, one that is stopped too early costs mail.
"""

from __future__ import annotations

from dataclasses import replace

from dkconf.apply.engine import Engine
from dkconf.apply.journal import Outstanding
from dkconf.errors import DkconfError
from dkconf.files.folders import CHECKOUT
from dkconf.files.writing import write_file
from dkconf.operations.context import Line


def settle(engine: Engine, *, seconds: int | None = None) -> tuple[str, ...]:
    """Drain, stop and clear away what is outstanding; return who still keeps it waiting, () when done.

    Args:
        seconds: How long to wait for the last connections; None = as the change asked for.
    """
    after = engine.journal.outstanding()
    if after is None:
        return ()
    untold = engine.journal.untold()
    if untold and after.stop:
        return (f"sendmail, which was not told and may still call the filter: {untold}",)
    if after.stop and after.drain and after.paths is not None:
        sockets = tuple(step.socket for step in after.stop if step.socket)
        wait = after.drain_timeout_seconds if seconds is None else seconds
        engine.say("plain", "waiting for the last connections to end")
        left = engine.machine.drain(after.paths, sockets, after.hup_time, wait)
        if left:
            return left
    for step in after.stop:
        name = step.service.filter
        engine.say("plain", f"stopping filter {name}")
        with engine.system.step(f"stop:{name}"):
            engine.machine.stop(step.service)
    for path in after.remove:
        _clear(engine, path, after)
    if after.units is not None:
        with engine.system.step("read-units-after"):
            engine.machine.read_units(after.units)
    engine.journal.set_outstanding(None)
    if not engine.generations.current():
        forget_originals(engine)  # released: the host's files are its own again
    return ()


def forget_originals(engine: Engine) -> None:
    """Remove the directories that dkconf made, where they are empty, and what was kept of the host."""
    made = [path for path in engine.originals.all() if path.endswith("/")]
    for path in sorted(made, key=len, reverse=True):
        if engine.system.is_directory(path[:-1]):
            engine.system.rmdir(path[:-1])
    engine.originals.forget()


def _clear(engine: Engine, path: str, after: Outstanding) -> None:
    """Put back what was found at `path` before dkconf took it, or nothing."""
    system = engine.system
    system.clean(path)
    now = system.read(path)
    if now is None:
        return
    written = after.written.get(path)
    if written is not None and now.digest != written:
        engine.say("warn", f"{path}: was edited since; left where it is")
        return
    found = engine.originals.state(path)
    if found is not None:
        system.write(path, found)
        return
    script = after.scripts.get(path)
    if script is not None:
        with system.step(f"forget:{script.filter}"):
            engine.machine.forget(script)
    system.remove(path)


def merged(new: Outstanding, old: Outstanding | None, wanted: frozenset[str], files: frozenset[str]) -> Outstanding:
    """Return `new` with what `old` still had to do, except for filters and files that are wanted again.

    Args:
        wanted: Filters that run from now on.
        files: Paths that are managed from now on.
    """
    if old is None:
        return new
    names = {step.service.filter for step in new.stop}
    stop = [s for s in old.stop if s.service.filter not in wanted | names]
    remove = [p for p in old.remove if p not in files and p not in new.remove]
    return replace(
        new,
        stop=(*new.stop, *stop),
        remove=(*new.remove, *remove),
        written={**old.written, **new.written},
        scripts={**{path: service for path, service in old.scripts.items() if path in remove}, **new.scripts},
        units=new.units or old.units,
    )


def edit_inventory(engine: Engine, edit: tuple[str, ...]) -> tuple[Line, ...]:
    """Make the inventory say what the host does now, and drop the override; return what to tell.

    Comments and layout stay. Where it cannot be written the override stays, and every plan shows it.

    Args:
        edit: (path, host, filter, "on" or "off").
    """
    path, host, name, state = edit
    try:
        from dkconf.inventory import edit as text_edit
        from dkconf.inventory.loader import read as read_inventory

        # A link to it is followed as `load` has followed it.
        text = read_inventory(path).decode("utf-8")
        change = text_edit.enable_filter if state == "on" else text_edit.disable_filter
        edited = change(text, host, name)
        if edited != text:
            with engine.system.step("inventory"):
                write_file(path, edited.encode("utf-8"), within=CHECKOUT)
    except (DkconfError, OSError, UnicodeDecodeError) as exc:
        return (
            ("warn", f"the inventory was not edited ({exc}); {name} stays {state} by an override until it follows"),
        )
    overrides = engine.journal.overrides()
    overrides.pop(name, None)
    engine.journal.set_overrides(overrides)
    return (("ok", f"{path}: {name} is {state} there too"),)
