"""How long a test waits for what must come.

A test waits for an event. The time here only ends a run in which that event never comes: it is long enough for a
machine that others keep busy, and says nothing about how fast anything is. Where speed is what a test is about, it
counts processor time, or compares one piece of work with another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

LAST_RESORT_SECONDS = 120.0


def wait_until(holds: Callable[[], bool], what: str, every: float = 0.01) -> None:
    """Return as soon as `holds()`; fail with `what` if that never comes."""
    deadline = time.monotonic() + LAST_RESORT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(every)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used; the children that it has waited for are not in it."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
