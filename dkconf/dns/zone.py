"""TXT records as text: zone lines for a master file, and the forms that other tools take.

Character strings of at most 255 octets (RFC 1035 section 3.3.14), quoted as master files want it (section 5.1): `"`
and `\\` escaped, everything but printable ASCII as `\\DDD`. Sorted by name, always the same octets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from dkconf.errors import UsageProblem

if TYPE_CHECKING:
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


def _sorted(records: Iterable[TxtRecord]) -> list[TxtRecord]:
    return sorted(records, key=lambda r: (r.name.lower().split(".")[::-1], r.value))


def _rdata(record: TxtRecord) -> list[str]:
    return [quoted(piece) for piece in character_strings(record.value)]


def _zone_entry(record: TxtRecord) -> str:
    head = f"{master_name(record.name)}\t{record.ttl}\tIN\tTXT\t"
    strings = _rdata(record)
    if len(strings) == 1:
        return f"{head}{strings[0]}\n"
    return f"{head}( {strings[0]}\n" + "".join(f"\t{s}\n" for s in strings[1:-1]) + f"\t{strings[-1]} )\n"


def zone_lines(records: Iterable[TxtRecord]) -> str:
    """The records as a master file's lines, sorted by name; long ones in parentheses, a string per line."""
    return "".join(_zone_entry(record) for record in _sorted(records))


def _raw(records: Iterable[TxtRecord]) -> str:
    """`NAME<TAB>VALUE`, for a form that wants the joined value and splits by itself."""
    out = []
    for record in _sorted(records):
        value = "".join(chr(o) if 0x20 <= o < 0x7F else f"\\{o:03d}" for o in record.value)
        out.append(f"{record.name}\t{value}\n")
    return "".join(out)


def _quoted(records: Iterable[TxtRecord]) -> str:
    """`NAME<TAB>"..." "..."`, for a form that wants the strings quoted on one line."""
    return "".join(f"{record.name}\t{' '.join(_rdata(record))}\n" for record in _sorted(records))


def _nsupdate(records: Iterable[TxtRecord]) -> str:
    """Input of nsupdate(1): each name's TXT RRset replaced, in one message per record."""
    return "".join(
        f"update delete {master_name(r.name)} TXT\n"
        f"update add {master_name(r.name)} {r.ttl} TXT {' '.join(_rdata(r))}\nsend\n"
        for r in _sorted(records)
    )


FORMS: Final[Mapping[str, Callable[[Iterable[TxtRecord]], str]]] = {
    "bind": zone_lines,
    "quoted": _quoted,
    "raw": _raw,
    "nsupdate": _nsupdate,
}


def text(records: Iterable[TxtRecord], form: str = "bind") -> str:
    """The records in one of `FORMS`.

    Raises:
        UsageProblem: No such form.
    """
    if form not in FORMS:
        raise UsageProblem(f"{form}: is no form of records; take one of {', '.join(FORMS)}")
    return FORMS[form](records)
