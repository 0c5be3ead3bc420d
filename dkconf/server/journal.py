"""Log lines: to syslog (facility mail) or standard error, as text or JSON, one formatted write each.

The `logging` module cost 19 us a message here; this costs two. What is logged comes from the network in
parts: octets that are not printable never reach the log as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

EMERG, ALERT, CRIT, ERR, WARNING, NOTICE, INFO, DEBUG = range(8)
_LEVELS: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")

_FACILITY_MAIL: Final = 2 << 3
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# A datagram that every syslogd takes; rsyslog's default limit is 8 KiB.
_LONGEST_LINE: Final = 8000
_CUT: Final = "..."
"""Stands where a field of a JSON line was shortened."""
_RETRY_SECONDS: Final = 1.0
_PATIENCE_MS: Final = 100
"""How long a line waits for a reader of standard error; then it is lost, and for a second none waits."""


def printable(text: str) -> str:
    """`text` with everything that could break a log line escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


class Log:
    """Where log lines go. Each process opens its own, after the fork."""

    def __init__(self, target: str, style: str, ident: str = "dkconf-filter", path: str = "/dev/log") -> None:
        self._target, self._json, self._ident, self._path = target, style == "json", ident, path
        self._socket: socket.socket | None = None
        self._ready: select.poll | None = None
        self._retry_at = 0.0
        self._second, self._stamp = -1, ""
        self.lost = 0
        """Lines that nobody took."""

    def write_as(self, style: str) -> None:
        """Write the following lines as `style`: text or json."""
        self._json = style == "json"

    def __call__(self, priority: int, line: str, fields: Mapping[str, Any] | None = None) -> None:
        """Write one line; `fields` are written in JSON only, the line says it all in text."""
        if self._target == "off":
            return
        if self._json:
            entry = {"time": round(time.time(), 3), "level": _LEVELS[priority], "pid": os.getpid()}
            text = _object({**entry, "message": line, **(fields or {})})
        else:
            text = printable(line)[:_LONGEST_LINE]
        if self._target == "syslog":
            self._syslog(priority, text)
        elif self._json:
            self._stderr(text + "\n")
        else:
            self._stderr(f"{self._ident}[{os.getpid()}]: {_LEVELS[priority]}: {text}\n")

    def lines(self, priority: int, text: str) -> None:
        """Write several lines, a traceback for example."""
        for line in text.splitlines():
            self(priority, line)

    def _stderr(self, text: str) -> None:
        """Write to standard error, unless whoever reads it does not: mail goes on without the log."""
        if self._ready is None:
            self._ready = select.poll()
            self._ready.register(2, select.POLLOUT)
        now = time.monotonic()
        try:
            if self._ready.poll(0) or (now >= self._retry_at and self._ready.poll(_PATIENCE_MS)):
                os.write(2, text.encode("utf-8", "backslashreplace"))
                return
            if now >= self._retry_at:
                self._retry_at = now + _RETRY_SECONDS
        except OSError:
            pass
        self.lost += 1

    def _syslog(self, priority: int, text: str) -> None:
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            t = time.localtime(now)
            self._stamp = f"{_MONTHS[t.tm_mon - 1]} {t.tm_mday:2} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
        octets = f"<{_FACILITY_MAIL | priority}>{self._stamp} {self._ident}[{os.getpid()}]: {text}".encode()
        # A restarted syslogd has a new socket: one new attempt, then a pause.
        for _ in range(2):
            sock = self._socket or self._connect(now)
            if sock is None:
                break
            try:
                sock.send(octets)
                return
            except BlockingIOError:
                break
            except OSError:
                self.close()
        self.lost += 1

    def _connect(self, now: float) -> socket.socket | None:
        if now < self._retry_at:
            return None
        sock = None
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.connect(self._path)
        except OSError:
            if sock is not None:
                sock.close()
            self._retry_at = now + _RETRY_SECONDS
            return None
        sock.setblocking(False)
        self._socket = sock
        return sock

    def close(self) -> None:
        """Close the socket; the next line opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _object(entry: dict[str, Any]) -> str:
    """`entry` as JSON, no longer than a line may be: syslogd would cut it, and half an object is none."""
    text = json.dumps(entry, default=_plain)
    while len(text) > _LONGEST_LINE:
        name = max(entry, key=lambda key: len(json.dumps(entry[key], default=_plain)))
        entry[name] = _shorter(entry[name], len(text) - _LONGEST_LINE)
        text = json.dumps(entry, default=_plain)
    return text


def _shorter(value: Any, excess: int) -> Any:
    """`value` without as much of it as is too long, up to a half: text loses its end, a list its beginning."""
    if isinstance(value, list):
        if len(value) == 1:
            return [_shorter(value[0], excess)]
        return value[(len(value) + 1) // 2 :]  # the end of a traceback says most
    text = str(_plain(value))
    # A character is one octet of JSON or more.
    kept = max(len(text) // 2 - len(_CUT), len(text) - excess - len(_CUT), 0)
    return text[:kept] + _CUT


def _plain(value: object) -> object:
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)


def stderr_line(text: str) -> None:
    """One line for whoever starts us; if it cannot be written, the exit status still tells."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
