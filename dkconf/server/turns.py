"""Work that takes its turn: some of it in each turn of the event loop, so that what is quick need not wait.

A worker does everything on one thread. A message with many signatures or a large header takes some ms, and whoever
sends many of them at once would keep all others waiting for all of them. So a connection that has had its slice puts
off the rest, and an answer that a hundred messages wait for wakes them one after another. Between two pieces the loop
looks at everybody else.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Final

from dkconf.server.readiness import Readiness

SLICE_SECONDS: Final = 0.002
"""How long one connection works, or one turn's share of what was put off, before the others are looked at. A usual
message takes a tenth of it."""
_HANDICAP: Final = 10.0
"""By how many times the time that a message has had it stands behind one that has had none."""


class Turns:
    """See the module."""

    __slots__ = ("_loop", "_now", "_number", "_ready", "_running", "_unexpected", "_waiting")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ready: Readiness, unexpected: Callable[[Exception], None]
    ) -> None:
        """`ready` knows when this turn of the loop began; `unexpected` is told what a call raises."""
        self._loop, self._ready, self._unexpected = loop, ready, unexpected
        self._now = time.monotonic
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._running = False

    def __len__(self) -> int:
        return len(self._waiting)

    def free(self) -> bool:
        """Return whether there is time in this turn of the loop: it has just begun, or it is the caller's."""
        return self._running or self._now() - self._ready.woke < SLICE_SECONDS

    def later(self, call: Callable[[], None], spent: float) -> None:
        """Have `call` called in a later turn; sooner, the less time its message has `spent` so far, in seconds."""
        if not self._waiting:
            self._loop.call_soon(self._next)
        self._number += 1
        heapq.heappush(self._waiting, (self._now() + _HANDICAP * spent, self._number, call))

    def _next(self) -> None:
        end = self._now() + SLICE_SECONDS
        while self._waiting:
            _, _, call = heapq.heappop(self._waiting)
            self._running = True
            try:
                call()
            except Exception as error:
                self._unexpected(error)
            finally:
                self._running = False
            if self._now() >= end:
                break
        if self._waiting:
            self._loop.call_soon(self._next)
