"""How soon a dead worker is replaced: at once at first, ever later if they go on dying. Pure."""

from __future__ import annotations

from typing import Final

WINDOW_SECONDS: Final = 60.0
FREE_DEATHS: Final = 3
"""Deaths within the window that are followed by a new worker at once."""
LONGEST_DELAY_SECONDS: Final = 30.0


class RateLimit:
    """Knows the deaths of the last minute."""

    def __init__(self) -> None:
        self._deaths: list[float] = []

    def delay(self, now: float) -> float:
        """Return how many seconds to wait before a worker that died now is replaced."""
        self._deaths = [death for death in self._deaths if death > now - WINDOW_SECONDS]
        self._deaths.append(now)
        beyond = len(self._deaths) - FREE_DEATHS
        return 0.0 if beyond <= 0 else min(LONGEST_DELAY_SECONDS, 2.0 ** (beyond - 1))
