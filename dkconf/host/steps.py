"""The one function through which every change to a machine passes.

Each change is a named step. Between the steps a run may die, at any of them: the tests enumerate the
names, and kill before and after each. A second step of the same name in one process is called NAME#2.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dkconf.files.standing import open_to_append

Hook = Callable[[str, str], None]
"""Called with a step's name and "before" or "after"; whatever it raises, the step raises."""

CRASH_AT = "DKCONF_CRASH_AT"
TRACE = "DKCONF_TRACE_STEPS"


class Steps:
    """Counts the steps of one run and tells a hook about each."""

    def __init__(self, hook: Hook | None = None) -> None:
        self._hook = hook
        self._seen: Counter[str] = Counter()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Run the body as the step `name`."""
        if self._hook is None:
            yield
            return
        self._seen[name] += 1
        unique = name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"
        self._hook(unique, "before")
        yield
        self._hook(unique, "after")


def crash_point(name: str, edge: str, *, crash_at: str, trace: str) -> None:
    """Append the step to the file `trace`; die there as by `kill -9` if it is `crash_at`."""
    here = f"{name}:{edge}"
    if trace:
        handle = open_to_append(trace, mode=0o600)
        try:
            os.write(handle, f"{here}\n".encode())
        finally:
            os.close(handle)
    if here == crash_at:
        os.kill(os.getpid(), signal.SIGKILL)


def hook_from_environment() -> Hook | None:
    """Return the hook that the crash matrix asks for by environment, None in every other run.

    DKCONF_CRASH_AT=NAME:before|after kills this process at that point; DKCONF_TRACE_STEPS=FILE lists the
    points. Both are read once. They give nobody anything who may not already set root's environment.
    """
    crash_at, trace = os.environ.get(CRASH_AT, ""), os.environ.get(TRACE, "")
    if not crash_at and not trace:
        return None
    return lambda name, edge: crash_point(name, edge, crash_at=crash_at, trace=trace)
