"""What the command line calls: one function per command that works on a host, each in a file of its own.

Each takes a `Context` and returns an `Outcome`; refusals and failures are exceptions that carry their exit status.
`plan_host` and `status` take no lock and cannot write. Every other one holds the host's lock, and first repairs what an
interrupted run has left.
"""

from __future__ import annotations

from dkconf.operations.apply import apply_plan
from dkconf.operations.confirm import confirm
from dkconf.operations.generations import generations, generations_diff, generations_pin
from dkconf.operations.plan import plan_host
from dkconf.operations.recover import recover
from dkconf.operations.release import release
from dkconf.operations.rollback import rollback
from dkconf.operations.status import status
from dkconf.operations.switch import disable_filter, enable_filter

__all__ = [
    "apply_plan",
    "confirm",
    "disable_filter",
    "enable_filter",
    "generations",
    "generations_diff",
    "generations_pin",
    "plan_host",
    "recover",
    "release",
    "rollback",
    "status",
]
