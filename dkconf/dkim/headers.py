"""Which header fields a signature covers, in which order: RFC 6376 sections 5.4.2 and 3.7."""

from __future__ import annotations

from collections.abc import Sequence

from dkconf.dkim.canonical import relaxed_field, relaxed_value_exactly, simple_field, splits_plainly
from dkconf.mail.header import HeaderField


class HeaderPool:
    """The fields of a message, out of which each of its signatures takes those that it covers."""

    __slots__ = ("_bottom", "_fields", "_plain", "_relaxed")

    def __init__(self, fields: Sequence[HeaderField], *, several: bool = False) -> None:
        """`several`: more than one signature takes from it, so relaxed fields are kept."""
        self._fields = fields
        self._relaxed: dict[int, bytes] | None = {} if several else None
        self._bottom = {field.lower: field for field in fields}
        # Whether `split` alone gives relaxed values; not known yet.
        self._plain: bool | None = None

    def canonical(self, names: Sequence[bytes], canonicalization: str, own: int = -1) -> bytes:
        """Return the canonical header fields that h= names, each with its CRLF.

        A name takes the bottom-most field of that name not yet taken; a name without a field adds nothing.

        Args:
            names: h= in lower case.
            canonicalization: `simple` or `relaxed`.
            own: Position of the signature's own field, which is never among them.
        """
        fields, bottom = self._fields, self._bottom
        once = dict.fromkeys(names)
        if (len(bottom) == len(fields) or len(once) == len(names)) and (own < 0 or fields[own].lower not in once):
            # The usual case: no name takes more than the bottom-most field.
            chosen = [bottom[name] for name in once if name in bottom]
        else:
            chosen = self._taken(names, own)
        if canonicalization == "simple":
            return b"".join([simple_field(field.name, field.value) for field in chosen])
        if self._relaxed is not None:
            return self._kept(chosen, self._relaxed)
        if self._splits_plainly():
            return b"".join([b"%b:%b\r\n" % (field.lower, b" ".join(field.value.split())) for field in chosen])
        return b"".join([relaxed_field(field.lower, field.value) for field in chosen])

    def _kept(self, chosen: Sequence[HeaderField], kept: dict[int, bytes]) -> bytes:
        """Fields in relaxed form, each made once; the fields are there as long as the pool is."""
        plain = self._splits_plainly()
        out = []
        for field in chosen:
            relaxed = kept.get(id(field))
            if relaxed is None:
                value = b" ".join(field.value.split()) if plain else relaxed_value_exactly(field.value)
                relaxed = kept[id(field)] = b"%b:%b\r\n" % (field.lower, value)
            out.append(relaxed)
        return b"".join(out)

    def own_field(self, own: int, emptied: bytes, canonicalization: str) -> bytes:
        """Return the canonical signature field, without a final CRLF.

        Args:
            own: Its position.
            emptied: Its value without that of b=.
            canonicalization: `simple` or `relaxed`.
        """
        field = self._fields[own]
        if canonicalization == "simple":
            return simple_field(field.name, emptied)[:-2]
        if self._splits_plainly():
            # What is true of a value is true of it without b=, which ends where a tag ends.
            return b"%b:%b" % (field.lower, b" ".join(emptied.split()))
        return relaxed_field(field.lower, emptied)[:-2]

    def _taken(self, names: Sequence[bytes], own: int) -> list[HeaderField]:
        left: dict[bytes, list[HeaderField]] = {}
        for position, field in enumerate(self._fields):
            if position != own:
                left.setdefault(field.lower, []).append(field)
        return [left[name].pop() for name in names if left.get(name)]

    def _splits_plainly(self) -> bool:
        if self._plain is None:
            self._plain = splits_plainly(b"x".join([field.value for field in self._fields]))
        return self._plain
