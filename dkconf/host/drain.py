"""Wait until nobody calls a filter any more, so that it can be stopped without a refused mail."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dkconf.probe import live, master, peers
from dkconf.probe.facts import Site

POLL_SECONDS = 0.2
"""Between two looks; the end of another's child process is no event for us."""


@dataclass(frozen=True, slots=True)
class Drained:
    done: bool
    remaining: tuple[str, ...]
    """Who is left, in words."""


def remaining(site: Site, sockets: Sequence[str], since: float) -> tuple[str, ...]:
    """Return who may still call: sendmail's processes from before `since`, and connections on the sockets.

    A sendmail that answers and was not found was not told either, and calls on.
    """
    there = master.find(site)
    untold = live.answers_untold(there)
    found = [untold] if untold else []
    found += [str(one) for one in peers.older_processes(there, since)]
    for socket in sockets:
        count = peers.peers(socket)
        if count:
            found.append(f"{count} connection{'s' if count > 1 else ''} on {socket}")
    return tuple(found)


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


def drain(
    site: Site,
    sockets: Sequence[str],
    since: float,
    timeout_seconds: float = 600.0,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = _sleep,
    look: Callable[[Site, Sequence[str], float], tuple[str, ...]] = remaining,
) -> Drained:
    """Wait until nobody is left, for at most `timeout_seconds`.

    Args:
        since: When sendmail was told, epoch seconds: younger processes have the new configuration.
        sockets: The S= of the filters that are to stop.
    """
    deadline = clock() + timeout_seconds
    while True:
        left = look(site, sockets, since)
        if not left:
            return Drained(True, ())
        if clock() >= deadline:
            return Drained(False, left)
        wait(min(POLL_SECONDS, max(0.0, deadline - clock())))
