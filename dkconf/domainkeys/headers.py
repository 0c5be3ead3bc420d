"""Which header fields a DomainKeys signature covers, in which order: RFC 4870 sections 3.3 and 3.4.

Only fields below the signature count. Without h= all of them do, in message order. With h= two readings
exist; here it is the order of h=: a name takes the bottom-most field of that name not yet taken, and its
first mention takes all that are left. A signer that lists every field and every occurrence gives the same
octets under both readings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dkconf.domainkeys.canonical import canonical_field
from dkconf.mail.header import HeaderField


def chosen(below: Sequence[HeaderField], names: Sequence[bytes] | None) -> list[HeaderField]:
    """Return the fields that are signed, in the order in which they are hashed.

    Args:
        below: The fields below the signature, top to bottom.
        names: h= in lower case; None = no h=.
    """
    if names is None:
        return list(below)
    count = Counter(names)
    pool: dict[bytes, list[HeaderField]] = {name: [] for name in count}
    for field in below:
        same = pool.get(field.lower)
        if same is not None:
            same.append(field)
    groups: list[list[HeaderField]] = []  # from the last name of h= to the first
    for name in reversed(names):
        count[name] -= 1
        left = pool[name]
        if not left:
            continue
        if count[name]:
            groups.append([left.pop()])
        else:
            groups.append(left)
            pool[name] = []
    return [field for group in reversed(groups) for field in group]


class CanonicalFields:
    """The canonical octets of a message's fields, each made once, however many signatures cover it."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], bytes] = {}

    def header(self, fields: Sequence[HeaderField], canonicalization: str) -> bytes:
        """Return the canonical octets of fields, each with its CRLF; the fields are there as long as this is."""
        kept = self._kept
        out = []
        for field in fields:
            octets = kept.get((id(field), canonicalization))
            if octets is None:
                octets = canonical_field(field.name, field.value, canonicalization)
                kept[id(field), canonicalization] = octets
            out.append(octets)
        return b"".join(out)


def canonical_header(fields: Sequence[HeaderField], canonicalization: str) -> bytes:
    """Return the canonical octets of fields, each with its CRLF."""
    return b"".join([canonical_field(field.name, field.value, canonicalization) for field in fields])
