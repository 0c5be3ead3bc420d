"""TXT lookups over sockets of our own: cached, one flight per name, bounded in time and number.

Each attempt has a socket of its own, connected, so that the kernel chooses a random port and takes answers
from the server only; the identifier is random, and the question in the answer must be ours. Attempts overlap:
an answer to an earlier one still counts while a later one is under way. A truncated answer is asked for again
by TCP, a CNAME that the server did not follow is followed here.

What a server says of a name is what the owner of the domain wants it to say. An answer that cannot be read is asked
for again, by TCP; if it comes again, and no server says anything else, it is certain: "broken", not "failed". What a
lookup costs is charged to the domain (`budget.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from dkconf.mail.lookup import TxtAnswer, canonical_name
from dkconf.server import dnswire
from dkconf.server.budget import Budgets, Proven, budget_domain
from dkconf.server.cache import AnswerCache
from dkconf.server.nameservers import Nameservers, numeric
from dkconf.server.tcpquestion import TcpQuestion

Done = Callable[[bytes, TxtAnswer], None]
"""Called once with the name as it was asked for and its answer."""

MOST_FLIGHTS: Final = 4000
"""Lookups under way at once, where there are descriptors for them: each has up to three sockets. A third more for names
that were found before: who lets thousands of lookups wait keeps nobody from those."""
_LONGEST_CHAIN: Final = 8
"""Aliases that are asked for one by one, where the server does not follow them itself."""
_LEAST_ATTEMPTS: Final = 3
_CERTAIN: Final = 2
"""Answers that cannot be read, one asked for after the other, after which it is no accident of the way."""
FLIGHT_OCTETS: Final = 64 * 1024
"""Octets of answers to one lookup, those included that answer something else: eight of the longest."""
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
        "answer", "asked", "attempt", "budgets", "domain", "doubt", "doubts", "edns", "failure", "name", "octets",
        "qname", "secure", "sockets", "started", "tcp", "timer", "ttl", "waiters",
    )  # fmt: skip

    def __init__(self, name: bytes, qname: bytes, domain: bytes, budgets: Budgets, started: float) -> None:
        self.name, self.qname, self.domain, self.started = name, qname, domain, started
        self.budgets = budgets
        """Where the domain's account is."""
        self.waiters: list[tuple[bytes, Done]] = []
        self.sockets: dict[socket.socket, tuple[bytes, tuple[str, int]]] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.tcp: TcpQuestion | None = None
        self.answer: TxtAnswer | None = None
        self.attempt = 0
        self.asked: tuple[bytes, ...] = (qname,)
        """The name and its aliases so far."""
        self.ttl, self.secure = dnswire.LONGEST_TTL_SECONDS, True
        """Of the aliases so far."""
        self.edns = True
        self.failure = ""
        """Why a server could not say; "" if none was asked that could not."""
        self.doubt, self.doubts = "", 0
        """What is wrong with an answer that cannot be read, and how many there were."""
        self.octets = 0
        """Received so far."""


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
        self._budgets, self._proven_budgets, self._proven = Budgets(), Budgets(), Proven()
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
        domain = budget_domain(key)
        proven = self._proven.holds(domain, key)
        most = self._most_flights * 4 // 3 if proven else self._most_flights
        if len(self._flights) >= most:
            return TxtAnswer("failed", (), f"{most} lookups are under way", 0)
        # The policy of the domain itself is one name, whether it is there or not.
        budgets = self._proven_budgets if proven or key == b"_domainkey." + domain else self._budgets
        refusal = budgets.begin(domain, now)
        if refusal:
            return TxtAnswer("failed", (), refusal, 0)
        flight = self._flights[key] = _Flight(key, qname, domain, budgets, now)
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
                if flight.attempt >= self._attempts and left > 0 and (flight.sockets or flight.tcp):
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
        question = self._question(flight)
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        sock = None
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            sock.connect(numeric(server))
            sock.send(question)
        except OSError as error:
            if sock is not None:
                sock.close()
            flight.failure = f"{server[0]}: {error.strerror or error}"
            return False
        flight.sockets[sock] = (question, server)
        self._loop.add_reader(sock, self._readable, flight, sock)
        return True

    def _question(self, flight: _Flight) -> bytes:
        ident = secrets.randbits(16)
        return dnswire.encode_question(ident, flight.qname, edns=flight.edns, want_ad=self._servers.trust_ad)

    def _readable(self, flight: _Flight, sock: socket.socket) -> None:
        question, server = flight.sockets[sock]
        try:
            # One octet more tells an answer that is too long.
            octets = sock.recv(dnswire.MAX_ANSWER_OCTETS + 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(flight, sock, f"{server[0]}: {error.strerror or error}")
            return
        if not self._affordable(flight, octets):
            return
        outcome = dnswire.read_answer(octets, question, trust_ad=self._servers.trust_ad)
        if outcome.kind == "foreign":
            return
        if outcome.kind == "truncated":
            self._drop(flight, sock)
            self._by_tcp(flight, server)
            return
        self._heard(flight, sock, outcome, server)

    def _affordable(self, flight: _Flight, octets: bytes) -> bool:
        """Count what was received; whether the lookup may go on."""
        flight.octets += len(octets) or 1
        if flight.octets <= FLIGHT_OCTETS:
            return True
        self._land(flight, TxtAnswer("failed", (), f"over {FLIGHT_OCTETS} octets of answers", 0))
        return False

    def _heard(
        self, flight: _Flight, sock: socket.socket | None, outcome: dnswire.Outcome, server: tuple[str, int]
    ) -> None:
        if outcome.answer is not None:
            answer = outcome.answer
            if len(flight.asked) > 1:
                ttl, secure = min(flight.ttl, answer.ttl), flight.secure and answer.secure
                answer = replace(answer, ttl=ttl, secure=secure)
            self._land(flight, answer)
        elif outcome.kind == "alias":
            flight.ttl, flight.secure = min(flight.ttl, outcome.ttl), flight.secure and outcome.secure
            self._follow(flight, outcome.alias)
        elif outcome.kind == "malformed":
            self._doubt(flight, sock, f"{outcome.reason} from {server[0]}", server)
        else:
            reason = f"{outcome.reason} from {server[0]}"
            if outcome.reason == "FORMERR" and flight.edns:
                # An old server that does not know EDNS is asked once more without; that says nothing yet.
                flight.edns, reason = False, flight.failure
                flight.attempt -= 1
            self._failed(flight, sock, reason)

    def _doubt(self, flight: _Flight, sock: socket.socket | None, reason: str, server: tuple[str, int]) -> None:
        """Take an answer that cannot be read: it is certain once it came again, after all servers were asked."""
        flight.doubt = reason
        flight.doubts += 1
        if flight.doubts >= _CERTAIN and flight.attempt >= len(self._servers.addresses) and not flight.failure:
            self._expire(flight)
            return
        if sock is not None:
            self._drop(flight, sock)
            if flight.doubts < _CERTAIN:
                self._by_tcp(flight, server)
                return
        self._go_on(flight)

    def _failed(self, flight: _Flight, sock: socket.socket | None, reason: str) -> None:
        flight.failure = reason
        if sock is not None:
            self._drop(flight, sock)
        self._go_on(flight)

    def _go_on(self, flight: _Flight) -> None:
        if flight.attempt < self._attempts or not (flight.sockets or flight.tcp):
            self._next_attempt(flight)

    def _follow(self, flight: _Flight, alias: bytes) -> None:
        if alias in flight.asked or len(flight.asked) > _LONGEST_CHAIN:
            reason = "CNAME loop" if alias in flight.asked else f"more than {_LONGEST_CHAIN} aliases"
            self._land(flight, TxtAnswer("broken", (), reason, dnswire.BROKEN_TTL_SECONDS))
            return
        self._drop_all(flight)
        flight.qname, flight.attempt, flight.asked = alias, 0, (*flight.asked, alias)
        flight.doubt, flight.doubts = "", 0
        self._next_attempt(flight)

    def _by_tcp(self, flight: _Flight, server: tuple[str, int]) -> None:
        """Ask this server by TCP, unless one is being asked so already; meanwhile the attempts go on."""
        if flight.tcp is not None:
            return
        question = self._question(flight)
        tcp = flight.tcp = TcpQuestion(
            self._loop, question, lambda octets, reason: self._heard_by_tcp(flight, question, server, octets, reason)
        )
        try:
            tcp.ask(numeric(server))
        except OSError as error:
            self._heard_by_tcp(flight, question, server, b"", error.strerror or str(error))

    def _heard_by_tcp(
        self, flight: _Flight, question: bytes, server: tuple[str, int], octets: bytes, reason: str
    ) -> None:
        flight.tcp = None
        if reason and flight.doubts:
            # A server that cannot be reached by TCP has not said anything else.
            self._go_on(flight)
            return
        if reason:
            outcome = dnswire.Outcome("failed", reason=f"TCP: {reason}")
        elif self._affordable(flight, octets):
            outcome = dnswire.read_answer(octets, question, trust_ad=self._servers.trust_ad)
            if outcome.kind in ("foreign", "truncated"):
                outcome = dnswire.Outcome("failed", reason=f"{outcome.kind} answer by TCP")
        else:
            return
        self._heard(flight, None, outcome, server)

    # --- the end

    def _expire(self, flight: _Flight) -> None:
        """End a lookup that has no answer."""
        if flight.doubts >= _CERTAIN and not flight.failure:
            self._land(flight, TxtAnswer("broken", (), flight.doubt, dnswire.BROKEN_TTL_SECONDS))
            return
        late = self._loop.time() - flight.started >= self._timeout - 0.001
        reason = "timeout" if late else flight.failure or flight.doubt or "no answer"
        self._land(flight, TxtAnswer("failed", (), reason, 0))

    def _land(self, flight: _Flight, answer: TxtAnswer) -> None:
        self._drop_all(flight)
        if self._flights.pop(flight.name, None) is None:
            return
        flight.answer = answer
        now = self._loop.time()
        self._observe(now - flight.started)
        flight.budgets.end(flight.domain, flight.octets, now - flight.started)
        if answer.status == "found":
            self._proven.add(flight.domain, flight.name)
        self._cache.put(flight.name, answer, now)
        for name, done in flight.waiters:
            done(name, answer)

    def _drop_all(self, flight: _Flight) -> None:
        if flight.timer is not None:
            flight.timer.cancel()
            flight.timer = None
        if flight.tcp is not None:
            flight.tcp.close()
            flight.tcp = None
        for sock in list(flight.sockets):
            self._drop(flight, sock)

    def _drop(self, flight: _Flight, sock: socket.socket) -> None:
        del flight.sockets[sock]
        self._loop.remove_reader(sock)
        sock.close()
