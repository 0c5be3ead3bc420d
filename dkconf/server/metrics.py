"""What Prometheus reads: names of the metrics, histograms, the text, and a small HTTP endpoint in the parent.

Workers count into their slots of shared memory (`shared`); the parent sums and prints. A histogram's buckets
are counted apart and added up when printed.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from dkconf.server.shared import Shared, Slot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Family(NamedTuple):
    """A metric: its kind and what it says."""

    kind: Literal["counter", "gauge", "histogram"]
    help: str


PREFIX: Final = "dkconf_filter_"
MESSAGES: Final = "dkconf_filter_messages_total"
SIGNATURES: Final = "dkconf_filter_signatures_total"
LOOKUPS: Final = "dkconf_filter_dns_lookups_total"
CONNECTIONS: Final = "dkconf_filter_connections_total"
PROTOCOL_ERRORS: Final = "dkconf_filter_protocol_errors_total"
LOG_LINES_LOST: Final = "dkconf_filter_log_lines_lost_total"
SIGN_SECONDS: Final = "dkconf_filter_signing_seconds"
VERIFY_SECONDS: Final = "dkconf_filter_verifying_seconds"
DNS_SECONDS: Final = "dkconf_filter_dns_seconds"
MESSAGE_SECONDS: Final = "dkconf_filter_message_seconds"
RESTARTS: Final = "dkconf_filter_worker_restarts_total"
RELOADS: Final = "dkconf_filter_reloads_total"

FAMILIES: Final[dict[str, Family]] = {
    MESSAGES: Family("counter", "Messages by role, condition and action."),
    SIGNATURES: Family("counter", "Signatures looked at, by scheme and result."),
    LOOKUPS: Family("counter", "DNS lookups: answered from the cache, asked, or joined to one under way."),
    CONNECTIONS: Family("counter", "Connections from MTAs."),
    PROTOCOL_ERRORS: Family("counter", "Connections closed because the MTA broke the protocol."),
    LOG_LINES_LOST: Family("counter", "Log lines that nobody took."),
    SIGN_SECONDS: Family("histogram", "Time spent at end of message on messages that were signed."),
    VERIFY_SECONDS: Family("histogram", "Time spent at end of message on all others, without waiting."),
    DNS_SECONDS: Family("histogram", "Time from a question to its answer."),
    MESSAGE_SECONDS: Family("histogram", "Time from MAIL to the final reply."),
    RESTARTS: Family("counter", "Workers that died and were replaced."),
    RELOADS: Family("counter", "Reloads of settings and keys, by result."),
    "dkconf_filter_workers": Family("gauge", "Worker processes that run."),
    "dkconf_filter_open_connections": Family("gauge", "Open connections."),
    "dkconf_filter_in_flight": Family("gauge", "Messages that have begun and not ended."),
    "dkconf_filter_start_time_seconds": Family("gauge", "When the daemon started, seconds since 1970."),
    "dkconf_filter_other_total": Family("counter", "Counts for which the table has no room."),
}

BOUNDS_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_LABELS: Final = (*(f"{bound:g}" for bound in BOUNDS_SECONDS), "+Inf")


class Histogram:
    """A histogram in a worker's slot."""

    __slots__ = ("_buckets", "_numbers", "_sum")

    def __init__(self, slot: Slot, family: str) -> None:
        self._numbers = slot.numbers
        self._buckets = [slot.place(f'{family}_bucket{{le="{label}"}}') for label in _LABELS]
        self._sum = slot.place(f"{family}_sum")

    def observe(self, seconds: float) -> None:
        """Count one observation."""
        numbers = self._numbers
        numbers[self._buckets[bisect_left(BOUNDS_SECONDS, seconds)]] += 1.0
        numbers[self._sum] += seconds


def sample(family: str, **labels: str) -> str:
    """Return the name of one sample, e.g. `dkconf_filter_messages_total{role="sign"}`."""
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{family}{{{inner}}}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def render(shared: Shared, extra: dict[str, float]) -> str:
    """Return the exposition text; `extra` are the parent's own samples."""
    totals = shared.totals()
    running = [slot for slot in shared.slots if slot.load >= 0]
    totals["dkconf_filter_workers"] = float(len(running))
    totals["dkconf_filter_open_connections"] = sum(slot.load for slot in running)
    totals["dkconf_filter_in_flight"] = sum(slot.in_flight for slot in running)
    totals.update(extra)
    lines: list[str] = []
    for name, family in FAMILIES.items():
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        if family.kind == "histogram":
            lines += _histogram(name, totals)
        else:
            lines += [f"{key} {_number(totals[key])}" for key in sorted(totals) if key.partition("{")[0] == name]
    return "\n".join(lines) + "\n"


def _histogram(name: str, totals: dict[str, float]) -> list[str]:
    lines, so_far = [], 0.0
    for label in _LABELS:
        key = f'{name}_bucket{{le="{label}"}}'
        so_far += totals.get(key, 0.0)
        lines.append(f"{key} {_number(so_far)}")
    return [*lines, f"{name}_sum {_number(totals.get(name + '_sum', 0.0))}", f"{name}_count {_number(so_far)}"]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


_LONGEST_REQUEST_OCTETS: Final = 8192
_REQUEST_SECONDS: Final = 10.0
_MOST_CLIENTS: Final = 16
_PAUSE_SECONDS: Final = 0.5


class Endpoint:
    """Answers GET with the text, one request per connection, on the parent's selector; never blocks."""

    def __init__(self, selector: selectors.BaseSelector, listener: socket.socket, text: Callable[[], str]) -> None:
        self._selector, self._listener, self._text = selector, listener, text
        self._clients: dict[socket.socket, tuple[float, bytearray]] = {}
        self._accepts_at = 0.0
        """When a pause ends; 0 = there is none."""
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def sweep(self) -> None:
        """Close clients that take too long, and accept again if we had to pause."""
        late = time.monotonic() - _REQUEST_SECONDS
        for client, (since, _) in list(self._clients.items()):
            if since < late:
                self._close(client)
        if 0 < self._accepts_at <= time.monotonic():
            self._accepts_at = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def let_go(self) -> None:
        """In a forked process: close the clients' descriptors; they stay open where they are served."""
        for client in self._clients:
            client.close()

    def close(self) -> None:
        """Close everything but the listener."""
        if not self._accepts_at:
            self._selector.unregister(self._listener)
        for client in list(self._clients):
            self._close(client)

    def _accept(self, mask: int) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError:
            # Out of descriptors, most likely: the client goes on waiting, and we do not ask without end.
            self._accepts_at = time.monotonic() + _PAUSE_SECONDS
            self._selector.unregister(self._listener)
            return
        if len(self._clients) >= _MOST_CLIENTS:
            client.close()
            return
        client.setblocking(False)
        self._clients[client] = (time.monotonic(), bytearray())
        self._selector.register(client, selectors.EVENT_READ, lambda mask: self._ready(client, mask))

    def _ready(self, client: socket.socket, mask: int) -> None:
        pending = self._clients[client][1]
        try:
            if mask & selectors.EVENT_WRITE:
                del pending[: client.send(pending)]
                if not pending:
                    self._close(client)
                return
            octets = client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        pending += octets
        if not octets or len(pending) > _LONGEST_REQUEST_OCTETS:
            self._close(client)
        elif b"\r\n\r\n" in pending or b"\n\n" in pending:
            pending[:] = self._response(bytes(pending))
            self._selector.modify(client, selectors.EVENT_WRITE, self._selector.get_key(client).data)

    def _response(self, request: bytes) -> bytes:
        words = request.split(b"\r\n", 1)[0].split()
        if len(words) < 2 or words[0] not in (b"GET", b"HEAD"):
            status, body = "405 Method Not Allowed", "GET only\n"
        elif words[1].partition(b"?")[0] not in (b"/", b"/metrics"):
            status, body = "404 Not Found", "see /metrics\n"
        else:
            status, body = "200 OK", self._text()
        octets = body.encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(octets)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if words[:1] == [b"HEAD"] else octets)

    def _close(self, client: socket.socket) -> None:
        del self._clients[client]
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(client)
        client.close()
