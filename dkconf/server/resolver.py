"""TXT lookups over sockets of our own: cached, one flight per name, bounded in time and number.

Each attempt has a socket of its own, connected, so that the kernel chooses a random port and takes answers
from the server only; the identifier is random, and the question in the answer must be ours. Attempts overlap:
an answer to an earlier one still counts while a later one is under way. A truncated answer is asked for again
by TCP, a CNAME that the server did not follow is followed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from dkconf.mail.lookup import TxtAnswer, canonical_name
from dkconf.server import dnswire
from dkconf.server.cache import AnswerCache
from dkconf.server.nameservers import Nameservers

Done = Callable[[bytes, TxtAnswer], None]
"""Called once with the name as it was asked for and its answer."""

MOST_FLIGHTS: Final = 4000
"""Lookups under way at once, where there are descriptors for them: each has up to three sockets."""
_LONGEST_CHAIN: Final = 8
_LEAST_ATTEMPTS: Final = 3
_ILLEGAL_NAME: Final = TxtAnswer("absent", (), "not a legal DNS name", 0)


class Lookups(Protocol):
    """What a connection needs of a resolver."""

    def lookup(self, name: bytes, done: Done) -> TxtAnswer | None:
        """Return the answer if it is known; else None, and `done` is called later."""

    def forget(self, name: bytes, done: Done) -> None:
        """Do not call `done` any more."""

    def retire(self) -> None:
        """Let go of all answers that are known: nothing new is asked. What is under way goes on."""

    def close(self) -> None:
        """Give up all that is under way."""


class RecordsResolver:
    """Answers from a mapping (a records file); what is not in it does not exist."""

    def __init__(self, records: Mapping[bytes, TxtAnswer]) -> None:
        self._records = records

    def lookup(self, name: bytes, done: Done) -> TxtAnswer | None:
        """Return the answer, always at once."""
        return self._records[canonical_name(name)]

    def forget(self, name: bytes, done: Done) -> None:
        """Nothing is ever under way."""

    def retire(self) -> None:
        """Let go of the records."""
        self._records = {}

    def close(self) -> None:
        """Nothing is open."""


class _Flight:
    """One lookup under way."""

    __slots__ = (
        "answer", "attempt", "chain", "edns", "failure", "name", "qname", "secure", "sockets", "started",
        "task", "timer", "ttl", "waiters",
    )  # fmt: skip

    def __init__(self, name: bytes, qname: bytes, started: float) -> None:
        self.name, self.qname, self.started = name, qname, started
        self.waiters: list[tuple[bytes, Done]] = []
        self.sockets: dict[socket.socket, tuple[bytes, tuple[str, int]]] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None
        self.answer: TxtAnswer | None = None
        self.attempt = 0
        self.chain = 0
        self.ttl, self.secure = dnswire.LONGEST_TTL_SECONDS, True
        """Of the aliases so far."""
        self.edns = True
        self.failure = ""


class Resolver:
    """Asks name servers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: Nameservers,
        timeout_seconds: float,
        *,
        most_flights: int = MOST_FLIGHTS,
        count: Callable[[str], None] = lambda event: None,
        observe: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`timeout_seconds` is for one lookup, all its attempts together.

        `count` hears "hit", "miss" and "joined" per lookup, `observe` the seconds that a flight took.
        """
        self._loop, self._servers = loop, servers
        self._attempts = max(_LEAST_ATTEMPTS, len(servers.addresses))
        self._timeout = timeout_seconds
        self._most_flights = most_flights
        self._cache = AnswerCache()
        self._flights: dict[bytes, _Flight] = {}
        self._count, self._observe = count, observe

    def lookup(self, name: bytes, done: Done) -> TxtAnswer | None:
        """Return the answer if it is known; else None, and `done` is called later."""
        key = canonical_name(name)
        now = self._loop.time()
        answer = self._cache.get(key, now)
        if answer is not None:
            self._count("hit")
            return answer
        flight = self._flights.get(key)
        if flight is not None:
            self._count("joined")
            flight.waiters.append((name, done))
            return None
        self._count("miss")
        qname = dnswire.encode_name(key)
        if qname is None:
            return _ILLEGAL_NAME
        if len(self._flights) >= self._most_flights:
            return TxtAnswer("failed", (), f"{self._most_flights} lookups are under way", 0)
        flight = self._flights[key] = _Flight(key, qname, now)
        self._next_attempt(flight)
        if flight.answer is not None:
            # Not one server could even be asked; `done` is for those who have been told to wait.
            return flight.answer
        flight.waiters.append((name, done))
        return None

    def forget(self, name: bytes, done: Done) -> None:
        """Do not call `done` any more; the lookup goes on, for the cache."""
        flight = self._flights.get(canonical_name(name))
        if flight is not None:
            flight.waiters = [waiter for waiter in flight.waiters if waiter[1] != done]

    def retire(self) -> None:
        """Let go of all answers that are known: nothing new is asked. What is under way goes on."""
        self._cache = AnswerCache(0, 0)

    def close(self) -> None:
        """Give up all that is under way; nobody is called."""
        for flight in list(self._flights.values()):
            flight.waiters.clear()
            self._land(flight, TxtAnswer("failed", (), "shutting down", 0))

    # --- attempts

    def _next_attempt(self, flight: _Flight) -> None:
        """Send the question to the next server, or give up after the last one."""
        while True:
            if flight.timer is not None:
                flight.timer.cancel()
                flight.timer = None
            left = flight.started + self._timeout - self._loop.time()
            if flight.attempt >= self._attempts or left <= 0:
                if flight.attempt >= self._attempts and left > 0 and (flight.sockets or flight.task):
                    # Everyone was asked; somebody may still answer.
                    flight.timer = self._loop.call_later(left, self._expire, flight)
                    return
                self._expire(flight)
                return
            server = self._servers.addresses[flight.attempt % len(self._servers.addresses)]
            flight.attempt += 1
            if self._send(flight, server):
                wait = min(left, self._timeout / self._attempts)
                flight.timer = self._loop.call_later(wait, self._next_attempt, flight)
                return

    def _send(self, flight: _Flight, server: tuple[str, int]) -> bool:
        question = dnswire.encode_question(
            secrets.randbits(16), flight.qname, edns=flight.edns, want_ad=self._servers.trust_ad
        )
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.connect(_numeric(server))
            sock.send(question)
        except OSError as error:
            if sock is not None:
                sock.close()
            flight.failure = f"{server[0]}: {error.strerror or error}"
            return False
        flight.sockets[sock] = (question, server)
        self._loop.add_reader(sock, self._readable, flight, sock)
        return True

    def _readable(self, flight: _Flight, sock: socket.socket) -> None:
        question, server = flight.sockets[sock]
        try:
            octets = sock.recv(65535)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(flight, sock, f"{server[0]}: {error.strerror or error}")
            return
        outcome = dnswire.read_answer(octets, question, trust_ad=self._servers.trust_ad)
        if outcome.kind == "foreign":
            return
        if outcome.kind == "truncated":
            self._drop(flight, sock)
            if flight.task is None:
                flight.task = self._loop.create_task(self._by_tcp(flight, question, server))
            return
        self._heard(flight, sock, outcome, server)

    def _heard(
        self, flight: _Flight, sock: socket.socket | None, outcome: dnswire.Outcome, server: tuple[str, int]
    ) -> None:
        if outcome.answer is not None:
            answer = outcome.answer
            if flight.chain:
                ttl, secure = min(flight.ttl, answer.ttl), flight.secure and answer.secure
                answer = replace(answer, ttl=ttl, secure=secure)
            self._land(flight, answer)
        elif outcome.kind == "alias":
            flight.ttl, flight.secure = min(flight.ttl, outcome.ttl), flight.secure and outcome.secure
            self._follow(flight, outcome.alias)
        else:
            if outcome.reason == "FORMERR" and flight.edns:
                # An old server that does not know EDNS is asked once more without.
                flight.edns = False
                flight.attempt -= 1
            self._failed(flight, sock, f"{outcome.reason} from {server[0]}")

    def _failed(self, flight: _Flight, sock: socket.socket | None, reason: str) -> None:
        flight.failure = reason
        if sock is not None:
            self._drop(flight, sock)
        if flight.attempt < self._attempts or not (flight.sockets or flight.task):
            self._next_attempt(flight)

    def _follow(self, flight: _Flight, alias: bytes) -> None:
        qname = dnswire.encode_name(alias)
        flight.chain += 1
        if qname is None or flight.chain > _LONGEST_CHAIN:
            self._land(flight, TxtAnswer("failed", (), f"more than {_LONGEST_CHAIN} aliases", 0))
            return
        self._drop_all(flight)
        flight.qname, flight.attempt = qname, 0
        self._next_attempt(flight)

    async def _by_tcp(self, flight: _Flight, question: bytes, server: tuple[str, int]) -> None:
        left = max(0.1, flight.started + self._timeout - self._loop.time())
        try:
            octets = await asyncio.wait_for(_ask_by_tcp(question, server), left)
            outcome = dnswire.read_answer(octets, question, trust_ad=self._servers.trust_ad)
            if outcome.kind in ("foreign", "truncated"):
                outcome = dnswire.Outcome("failed", reason=f"{outcome.kind} answer by TCP")
        except (OSError, EOFError, TimeoutError) as error:
            # The kernel's words: asyncio's have the address, as Python writes it, in them.
            number = error.errno if isinstance(error, OSError) else None
            words = os.strerror(number) if number else str(error) or type(error).__name__
            outcome = dnswire.Outcome("failed", reason=f"TCP: {words}")
        flight.task = None
        if self._flights.get(flight.name) is flight:
            self._heard(flight, None, outcome, server)

    # --- the end

    def _expire(self, flight: _Flight) -> None:
        late = self._loop.time() - flight.started >= self._timeout - 0.001
        self._land(flight, TxtAnswer("failed", (), "timeout" if late else flight.failure or "no answer", 0))

    def _land(self, flight: _Flight, answer: TxtAnswer) -> None:
        self._drop_all(flight)
        if self._flights.pop(flight.name, None) is None:
            return
        flight.answer = answer
        now = self._loop.time()
        self._observe(now - flight.started)
        self._cache.put(flight.name, answer, now)
        for name, done in flight.waiters:
            done(name, answer)

    def _drop_all(self, flight: _Flight) -> None:
        if flight.timer is not None:
            flight.timer.cancel()
            flight.timer = None
        if flight.task is not None and flight.task is not _current_task():
            flight.task.cancel()
            flight.task = None
        for sock in list(flight.sockets):
            self._drop(flight, sock)

    def _drop(self, flight: _Flight, sock: socket.socket) -> None:
        del flight.sockets[sock]
        self._loop.remove_reader(sock)
        sock.close()


def _numeric(server: tuple[str, int]) -> tuple[str, int] | tuple[str, int, int, int]:
    """The socket address of a server. Given as it is, fe80::1%eth9 would be looked up as a host name if eth9 is gone.

    Raises:
        OSError: There is no such interface.
    """
    address, _, scope = server[0].partition("%")
    if not scope:
        return server
    return address, server[1], 0, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)


def _current_task() -> asyncio.Task[object] | None:
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()
    return None


async def _ask_by_tcp(question: bytes, server: tuple[str, int]) -> bytes:
    """Return the answer; EOFError (as IncompleteReadError) if the server closes early."""
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(question).to_bytes(2, "big") + question)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)
    finally:
        writer.close()
        # Without this the socket is open until the next turn of the loop, and a test would see it leak.
        with contextlib.suppress(OSError):
            await writer.wait_closed()
