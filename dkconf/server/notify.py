"""sd_notify: one datagram to the service manager that started us, if one did."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Final

_PATIENCE_SECONDS: Final = 0.2


class Notifier:
    """Tells the service manager how we are; silent without NOTIFY_SOCKET."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(usec) / 1e6 if self._address and usec.isdecimal() else 0.0
        """The manager restarts us when it has not heard from us for so long; 0 = it does not."""

    def send(self, *lines: str) -> None:
        """Send e.g. `READY=1`; failures are of no consequence."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            # A manager that does not read must not stop us; one that is busy has a moment.
            sock.settimeout(_PATIENCE_SECONDS)
            sock.sendto("\n".join(lines).encode(), self._address)

    def reloading(self) -> None:
        """Say that a reload begins; the manager wants the monotonic time with it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
