"""Records in the forms that DNS tools and web forms take: zone lines, one-line strings, the joined value, nsupdate.

All are sorted by name and always the same octets. The lines of a master file are `desired`'s, which renders them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from dkconf.desired.state import TxtRecord
from dkconf.desired.zonetext import character_string_list, in_order, master_name, zone_lines
from dkconf.errors import UsageProblem

__all__ = ["FORMS", "text", "zone_lines"]


def _raw(records: Iterable[TxtRecord]) -> str:
    """`NAME<TAB>VALUE`, for a form that wants the joined value and splits by itself."""
    out = []
    for record in in_order(records):
        value = "".join(chr(o) if 0x20 <= o < 0x7F else f"\\{o:03d}" for o in record.value)
        out.append(f"{record.name}\t{value}\n")
    return "".join(out)


def _quoted(records: Iterable[TxtRecord]) -> str:
    """`NAME<TAB>"..." "..."`, for a form that wants the strings quoted on one line."""
    return "".join(f"{record.name}\t{' '.join(character_string_list(record))}\n" for record in in_order(records))


def _nsupdate(records: Iterable[TxtRecord]) -> str:
    """Input of nsupdate(1): each name's TXT RRset replaced, in one message per record."""
    return "".join(
        f"update delete {master_name(r.name)} TXT\n"
        f"update add {master_name(r.name)} {r.ttl} TXT {' '.join(character_string_list(r))}\nsend\n"
        for r in in_order(records)
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
