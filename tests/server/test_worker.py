"""How workers share out new connections between them."""

from __future__ import annotations

import asyncio
import select
import socket
import time

import pytest

from dkconf.server import worker
from dkconf.server.readiness import Readiness
from dkconf.server.shared import Shared


class Listening:
    """A worker in its own process's place: what it has open is said, what it takes is remembered."""

    def __init__(self, path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(10)
        self.listener.setblocking(False)
        self.clients: list[socket.socket] = []
        self.taken: list[socket.socket] = []
        shared = Shared(2)
        for slot in shared.slots:
            slot.take_over()
        self.other = shared.slots[1]
        self.ready = Readiness(pytest.fail)
        one = self.worker = worker.Worker.__new__(worker.Worker)
        one.ready, one.loop = self.ready, asyncio.SelectorEventLoop(self.ready)
        one.stopping, one._yields, one._away = False, 0, None
        one._shared, one._slot, one._listener, one._connections = shared, shared.slots[0], self.listener, set()
        one._waiting = select.poll()
        one._waiting.register(self.listener, select.POLLIN)
        one._begin = self._begin
        self.ready.when_readable(self.listener.fileno(), one._accept)

    def _begin(self, sock: socket.socket) -> None:
        self.taken.append(sock)
        self.worker._connections.add(sock)
        self.worker._slot.load = float(len(self.worker._connections))

    def connect(self) -> None:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.listener.getsockname())
        self.clients.append(client)

    def end(self, sock: socket.socket) -> None:
        self.worker.connection_closed(sock)

    def close(self) -> None:
        self.worker.loop.close()
        for sock in (*self.clients, *self.taken, self.listener):
            sock.close()


@pytest.fixture
def listening(tmp_path):
    made = Listening(tmp_path / "s")
    yield made
    made.close()


def test_a_worker_with_more_than_the_other_leaves_a_new_connection_alone_for_a_while(listening):
    """The other one has its milliseconds; if it does not take it, who is there does."""
    listening.connect()
    listening.ready.select(1)
    assert 1 == len(listening.taken)

    listening.connect()
    begin = time.monotonic()
    listening.ready.select(0)
    assert 1 == len(listening.taken)
    while len(listening.taken) < 2:
        listening.worker.loop.call_later(0.01, listening.worker.loop.stop)
        listening.worker.loop.run_forever()
    assert time.monotonic() - begin >= worker._MOST_YIELDS * worker._YIELD_SECONDS


def test_it_looks_again_as_soon_as_one_of_its_own_has_ended(listening):
    """With a connection per message nobody would work otherwise: each has more than the other for a moment."""
    listening.connect()
    listening.ready.select(1)
    listening.connect()
    listening.ready.select(0)
    assert 1 == len(listening.taken)

    listening.end(listening.taken[0])
    assert 2 == len(listening.taken)


def test_where_nobody_waits_nobody_looks_away(listening):
    """Having taken one, a worker goes on listening: by the next one the other may have more."""
    listening.connect()
    listening.ready.select(1)
    listening.other.load = 1.0

    listening.connect()
    listening.ready.select(0)
    assert 2 == len(listening.taken)
