"""The words of the milter protocol: letters, flags, and the MTA's commands as values.

Names are libmilter's (mfdef.h, mfapi.h). The wire is in `codec`, the order of a dialogue in `dialogue`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_PACKET_OCTETS: Final = 65536
"""Longest packet, command letter included; MILTER_MAX_DATA_SIZE 65535 + 1. Larger needs SMFIP_MDS_*."""

MAX_MACROS: Final = 64
"""Macros that are taken from one packet; what is behind them is left out. sendmail sends 50 per command at most
(MAXFILTERMACROS), and 64 KiB of the shortest ones would become 3 MB."""

MACRO_OCTETS: Final = 8192
"""A packet with more is `LargeMacros`: sendmail's have some hundred, those of a client's certificate included.
libmilter keeps up to 64 KiB for each of seven commands."""

HIGHEST_VERSION: Final = 6
LOWEST_VERSION: Final = 2

# Commands, MTA to filter (SMFIC_).
ABORT: Final = 0x41  # A
BODY: Final = 0x42  # B
CONNECT: Final = 0x43  # C
MACRO: Final = 0x44  # D
END_OF_MESSAGE: Final = 0x45  # E, SMFIC_BODYEOB
HELO: Final = 0x48  # H
QUIT_NC: Final = 0x4B  # K
HEADER: Final = 0x4C  # L
MAIL: Final = 0x4D  # M
END_OF_HEADERS: Final = 0x4E  # N
OPTNEG: Final = 0x4F  # O
QUIT: Final = 0x51  # Q
RCPT: Final = 0x52  # R
DATA: Final = 0x54  # T
UNKNOWN: Final = 0x55  # U

# Actions (SMFIF_): what a filter may do at end of message.
SMFIF_ADDHDRS: Final = 0x01
SMFIF_CHGBODY: Final = 0x02
SMFIF_ADDRCPT: Final = 0x04
SMFIF_DELRCPT: Final = 0x08
SMFIF_CHGHDRS: Final = 0x10
SMFIF_QUARANTINE: Final = 0x20
SMFIF_CHGFROM: Final = 0x40
SMFIF_ADDRCPT_PAR: Final = 0x80
SMFIF_SETSYMLIST: Final = 0x100
SMFIF_V1: Final = 0x0F
"""What an MTA that offers no actions at all can do."""

# Protocol flags (SMFIP_): events that are not sent, and events that get no reply.
SMFIP_NOCONNECT: Final = 0x01
SMFIP_NOHELO: Final = 0x02
SMFIP_NOMAIL: Final = 0x04
SMFIP_NORCPT: Final = 0x08
SMFIP_NOBODY: Final = 0x10
SMFIP_NOHDRS: Final = 0x20
SMFIP_NOEOH: Final = 0x40
SMFIP_NR_HDR: Final = 0x80
SMFIP_NOUNKNOWN: Final = 0x100
SMFIP_NODATA: Final = 0x200
SMFIP_SKIP: Final = 0x400
SMFIP_RCPT_REJ: Final = 0x800
SMFIP_NR_CONN: Final = 0x1000
SMFIP_NR_HELO: Final = 0x2000
SMFIP_NR_MAIL: Final = 0x4000
SMFIP_NR_RCPT: Final = 0x8000
SMFIP_NR_DATA: Final = 0x10000
SMFIP_NR_UNKN: Final = 0x20000
SMFIP_NR_EOH: Final = 0x40000
SMFIP_NR_BODY: Final = 0x80000
SMFIP_HDR_LEADSPC: Final = 0x100000
SMFIP_V1: Final = 0x3F
"""What an MTA that offers no protocol flags at all knows."""
SMFI_INTERNAL: Final = 0x70000000
"""Larger packets and reserved bits; never echoed, since we do not speak them."""

NO_REPLY: Final = {
    CONNECT: SMFIP_NR_CONN,
    HELO: SMFIP_NR_HELO,
    MAIL: SMFIP_NR_MAIL,
    RCPT: SMFIP_NR_RCPT,
    DATA: SMFIP_NR_DATA,
    UNKNOWN: SMFIP_NR_UNKN,
    HEADER: SMFIP_NR_HDR,
    END_OF_HEADERS: SMFIP_NR_EOH,
    BODY: SMFIP_NR_BODY,
}
"""Command -> the flag that suppresses its reply. D, A, Q and K never get one, E always does."""

SYMLIST_STAGES: Final = {
    "connect": 0,
    "helo": 1,
    "envfrom": 2,
    "envrcpt": 3,
    "data": 4,
    "eom": 5,
    "eoh": 6,
}
"""Names of the stages for which macros can be asked; end of message comes before end of headers (SMFIM_)."""


class Negotiate(NamedTuple):
    """SMFIC_OPTNEG: what the MTA offers."""

    version: int
    actions: int
    protocol: int


class LargeMacros(dict[bytes, bytes]):
    """Macros of a packet of more than `MACRO_OCTETS`: no MTA sends such, and whoever keeps them keeps what he needs."""


class Macros(NamedTuple):
    """SMFIC_MACRO: values for the command `stage` (its letter), at most `MAX_MACROS`; names as sent, with braces."""

    stage: int
    values: dict[bytes, bytes]


class Connect(NamedTuple):
    """SMFIC_CONNECT. `family` is one of b"U", b"L", b"4", b"6"; `address` without sendmail's "IPv6:"."""

    hostname: bytes
    family: bytes
    port: int
    address: bytes


class Helo(NamedTuple):
    """SMFIC_HELO."""

    name: bytes


class Mail(NamedTuple):
    """SMFIC_MAIL: the address with its angle brackets, then the ESMTP arguments."""

    args: tuple[bytes, ...]


class Rcpt(NamedTuple):
    """SMFIC_RCPT: as `Mail`."""

    args: tuple[bytes, ...]


class Data(NamedTuple):
    """SMFIC_DATA."""


class Header(NamedTuple):
    """SMFIC_HEADER: folds are LF + blank here; the value's leading blank is there only with HDR_LEADSPC."""

    name: bytes
    value: bytes


class Headers(NamedTuple):
    """SMFIC_HEADER packets that came one after another: (name, value) of each, as in `Header`."""

    fields: list[tuple[bytes, bytes]]


class EndOfHeaders(NamedTuple):
    """SMFIC_EOH."""


class Body(NamedTuple):
    """A piece of SMFIC_BODY.

    A packet that arrives in parts is handed on in parts, so that nothing of the body is kept; `last` says
    that the packet ends here, which is when its reply is due. `chunk` is valid until the next `feed` only.
    """

    chunk: memoryview
    last: bool


class EndOfMessage(NamedTuple):
    """SMFIC_BODYEOB, perhaps with a last piece of body."""

    chunk: bytes


class Unknown(NamedTuple):
    """SMFIC_UNKNOWN: an SMTP command that the MTA does not know."""

    line: bytes


class Abort(NamedTuple):
    """SMFIC_ABORT: the message is off; may come at any time and twice."""


class Quit(NamedTuple):
    """SMFIC_QUIT."""


class QuitNewConnection(NamedTuple):
    """SMFIC_QUIT_NC: this SMTP connection is over, the next one comes on the same socket."""


Command = (
    Negotiate
    | Macros
    | Connect
    | Helo
    | Mail
    | Rcpt
    | Data
    | Header
    | Headers
    | EndOfHeaders
    | Body
    | EndOfMessage
    | Unknown
    | Abort
    | Quit
    | QuitNewConnection
)
