"""A worker process: accepts connections, serves them on one event loop, and ends in good order.

Spread. All workers wait on the one listening socket. With nothing else, the kernel wakes whoever comes first, and
connections opened one after another all end on one worker, which halves the throughput of long connections. So a
worker that has more connections than the least loaded other one (they see each other's counts in shared memory)
leaves new connections alone for a millisecond, or until one of its own ends; if they are still there then, it asks
again, and after a few times takes them, since the other one may be busy or dead. No process in between hands
connections on: that costs a connection per message a tenth, and fairness.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, Final

from dkconf.filter.session import Session
from dkconf.server import channel, journal, metrics
from dkconf.server.connection import Connection
from dkconf.server.readiness import Readiness
from dkconf.server.resolver import MOST_FLIGHTS, Lookups, RecordsResolver, Resolver
from dkconf.server.turns import Turns

if TYPE_CHECKING:
    from dkconf.filter.engine import Engine
    from dkconf.server.channel import Channel
    from dkconf.server.load import Bundle
    from dkconf.server.shared import Shared

BUFFER_OCTETS: Final = 64 * 1024
"""What one read takes at most; one buffer per worker, and the time for which others wait. No packet is longer."""

_SIGNED: Final = 'messages_total{role="sign"'
_YIELD_SECONDS: Final = 0.001
_MOST_YIELDS: Final = 5
_MOST_AT_ONCE: Final = 32
"""Connections that are taken before those that are open have their turn: whoever connects without end must not keep
them waiting, nor our signs of life."""
_PAUSE_SECONDS: Final = 0.1
_COMPLAIN_SECONDS: Final = 10.0
"""Between two log lines that say that no connection can be taken."""
_BEAT_SECONDS: Final = 1.0
_SWEEP_BEATS: Final = 10
GRACE_SECONDS: Final = 50.0
"""How long messages in flight may take after SIGTERM; with the parent's own delay below TimeoutStopSec of the unit."""


class Worker:
    """See the module."""

    def __init__(
        self,
        shared: Shared,
        index: int,
        listener: socket.socket,
        bundle: Bundle,
        engine: Engine,
        log: journal.Log,
        channel: Channel,
    ) -> None:
        self.ready = Readiness(self.unexpected)
        self.loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop(self.ready)
        self.turns = Turns(self.loop, self.ready, self.unexpected)
        self.buffer = memoryview(bytearray(BUFFER_OCTETS))
        self.now = time.monotonic
        """The loop's clock, without the loop around it."""
        self.stopping = False
        self._shared, self._slot = shared, shared.slots[index]
        self._slot.take_over()
        self._numbers, self._in_flight = self._slot.numbers, self._slot.in_flight_place
        self._places: dict[str, int] = {}
        self._listener = listener
        # TCP_NODELAY belongs to TCP; a reply must not wait for an acknowledgement.
        self._tcp = listener.family != socket.AF_UNIX
        self.engine, self._log, self._channel = engine, log, channel
        self._connections: set[Connection] = set()
        self._waiting = select.poll()
        self._waiting.register(listener, select.POLLIN)
        self._yields = 0
        self._away: asyncio.TimerHandle | None = None
        """While new connections are left alone: the end of that."""
        self._complain_at = 0.0
        self._signed = False
        self._beats = 0
        self._lost = 0
        self._take_bundle(bundle)
        place = self._slot.place
        self._lookups = {
            event: place(metrics.sample(metrics.LOOKUPS, outcome=event)) for event in ("hit", "miss", "joined")
        }
        self._accepted = place(metrics.sample(metrics.CONNECTIONS, kind="accepted"))
        self._message_seconds = metrics.Histogram(self._slot, metrics.MESSAGE_SECONDS)
        self._sign_seconds = metrics.Histogram(self._slot, metrics.SIGN_SECONDS)
        self._verify_seconds = metrics.Histogram(self._slot, metrics.VERIFY_SECONDS)
        self._dns_seconds = metrics.Histogram(self._slot, metrics.DNS_SECONDS)
        self.resolver = self._make_resolver(bundle)

    # --- life

    def run(self) -> None:
        """Serve until told to stop, or until the parent is gone."""
        loop = self.loop
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(self._fault_of_the_loop)
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        self.ready.when_readable(self._listener.fileno(), self._accept)
        loop.add_reader(self._channel.sock, self._hear)
        self._beat()
        self._channel.post(channel.words("ready", ""))
        try:
            loop.run_forever()
        finally:
            for connection in list(self._connections):
                connection.close()
            self.resolver.close()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def stop(self) -> None:
        """Take no more connections, finish the messages in flight, close what is idle, and end."""
        if self.stopping:
            return
        self.stopping = True
        self._slot.load = -1.0
        self.ready.forget(self._listener.fileno())
        self._listener.close()
        for connection in list(self._connections):
            # What has arrived already may be the beginning of a message.
            connection.readable()
            if not connection.in_message:
                connection.close()
        self.loop.call_later(GRACE_SECONDS, self.loop.stop)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.stopping and not self._connections:
            self.loop.stop()

    def _beat(self) -> None:
        """Say that we are alive; now and then close what has been silent for too long."""
        now = self.now()
        self._slot.beat = now
        self._beats += 1
        if self._beats % _SWEEP_BEATS == 0:
            for connection in list(self._connections):
                if connection.overdue(now):
                    connection.close()
            if self._log.lost != self._lost:
                self._slot.add(metrics.LOG_LINES_LOST, self._log.lost - self._lost)
                self._lost = self._log.lost
        self.loop.call_later(_BEAT_SECONDS, self._beat)

    def _hear(self) -> None:
        try:
            messages = self._channel.receive()
        except EOFError:
            # The parent is gone; nobody would replace us.
            self.loop.remove_reader(self._channel.sock)
            self.stop()
            return
        for kind, payload in messages:
            if kind == "reload":
                self._reload(payload)

    # --- settings

    def _take_bundle(self, bundle: Bundle) -> None:
        self.dns_deadline_seconds = float(bundle.settings.dns_deadline_seconds)

    def _make_resolver(self, bundle: Bundle) -> Lookups:
        records = bundle.records()
        if records is not None:
            return RecordsResolver(records)
        settings = bundle.settings
        timeout = settings.dns_timeout_seconds or settings.dns_deadline_seconds
        return Resolver(
            self.loop,
            bundle.nameservers,
            float(min(timeout, settings.dns_deadline_seconds)),
            # Half of the descriptors are for lookups: who can stop the key servers of his own domains from answering
            # must not keep us from asking for those of others. (Three sockets each, and a third more lookups of names
            # that were found before.)
            most_flights=min(MOST_FLIGHTS, max(100, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)),
            count=self._count_lookup,
            observe=self._dns_seconds.observe,
        )

    def _reload(self, bundle: Bundle) -> None:
        """Take new settings and keys; messages in flight go on with the old ones."""
        try:
            engine = bundle.engine()
            resolver = self._make_resolver(bundle)
        except Exception as error:
            # The parent has loaded the same octets without trouble.
            self.unexpected(error)
            self._channel.post(channel.words("failed", str(error)))
            return
        self._take_bundle(bundle)
        self._log.write_as(bundle.settings.log_format)
        self.engine, self._retired = engine, self.resolver
        self.resolver = resolver
        # Lookups of the old resolver end within its timeout; then nobody waits for it. Until then a storm of reloads
        # must not keep as many caches.
        self._retired.retire()
        self.loop.call_later(self.dns_deadline_seconds * 2 + 60, self._retired.close)

    def new_session(self) -> Session:
        """Return the session for a new connection."""
        return Session(self.engine, time.time, log=self._log, count=self._count)

    def _count(self, event: str) -> None:
        """Count what a session tells, e.g. `messages_total{role="sign",...}`."""
        place = self._places.get(event)
        if place is None:
            # What is counted comes from short lists of ours; the table has an end all the same.
            place = self._places[event] = self._slot.place(metrics.PREFIX + event)
        self._numbers[place] += 1.0
        if event.startswith(_SIGNED):
            self._signed = True

    def _count_lookup(self, event: str) -> None:
        self._numbers[self._lookups[event]] += 1.0

    # --- connections

    def _accept(self) -> None:
        slot, least_load = self._slot, self._shared.least_load
        for _ in range(_MOST_AT_ONCE):
            least = least_load(slot.index)
            # At many connections a difference of an eighth is no harm, and asking less often a gain.
            if least is not None and len(self._connections) > least + least // 8 and self._yields < _MOST_YIELDS:
                if self._waiting.poll(0):
                    self._yields += 1
                    self._look_away(_YIELD_SECONDS)
                else:
                    self._yields = 0
                return
            self._yields = 0
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors, most likely: what is open must end first.
                now = self.loop.time()
                if now >= self._complain_at:
                    self._complain_at = now + _COMPLAIN_SECONDS
                    open_now = f"{len(self._connections)} connections are open, new ones wait"
                    self._log(journal.ERR, f"accept: {error.strerror or error}; {open_now}")
                self._look_away(_PAUSE_SECONDS)
                return
            self._begin(sock)

    def _look_away(self, seconds: float) -> None:
        self.ready.forget(self._listener.fileno())
        self._away = self.loop.call_later(seconds, self._accept_again)

    def _accept_again(self) -> None:
        self._away = None
        if self.stopping:
            return
        self.ready.when_readable(self._listener.fileno(), self._accept)
        if self._waiting.poll(0):
            self._accept()
        else:
            # Somebody took it.
            self._yields = 0

    def _begin(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if self._tcp:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self, sock)
        self._connections.add(connection)
        self._slot.load = float(len(self._connections))
        self._numbers[self._accepted] += 1.0
        self.ready.when_readable(sock.fileno(), connection.readable)

    def connection_closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if self.stopping:
            self._end_if_done()
            return
        self._slot.load = float(len(self._connections))
        if self._away is not None:
            # The reason to look away may be gone with it; where each message has a connection, it mostly is.
            self._away.cancel()
            self._accept_again()

    # --- messages

    def message_begins(self) -> None:
        """Count a message in flight."""
        self._numbers[self._in_flight] += 1.0

    def message_ends(self, started: float | None) -> None:
        """Count it no more; `started` is the time of its MAIL, None for an aborted one."""
        self._numbers[self._in_flight] -= 1.0
        if started is not None:
            self._message_seconds.observe(self.now() - started)

    def judged(self, seconds: float) -> None:
        """Note how long the session took for the verdict that it has just given, waiting left out."""
        histogram = self._sign_seconds if self._signed else self._verify_seconds
        self._signed = False
        histogram.observe(seconds)

    # --- trouble

    def protocol_error(self, text: str) -> None:
        """Log that an MTA broke the protocol."""
        self._slot.add(metrics.PROTOCOL_ERRORS)
        self._log(journal.WARNING, f"connection closed: {text}")

    def unexpected(self, error: Exception) -> None:
        """Log a fault of ours with its traceback."""
        self._log(journal.ERR, f"internal error: {type(error).__name__}: {error}")
        self._log.lines(journal.ERR, "".join(traceback.format_exception(error)))

    def _fault_of_the_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a timer or a task raises belongs into the log too; asyncio writes it to standard error."""
        error = context.get("exception")
        if isinstance(error, Exception):
            self.unexpected(error)
        else:
            self._log(journal.ERR, f"internal error: {context.get('message')}")


def serve(worker_arguments: dict[str, Any]) -> None:
    """Be a worker, in a process of its own; never returns."""
    status = 1
    try:
        # What was loaded before the fork stays shared memory.
        gc.freeze()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        Worker(**worker_arguments).run()
        status = 0
    except BaseException as error:
        log = worker_arguments["log"]
        log.lines(journal.CRIT, "".join(traceback.format_exception(error)))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
