"""A careful SMTP client for looking at replies: it waits for the banner and for each reply before it goes on.

Early talk is answered with `554 ... not accepting messages` where greet_pause is on, so nothing is written
before a whole reply is there. It speaks over a socket, or over the standard input and output of `sendmail
-bs`. Every wait ends at one deadline for the whole dialogue.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dkconf.errors import DkconfError
from dkconf.sendmail.cf import Daemon

MAX_REPLY_OCTETS = 64 * 1024
"""A reply that is longer is not one of sendmail's; RFC 5321 section 4.5.3.1.5 allows lines of 512 octets."""


MAX_CHATTER_LINES = 100
"""Warnings that `sendmail -bs` may print before its banner; a peer that sends more is no SMTP server."""


class SmtpFailed(DkconfError):
    """No reply: the connection ended, or the deadline came. The message says at which step."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply; code 0 = there was none, and `text` says why."""

    step: str
    """banner, EHLO, MAIL, RCPT, DATA, message, RSET, QUIT."""
    code: int
    text: str
    """All lines, codes included, joined by "\\n"."""

    @property
    def rank(self) -> int:
        """How good it is: 2 done or go on, 1 try again later, 0 refused or silent."""
        return 2 if 200 <= self.code < 400 else 1 if 400 <= self.code < 500 else 0

    @property
    def last_line(self) -> str:
        return self.text.rsplit("\n", 1)[-1]

    def __str__(self) -> str:
        return f"{self.step}: {self.last_line}"


class Client:
    """One dialogue over two file descriptors. The caller closes it; `close` is safe to call twice."""

    def __init__(self, reader: int, writer: int, timeout_seconds: float, close: Callable[[], None]) -> None:
        self._reader, self._writer, self._close = reader, writer, close
        self._deadline = time.monotonic() + timeout_seconds
        self._held = bytearray()
        self.pid = 0
        """Of the program at the other end, where we started it."""
        self.replies: list[Reply] = []
        self.chatter: list[str] = []
        """Lines before the banner that are no replies: `sendmail -bs` prints its warnings there."""
        self.extensions: dict[str, str] = {}
        """EHLO keywords in upper case -> their parameters."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, or end the process."""
        self._close()

    def banner(self) -> Reply:
        """Wait for the greeting."""
        return self._read("banner")

    def command(self, step: str, line: str) -> Reply:
        """Send one command and wait for its reply."""
        self._write(line.encode("ascii", "backslashreplace") + b"\r\n", step)
        reply = self._read(step)
        if step == "EHLO" and reply.code == 250:
            for one in reply.text.split("\n")[1:]:
                keyword, _, rest = one[4:].partition(" ")
                self.extensions[keyword.upper()] = rest
        return reply

    def message(self, octets: bytes) -> Reply:
        """Send a message (CRLF line ends) after 354, dots doubled, and wait for the verdict."""
        stuffed = octets.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        if not stuffed.endswith(b"\r\n"):
            stuffed += b"\r\n"
        self._write(stuffed + b".\r\n", "message")
        return self._read("message")

    def _left(self, step: str) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SmtpFailed(f"{step}: no reply in time")
        return left

    def _write(self, octets: bytes, step: str) -> None:
        view = memoryview(octets)
        while view:
            _, ready, _ = select.select([], [self._writer], [], self._left(step))
            if not ready:
                raise SmtpFailed(f"{step}: could not be sent in time")
            try:
                view = view[os.write(self._writer, view[:4096]) :]
            except OSError as error:
                raise SmtpFailed(f"{step}: connection lost ({error.strerror})") from error

    def _read(self, step: str) -> Reply:
        lines: list[str] = []
        while True:
            line = self._line(step)
            if step == "banner" and not lines and not line[:3].isdigit() and len(self.chatter) < MAX_CHATTER_LINES:
                self.chatter.append(line)
                continue
            lines.append(line)
            if line[3:4] != "-":
                break
        code = int(lines[-1][:3]) if lines[-1][:3].isdigit() else 0
        reply = Reply(step, code, "\n".join(lines))
        self.replies.append(reply)
        return reply

    def _line(self, step: str) -> str:
        while b"\n" not in self._held:
            if len(self._held) > MAX_REPLY_OCTETS:
                raise SmtpFailed(f"{step}: a reply of more than {MAX_REPLY_OCTETS} octets")
            ready, _, _ = select.select([self._reader], [], [], self._left(step))
            if not ready:
                raise SmtpFailed(f"{step}: no reply in time")
            try:
                chunk = os.read(self._reader, 4096)
            except OSError as error:
                raise SmtpFailed(f"{step}: connection lost ({error.strerror})") from error
            if not chunk:
                raise SmtpFailed(f"{step}: connection closed without a reply")
            self._held += chunk
        line, _, rest = self._held.partition(b"\n")
        self._held = bytearray(rest)
        return line.rstrip(b"\r").decode("ascii", "backslashreplace")


def connect(address: str, port: int, timeout_seconds: float) -> Client:
    """Open a dialogue with a daemon; port 0 = `address` is the path of a Unix socket.

    Raises:
        SmtpFailed: Nobody listens.
    """
    try:
        if port == 0:
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.settimeout(timeout_seconds)
                link.connect(address)
            except OSError:
                link.close()
                raise
        else:
            link = socket.create_connection((address, port), timeout=timeout_seconds)
    except OSError as error:
        where = address if port == 0 else f"{address}:{port}"
        raise SmtpFailed(f"{where}: {error.strerror or error}") from error
    link.setblocking(False)
    return Client(link.fileno(), link.fileno(), timeout_seconds, link.close)


def port_words(daemon: Daemon) -> str:
    """Return a daemon's port for a message: its number, its name, or its socket's path."""
    return daemon.address if daemon.local else str(daemon.port or daemon.service)


def connect_daemon(daemon: Daemon, timeout_seconds: float) -> Client:
    """Open a dialogue with one of sendmail's daemons, on this machine.

    Raises:
        SmtpFailed: Nobody listens, or the port's name is not known.
    """
    if daemon.local:
        return connect(daemon.address, 0, timeout_seconds)
    port = daemon.port
    if not port:
        try:
            port = socket.getservbyname(daemon.service, "tcp")
        except OSError as error:
            raise SmtpFailed(f"port {daemon.service}: no such service in /etc/services") from error
    return connect(daemon.target, port, timeout_seconds)


def spawn(argv: Sequence[str], timeout_seconds: float, environment: dict[str, str] | None = None) -> Client:
    """Open a dialogue with a program (`sendmail -bs`) that has a connection from 127.0.0.1 as its input and output.

    sendmail takes the client's address from there, as under inetd. Without one filters see a client of an unknown kind.

    Raises:
        SmtpFailed: It cannot be started.
    """
    try:
        ours, theirs = _loopback_pair()
    except OSError as error:
        raise SmtpFailed(f"127.0.0.1: {error.strerror or error}") from error
    try:
        with theirs:
            end = theirs.fileno()
            process = subprocess.Popen(argv, stdin=end, stdout=end, stderr=subprocess.DEVNULL, env=environment, cwd="/")
    except OSError as error:
        ours.close()
        raise SmtpFailed(f"{argv[0]}: {error.strerror}") from error

    def close() -> None:
        ours.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    ours.setblocking(False)
    client = Client(ours.fileno(), ours.fileno(), timeout_seconds, close)
    client.pid = process.pid
    return client


def _loopback_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a TCP connection within this machine: the client's, and that of the one who accepts it.

    Raises:
        OSError: There is no 127.0.0.1.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        while True:
            theirs, peer = listener.accept()
            if peer == ours.getsockname():
                return ours, theirs
            theirs.close()  # somebody else was quicker
