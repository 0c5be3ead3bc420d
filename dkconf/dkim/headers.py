"""Which header fields a signature covers, in which order: RFC 6376 sections 5.4.2 and 3.7."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dkconf.dkim.canonical import relaxed_field, simple_field
from dkconf.mail.header import HeaderField


class HeaderPool:
    """The fields of a message by name, in relaxed form where several signatures ask for it."""

    __slots__ = ("_fields", "_positions", "_relaxed")

    def __init__(self, fields: Sequence[HeaderField]) -> None:
        self._fields = fields
        self._relaxed: dict[int, bytes] = {}
        self._positions: dict[bytes, list[int]] = {}
        for position, field in enumerate(fields):
            self._positions.setdefault(field.lower, []).append(position)

    def canonical(self, names: Iterable[bytes], canonicalization: str, own: int = -1) -> bytes:
        """Return the canonical header fields that h= names, each with its CRLF.

        A name takes the bottom-most field of that name not yet taken; a name without a field adds nothing.

        Args:
            names: h= in lower case.
            canonicalization: `simple` or `relaxed`.
            own: Position of the signature's own field, which is never among them.
        """
        taken: dict[bytes, int] = {}
        pieces: list[bytes] = []
        for name in names:
            positions = self._positions.get(name)
            if positions is None:
                continue
            left = taken.get(name, len(positions)) - 1
            if left >= 0 and positions[left] == own:
                left -= 1
            taken[name] = max(left, 0)
            if left >= 0:
                pieces.append(self._canonical_field(positions[left], canonicalization))
        return b"".join(pieces)

    def _canonical_field(self, position: int, canonicalization: str) -> bytes:
        field = self._fields[position]
        if canonicalization == "simple":
            return simple_field(field.name, field.value)
        found = self._relaxed.get(position)
        if found is None:
            found = self._relaxed[position] = relaxed_field(field.lower, field.value)
        return found


def own_field(name: bytes, value: bytes, canonicalization: str) -> bytes:
    """Return the canonical signature field, given with its b= emptied, without a final CRLF."""
    if canonicalization == "simple":
        return simple_field(name, value)[:-2]
    return relaxed_field(name.lower().strip(), value)[:-2]
