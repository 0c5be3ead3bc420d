"""What an operation looks at: the host's files and machine, and its state directory. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from dkconf.apply.engine import Engine
from dkconf.apply.owner import Owner, foreign, same
from dkconf.desired.state import DesiredState
from dkconf.errors import DkconfError, UsageProblem
from dkconf.host.clock import RealClock
from dkconf.host.disk import RealSystem
from dkconf.host.machine import FilesOnly, Machine
from dkconf.host.system import ReadOnlySystem, System, SystemProblem
from dkconf.operations.context import Context
from dkconf.operations.wanted import host_in, load, machine_name
from dkconf.plan import forms
from dkconf.plan.actual import LastApplied

STATE_DIRS = ("/var/lib/dkconf", "/var/db/dkconf")
"""Of the platforms; the first is Debian's and RHEL's."""


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
    ctx = replace(ctx, say=never_failing(ctx.say))
    engine = engine_for(ctx, system, state_dir(ctx, system))
    return Session(ctx, engine, engine.generations.last_applied())


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


def engine_for(ctx: Context, system: System, directory: str) -> Engine:
    refuse_unsafe(system, directory)
    machine = ctx.machine or (_real_machine(ctx) if system.root == "/" else FilesOnly())
    # In another root it is that tree's name that counts, and only --host tells it.
    name = machine_name() if system.root == "/" else ""
    return Engine(system, machine, ctx.clock or RealClock(), directory, ctx.say, this_machine=name)


def refuse_unsafe(system: System, path: str) -> None:
    """Raise `SystemProblem` where somebody else could put his own state in the place of ours."""
    if words := system.unsafe(path):
        raise SystemProblem(words)


def never_failing(say: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """Return `say` for one who may be gone: a lost terminal must not stop a change half way."""

    def tell(style: str, line: str) -> None:
        with suppress(OSError, ValueError):
            say(style, line)

    return tell


def _real_machine(ctx: Context) -> Machine:
    from dkconf.operations.real import RealMachine

    return RealMachine(ctx.say)


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
