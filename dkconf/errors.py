"""Every exception of ours, and the exit statuses: the bottom of the house.

A failed signature is never an exception (it is a `Verdict`). Exceptions are for bad settings, a peer that
breaks the protocol, and a machine that says no. Each message says where, what was found, and what would be
right: lower case, no full stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class Status(IntEnum):
    """Exit statuses of `dkconf`; documented in the README and never changed."""

    OK = 0
    ERROR = 1
    CHANGES = 2
    REVERTED = 3
    NOT_REVERTED = 4
    LOCKED = 5
    WAITING = 6
    STALE = 7
    REFUSED = 8
    USAGE = 64
    INVALID = 65
    INTERRUPTED = 130


class DkconfError(Exception):
    """An error that is told to the user as one line (or several), never as a traceback."""

    status: Status = Status.ERROR


class InventoryInvalid(DkconfError):
    """The inventory has errors; all of them are in `args[0]` or carried by a subclass."""

    status = Status.INVALID


class UsageProblem(DkconfError):
    """The command line asks for something that cannot be meant."""

    status = Status.USAGE


class Reverted(DkconfError):
    """An activation failed; the previous state is back and healthy."""

    status = Status.REVERTED


class NotReverted(DkconfError):
    """An activation failed and the previous state could not be wholly restored."""

    status = Status.NOT_REVERTED


class NotTold(DkconfError):
    """sendmail answers, and was not told of its configuration: it works on with the old one."""

    status = Status.NOT_REVERTED


class Locked(DkconfError):
    """Another run holds the lock."""

    status = Status.LOCKED


class Waiting(DkconfError):
    """A deadline or a confirmation is outstanding."""

    status = Status.WAITING


class PlanStale(DkconfError):
    """The machine or the inventory is no longer what the plan saw."""

    status = Status.STALE


class Refusal:
    """One refusal for safety.

    `risk` is the ID that `--accept-risk` takes ("" where nothing can lift the refusal), `sentence` what is
    wrong, `way_on` the exact flag or act that goes on.
    """

    __slots__ = ("risk", "sentence", "way_on")

    def __init__(self, risk: str, sentence: str, way_on: str) -> None:
        self.risk, self.sentence, self.way_on = risk, sentence, way_on

    def __repr__(self) -> str:
        return f"Refusal({self.risk!r}, {self.sentence!r}, {self.way_on!r})"

    def __str__(self) -> str:
        return f"{self.sentence}; {self.way_on}"


class Refused(DkconfError):
    """Refused for safety; carries every `Refusal`, not only the first."""

    status = Status.REFUSED

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__("\n".join(str(r) for r in self.refusals))


class ProtocolError(DkconfError):
    """A milter dialogue broke the protocol."""


class RemoteProtocolError(ProtocolError):
    """The MTA did it."""


class LocalProtocolError(ProtocolError):
    """We did it."""
