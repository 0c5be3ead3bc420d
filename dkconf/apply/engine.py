"""What carries a change out, and how a change that is healthy is put in force: shared by going on and going back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dkconf.apply.generations import Generations
from dkconf.apply.journal import Journal, JournalStore
from dkconf.apply.originals import Originals
from dkconf.apply.owner import OwnerStore
from dkconf.host.clock import Clock
from dkconf.host.machine import Machine
from dkconf.host.signals import Signals
from dkconf.host.system import System


@dataclass
class Engine:
    """The things that carry a change out."""

    system: System
    machine: Machine
    clock: Clock
    state_dir: str
    say: Callable[[str, str], None]
    signals: Signals = field(default_factory=Signals)
    told_at: float = 0.0
    """When sendmail was told of the change, epoch seconds; its older children may call the old filters."""
    this_machine: str = ""
    """The machine's own name; "" = it does not count, as in another root."""
    untold: str = ""
    """Why it was not told, where the change stays all the same."""

    def __post_init__(self) -> None:
        self.journal = JournalStore(self.system, self.state_dir)
        self.generations = Generations(self.system, self.state_dir)
        self.originals = Originals(self.system, self.state_dir)
        self.owner = OwnerStore(self.system, self.state_dir)


def finish(engine: Engine, journal: Journal) -> None:
    """Put the generation in force; also what recovery does with a committed journal."""
    generations = engine.generations
    generations.publish(journal.generation)
    if generations.current() != journal.generation and journal.moves:
        generations.set_current(journal.generation)
    engine.journal.set_overrides(journal.overrides)
    if journal.phase == "confirming":
        return
    has_more = bool(journal.after.stop or journal.after.remove)
    engine.journal.set_outstanding(journal.after if has_more else None)
    engine.journal.end()
    generations.prune()
