"""The order of a milter dialogue: which command is for the session, and which reply goes out.

    O -> C -> H* -> [ M -> R+ -> T -> L* -> N -> B* -> E ]* -> Q

Within a message the commands have a rank that never falls; suppressed ones are simply missing. As in
libmilter, a command that cannot come now aborts an open message and is tried again outside of it; what still
does not fit is ignored without a reply. Each command that wants a reply gets exactly one. A verdict that the
session reaches where no reply may be sent is held until the next command that gets one; the session is not
asked again.

Deliberate: after end of message libmilter ignores QUIT_NC and then never answers the following CONNECT. Here
QUIT_NC closes the SMTP connection wherever it comes, as rspamd and go-milter have it.
"""

from __future__ import annotations

import functools
from typing import Final

from dkconf.milter import messages as m
from dkconf.milter.codec import CONTINUE, FINAL_LETTERS

IGNORE: Final = 0
"""Nothing to do."""
HANDLE: Final = 1
"""Give the command to the session."""
ABORT_FIRST: Final = 2
"""Tell the session that the open message is off; then look at the other flags."""
ANSWER: Final = 4
"""Do not trouble the session; only `answer(command, None)`."""

_START, _NEGOTIATED, _CONNECTED, _MAIL, _RCPT, _DATA, _HEADERS, _EOH, _BODY, _EOM = range(10)

_RANK: Final[dict[type[m.Command], int]] = {
    m.Rcpt: _RCPT,
    m.Data: _DATA,
    m.Header: _HEADERS,
    m.Headers: _HEADERS,
    m.EndOfHeaders: _EOH,
    m.Body: _BODY,
    m.EndOfMessage: _EOM,
}
_ONCE: Final = frozenset((_DATA, _EOH))

_LETTER: Final[dict[type[m.Command], int]] = {
    m.Connect: m.CONNECT,
    m.Helo: m.HELO,
    m.Mail: m.MAIL,
    m.Rcpt: m.RCPT,
    m.Data: m.DATA,
    m.Header: m.HEADER,
    m.Headers: m.HEADER,
    m.EndOfHeaders: m.END_OF_HEADERS,
    m.Body: m.BODY,
    m.Unknown: m.UNKNOWN,
}

_NEVER: Final[frozenset[type[m.Command]]] = frozenset((m.Negotiate, m.Macros, m.Abort, m.Quit, m.QuitNewConnection))
"""These get no reply, but for the offer, whose answer is not the dialogue's."""

_SKIP: Final = ord("s")
_NR_FLAGS: Final = sum(m.NO_REPLY.values())
_Steps = tuple[dict[type[m.Command], int], ...]
_NO_STEPS: Final[_Steps] = ({},) * (_EOM + 1)


@functools.lru_cache(maxsize=64)
def _agreement(protocol: int) -> tuple[frozenset[type[m.Command]], _Steps]:
    """Return `Dialogue.silent` and `Dialogue.steps` for these flags."""
    silent = _NEVER | {kind for kind, letter in _LETTER.items() if protocol & m.NO_REPLY[letter]}
    steps: list[dict[type[m.Command], int]] = [{m.Macros: phase} if phase > _START else {} for phase in range(_EOM + 1)]
    if m.Mail in silent:
        steps[_CONNECTED][m.Mail] = _MAIL
    for phase in range(_MAIL, _EOM + 1):
        for kind, rank in _RANK.items():
            if kind in silent and (rank > phase or (rank == phase and rank not in _ONCE)):
                steps[phase][kind] = rank
    return silent, tuple(steps)


class Dialogue:
    """Where one connection stands; see the module."""

    __slots__ = ("_agreed", "_connection_reply", "_held", "_protocol", "phase", "silent", "steps")

    def __init__(self) -> None:
        self.silent: frozenset[type[m.Command]] = _NEVER
        """Commands that never get a reply: those that have none, and those for which the MTA wants none."""
        self.phase = _START
        self._protocol = 0
        self._agreed = _NO_STEPS
        self._stand()

    @property
    def in_message(self) -> bool:
        """Whether a message is open, from MAIL until its final reply."""
        return self.phase >= _MAIL

    def negotiated(self, protocol: int) -> None:
        """Take the protocol flags that were agreed on."""
        self._protocol = protocol
        self.phase = _NEGOTIATED
        self.silent, self._agreed = _agreement(protocol & _NR_FLAGS)
        self._stand()

    def _stand(self, *, held: bytes | None = None, connection_reply: bytes | None = None) -> None:
        """Set the replies that stand, and `steps`, which follows from them and from what was agreed on; nobody else
        sets any of the three."""
        self._held: bytes | None = held
        """The verdict for the open message that waits for a command with a reply; None outside of a message."""
        self._connection_reply: bytes | None = connection_reply
        """The verdict for the rest of the SMTP connection."""
        self.steps: _Steps = self._agreed if held is None and connection_reply is None else _NO_STEPS
        """The short way for most commands of a message: `steps[phase]` has the next phase for each that is for the
        session and gets no reply. Whoever sets `phase` to it need not call `receive`, nor `answer` without a reply.
        While a verdict stands, every command takes the long way."""

    def receive(self, command: m.Command) -> int:
        """Return what is to be done with `command`, as flags; the phase moves on."""
        kind = type(command)
        rank = _RANK.get(kind)
        if rank is None:
            if kind is m.Macros:
                return HANDLE if self.phase > _START else IGNORE
            return self._between(kind)
        phase = self.phase
        if phase < _MAIL:
            return ANSWER if self._connection_reply is not None else IGNORE
        if rank < phase or (rank == phase and rank in _ONCE):
            self._end_message()
            return ABORT_FIRST
        self.phase = rank
        return HANDLE if self._held is None else ANSWER

    def _between(self, kind: type[m.Command]) -> int:
        phase = self.phase
        off = ABORT_FIRST if phase >= _MAIL else IGNORE
        if kind is m.Negotiate:
            if phase == _START:
                return HANDLE
        elif kind is m.Connect:
            if phase == _NEGOTIATED:
                self.phase = _CONNECTED
                return HANDLE
        elif kind is m.Mail:
            if phase >= _CONNECTED:
                self._end_message()
                if self._connection_reply is not None:
                    return off | ANSWER
                self.phase = _MAIL
                return off | HANDLE
        elif kind is m.Helo:
            if phase >= _CONNECTED:
                self._end_message()
                return off | (HANDLE if self._connection_reply is None else ANSWER)
        elif kind is m.Unknown:
            if phase >= _NEGOTIATED:
                if phase < _DATA:
                    return HANDLE
                self._end_message()
                return off | HANDLE
        elif kind is m.QuitNewConnection:
            self._stand()
            if phase > _START:
                self.phase = _NEGOTIATED
            return off | HANDLE
        elif kind is m.Quit:
            self._end_message()
            return off | HANDLE
        # ABORT, and whatever cannot come now.
        self._end_message()
        return off

    def _end_message(self) -> None:
        if self._held is not None:
            self._stand(connection_reply=self._connection_reply)
        if self.phase > _CONNECTED:
            self.phase = _CONNECTED

    def wants_reply(self, command: m.Command) -> bool:
        """Whether the MTA waits for a reply to `command`."""
        return type(command) not in self.silent and (type(command) is not m.Body or command.last)

    def answer(self, command: m.Command, reply: bytes | None) -> bytes:
        """Return what is to be written for `command`, given the session's reply (None: go on).

        At end of message the reply is the modifications with the final reply behind them, as they are.
        """
        kind = type(command)
        if kind is m.EndOfMessage:
            out = self._connection_reply or self._held or reply or CONTINUE
            self._end_message()
            return out
        due = self.wants_reply(command)
        if reply is None:
            reply = self._held if self.phase >= _MAIL else self._connection_reply
        if reply is None or reply is CONTINUE:
            return CONTINUE if due else b""
        letter = reply[4]
        if letter == _SKIP and not (kind is m.Body and self._protocol & m.SMFIP_SKIP):
            reply = CONTINUE
        elif letter in FINAL_LETTERS and kind is not m.Unknown and (kind is not m.Rcpt or letter == 0x61):
            # On RCPT a refusal is for that recipient only; an ACCEPT is for the message.
            if kind is m.Connect or kind is m.Helo:
                self._stand(connection_reply=reply)
            elif due:
                self._end_message()
            elif self.phase >= _MAIL:
                self._stand(held=reply, connection_reply=self._connection_reply)
        return reply if due else b""
