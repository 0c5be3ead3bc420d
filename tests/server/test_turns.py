"""Work that is put off: who goes first, and that the loop looks at others in between."""

from __future__ import annotations

import asyncio
import time

from dkconf.server.readiness import Readiness
from dkconf.server.turns import SLICE_SECONDS, Turns


def _on_a_loop(test):
    """Run `test(turns, faults)` on a loop with our selector."""
    faults: list[Exception] = []
    ready = Readiness(faults.append)
    loop = asyncio.SelectorEventLoop(ready)
    try:
        return loop.run_until_complete(test(Turns(loop, ready, faults.append), faults))
    finally:
        loop.close()


def _work() -> None:
    end = time.monotonic() + SLICE_SECONDS
    while time.monotonic() < end:
        pass


def test_between_two_long_pieces_the_loop_looks_at_others():
    """One piece that takes a slice to a turn, whatever number is put off."""

    async def go(turns, faults):
        done: list[str] = []
        for _ in range(20):
            turns.later(lambda: (_work(), done.append("piece")), 0.0)
        while turns:
            await asyncio.sleep(0)
            done.append("turn")
        return done

    done = _on_a_loop(go)
    assert 20 == done.count("piece")
    assert "piecepiece" not in "".join(done)


def test_short_pieces_share_a_turn():
    """An answer that many wait for costs no turn for each of them."""

    async def go(turns, faults):
        done: list[int] = []
        for number in range(10):
            turns.later(lambda number=number: done.append(number), 0.0)
        turned = 0
        while turns:
            await asyncio.sleep(0)
            turned += 1
        return done, turned

    done, turned = _on_a_loop(go)
    assert list(range(10)) == done
    assert turned < 10


def test_who_has_had_less_goes_first():
    """A message that has used half a second stands behind one that comes later and has used nothing."""

    async def go(turns, faults):
        done: list[str] = []
        turns.later(lambda: done.append("long"), 0.5)
        turns.later(lambda: done.append("short"), 0.0)
        while turns:
            await asyncio.sleep(0)
        return done

    assert ["short", "long"] == _on_a_loop(go)


def test_a_fault_in_one_piece_spoils_no_other():
    """It is told, and the next one has its turn."""

    async def go(turns, faults):
        done: list[str] = []

        def fail() -> None:
            raise ValueError("boom")

        turns.later(fail, 0.0)
        turns.later(lambda: done.append("next"), 0.0)
        while turns:
            await asyncio.sleep(0)
        return done, faults

    done, faults = _on_a_loop(go)
    assert ["next"] == done
    assert ["boom"] == [str(fault) for fault in faults]


def test_a_turn_that_lasts_has_no_time_left():
    """But for a piece whose turn it is."""

    async def go(turns, faults):
        _work()
        late = turns.free()
        mine: list[bool] = []
        turns.later(lambda: (_work(), mine.append(turns.free())), 0.0)
        while turns:
            await asyncio.sleep(0)
        return late, mine

    assert (False, [True]) == _on_a_loop(go)
