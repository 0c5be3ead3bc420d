"""TXT questions as octets, and what an answer says. No sockets here.

An answer is a claim of whoever owns the domain that is asked about, so it is read here within limits and not by
dnspython, which makes objects of all that comes: 65,535 octets of tiny records cost it a quarter of a second. What a
verifier needs is little: TXT and CNAME records of the answer section, and from the authority section of an answer
without them the SOA record (for how long it may be kept) or the NS records of a referral. The additional section is
not read. The usual answer takes ten us.

What cannot be read is "malformed" if it repeats our question, so that no guess of a stranger makes it; a resolver
asks again by TCP before it believes that. Source: RFC 1035 section 4.1, RFC 2181, RFC 2308, RFC 6672.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from dkconf.mail.lookup import TxtAnswer

EDNS_OCTETS: Final = 1232
"""Largest UDP answer that we ask for: it is not fragmented anywhere (DNS flag day 2020)."""
MAX_ANSWER_OCTETS: Final = 8192
"""Longest answer that is read; OpenDKIM and dkim-milter have buffers of this size (MAXPACKET). A key of 8192 bits takes
1.5 KB, a policy less; BIND and unbound take 64 KB."""
MAX_RECORDS: Final = 64
"""Records in the answer section, and in the authority section; BIND keeps 100 of a name and type by default
(max-records-per-type), a key has one."""
MAX_ALIASES: Final = 16
"""CNAME records in a row; BIND follows 16, unbound 11."""
MAX_POINTERS: Final = 126
"""Compression pointers in one name; unbound takes 256. With a label between any two of them a name of 255 octets, the
longest there is, has no room for more."""

_RD, _AD = 0x0100, 0x0020
# Of the third octet: QR and opcode. An update or a notification is no answer to a question.
_KIND: Final = 0xF8
_ANSWER: Final = 0x80
_HEAD_OCTETS: Final = 12
# OPT: root name, type 41, our size as class, no extended flags, no options.
_OPT: Final = b"\0\0\x29" + EDNS_OCTETS.to_bytes(2, "big") + b"\0\0\0\0" + b"\0\0"
_NS, _CNAME, _SOA, _TXT = (kind.to_bytes(2, "big") + b"\0\1" for kind in (2, 5, 6, 16))
"""Types, each with the class IN behind it, as they stand in a record."""
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"
_MAX_NAME_OCTETS: Final = 255
_MAX_LABEL_OCTETS: Final = 63

_RCODES: Final = {
    1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH",
    10: "NOTZONE", 11: "DSOTYPENI",
}  # fmt: skip
_NXDOMAIN: Final = 3

# RFC 2308 section 5: one to three hours are sensible for negative answers; records live a day at most here.
LONGEST_TTL_SECONDS: Final = 86400
LONGEST_NEGATIVE_TTL_SECONDS: Final = 3600
BROKEN_TTL_SECONDS: Final = 300
"""For how long an answer that no verifier can use is not asked for again; RFC 2308 section 7.1 allows five minutes
for what a server fails to say."""


class Outcome(NamedTuple):
    """What came of one answer."""

    kind: Literal["answer", "truncated", "alias", "failed", "malformed", "foreign"]
    """failed: this server cannot say, ask another. malformed: it answers our question with what cannot be read.
    foreign: no answer to our question, go on waiting."""
    answer: TxtAnswer | None = None
    alias: bytes = b""
    """The name to ask for next, as it stands in a question, if the server did not follow a CNAME itself."""
    reason: str = ""
    """Of failed and malformed."""
    ttl: int = LONGEST_TTL_SECONDS
    """Of the alias: what it leads to may be kept no longer."""
    secure: bool = False
    """Of the alias."""


_FOREIGN: Final = Outcome("foreign")


class _Malformed(Exception):
    """An answer that cannot be read, goes beyond a limit, or is about something else; the words say which. Caught in
    `read_answer`."""


def encode_name(name: bytes) -> bytes | None:
    """Return `name` (labels with dots) as it stands in a question; None if it is no legal DNS name."""
    labels = name.rstrip(b".").split(b".")
    if any(not 0 < len(label) <= _MAX_LABEL_OCTETS for label in labels):
        return None
    octets = b"".join(len(label).to_bytes(1, "big") + label for label in labels) + b"\0"
    return octets if len(octets) <= _MAX_NAME_OCTETS else None


def encode_question(ident: int, qname: bytes, *, edns: bool = True, want_ad: bool = False) -> bytes:
    """Return the query message for the TXT records of `qname` (as from `encode_name`)."""
    flags = _RD | (_AD if want_ad else 0)
    counts = b"\0\1\0\0\0\0" + (b"\0\1" if edns else b"\0\0")
    head = ident.to_bytes(2, "big") + flags.to_bytes(2, "big") + counts
    return head + qname + _TXT + (_OPT if edns else b"")


def read_answer(octets: bytes, question: bytes, *, trust_ad: bool = False) -> Outcome:
    """Return what `octets` say to `question` (as from `encode_question`)."""
    qend = _question_end(question)
    same = (
        len(octets) >= qend
        and octets[:2] == question[:2]
        and octets[2] & _KIND == _ANSWER
        and octets[4:6] == b"\0\1"
        and octets[_HEAD_OCTETS:qend].lower() == question[_HEAD_OCTETS:qend].lower()
    )
    if not same:
        # An error may come without the question; a format error is one about EDNS.
        if (
            len(octets) >= _HEAD_OCTETS
            and octets[:2] == question[:2]
            and octets[2] & _KIND == _ANSWER
            and octets[3] & 15 == 1
        ):
            return Outcome("failed", reason="FORMERR")
        return _FOREIGN
    if octets[2] & 0x02:
        return Outcome("truncated")
    rcode = octets[3] & 15
    if rcode and rcode != _NXDOMAIN:
        return Outcome("failed", reason=_RCODES.get(rcode) or f"error {rcode}")
    secure = trust_ad and bool(octets[3] & _AD)
    try:
        if len(octets) > MAX_ANSWER_OCTETS:
            raise _Malformed(f"answer of over {MAX_ANSWER_OCTETS} octets")
        return _read(octets, qend, question[_HEAD_OCTETS : qend - 4].lower(), secure)
    except _Malformed as error:
        return Outcome("malformed", reason=str(error))


def _question_end(question: bytes) -> int:
    position = _HEAD_OCTETS
    while question[position]:
        position += 1 + question[position]
    return position + 5


class _Record(NamedTuple):
    """One record of any type."""

    name: bytes
    """In lower case, without compression."""
    kind: bytes
    """Its type and class."""
    ttl: int
    start: int
    """Where its data begin."""
    end: int


def _read(octets: bytes, position: int, qname: bytes, secure: bool) -> Outcome:
    answers, position = _records(octets, position, octets[6] << 8 | octets[7], qname)
    name, ttl, aliases = qname, LONGEST_TTL_SECONDS, [qname]
    while True:
        strings = []
        for record in answers:
            if record.kind == _TXT and record.name == name:
                strings.append(_strings(octets, record))
                ttl = min(ttl, record.ttl)
        if strings:
            if octets[3] & 15:
                raise _Malformed("malformed answer: NXDOMAIN with a record")
            return Outcome("answer", TxtAnswer("found", tuple(strings), "", ttl, secure))
        alias = next((r for r in answers if r.kind == _CNAME and r.name == name), None)
        if alias is None:
            break
        name, ttl = _target(octets, alias), min(ttl, alias.ttl)
        if name in aliases or len(aliases) > MAX_ALIASES:
            reason = "CNAME loop" if name in aliases else f"more than {MAX_ALIASES} aliases"
            return Outcome("answer", TxtAnswer("broken", (), reason, BROKEN_TTL_SECONDS))
        aliases.append(name)
    authority, _ = _records(octets, position, octets[8] << 8 | octets[9], qname)
    soa = next((record for record in authority if record.kind == _SOA), None)
    if octets[3] & 15 == _NXDOMAIN:
        return Outcome("answer", TxtAnswer("absent", (), "NXDOMAIN", _negative_ttl(octets, soa), secure))
    if len(aliases) > 1 and soa is None:
        return Outcome("alias", alias=name, ttl=ttl, secure=secure)
    if len(aliases) == 1 and answers and all(record.name != name for record in answers):
        raise _Malformed("answer for another name")
    if soa is None and any(record.kind == _NS for record in authority):
        # RFC 2308 section 2.2.1: the server only says whom it would ask.
        return Outcome("failed", reason="referral")
    return Outcome("answer", TxtAnswer("absent", (), "no TXT record", _negative_ttl(octets, soa), secure))


def _records(octets: bytes, position: int, count: int, qname: bytes) -> tuple[list[_Record], int]:
    """Return the records of a section, and the position behind it."""
    if count > MAX_RECORDS:
        raise _Malformed(f"answer of {count} records, {MAX_RECORDS} are read at most")
    found = []
    for _ in range(count):
        if octets[position : position + 2] == _POINTER_TO_QUESTION:
            name, position = qname, position + 2
        else:
            name, position = _name(octets, position)
        start = position + 10
        end = start + int.from_bytes(octets[start - 2 : start], "big")
        if end > len(octets) or start > len(octets):
            raise _Malformed("malformed answer: a record goes beyond the end")
        ttl = int.from_bytes(octets[position + 4 : position + 8], "big")
        # RFC 2181 section 8: with the top bit set a TTL is none.
        ttl = 0 if ttl >> 31 else min(ttl, LONGEST_TTL_SECONDS)
        found.append(_Record(name, octets[position : position + 4], ttl, start, end))
        position = end
    return found, position


def _name(octets: bytes, position: int) -> tuple[bytes, int]:
    """Return a name in lower case without compression, and the position behind it.

    Each pointer leads before the place where the name, or the last pointer, led to: so there is an end.
    """
    labels, size, end, bound, pointers = [], 1, 0, position, 0
    while True:
        if position >= len(octets):
            raise _Malformed("malformed answer: a name goes beyond the end")
        length = octets[position]
        if not length:
            break
        if length <= _MAX_LABEL_OCTETS:
            size += length + 1
            if size > _MAX_NAME_OCTETS:
                raise _Malformed(f"malformed answer: a name of over {_MAX_NAME_OCTETS} octets")
            labels.append(octets[position : position + length + 1])
            position += length + 1
            continue
        if length < 0xC0 or position + 1 >= len(octets):
            raise _Malformed("malformed answer: a label of unknown kind")
        end = end or position + 2
        position = (length & 0x3F) << 8 | octets[position + 1]
        pointers += 1
        if not _HEAD_OCTETS <= position < bound or pointers > MAX_POINTERS:
            raise _Malformed("malformed answer: a compression pointer that does not lead back")
        bound = position
    return b"".join(labels).lower() + b"\0", end or position + 1


def _strings(octets: bytes, record: _Record) -> bytes:
    """Return the strings of a TXT record joined.

    Deliberate: a record without any string, which RFC 1035 section 3.3.14 does not know, is an empty one. It is not
    one that cannot be read.
    """
    pieces = []
    position, end = record.start, record.end
    while position < end:
        start, position = position + 1, position + 1 + octets[position]
        pieces.append(octets[start:position])
    if position != end:
        raise _Malformed("malformed answer: a string goes beyond its record")
    return b"".join(pieces)


def _target(octets: bytes, record: _Record) -> bytes:
    name, end = _name(octets, record.start)
    if end != record.end:
        raise _Malformed("malformed answer: a CNAME record of another length")
    return name


def _negative_ttl(octets: bytes, soa: _Record | None) -> int:
    """The time for which a negative answer may be kept; 0 without a SOA record (RFC 2308 section 5)."""
    if soa is None or soa.end - soa.start < 22:  # two names and five numbers
        return 0
    minimum = int.from_bytes(octets[soa.end - 4 : soa.end], "big")
    return min(soa.ttl, minimum, LONGEST_NEGATIVE_TTL_SECONDS)
