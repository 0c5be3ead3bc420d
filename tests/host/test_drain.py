"""Waiting until nobody calls a filter any more, with a clock that is handed in."""

from __future__ import annotations

from collections.abc import Sequence

from dkconf.host.drain import POLL_SECONDS, drain
from dkconf.probe.facts import Site

SITE = Site(frozenset(), (), ())


class Clock:
    """Moves only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_done_at_once() -> None:
    """Nobody is left: no waiting."""
    clock = Clock()
    found = drain(SITE, ["local:/x"], 0.0, 600, clock=clock, wait=clock.wait, look=lambda *_: ())

    assert (True, (), 0.0) == (found.done, found.remaining, clock.now)


def test_done_when_the_last_one_goes() -> None:
    """It ends as soon as nobody is left."""
    clock = Clock()

    def look(site: Site, sockets: Sequence[str], since: float) -> tuple[str, ...]:
        return ("process 7 (server)",) if clock.now < 3 else ()

    found = drain(SITE, [], 0.0, 600, clock=clock, wait=clock.wait, look=look)

    assert found.done
    assert 3 <= clock.now <= 3 + 2 * POLL_SECONDS


def test_cap() -> None:
    """At the cap it says who is left."""
    clock = Clock()
    found = drain(SITE, [], 0.0, 10, clock=clock, wait=clock.wait, look=lambda *_: ("1 connection on local:/x",))

    assert (False, ("1 connection on local:/x",)) == (found.done, found.remaining)
    assert 10 == clock.now
