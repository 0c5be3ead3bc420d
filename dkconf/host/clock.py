"""Time as the machine tells it: handed in, so that tests move it and clocks that jump can be met."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Protocol


class Clock(Protocol):
    def wall(self) -> float:
        """Return seconds since the epoch; may jump."""

    def boottime(self) -> float:
        """Return seconds since boot, asleep or awake; never jumps."""

    def boot_id(self) -> str:
        """Return what names this boot; "" where the platform tells nothing."""


class RealClock:
    """The machine's clocks."""

    def wall(self) -> float:
        return time.time()

    def boottime(self) -> float:
        # FreeBSD's CLOCK_MONOTONIC does what Linux calls CLOCK_BOOTTIME.
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def boot_id(self) -> str:
        for path in ("/proc/sys/kernel/random/boot_id",):
            with suppress(OSError), open(path, encoding="ascii") as source:
                return source.read().strip()
        # No name of the boot: its time names it, to the minute, since a clock may be set a little.
        return f"boot-{int((self.wall() - self.boottime()) // 60)}"


def utc(seconds: float) -> str:
    """Return a time for people and manifests, e.g. 2026-01-31T08:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
