"""What stands outside the lab's sendmail: an SMTP server that keeps mail as it left, and a syslog that keeps lines.

Both run as threads of the test process, on sockets that it is handed.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Shelf(Generic[Item]):
    """A growing list that can be waited on."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    @property
    def items(self) -> list[Item]:
        """A copy of what is there now."""
        with self._changed:
            return list(self._items)

    def wait(self, fits: Callable[[Item], bool], timeout: float, since: int = 0) -> Item | None:
        """Return the first item from position `since` on that fits; None after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for item in self._items[since:]:
                    if fits(item):
                        return item
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return next((item for item in self._items[since:] if fits(item)), None)


@dataclass(frozen=True)
class Received:
    """One message as it arrived at the sink."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes
    """Header and body, CRLF line ends, dots unstuffed."""

    @property
    def header(self) -> bytes:
        return self.octets.partition(b"\r\n\r\n")[0] + b"\r\n"

    @property
    def body(self) -> bytes:
        return self.octets.partition(b"\r\n\r\n")[2]

    def fields(self, name: str) -> list[bytes]:
        """Values of the header fields called `name`, top first, folds kept."""
        unfolded = re.split(rb"\r\n(?![ \t])", self.header.removesuffix(b"\r\n"))
        start = name.lower().encode() + b":"
        return [field.partition(b":")[2].strip() for field in unfolded if field.lower().startswith(start)]

    @property
    def subject(self) -> str:
        return b"".join(self.fields("Subject")[:1]).decode("latin-1")


class SmtpSink:
    """Accepts every message on `listener`; see `received`."""

    def __init__(self, listener: socket.socket) -> None:
        self.received: Shelf[Received] = Shelf()
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:

            def say(*lines: str) -> None:
                stream.write("".join(f"{line}\r\n" for line in lines).encode())
                stream.flush()

            say("220 sink.example.test ESMTP")
            sender, recipients = "", []
            for line in stream:
                verb = line[:4].upper()
                if verb == b"EHLO":
                    say("250-sink.example.test", "250-8BITMIME", "250 SIZE")
                elif verb == b"DATA":
                    say("354 go on")
                    octets = self._data(stream)
                    # Kept before it is answered: who saw the 250 finds the message here.
                    self.received.put(Received(sender, tuple(recipients), octets))
                    sender, recipients = "", []
                    say("250 2.0.0 kept")
                elif verb == b"QUIT":
                    say("221 2.0.0 bye")
                    return
                else:
                    if verb == b"MAIL":
                        sender = _address(line)
                    elif verb == b"RCPT":
                        recipients.append(_address(line))
                    say("250 2.0.0 ok")

    @staticmethod
    def _data(stream: object) -> bytes:
        lines = []
        for line in stream:  # type: ignore[attr-defined]
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def close(self) -> None:
        _shut(self._listener)


class SyslogSink:
    """Keeps every line that arrives at the Unix datagram socket `path`; see `lines`."""

    def __init__(self, path: str) -> None:
        self.lines: Shelf[str] = Shelf()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while octets := self._socket.recv(65536):
                text = octets.rstrip(b"\0\n").decode("utf-8", "replace")
                # "<22>Nov 24 08:00:00 sm-mta[1]: ...": priority and time say nothing here.
                self.lines.put(re.sub(r"^<\d+>(\w{3} [ \d]\d [\d:]{8} )?", "", text))

    def close(self) -> None:
        _shut(self._socket)


def _address(line: bytes) -> str:
    return line.partition(b"<")[2].partition(b">")[0].decode("latin-1")


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)
    opened.close()
