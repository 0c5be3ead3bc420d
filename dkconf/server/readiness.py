"""Which sockets are ready: the event loop's selector, with a short way for what is called for every message.

asyncio's way from a ready socket to a callback (a handle, a queue, a context) takes longer than a system call. So
connections and their listener are watched by the loop's own selector, but called from within `select`. Timers,
signals and all else take the loop's usual way after each batch, and go first if they are ready at the same time.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable

Call = Callable[[], None]
"""Called when its socket is ready; and at times when it is not, since numbers come back, so it must look."""

_MOST_AT_ONCE = 64
"""Sockets of the loop's own, those of lookups above all, that have their turn together: a few ms, whatever comes. The
others are found ready again in the next turn."""

_Events = list[tuple[selectors.SelectorKey, int]]


class Readiness(selectors.DefaultSelector):
    """See the module. A descriptor is watched for one thing at a time."""

    def __init__(self, unexpected: Callable[[Exception], None]) -> None:
        """`unexpected` is told what a call raises, so that one connection's fault ends no other one."""
        super().__init__()
        self._unexpected = unexpected
        self._calls: dict[int, Call] = {}
        self._held: list[int] = []
        self.woke = 0.0
        """When this turn of the loop began, by the monotonic clock."""

    def when_readable(self, fd: int, call: Call) -> None:
        """Call `call` whenever `fd`, which is not watched yet, can be read."""
        self.register(fd, selectors.EVENT_READ)
        self._calls[fd] = call

    def when_writable(self, fd: int, call: Call) -> None:
        """Call `call` whenever `fd`, which is not watched yet, can be written."""
        self.register(fd, selectors.EVENT_WRITE)
        self._calls[fd] = call

    def watches(self, fd: int) -> bool:
        """Return whether `fd` is watched by one of the two."""
        return fd in self._calls

    def forget(self, fd: int) -> None:
        """Watch `fd` no more; harmless if it is not watched."""
        if self._calls.pop(fd, None) is not None:
            self.unregister(fd)

    def select(self, timeout: float | None = None) -> _Events:
        """Wait, call what is to be called, and return what is the loop's."""
        if self._held:
            held, self._held = self._held, []
            self.woke = time.monotonic()
            self._run(held)
            timeout = 0
        loops: _Events = []
        ready: list[int] = []
        events = super().select(timeout)
        self.woke = time.monotonic()
        for event in events:
            if event[0].fd in self._calls:
                ready.append(event[0].fd)
            elif len(loops) < _MOST_AT_ONCE:
                loops.append(event)
        if loops:
            self._held = ready
        else:
            self._run(ready)
        return loops

    def _run(self, ready: list[int]) -> None:
        for fd in ready:
            call = self._calls.get(fd)
            if call is not None:
                try:
                    call()
                except Exception as error:
                    self._unexpected(error)
