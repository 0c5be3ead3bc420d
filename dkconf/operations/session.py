"""What an operation works with: the host's files and machine, its state directory, and what the inventory
wants."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from dkconf.apply.engine import Engine
from dkconf.apply.owner import OTHER_HOST, Owner, foreign, same
from dkconf.apply.owner import refusal as other_host
from dkconf.apply.revert import recover
from dkconf.desired.state import DesiredState
from dkconf.errors import DkconfError, Refusal, Refused, UsageProblem, Waiting
from dkconf.host.clock import RealClock, utc
from dkconf.host.disk import RealSystem
from dkconf.host.machine import FilesOnly, Machine
from dkconf.host.steps import hook_from_environment
from dkconf.host.system import ReadOnlySystem, System, SystemProblem
from dkconf.inventory.hosts import own_name
from dkconf.inventory.model import Host, Inventory
from dkconf.operations.context import Context, Line
from dkconf.operations.git import Commit, commit_of
from dkconf.plan import forms
from dkconf.plan.actual import LastApplied
from dkconf.probe.hostname import host_name as kernel_name

STATE_DIRS = ("/var/lib/dkconf", "/var/db/dkconf")
"""Of the platforms; the first is Debian's and RHEL's."""


@dataclass(frozen=True)
class Wanted:
    """What the inventory wants of one host."""

    desired: DesiredState
    inventory: Inventory
    path: str
    overrides: Mapping[str, bool]
    """Those in force against the inventory; one that it follows by now is none."""
    commit: Commit


@dataclass(frozen=True)
class Session:
    """One operation under way."""

    ctx: Context
    engine: Engine
    last: LastApplied | None
    new_host: str = ""
    """The state is another host's, and this run goes on all the same: what it makes is of the host with this name."""

    @property
    def system(self) -> System:
        return self.engine.system

    @property
    def machine(self) -> Machine:
        return self.engine.machine

    @property
    def name(self) -> str:
        """Return this host's name: --host, or the machine's own."""
        return self.ctx.host or self.engine.this_machine

    def foreign(self) -> Owner | None:
        """Return whose state it is, if it is another host's."""
        owner = self.engine.owner.read()
        if owner is None and self.last is not None:
            owner = Owner(self.last.desired.host)
        return owner if foreign(owner, self.ctx.host, self.engine.this_machine) else None

    def host_of(self, desired: DesiredState) -> str:
        """Return the host that a new generation of this older state is made for."""
        before = self.last.desired.host if self.last else desired.host
        owner = self.engine.owner.read()
        # Whoever has gone on with another host's state where no file had to change made no generation of this name.
        named = owner.host if owner and owner.host and not same(owner.host, before) else before
        return self.new_host or named

    @property
    def went_back(self) -> str:
        """Return a sentence where a rollback made the generation in force; apply may undo it. "" = it did not."""
        if self.last is None:
            return ""
        command = self.engine.generations.manifest(self.last.number).command
        if not command.startswith("rollback"):
            return ""
        return (
            f"generation {self.last.number} came by `dkconf {command}`, and the inventory wants otherwise: "
            "`dkconf apply` would undo that"
        )


def host_name(ctx: Context) -> str:
    """Return --host, or this machine's name."""
    return ctx.host or kernel_name()


def host_in(ctx: Context, inventory: Inventory) -> str:
    """Return --host, or this machine's name as the inventory spells it."""
    return ctx.host or own_name(host_name(ctx), inventory.hosts)


def load(ctx: Context) -> tuple[Inventory, str]:
    """Return the inventory and its path.

    Raises:
        DkconfError: There is none, or it is invalid.
    """
    from dkconf.inventory import load as load_inventory

    path = ctx.inventory or "inventory.yaml"
    return load_inventory(path).inventory, os.path.abspath(path)


def wanted(ctx: Context, overrides: Mapping[str, bool]) -> Wanted:
    """Return what the inventory wants of this host, with `overrides` on top."""
    from dkconf import desired, keys

    inventory, path = load(ctx)
    name = host_in(ctx, inventory)
    host = inventory.hosts.get(name)
    active = against(host, overrides)
    if host is not None:
        inventory = replace(inventory, hosts={**inventory.hosts, name: with_overrides(host, active)})
    halves = keys.read_public_halves(os.path.join(os.path.dirname(path), "keys"))
    return Wanted(desired.build(inventory, name, halves), inventory, path, active, commit_of(path))


def against(host: Host | None, overrides: Mapping[str, bool]) -> dict[str, bool]:
    """Return the overrides that say something else than the inventory does."""
    if host is None:
        return {}
    return {n: on for n, on in overrides.items() if n in host.filters and on != called(host, n)}


def called(host: Host, name: str) -> bool:
    """Return whether the inventory has the host call the filter."""
    return name not in host.disabled_filters


def with_overrides(host: Host, overrides: Mapping[str, bool]) -> Host:
    """Return the host with some filters turned on or off against the inventory."""
    off = [n for n in host.disabled_filters if not overrides.get(n, False)]
    off += [n for n, on in overrides.items() if not on and n not in off]
    return replace(host, disabled_filters=tuple(off))


def state_dir(ctx: Context, system: System) -> str:
    """Return where the host's generations lie: as told, as the inventory says, or the platform's place."""
    if ctx.state_dir:
        return ctx.state_dir
    if ctx.inventory:
        # A rollback must not need a valid inventory: one that cannot be read tells nothing here.
        with suppress(DkconfError):
            from dkconf.desired.platform import host_paths

            inventory, _ = load(ctx)
            name = host_in(ctx, inventory)
            if name in inventory.hosts:
                return host_paths(name, inventory.hosts[name]).state_dir
    return next((d for d in STATE_DIRS if system.is_directory(d)), STATE_DIRS[0])


def look(ctx: Context) -> Session:
    """Return a session that can only read: for plan and status."""
    inner = ctx.system or RealSystem(ctx.root)
    system: System = ReadOnlySystem(inner)
    ctx = replace(ctx, say=_safely(ctx.say))
    engine = _engine(ctx, system, state_dir(ctx, system))
    return Session(ctx, engine, engine.generations.last_applied())


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
    ctx = replace(ctx, say=_safely(ctx.say))
    if ctx.system is None and ctx.root == "/" and os.geteuid() != 0:
        raise DkconfError(f"this user may not change the mail system: run dkconf {command} as root")
    system = ctx.system or RealSystem(ctx.root, hook_from_environment())
    directory = state_dir(ctx, system)
    make_state_dir(system, directory)
    holder = forms.stamped(
        forms.LOCK, {"pid": os.getpid(), "command": f"dkconf {command}", "user": actor(), "since": ""}
    )
    engine = _engine(ctx, system, directory)
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


def ledger_path(engine: Engine) -> str:
    """Return where the names of applied plans are kept."""
    return f"{engine.state_dir}/plans.json"


def ledger(engine: Engine) -> list[str]:
    """Return the names of the saved plans that were applied on this host.

    Raises:
        NewerForm, DkconfError: A newer dkconf wrote the list, or it is damaged.
    """
    path = ledger_path(engine)
    found = engine.system.read(path)
    if found is None:
        return []
    number, data = forms.parsed(forms.LEDGER, path, found.content)
    kept = data if number == 1 else data.get("plans")
    if not isinstance(kept, list):
        raise DkconfError(f"{path}: damaged: no list of plans")
    return [str(name) for name in kept]


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
    _refuse_unsafe(system, path)
    missing = []
    above = path
    while above not in ("", "/") and not system.is_directory(above):
        missing.append(above)
        above = above.rpartition("/")[0]
    for folder in reversed(missing):
        system.mkdir(folder, 0o700 if folder == path else 0o755, "0", "0")


def _engine(ctx: Context, system: System, directory: str) -> Engine:
    _refuse_unsafe(system, directory)
    machine = ctx.machine or (_real_machine(ctx) if system.root == "/" else FilesOnly())
    # In another root it is that tree's name that counts, and only --host tells it.
    name = kernel_name() if system.root == "/" else ""
    return Engine(system, machine, ctx.clock or RealClock(), directory, ctx.say, this_machine=name)


def _refuse_unsafe(system: System, path: str) -> None:
    """Raise `SystemProblem` where somebody else could put his own state in the place of ours."""
    if words := system.unsafe(path):
        raise SystemProblem(words)


def _safely(say: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """Return `say` for one who may be gone: a lost terminal must not stop a change half way."""

    def tell(style: str, line: str) -> None:
        with suppress(OSError, ValueError):
            say(style, line)

    return tell


def _real_machine(ctx: Context) -> Machine:
    from dkconf.operations.real import RealMachine

    return RealMachine(ctx.say)


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


def need_generation(session: Session) -> LastApplied:
    """Return the generation in force.

    Raises:
        UsageProblem: dkconf has applied nothing here.
    """
    if session.last is None:
        raise UsageProblem(
            f"{session.engine.state_dir}: no generation is in force on this host; `dkconf apply` makes the first"
        )
    return session.last
