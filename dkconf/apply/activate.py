"""Carrying out one change of a host, so that it is wholly done or wholly undone.

The order serves the mail that arrives meanwhile. Filters first: users, settings, units, a filter that
answers. Then sendmail's sources, then its .cf, then sendmail is told, then it is checked. Whatever stops
(a filter no longer called) stops last, after sendmail has forgotten it. So every mix of old and new files
that a crash can leave starts and takes mail.

Before the first change the journal and the new generation are on disk. A failure goes back by `revert`,
which is also what the next run does after a crash, and what the watcher does when nobody confirmed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn

from dkconf.apply.engine import Engine, finish
from dkconf.apply.generations import Manifest
from dkconf.apply.journal import Deadline, FileStep, Journal, Outstanding, Phase, ServiceStep
from dkconf.apply.owner import Owner
from dkconf.apply.revert import revert
from dkconf.desired.state import HostPaths, ManagedDirectory, Service, SystemUser
from dkconf.errors import DkconfError, NotReverted, NotTold, PlanStale, Reverted
from dkconf.host.machine import Judged, Sendmail, StartedBy
from dkconf.plan.actual import FileDigest, FileState

TOLD_MARGIN_SECONDS = 0.5
"""From taking the time until the signal has arrived; a child of that time is waited for in vain, no harm."""
ANSWER_SECONDS = 20.0
"""How long a filter that was started may take until it answers."""


class Unhealthy(DkconfError):
    """The host answers worse than before the change."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file as it is to be; `state` None = it goes."""

    path: str
    state: FileState | None
    sendmail: bool = False
    attributes_only: bool = False
    expected: FileDigest | None = None
    """As it was planned from; something else there now is somebody's edit, made meanwhile."""
    planned: bool = False
    """Whether `expected` is to be looked at."""


@dataclass(frozen=True, slots=True)
class Work:
    """Everything one activation does."""

    command: str
    actor: str
    platform: str
    paths: HostPaths
    targets: tuple[Target, ...]
    """In the order of writing."""
    users: tuple[SystemUser, ...] = ()
    directories: tuple[ManagedDirectory, ...] = ()
    root_group: str = "root"
    services: tuple[ServiceStep, ...] = ()
    """To be started, or told of new settings, before sendmail calls them."""
    units: bool = False
    tells_sendmail: bool = True
    after: Outstanding = field(default_factory=Outstanding)
    manifest: Manifest | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """Path -> octets that the generation keeps."""
    judged: Judged | None = None
    confirm_seconds: int | None = None
    systemd: bool = False
    keep_originals: bool = True
    moves: bool = True
    """`current` moves: to the new generation, or (release) to none."""
    overrides: Mapping[str, bool] = field(default_factory=dict)
    inventory_edit: tuple[str, ...] = ()
    scripts: Mapping[str, Service] = field(default_factory=dict)
    """Start scripts among the targets, and whose they are."""
    started_by: StartedBy = field(default_factory=StartedBy)
    untold_stays: bool = False
    """An emergency: the change stays also where sendmail could not be told of it. It is said, and noted."""


def activate(engine: Engine, work: Work) -> Outstanding | None:
    """Carry `work` out; return what is still outstanding, None if nothing is.

    Raises:
        Reverted: It failed; the previous state is back and healthy.
        NotReverted: It failed, and so did going back; the next run tries again.
        DkconfError, OSError: It failed before anything was changed.
    """
    journal = _prepare(engine, work)
    with engine.signals.held():
        try:
            _change(engine, work, journal)
        except Exception as exc:  # whatever fails between two states, also a fault of ours
            _go_back(engine, exc)
        _commit(engine, work, journal)
    return engine.journal.outstanding()


# before the first change


def _prepare(engine: Engine, work: Work) -> Journal:
    """Write the generation and the journal; on failure nothing of the host has changed."""
    steps, copies = _file_steps(engine, work)
    deadline = None
    if work.confirm_seconds is not None:
        clock, seconds = engine.clock, work.confirm_seconds
        deadline = Deadline(clock.boot_id(), clock.boottime() + seconds, clock.wall() + seconds, seconds)
    sendmail = engine.machine.sendmail(work.paths, work.started_by) if work.tells_sendmail else Sendmail()
    journal = Journal(
        phase="active",
        run=secrets.token_hex(8),
        command=work.command,
        actor=work.actor,
        generation=work.manifest.number if work.manifest else 0,
        previous=engine.generations.current(),
        paths=work.paths,
        files=steps,
        directories=_missing_directories(engine, work),
        services=work.services,
        tells_sendmail=work.tells_sendmail,
        sendmail_argv=sendmail.start,
        sendmail_ran=sendmail.ran,
        sendmail_full_path=sendmail.full_path,
        after=work.after,
        deadline=deadline,
        units=work.units,
        moves=work.moves,
        overrides=work.overrides,
        overrides_before=engine.journal.overrides(),
        platform=work.platform,
        users=tuple(user.name for user in work.users),
        scripts={s.path: work.scripts[s.path] for s in steps if s.pre is None and s.path in work.scripts},
        inventory_edit=work.inventory_edit,
    )
    try:
        if work.manifest is not None:
            engine.owner.write(Owner(work.manifest.desired.host, engine.this_machine))
            engine.generations.store(work.manifest, work.contents)
        if work.keep_originals:
            # A directory is kept as PATH/: it goes with release, if it is empty then.
            made: dict[str, FileState | None] = {f"{path}/": None for path in journal.directories}
            engine.originals.keep({**_found(engine, work), **made})
        engine.journal.begin(journal, copies)
        if deadline is not None:
            with engine.system.step("arm"):
                engine.machine.arm(engine.state_dir, deadline.seconds, journal.run, work.systemd)
    except (DkconfError, OSError):
        _forget(engine, journal)
        raise
    return journal


def _found(engine: Engine, work: Work) -> dict[str, FileState | None]:
    """Return what lies at the paths that become managed with this change."""
    current = engine.generations.current()
    managed = set(engine.generations.manifest(current).files) if current else set()
    paths = [t.path for t in work.targets if not t.attributes_only and t.path not in managed]
    return {path: engine.system.read(path) for path in paths}


def _forget(engine: Engine, journal: Journal) -> None:
    """Clear away what `_prepare` has written, as far as the machine lets us."""
    with suppress(DkconfError, OSError):
        engine.journal.end()
    with suppress(DkconfError, OSError):
        if journal.generation:
            engine.generations.remove(journal.generation)


def _file_steps(engine: Engine, work: Work) -> tuple[tuple[FileStep, ...], dict[str, bytes]]:
    steps, copies = [], {}
    for number, target in enumerate(work.targets):
        read = engine.system.attributes if target.attributes_only else engine.system.read
        now = read(target.path)
        if target.planned and (now.digest if now else None) != target.expected:
            raise PlanStale(f"{target.path}: was edited since the plan was made; look at it again")
        copy = ""
        if now is not None and not target.attributes_only:
            copy = f"{number:04d}"
            copies[copy] = now.content
        steps.append(
            FileStep(
                target.path,
                now.digest if now else None,
                now.mtime_ns if now else 0,
                target.state.digest if target.state else None,
                target.sendmail,
                target.attributes_only,
                copy,
            )
        )
    return tuple(steps), copies


def _missing_directories(engine: Engine, work: Work) -> tuple[str, ...]:
    missing: list[str] = []
    wanted = [d.path for d in work.directories]
    for path in (*wanted, *(t.path.rpartition("/")[0] for t in work.targets if t.state is not None)):
        above = []
        while path and not engine.system.is_directory(path) and path not in missing:
            above.append(path)
            path = path.rpartition("/")[0]
        missing += reversed(above)
    return tuple(missing)


# the change


def _change(engine: Engine, work: Work, journal: Journal) -> None:
    system, machine, say = engine.system, engine.machine, engine.say
    for user in work.users:
        say("plain", f"creating the system user {user.name}")
        with system.step(f"user:{user.name}"):
            machine.create_user(user, work.platform, journal.run)
    known = {d.path: d for d in work.directories}
    for path in journal.directories:
        directory = known.get(path, ManagedDirectory(path, 0o755, "root", work.root_group))
        system.mkdir(path, directory.mode, directory.owner, directory.group)
    for target in work.targets:
        if not target.sendmail:
            put(engine, target)
    _services(engine, work)
    sendmail = [target for target in work.targets if target.sendmail]
    for target in sendmail:
        put(engine, target)
    if work.tells_sendmail:
        say("plain", "telling sendmail")
        engine.told_at = engine.clock.wall() + TOLD_MARGIN_SECONDS
        with system.step("tell-sendmail"):
            _tell(engine, work, journal)
        with system.step("check"):
            problems = () if engine.untold else machine.check(work.paths, work.judged)
        if problems:
            raise Unhealthy("\n".join(problems))


def _tell(engine: Engine, work: Work, journal: Journal) -> None:
    """Tell sendmail; in an emergency a sendmail that cannot be told is no reason to put the filter back."""
    try:
        engine.machine.tell_sendmail(work.paths, journal.sendmail)
    except NotTold as exc:
        if not work.untold_stays:
            raise
        engine.untold = str(exc)
        engine.say("error", "sendmail could not be told; the change stays all the same")
    engine.journal.set_untold(engine.untold)


def put(engine: Engine, target: Target) -> None:
    """Bring one file into its wanted state."""
    system = engine.system
    if target.state is None:
        system.remove(target.path)
    elif target.attributes_only:
        state = target.state
        system.set_attributes(target.path, state.mode, state.owner, state.group)
    else:
        system.write(target.path, target.state)


def _services(engine: Engine, work: Work) -> None:
    system, machine = engine.system, engine.machine
    if work.units and work.services:
        with system.step("read-units"):
            machine.read_units(work.services[0].service)
    for step in work.services:
        name = step.service.filter
        action, act = ("reload", machine.reload) if step.was_running else ("start", machine.start)
        if step.restart:
            action, act = "restart", machine.restart
        engine.say("plain", f"{action} filter {name}")
        with system.step(f"{action}:{name}"):
            act(step.service)
        why = machine.wait_answers(step.socket, ANSWER_SECONDS) if step.socket else ""
        if why:
            raise Unhealthy(f"filter {name} does not answer on {step.socket}: {why}")


def _go_back(engine: Engine, cause: Exception) -> NoReturn:
    """Revert after a failure and raise what tells it.

    Raises:
        Reverted, NotReverted: Always one of them.
    """
    # Of a fault of ours only its kind: its text may quote what it worked on.
    ours = not isinstance(cause, DkconfError | OSError)
    what = f"internal error: {type(cause).__name__}" if ours else str(cause)
    engine.say("error", f"failed: {what}; going back")
    try:
        problems = revert(engine)
    except Exception as exc:
        raise NotReverted(f"{what}\nand going back failed: {exc}; `dkconf recover` tries again") from exc
    if problems:
        raise NotReverted(f"{what}\nwent back, but: " + "; ".join(problems))
    raise Reverted(f"{what}\nthe previous state is back and healthy")


# the point of no return


def _commit(engine: Engine, work: Work, journal: Journal) -> None:
    """Say on disk that the host is healthy; from here on a crash goes forward."""
    after = replace(work.after, hup_time=engine.told_at or engine.clock.wall(), generation=journal.generation)
    phase: Phase = "confirming" if journal.deadline is not None else "committed"
    journal = replace(journal, phase=phase, after=after)
    engine.journal.write(journal)
    finish(engine, journal)
