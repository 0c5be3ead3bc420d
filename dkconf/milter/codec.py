"""The milter wire: packets to commands, replies to packets. Sans-IO.

A packet is a length (32 bits, network order, counting the letter), a letter and data. `Decoder` takes octets
split anywhere. Its cost is linear in what is fed, whatever the split, and it keeps at most one packet that is
not body: body pieces are handed on as they arrive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from struct import Struct
from typing import Final

from dkconf.errors import LocalProtocolError, RemoteProtocolError
from dkconf.milter import messages as m

_HEAD: Final = Struct("!IB")
_OFFER: Final = Struct("!III")
_PORT: Final = Struct("!H")

# Below this, copying what was received once is cheaper than slicing a memoryview for every packet.
_SMALL_OCTETS: Final = 16384


def _negotiate(data: bytes) -> m.Negotiate:
    if len(data) < 12:
        raise RemoteProtocolError(f"option negotiation of {len(data)} octets; 12 are the least")
    return m.Negotiate(*_OFFER.unpack_from(data))


def _macros(data: bytes) -> m.Macros:
    if not data:
        raise RemoteProtocolError("macro packet without the letter of its command")
    # Behind the last of them the rest stands unsplit, a name without a value.
    words = iter(data[1:].split(b"\0", 2 * m.MAX_MACROS))
    values = dict(zip(words, words, strict=False))
    return _new(m.Macros, (data[0], values if len(data) <= m.MACRO_OCTETS else m.LargeMacros(values)))


def _connect(data: bytes) -> m.Connect:
    end = data.find(b"\0")
    if end < 0 or len(data) < end + 2:
        raise RemoteProtocolError("connect packet without a family")
    hostname, family = data[:end], data[end + 1 : end + 2]
    if family not in (b"L", b"4", b"6"):
        return m.Connect(hostname, b"U", 0, b"")
    stop = data.find(b"\0", end + 4)
    if len(data) < end + 4 or stop < 0:
        raise RemoteProtocolError("connect packet without a port and an address that ends in NUL")
    address = data[end + 4 : stop]
    # sendmail writes "IPv6:" before such an address, Postfix does not.
    if family == b"6" and address[:5].lower() == b"ipv6:":
        address = address[5:]
    return m.Connect(hostname, family, _PORT.unpack_from(data, end + 2)[0], address)


def _string(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _arguments(data: bytes) -> tuple[bytes, ...]:
    if data[-1:] != b"\0":
        raise RemoteProtocolError("envelope packet whose address does not end in NUL")
    return tuple(data[:-1].split(b"\0"))


_new: Final = tuple.__new__
_HEADER, _BODY = m.HEADER, m.BODY
_DATA, _EOH, _ABORT = m.Data(), m.EndOfHeaders(), m.Abort()
_QUIT, _QUIT_NC = m.Quit(), m.QuitNewConnection()

_PARSERS: Final[dict[int, Callable[[bytes], m.Command]]] = {
    m.OPTNEG: _negotiate,
    m.MACRO: _macros,
    m.CONNECT: _connect,
    m.HELO: lambda data: m.Helo(_string(data)),
    m.MAIL: lambda data: _new(m.Mail, (_arguments(data),)),
    m.RCPT: lambda data: m.Rcpt(_arguments(data)),
    m.DATA: lambda data: _DATA,
    m.END_OF_HEADERS: lambda data: _EOH,
    m.END_OF_MESSAGE: lambda data: _new(m.EndOfMessage, (data,)),
    m.UNKNOWN: lambda data: m.Unknown(_string(data)),
    m.ABORT: lambda data: _ABORT,
    m.QUIT: lambda data: _QUIT,
    m.QUIT_NC: lambda data: _QUIT_NC,
}


class Decoder:
    """Turns octets from an MTA into commands.

    After an error the decoder is of no further use: framing is lost, the connection must be closed.
    """

    __slots__ = ("_body_left", "_need", "_pending")

    def __init__(self) -> None:
        self._pending: bytearray | None = None
        self._need = 0
        self._body_left = 0

    @property
    def mid_packet(self) -> bool:
        """Whether a packet has begun and not ended."""
        return self._pending is not None or self._body_left > 0

    def feed(self, data: bytes | memoryview) -> list[m.Command]:
        """Return the commands that `data` completes; `Body.chunk` points into `data`.

        Raises:
            RemoteProtocolError: An unknown letter, a length of 0 or above 65536, or data that is not what
                the letter promises. Commands before the fault are lost with it.
        """
        commands: list[m.Command] = []
        self.feed_into(data, commands)
        return commands

    def feed_into(self, data: bytes | memoryview, commands: list[m.Command]) -> None:
        """As `feed`, but append to `commands`, so that those before a fault are there when it is raised."""
        pending = self._pending
        if pending is not None:
            # Packets in tiny parts: collect, and look again only when the packet can be whole.
            pending += data
            if len(pending) < self._need:
                return
            data = bytes(pending)
            self._pending = None
        elif len(data) <= _SMALL_OCTETS and type(data) is not bytes:
            data = bytes(data)
        self._split(data, commands)

    def _split(self, data: bytes | memoryview, commands: list[m.Command]) -> None:
        position, end = 0, len(data)
        unpack, append = _HEAD.unpack_from, commands.append
        if self._body_left:
            position = min(self._body_left, end)
            self._body_left -= position
            append(m.Body(memoryview(data)[:position], not self._body_left))
        plain = type(data) is bytes
        fields: list[tuple[bytes, bytes]] | None = None
        while end - position >= 5:
            length, letter = unpack(data, position)
            if not 0 < length <= m.MAX_PACKET_OCTETS:
                raise RemoteProtocolError(f"packet length {length}; 1 to {m.MAX_PACKET_OCTETS} are legal")
            start, stop = position + 5, position + 4 + length
            if letter == _HEADER and stop <= end:
                # Most packets are these; what is done for each of them is done here.
                octets: bytes = data[start:stop] if plain else bytes(data[start:stop])  # type: ignore[assignment]
                try:
                    name, value, _ = octets.split(b"\0", 2)
                except ValueError:
                    raise RemoteProtocolError("header packet without a name and a value that end in NUL") from None
                if fields is None:
                    fields = []
                    append(_new(m.Headers, (fields,)))
                fields.append((name, value))
                position = stop
                continue
            fields = None
            if letter == _BODY:
                position = min(stop, end)
                self._body_left = stop - position
                append(_new(m.Body, (memoryview(data)[start:position], not self._body_left)))
                continue
            parser = _PARSERS.get(letter)
            if stop > end and (parser is not None or letter == _HEADER):
                self._keep(data[position:], 4 + length)
                return
            if parser is None:
                raise RemoteProtocolError(f"unknown command 0x{letter:02x}")
            # What a parser takes is octets, never a view of the caller's buffer.
            append(parser(data[start:stop] if plain else bytes(data[start:stop])))  # type: ignore[arg-type]
            position = stop
        if position < end:
            self._keep(data[position:], 5)

    def _keep(self, rest: bytes | memoryview, need: int) -> None:
        self._pending, self._need = bytearray(rest), need


def packet(letter: bytes, data: bytes = b"") -> bytes:
    """Return one packet.

    Raises:
        LocalProtocolError: The data would be longer than an MTA takes.
    """
    length = len(data) + 1
    if length > m.MAX_PACKET_OCTETS:
        raise LocalProtocolError(f"reply of {length} octets; {m.MAX_PACKET_OCTETS} are the most")
    return length.to_bytes(4, "big") + letter + data


CONTINUE: Final = packet(b"c")
ACCEPT: Final = packet(b"a")
REJECT: Final = packet(b"r")
TEMPFAIL: Final = packet(b"t")
DISCARD: Final = packet(b"d")
SKIP: Final = packet(b"s")
"""No more body; legal as the answer to a body packet only, and only if SMFIP_SKIP was agreed on."""
PROGRESS: Final = packet(b"p")
"""Restarts the MTA's read timer; sendmail takes it at end of message only."""

FINAL_LETTERS: Final = frozenset(b"artdy")
"""Replies that end a message (or, on connect and helo, the connection)."""

# A header field that could smuggle in another one: an LF without a blank behind it, a CR, a NUL.
_UNSAFE_OCTETS: Final = b"\r\n\0"
_NAME_OCTETS: Final = bytes(octet for octet in range(33, 127) if octet != 58)


def negotiation(version: int, actions: int, protocol: int, symlists: Mapping[str, str] | None = None) -> bytes:
    """Return the answer to an offer; `symlists` maps stages (`SYMLIST_STAGES`) to macro names, blank apart.

    The lists go out only if SMFIF_SETSYMLIST is among the actions.
    """
    data = [_OFFER.pack(version, actions, protocol)]
    if symlists and actions & m.SMFIF_SETSYMLIST:
        for stage, names in symlists.items():
            data.append(m.SYMLIST_STAGES[stage].to_bytes(4, "big") + names.encode("ascii") + b"\0")
    return packet(b"O", b"".join(data))


def _field(name: bytes, value: bytes) -> bytes:
    if not name or name.translate(None, _NAME_OCTETS):
        raise LocalProtocolError(f"header field name {name!r}; visible ASCII without a colon is legal")
    if len(value) - len(value.translate(None, _UNSAFE_OCTETS)) != value.count(b"\n\t") + value.count(b"\n "):
        raise LocalProtocolError(f"value of {name!r} holds CR, NUL, or an LF without a blank behind it")
    return b"%b\0%b\0" % (name, value)


def add_header(name: bytes, value: bytes) -> bytes:
    """Return the request to append a header field (SMFIR_ADDHEADER); folds are LF and a blank."""
    return packet(b"h", _field(name, value))


def insert_header(index: int, name: bytes, value: bytes) -> bytes:
    """Return the request to insert a header field (SMFIR_INSHEADER).

    `index` counts from 0 at the top of what will be delivered, the MTA's own Received included: 0 is above
    it, 1 below it.
    """
    return packet(b"i", index.to_bytes(4, "big") + _field(name, value))


def change_header(occurrence: int, name: bytes, value: bytes) -> bytes:
    """Return the request to replace a header field (SMFIR_CHGHEADER), or to delete it with an empty value.

    `occurrence` counts from 1 among the fields of that name that were shown to us. Blanks at the end of the name stay,
    for an MTA that shows them.
    """
    bare = name.rstrip(b" \t")
    blanks = name[len(bare) :]
    return packet(b"m", occurrence.to_bytes(4, "big") + _field(bare, value).replace(b"\0", blanks + b"\0", 1))


def quarantine(reason: bytes) -> bytes:
    """Return the request to quarantine (SMFIR_QUARANTINE); not final, a verdict must follow."""
    return packet(b"q", re.sub(rb"[\0-\x1f\x7f-\xff]", b"?", reason) + b"\0")


_REPLY_LINE_OCTETS: Final = 980
"""Longest line of a reply text; libmilter's MAXREPLYLEN."""


def reply_code(text: bytes) -> bytes:
    """Return an own SMTP reply (SMFIR_REPLYCODE), e.g. `451 4.7.0 key not available`.

    What cannot stand in a reply line becomes "?", "%" is doubled as both MTAs want it, long text is cut.

    Raises:
        LocalProtocolError: The text does not begin with a 4xx or 5xx code.
    """
    if not re.match(rb"[45][0-9][0-9] ", text):
        raise LocalProtocolError(f"reply text {text[:40]!r}; it begins with a 4xx or 5xx code and a blank")
    # sendmail replaces the whole text by its default where a single % occurs.
    line = re.sub(rb"[^ -~]", b"?", text)[: _REPLY_LINE_OCTETS // 2].replace(b"%", b"%%")
    return packet(b"y", line + b"\0")
