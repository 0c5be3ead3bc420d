"""TXT records as lines of a master file.

Character strings of at most 255 octets (RFC 1035 section 3.3.14), quoted as master files want it (section 5.1): `"` and
`\\` escaped, everything but printable ASCII as `\\DDD`. Sorted by name, always the same octets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dkconf.desired.state import TxtRecord

MAX_STRING_OCTETS: Final = 255
# What a name holds unescaped in a master file; all else is written \DDD, so that no name ends a line.
_PLAIN_NAME: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*")


def character_strings(value: bytes) -> tuple[bytes, ...]:
    """`value` cut at 255 octets; an empty value is one empty string."""
    return tuple(value[at : at + MAX_STRING_OCTETS] for at in range(0, len(value), MAX_STRING_OCTETS)) or (b"",)


def quoted(octets: bytes) -> str:
    """`octets` as a <character-string> in quotes."""
    out = []
    for octet in octets:
        if octet in b'"\\':
            out.append("\\" + chr(octet))
        elif 0x20 <= octet < 0x7F:
            out.append(chr(octet))
        else:
            out.append(f"\\{octet:03d}")
    return '"' + "".join(out) + '"'


def master_name(name: str) -> str:
    """`name` as an absolute domain name of a master file."""
    octets = name.encode("idna" if not name.isascii() else "ascii").rstrip(b".")
    return "".join(chr(o) if o in _PLAIN_NAME else f"\\{o:03d}" for o in octets) + "."


def in_order(records: Iterable[TxtRecord]) -> list[TxtRecord]:
    """The records by name from the root down, then by value."""
    return sorted(records, key=lambda r: (r.name.lower().split(".")[::-1], r.value))


def character_string_list(record: TxtRecord) -> list[str]:
    """The record's character strings, each in quotes."""
    return [quoted(piece) for piece in character_strings(record.value)]


def _zone_entry(record: TxtRecord) -> str:
    head = f"{master_name(record.name)}\t{record.ttl}\tIN\tTXT\t"
    strings = character_string_list(record)
    if len(strings) == 1:
        return f"{head}{strings[0]}\n"
    return f"{head}( {strings[0]}\n" + "".join(f"\t{s}\n" for s in strings[1:-1]) + f"\t{strings[-1]} )\n"


def zone_lines(records: Iterable[TxtRecord]) -> str:
    """The records as a master file's lines, sorted by name; long ones in parentheses, a string per line."""
    return "".join(_zone_entry(record) for record in in_order(records))
