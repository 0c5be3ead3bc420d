"""Numbers that all processes of the daemon see: one region of shared memory, one slot per worker.

Each worker writes its own slot only, the parent reads all of them, so that no lock is needed. A slot holds
the number of open connections (workers spread new ones by it), a sign of life, and a table of counters by
name. A worker that takes over a slot goes on with its counters: a total never falls when one is replaced.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Final

_NAME_OCTETS: Final = 120
_ENTRY_OCTETS: Final = _NAME_OCTETS + 8
_ENTRIES: Final = 512
_HEAD_OCTETS: Final = 64
_SLOT_OCTETS: Final = _HEAD_OCTETS + _ENTRIES * _ENTRY_OCTETS

_LOAD, _BEAT, _IN_FLIGHT = range(3)
_OVERFLOW: Final = "dkconf_filter_other_total"

NOBODY: Final = -1.0
"""The load of a slot without a worker that takes connections."""


class Shared:
    """The region; made by the parent before it forks."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, slots * _SLOT_OCTETS)
        self._octets = memoryview(self._memory)
        self._numbers = self._octets.cast("d")
        self.slots = [Slot(self._octets, self._numbers, i) for i in range(slots)]

    def least_load(self, but: int) -> float | None:
        """Return the least load among the workers other than slot `but`; None if there is no other."""
        least: float | None = None
        for slot in self.slots:
            load = self._numbers[slot.base]
            if load >= 0 and slot.index != but and (least is None or load < least):
                least = load
        return least

    def totals(self) -> dict[str, float]:
        """Return every counter, summed over the slots."""
        out: dict[str, float] = {}
        for slot in self.slots:
            for name, value in slot.counters():
                out[name] = out.get(name, 0.0) + value
        return out


class Slot:
    """One worker's part of the region."""

    def __init__(self, octets: memoryview[int], numbers: memoryview[float], index: int) -> None:
        self.index = index
        self.base = index * _SLOT_OCTETS // 8
        self._octets = octets
        self.numbers = numbers
        """The whole region; a worker adds to its own places in it: a call for each costs more than the sum."""
        self.in_flight_place = self.base + _IN_FLIGHT
        self._places: dict[str, int] = {}
        self.numbers[self.base] = NOBODY

    @property
    def load(self) -> float:
        """Open connections; `NOBODY` if no worker takes any."""
        return float(self.numbers[self.base + _LOAD])

    @load.setter
    def load(self, value: float) -> None:
        self.numbers[self.base + _LOAD] = value

    @property
    def beat(self) -> float:
        """Monotonic time of the worker's last sign of life, in seconds."""
        return float(self.numbers[self.base + _BEAT])

    @beat.setter
    def beat(self, value: float) -> None:
        self.numbers[self.base + _BEAT] = value

    @property
    def in_flight(self) -> float:
        """Messages that have begun and not ended."""
        return float(self.numbers[self.in_flight_place])

    def counters(self) -> Iterator[tuple[str, float]]:
        """Yield (name, value) of each counter."""
        start = self.base * 8 + _HEAD_OCTETS
        for entry in range(start, start + _ENTRIES * _ENTRY_OCTETS, _ENTRY_OCTETS):
            if not self._octets[entry]:
                return
            name = bytes(self._octets[entry : entry + _NAME_OCTETS]).rstrip(b"\0")
            yield name.decode("ascii", "replace"), float(self.numbers[(entry + _NAME_OCTETS) // 8])

    def take_over(self) -> None:
        """Begin as this slot's worker: learn the counters that the one before left."""
        self.numbers[self.in_flight_place] = 0.0
        self.load = 0.0
        start = (self.base * 8 + _HEAD_OCTETS + _NAME_OCTETS) // 8
        names = [name for name, _ in self.counters()]
        self._places = {name: start + i * _ENTRY_OCTETS // 8 for i, name in enumerate(names)}

    def place(self, name: str) -> int:
        """Return where the counter `name` is; in `numbers`. New names beyond the table share one counter."""
        found = self._places.get(name)
        if found is not None:
            return found
        used = len(self._places)
        if used >= _ENTRIES - 1 and name != _OVERFLOW:
            return self.place(_OVERFLOW)
        entry = self.base * 8 + _HEAD_OCTETS + used * _ENTRY_OCTETS
        octets = name.encode("ascii", "replace")[: _NAME_OCTETS - 1]
        # The first octet last: the parent reads at any time, and must not see half a name.
        self._octets[entry + 1 : entry + len(octets)] = octets[1:]
        self._octets[entry] = octets[0]
        self._places[name] = place = (entry + _NAME_OCTETS) // 8
        return place

    def add(self, name: str, amount: float = 1.0) -> None:
        """Add to the counter `name`, which may be a Prometheus sample with its labels."""
        place = self._places.get(name)
        self.numbers[self.place(name) if place is None else place] += amount
