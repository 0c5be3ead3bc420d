"""The event loop's selector: calls of its own, and the loop's own readers and timers beside them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import pytest

from dkconf.server.readiness import Readiness
from tests.patience import LAST_RESORT_SECONDS


@pytest.fixture
def faults():
    return []


@pytest.fixture
def loop(faults):
    loop = asyncio.SelectorEventLoop(Readiness(faults.append))
    yield loop
    loop.close()


@pytest.fixture
def ready(loop) -> Readiness:
    return loop._selector


@pytest.fixture
def pairs():
    """Five connected pairs; there is one octet to read at each second end."""
    made = [socket.socketpair() for _ in range(5)]
    for near, far in made:
        far.setblocking(False)
        near.send(b"x")
    yield made
    for pair in made:
        for sock in pair:
            sock.close()


def test_calls_come_as_long_as_there_is_something(loop, ready, pairs):
    """Each is called when its socket can be read, again if it does not read, and no more once forgotten."""
    heard = []
    for number, (_, far) in enumerate(pairs[:2]):
        ready.when_readable(far.fileno(), lambda number=number: heard.append(number))

    assert [] == ready.select(1)
    assert [] == ready.select(1)
    assert [0, 0, 1, 1] == sorted(heard)
    ready.forget(pairs[0][1].fileno())
    ready.forget(pairs[0][1].fileno())
    ready.select(1)
    assert [0, 0, 1, 1, 1] == sorted(heard)
    pairs[1][1].recv(10)
    ready.select(0)
    assert 5 == len(heard)


def test_writing_is_watched_for_instead_of_reading(loop, ready, pairs):
    """A full socket is called once there is room."""
    near, far = pairs[0]
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            far.send(bytes(4096))
    heard = []
    ready.when_writable(far.fileno(), lambda: heard.append("room"))

    ready.select(0)
    assert not heard
    near.recv(1 << 20)
    ready.select(1)
    assert heard


def test_what_a_batch_forgets_is_not_called_in_it(loop, ready, pairs):
    """The first that is called forgets all others, whose sockets might be closed by then."""
    heard = []

    def take_all() -> None:
        heard.append(1)
        for _, far in pairs:
            ready.forget(far.fileno())

    for _, far in pairs:
        ready.when_readable(far.fileno(), take_all)
    ready.select(1)
    assert [1] == heard


def test_the_loop_goes_first_and_the_others_next(loop, ready, pairs):
    """Where both kinds are ready at once nothing is lost, and a reader of the loop that stays ready starves no call."""
    heard = []
    (_, first), (_, second) = pairs[:2]
    loop.add_reader(first, lambda: heard.append("loop"))
    ready.when_readable(second.fileno(), lambda: heard.append("call"))

    for _ in range(6):
        loop.call_soon(loop.stop)
        loop.run_forever()
    assert {"loop", "call"} == set(heard)
    assert abs(heard.count("loop") - heard.count("call")) <= 1
    assert "loop" == heard[0]
    loop.remove_reader(first)


def test_timers_run_while_calls_go_on_and_on(loop, ready, pairs):
    """A connection that is always ready does not keep the clock from being heard."""
    ready.when_readable(pairs[0][1].fileno(), lambda: None)
    loop.call_later(0.01, loop.stop)
    begin = time.monotonic()

    loop.run_forever()
    assert time.monotonic() - begin < LAST_RESORT_SECONDS


def test_what_a_call_schedules_is_done_soon(loop, ready, pairs):
    """A timer that begins within a call is heeded by the very next wait."""

    def begin() -> None:
        pairs[0][1].recv(10)
        loop.call_later(0.001, loop.stop)

    ready.when_readable(pairs[0][1].fileno(), begin)
    loop.call_later(60, pytest.fail)
    loop.run_forever()


def test_a_fault_in_one_call_is_told_and_ends_no_other(loop, ready, pairs, faults):
    """The others of the batch are called all the same."""
    heard = []

    def fail() -> None:
        raise ValueError("boom")

    for number, (_, far) in enumerate(pairs):
        ready.when_readable(far.fileno(), lambda number=number: heard.append(number) if number else fail())
    ready.select(1)
    assert [1, 2, 3, 4] == sorted(heard)
    assert ["boom"] == [str(fault) for fault in faults]
