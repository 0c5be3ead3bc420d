"""What a TXT lookup can answer, and the file that can stand in for the DNS (`--records FILE`).

The file looks like a zone, one record or one fault to a line:

    jan._domainkey.example.com    TXT  "v=DKIM1; k=rsa; " "p=MIGf..."
    feb._domainkey.example.com    3600 IN TXT ( "v=DKIM1; "
                                                "p=..." )
    broken._domainkey.example.com SERVFAIL

The faults are SERVFAIL, TIMEOUT, NXDOMAIN and MALFORMED. A name that is not in the file does not exist. `;` and `#`
begin a comment. Several TXT lines of one name are several records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dkconf.errors import DkconfError


@dataclass(frozen=True, slots=True)
class TxtAnswer:
    """One answer to a TXT query."""

    status: Literal["found", "absent", "broken", "failed"]
    """absent: NXDOMAIN, or the name has no TXT. broken: what the DNS has there is certain, and nobody can read it.
    failed: no answer, timeout, SERVFAIL: it may be asked again."""
    strings: tuple[bytes, ...] = ()
    """One per TXT record, its character strings joined without anything between."""
    reason: str = ""
    """For all but found: what the DNS said, for the log."""
    ttl: int = 0
    """Seconds for which the answer may be kept."""
    secure: bool = False
    """The answer was validated by DNSSEC, as far as the resolver is to be believed."""


ABSENT = TxtAnswer("absent", reason="NXDOMAIN")
"""The answer for a name that does not exist."""

_FAULTS = {
    "NXDOMAIN": ABSENT,
    "SERVFAIL": TxtAnswer("failed", reason="SERVFAIL"),
    "TIMEOUT": TxtAnswer("failed", reason="timeout"),
    "MALFORMED": TxtAnswer("broken", reason="malformed answer"),
}
RECORDS_TTL_SECONDS = 3600
"""The TTL of answers from a file where it names none."""


class RecordsError(DkconfError):
    """A records file has a fault; the message names the line."""


class Records(dict[bytes, TxtAnswer]):
    """Answers by name (lower case, no final dot); a name that is not there does not exist."""

    def __missing__(self, name: bytes) -> TxtAnswer:
        return ABSENT

    def answer(self, name: bytes) -> TxtAnswer:
        """Return the answer for a name in any spelling."""
        return self[canonical_name(name)]


def canonical_name(name: bytes) -> bytes:
    """Return a domain name as it is used for keys here: lower case, without the final dot."""
    return name.lower().rstrip(b".")


def parse_records(text: str) -> Records:
    """Return the answers of a records file.

    Raises:
        RecordsError: A line is neither a TXT record nor one of the faults.
    """
    records = Records()
    for number, words in _entries(text):
        name = canonical_name(words[0].octets())
        rest = words[1:]
        ttl = RECORDS_TTL_SECONDS
        while rest and not rest[0].quoted and (_is_number(rest[0].value) or rest[0].value.upper() == "IN"):
            if _is_number(rest[0].value):
                ttl = int(rest[0].value[:10])
            rest = rest[1:]
        kind = rest[0].value.upper() if rest and not rest[0].quoted else ""
        if kind in _FAULTS and len(rest) == 1:
            records[name] = _FAULTS[kind]
        elif kind == "TXT" and len(rest) > 1:
            joined = b"".join(word.octets() for word in rest[1:])
            before = records.get(name)
            strings = (*before.strings, joined) if before is not None else (joined,)
            records[name] = TxtAnswer("found", strings, ttl=ttl)
        else:
            raise RecordsError(
                f'line {number}: expected NAME TXT "..." or NAME SERVFAIL, TIMEOUT, NXDOMAIN or MALFORMED,'
                f" found {' '.join(word.value for word in words)[:60]!r}"
            )
    return records


def _is_number(text: str) -> bool:
    """Digits in other scripts are none here: `int` does not take all of them."""
    return text.isascii() and text.isdigit()


def format_records(records: Mapping[bytes, TxtAnswer]) -> str:
    """Return the text of a records file that `parse_records` reads back to the same answers."""
    lines = []
    for name, answer in sorted(records.items()):
        owner = name.decode("utf-8", "surrogateescape")
        if answer.status == "found":
            lines += [f"{owner} {answer.ttl} IN TXT {_quoted(string)}\n" for string in answer.strings]
        elif answer.status == "absent":
            lines.append(f"{owner} NXDOMAIN\n")
        elif answer.status == "broken":
            lines.append(f"{owner} MALFORMED\n")
        else:
            lines.append(f"{owner} {'TIMEOUT' if answer.reason == 'timeout' else 'SERVFAIL'}\n")
    return "".join(lines)


@dataclass(slots=True)
class _Word:
    value: str
    quoted: bool = False

    def octets(self) -> bytes:
        return self.value.encode("utf-8", "surrogateescape")


def _entries(text: str) -> Iterator[tuple[int, list[_Word]]]:
    """Yield the words of each entry with the number of the line that begins it; parentheses join lines."""
    words: list[_Word] = []
    first = depth = 0
    for number, line in enumerate(text.split("\n"), 1):
        for word in _words(line, number):
            if word.value in ("(", ")") and not word.quoted:
                depth += 1 if word.value == "(" else -1
                if depth not in (0, 1):
                    raise RecordsError(f"line {number}: parentheses do not match")
                continue
            if not words:
                first = number
            words.append(word)
        if words and not depth:
            yield first, words
            words = []
    if depth:
        raise RecordsError(f"line {first}: the parenthesis is never closed")


def _words(line: str, number: int) -> Iterator[_Word]:
    position = 0
    while position < len(line):
        char = line[position]
        if char in ";#":
            return
        if char in "()":
            yield _Word(char)
            position += 1
        elif char.isspace():
            position += 1
        elif char == '"':
            value, position = _quoted_string(line, position + 1, number)
            yield _Word(value, quoted=True)
        else:
            start = position
            while position < len(line) and not line[position].isspace() and line[position] not in '";()':
                position += 1
            yield _Word(line[start:position])


def _quoted_string(line: str, position: int, number: int) -> tuple[str, int]:
    """Return the string and the position behind its closing quote; `\\"`, `\\\\` and `\\DDD` as in zone
    files."""
    pieces: list[str] = []
    while position < len(line):
        char = line[position]
        if char == '"':
            return "".join(pieces), position + 1
        if char == "\\":
            digits = line[position + 1 : position + 4]
            if len(digits) == 3 and digits.isascii() and digits.isdigit() and int(digits) < 256:
                # An octet, not a character: from 0x80 it travels as a surrogate to `_Word.octets`.
                pieces.append(bytes([int(digits)]).decode("utf-8", "surrogateescape"))
                position += 4
                continue
            position += 1
            char = line[position : position + 1]
        pieces.append(char)
        position += 1
    raise RecordsError(f'line {number}: the string is never closed; write NAME TXT "..."')


def _quoted(octets: bytes) -> str:
    pieces = []
    for octet in octets:
        if octet in b'"\\':
            pieces.append("\\" + chr(octet))
        elif 32 <= octet < 127:
            pieces.append(chr(octet))
        else:
            pieces.append(f"\\{octet:03d}")
    return '"' + "".join(pieces) + '"'
