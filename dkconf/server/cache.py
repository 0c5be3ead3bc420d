"""Answers kept by their TTL, the longest unused one dropped first; bounded in number and in octets."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from dkconf.mail.lookup import TxtAnswer

# A key record has about 400 octets; a hostile one has 64 KiB.
MOST_ENTRIES: Final = 10_000
MOST_OCTETS: Final = 8 * 1024 * 1024
_ENTRY_OVERHEAD: Final = 300


class AnswerCache:
    """Answers by lower-case name. Times are those of one monotonic clock, in seconds."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_octets: int = MOST_OCTETS) -> None:
        self._entries: OrderedDict[bytes, tuple[float, TxtAnswer, int]] = OrderedDict()
        self._most_entries, self._most_octets = most_entries, most_octets
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: bytes, now: float) -> TxtAnswer | None:
        """Return the answer for `name` if it may still be used."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry[0] <= now:
            self._drop(name)
            return None
        self._entries.move_to_end(name)
        return entry[1]

    def put(self, name: bytes, answer: TxtAnswer, now: float) -> None:
        """Keep `answer` for its TTL; a failed one is not kept, since the next attempt may succeed."""
        if name in self._entries:
            self._drop(name)
        if answer.ttl <= 0 or answer.status == "failed":
            return
        octets = len(name) + sum(map(len, answer.strings)) + _ENTRY_OVERHEAD
        self._entries[name] = (now + answer.ttl, answer, octets)
        self._octets += octets
        while len(self._entries) > self._most_entries or self._octets > self._most_octets:
            self._drop(next(iter(self._entries)))

    def _drop(self, name: bytes) -> None:
        self._octets -= self._entries.pop(name)[2]
