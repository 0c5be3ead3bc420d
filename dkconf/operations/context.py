"""What a command hands to an operation, and what it gets back; light to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dkconf.errors import Status

if TYPE_CHECKING:
    from dkconf.host.clock import Clock
    from dkconf.host.machine import Machine
    from dkconf.host.system import System

Line = tuple[str, str]
"""Style (plain, head, add, remove, hunk, warn, error, ok, dim) and text."""


def _silent(style: str, line: str) -> None:
    return None


@dataclass(frozen=True)
class Context:
    """One call of an operation."""

    host: str = ""
    """--host; "" = this machine's name."""
    inventory: str | None = None
    """Path of the inventory; None = none is given or needed."""
    root: str = "/"
    """--root: another tree than the running machine's: files only."""
    accept_risk: frozenset[str] = frozenset()
    take_over: frozenset[str] = frozenset()
    """Names of hand-made filter lines, and paths of files edited by hand."""
    yes: bool = False
    ask: Callable[[tuple[Line, ...]], bool] | None = None
    """Shows the lines of a plan and returns whether to go on; None = there is no terminal."""
    say: Callable[[str, str], None] = _silent
    """Shows one line of progress at once: (style, text)."""
    state_dir: str = ""
    """Where generations lie, for operations without an inventory; "" = the platform's."""
    machine: Machine | None = None
    """None = the real one; tests hand in a fake."""
    system: System | None = None
    clock: Clock | None = None


@dataclass(frozen=True)
class Outcome:
    """What an operation did."""

    status: Status = Status.OK
    lines: tuple[Line, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    """For --json."""
    changed: bool = False
    """Something was or would be changed: status 2 under --detailed-exitcode."""
