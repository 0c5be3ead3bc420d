"""Which header fields a signature covers, in which order: RFC 6376 sections 5.4.2 and 3.7."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dkconf.dkim.canonical import relaxed_field, simple_field, splits_plainly
from dkconf.mail.header import HeaderField


class HeaderPool:
    """The fields of a message by name, in relaxed form where several signatures ask for it."""

    __slots__ = ("_fields", "_plain", "_positions", "_relaxed")

    def __init__(self, fields: Sequence[HeaderField]) -> None:
        self._fields = fields
        self._relaxed: dict[int, bytes] = {}
        self._plain: bool | None = None  # whether `split` alone gives relaxed values; not known yet
        self._positions: dict[bytes, list[int]] = {}
        for position, field in enumerate(fields):
            same = self._positions.get(field.lower)
            if same is None:
                self._positions[field.lower] = [position]
            else:
                same.append(position)

    def canonical(self, names: Iterable[bytes], canonicalization: str, own: int = -1) -> bytes:
        """Return the canonical header fields that h= names, each with its CRLF.

        A name takes the bottom-most field of that name not yet taken; a name without a field adds nothing.

        Args:
            names: h= in lower case.
            canonicalization: `simple` or `relaxed`.
            own: Position of the signature's own field, which is never among them.
        """
        positions, make = self._positions, self._simple_field if canonicalization == "simple" else self._relaxed_field
        taken: dict[bytes, int] = {}
        pieces: list[bytes] = []
        for name in names:
            same = positions.get(name)
            if same is None:
                continue
            left = taken.get(name, len(same)) - 1
            if left >= 0 and same[left] == own:
                left -= 1
            if left < 0:
                continue
            taken[name] = left
            pieces.append(make(same[left]))
        return b"".join(pieces)

    def _simple_field(self, position: int) -> bytes:
        field = self._fields[position]
        return simple_field(field.name, field.value)

    def _relaxed_field(self, position: int) -> bytes:
        found = self._relaxed.get(position)
        if found is None:
            field = self._fields[position]
            if self._plain is None:
                self._plain = splits_plainly(b"x".join([each.value for each in self._fields]))
            if self._plain:
                found = b"%b:%b\r\n" % (field.lower, b" ".join(field.value.split()))
            else:
                found = relaxed_field(field.lower, field.value)
            self._relaxed[position] = found
        return found


def own_field(name: bytes, value: bytes, canonicalization: str) -> bytes:
    """Return the canonical signature field, given with its b= emptied, without a final CRLF."""
    if canonicalization == "simple":
        return simple_field(name, value)[:-2]
    return relaxed_field(name.lower().strip(), value)[:-2]
