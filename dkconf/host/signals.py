"""Interrupts wait while a host is between two states.

Outside `held` SIGINT, SIGTERM and SIGHUP all end a run the way Ctrl-C does, so that what was staged is
cleared away. Inside they are noted, and answered when activation is done or reverted.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """The interrupts of one run; does nothing outside the main thread, where Python has no say over them."""

    def __init__(self) -> None:
        self.pending: int = 0
        """The signal that came while they were held; 0 = none."""
        self._holding = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run the body with the three signals turned into KeyboardInterrupt, except while they are held."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in HELD}
        for number in HELD:
            # nohup: who ignores SIGHUP keeps ignoring it.
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, self._came)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Run the body to its end, whatever signal comes."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self.pending = number
        else:
            raise KeyboardInterrupt
