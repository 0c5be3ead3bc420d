"""TXT questions as octets, and what an answer says. No sockets here.

The question is encoded here (dnspython takes 50 us for what takes two). So is the usual answer read: TXT records of
the very name that was asked for, and nothing else (ten us; dnspython takes 170). dnspython reads all others.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.txtbase import TXTBase

from dkconf.mail.lookup import TxtAnswer

EDNS_OCTETS: Final = 1232
"""Largest UDP answer that we ask for: it is not fragmented anywhere (DNS flag day 2020)."""

_MOST_PLAIN_RECORDS: Final = 16
_RD, _AD = 0x0100, 0x0020
# Of the third octet: QR and opcode. An update or a notification is no answer to a question.
_KIND: Final = 0xF8
_ANSWER: Final = 0x80
# OPT: root name, type 41, our size as class, no extended flags, no options.
_OPT: Final = b"\0\0\x29" + EDNS_OCTETS.to_bytes(2, "big") + b"\0\0\0\0" + b"\0\0"
_TXT_IN: Final = b"\0\x10\0\x01"

# RFC 2308 section 5: one to three hours are sensible for negative answers; records live a day at most here.
LONGEST_TTL_SECONDS: Final = 86400
LONGEST_NEGATIVE_TTL_SECONDS: Final = 3600


class Outcome(NamedTuple):
    """What came of one answer."""

    kind: Literal["answer", "truncated", "alias", "failed", "foreign"]
    """failed: this server cannot say, ask another. foreign: no answer to our question, go on waiting."""
    answer: TxtAnswer | None = None
    alias: bytes = b""
    """The name to ask for next, if the server did not follow a CNAME itself."""
    reason: str = ""
    ttl: int = LONGEST_TTL_SECONDS
    """Of the alias: what it leads to may be kept no longer."""
    secure: bool = False
    """Of the alias."""


_FOREIGN: Final = Outcome("foreign")


def encode_name(name: bytes) -> bytes | None:
    """Return `name` (labels with dots) as it stands in a question; None if it is no legal DNS name."""
    labels = name.rstrip(b".").split(b".")
    if any(not 0 < len(label) < 64 for label in labels):
        return None
    octets = b"".join(len(label).to_bytes(1, "big") + label for label in labels) + b"\0"
    return octets if len(octets) <= 255 else None


def encode_question(ident: int, qname: bytes, *, edns: bool = True, want_ad: bool = False) -> bytes:
    """Return the query message for the TXT records of `qname` (as from `encode_name`)."""
    flags = _RD | (_AD if want_ad else 0)
    counts = b"\0\1\0\0\0\0" + (b"\0\1" if edns else b"\0\0")
    head = ident.to_bytes(2, "big") + flags.to_bytes(2, "big") + counts
    return head + qname + _TXT_IN + (_OPT if edns else b"")


def read_answer(octets: bytes, question: bytes, *, trust_ad: bool = False) -> Outcome:
    """Return what `octets` say to `question` (as from `encode_question`)."""
    qend = _question_end(question)
    same = (
        len(octets) >= qend
        and octets[:2] == question[:2]
        and octets[2] & _KIND == _ANSWER
        and octets[4:6] == b"\0\1"
        and octets[12:qend].lower() == question[12:qend].lower()
    )
    if not same:
        # An error may come without the question; a format error is one about EDNS.
        if len(octets) >= 12 and octets[:2] == question[:2] and octets[2] & _KIND == _ANSWER and octets[3] & 15 == 1:
            return Outcome("failed", reason="FORMERR")
        return _FOREIGN
    if octets[2] & 0x02:
        return Outcome("truncated")
    rcode = octets[3] & 15
    if rcode not in (0, 3):
        return Outcome("failed", reason=dns.rcode.to_text(dns.rcode.Rcode(rcode)))
    plain = _read_plain(octets, qend, rcode) if not trust_ad else None
    if plain is not None:
        return plain
    try:
        return _read(dns.message.from_wire(octets, ignore_trailing=True), trust_ad)
    except (dns.exception.DNSException, ValueError, IndexError, OverflowError) as error:
        return Outcome("failed", reason=f"malformed answer ({type(error).__name__})")


def _question_end(question: bytes) -> int:
    position = 12
    while question[position]:
        position += 1 + question[position]
    return position + 5


_POINTER_TO_QUESTION: Final = b"\xc0\x0c"


def _read_plain(octets: bytes, position: int, rcode: int) -> Outcome | None:
    """The outcome if every answer is a TXT record of the name in the question; None to have dnspython look."""
    count = octets[6] << 8 | octets[7]
    if rcode or not 0 < count <= _MOST_PLAIN_RECORDS:
        return None
    strings, least = [], LONGEST_TTL_SECONDS
    for _ in range(count):
        start = position + 12
        if octets[position : position + 2] != _POINTER_TO_QUESTION or octets[position + 2 : position + 6] != _TXT_IN:
            return None
        ttl = int.from_bytes(octets[position + 6 : position + 10], "big")
        # RFC 2181 section 8: with the top bit set a TTL is none.
        least = min(least, 0 if ttl >> 31 else ttl)
        position = start + int.from_bytes(octets[position + 10 : start], "big")
        if start >= position or position > len(octets):
            return None
        pieces = []
        while start < position:
            end = start + 1 + octets[start]
            pieces.append(octets[start + 1 : end])
            start = end
        if start != position:
            return None
        strings.append(b"".join(pieces))
    return Outcome("answer", TxtAnswer("found", tuple(strings), "", least))


def _read(message: dns.message.Message, trust_ad: bool) -> Outcome:
    assert isinstance(message, dns.message.QueryMessage)
    chain = message.resolve_chaining()
    secure = trust_ad and bool(message.flags & dns.flags.AD)
    ttl = min(int(chain.minimum_ttl), LONGEST_TTL_SECONDS)
    if chain.answer is not None:
        strings = tuple(b"".join(record.strings) for record in chain.answer if isinstance(record, TXTBase))
        return Outcome("answer", TxtAnswer("found", strings, "", ttl, secure))
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Outcome("answer", TxtAnswer("absent", (), "NXDOMAIN", _negative_ttl(message), secure))
    if chain.cnames and not _has_soa(message):
        alias = chain.canonical_name.to_text(omit_final_dot=True).encode("ascii")
        return Outcome("alias", alias=alias, ttl=ttl, secure=secure)
    if message.answer and not chain.cnames and all(rrset.name != chain.canonical_name for rrset in message.answer):
        return Outcome("failed", reason="answer for another name")
    if _has(message, dns.rdatatype.NS) and not _has_soa(message):
        # RFC 2308 section 2.2.1: the server only says whom it would ask.
        return Outcome("failed", reason="referral")
    return Outcome("answer", TxtAnswer("absent", (), "no TXT record", _negative_ttl(message), secure))


def _has_soa(message: dns.message.Message) -> bool:
    return _has(message, dns.rdatatype.SOA)


def _has(message: dns.message.Message, kind: dns.rdatatype.RdataType) -> bool:
    return any(rrset.rdtype == kind for rrset in message.authority)


def _negative_ttl(message: dns.message.Message) -> int:
    """The time for which a negative answer may be kept; 0 without a SOA record (RFC 2308 section 5)."""
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(int(rrset.ttl), int(rrset[0].minimum), LONGEST_NEGATIVE_TTL_SECONDS)
    return 0
