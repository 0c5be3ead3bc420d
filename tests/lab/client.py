"""An SMTP client that says octet for octet what it is told, and remembers every reply."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.patience import LAST_RESORT_SECONDS

SENDER = "alice@example.test"
RECIPIENT = "bob@elsewhere.test"


@dataclass(frozen=True)
class Outcome:
    """How one SMTP dialogue ended."""

    replies: tuple[tuple[str, str], ...]
    """(what was said, reply) in order; multi-line replies joined by LF; "" was said before the banner."""

    @property
    def final(self) -> str:
        """The reply that decided: the first that was no success, else the one to the final dot."""
        for _, reply in self.replies:
            if reply[:1] not in {"2", "3"}:
                return reply
        return next(reply for said, reply in self.replies if said == ".")

    @property
    def accepted(self) -> bool:
        return self.final.startswith("250")


def build_message(
    subject: str = "a message",
    body: str = "Hello Bob,\r\n\r\nthis is a message.\r\n\r\nAlice\r\n",
    sender: str = SENDER,
    recipient: str = RECIPIENT,
) -> bytes:
    """Return a small, complete message with CRLF line ends."""
    return (
        f"From: Alice <{sender}>\r\nTo: Bob <{recipient}>\r\nSubject: {subject}\r\n"
        "Date: Tue, 24 Nov 2026 08:00:00 +0000\r\n"
        f"Message-ID: <{abs(hash((subject, body))):x}@example.test>\r\n\r\n{body}"
    ).encode()


def send(
    connect: Callable[[], socket.socket],
    message: bytes,
    sender: str = SENDER,
    recipient: str = RECIPIENT,
    timeout: float = LAST_RESORT_SECONDS,
) -> Outcome:
    """Say a whole dialogue over `connect()`; stops at the first reply that is no success.

    Raises OSError where nobody listens and ConnectionError where the peer goes away.
    """
    replies: list[tuple[str, str]] = []
    with connect() as connection:
        connection.settimeout(timeout)
        stream = connection.makefile("rb")

        def read(said: str) -> bool:
            lines = []
            while True:
                line = stream.readline()
                if not line:
                    raise ConnectionError(f"the peer closed after {said!r}: {replies}")
                lines.append(line.rstrip(b"\r\n").decode("latin-1"))
                if line[3:4] != b"-":
                    break
            replies.append((said, "\n".join(lines)))
            return lines[0][:1] in {"2", "3"}

        with stream:
            going = read("")
            for command in ("EHLO client.example.test", f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
                if going:
                    connection.sendall(command.encode() + b"\r\n")
                    going = read(command)
            if going:
                stuffed = message.replace(b"\r\n.", b"\r\n..")
                if not stuffed.endswith(b"\r\n"):
                    stuffed += b"\r\n"
                connection.sendall(stuffed + b".\r\n")
                read(".")
            try:
                connection.sendall(b"QUIT\r\n")
                read("QUIT")
            except OSError:
                pass  # A peer that has refused may be gone already.
    # A refusal of QUIT decides nothing.
    return Outcome(tuple(pair for pair in replies if pair[0] != "QUIT"))


def send_until_accepted(
    connect: Callable[[], socket.socket], message: bytes, seconds: float, sender: str = SENDER
) -> Outcome | None:
    """Try again, as a real client does, until accepted; the last outcome after `seconds`, None if none came."""
    deadline = time.monotonic() + seconds
    last: Outcome | None = None
    while True:
        try:
            last = send(connect, message, sender, timeout=max(0.5, deadline - time.monotonic()))
        except OSError:
            last = None
        if (last is not None and last.accepted) or time.monotonic() >= deadline:
            return last
        time.sleep(0.1)
