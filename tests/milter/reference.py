"""A milter dialogue written down as plainly as can be: what the fast code is held against.

No table of steps and no cache: three facts (is the MTA connected, how far is the open message, which verdict stands),
and for each command one look at them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dkconf.milter import messages as m
from dkconf.milter.codec import ACCEPT, CONTINUE

ORDER = [m.Mail, m.Rcpt, m.Data, m.Header, m.EndOfHeaders, m.Body, m.EndOfMessage]
FLAGS = {
    m.Connect: m.SMFIP_NR_CONN, m.Helo: m.SMFIP_NR_HELO, m.Mail: m.SMFIP_NR_MAIL, m.Rcpt: m.SMFIP_NR_RCPT,
    m.Data: m.SMFIP_NR_DATA, m.Header: m.SMFIP_NR_HDR, m.EndOfHeaders: m.SMFIP_NR_EOH, m.Body: m.SMFIP_NR_BODY,
    m.Unknown: m.SMFIP_NR_UNKN,
}  # fmt: skip


class Seen(NamedTuple):
    """What comes of one command."""

    aborted: bool
    """The session hears that the open message is off."""
    told: bool
    """The session gets the command."""
    written: bytes
    """What the MTA gets."""
    open: bool
    """A message is open behind it."""


class Plain:
    """A dialogue from behind the negotiation on."""

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol
        self.connected = False
        self.place: int | None = None
        """How far the open message has come in ORDER; None outside of a message."""
        self.for_message: bytes | None = None
        self.for_connection: bytes | None = None

    def close(self) -> bool:
        """End the message; return whether one was open."""
        was_open = self.place is not None
        self.place = self.for_message = None
        return was_open

    def command(self, command: m.Command, reply: bytes | None) -> Seen:
        """Return what comes of a command, if `reply` is what the session would say (None: go on)."""
        kind = m.Header if isinstance(command, m.Headers) else type(command)
        aborted, told, answered = self._whose(kind)
        written = b""
        if answered:
            wanted = kind is not m.Macros and not self.protocol & FLAGS.get(kind, 0)
            due = wanted and getattr(command, "last", True)
            standing = self.for_connection or self.for_message
            written = self._reply(kind, (reply if told else None) or standing or CONTINUE, standing, due)
            if not due:
                written = b""
        return Seen(aborted, told, written, self.place is not None)

    def _whose(self, kind: type[m.Command]) -> tuple[bool, bool, bool]:
        """Return whether a message is aborted, whether the session is told, whether the command is answered."""
        if kind is m.Macros:
            return False, True, True  # Never with a reply, but what goes wrong with them is a verdict like any other.
        if kind is m.Connect and not self.connected:
            self.connected = True
            return False, True, True
        if kind in (m.Helo, m.Mail) and self.connected:
            aborted = self.close()
            if kind is m.Mail and not self.for_connection:
                self.place = 0
            return aborted, not self.for_connection, True
        if kind is m.Unknown:
            return (self.place or 0) >= ORDER.index(m.Data) and self.close(), True, True
        if kind is m.QuitNewConnection:
            self.connected, self.for_connection = False, None
            return self.close(), True, False
        if kind in ORDER and kind is not m.Mail:
            if self.place is None:
                return False, False, self.for_connection is not None
            place = ORDER.index(kind)
            if place > self.place or (place == self.place and kind not in (m.Data, m.EndOfHeaders)):
                self.place = place
                return False, self.for_message is None, True
        return self.close(), False, False

    def _reply(self, kind: type[m.Command], reply: bytes, standing: bytes | None, due: bool) -> bytes:
        if kind is m.EndOfMessage:
            self.close()
            return standing or reply
        if reply[4:5] == b"s" and not (kind is m.Body and self.protocol & m.SMFIP_SKIP):
            return CONTINUE
        if reply[4:5] in b"cs" or kind is m.Unknown or (kind is m.Rcpt and reply != ACCEPT):
            return reply
        if kind in (m.Connect, m.Helo):
            self.for_connection = reply
        elif due:
            self.close()
        elif self.place is not None:
            self.for_message = reply
        return reply


def play(protocol: int, commands: Iterable[tuple[m.Command, bytes | None]]) -> list[Seen]:
    """Return what comes of each command of a whole dialogue."""
    plain = Plain(protocol)
    return [plain.command(command, reply) for command, reply in commands]
