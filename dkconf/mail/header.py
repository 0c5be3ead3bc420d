"""Header fields as the octets they are, and messages read from files.

A `HeaderField` keeps its value exactly: everything after the colon, the leading blank included, folds as
CRLF and the blanks that follow, without the CRLF that ends the field. Canonical forms are made elsewhere;
here nothing is lost. RFC 5322 section 2.2; a milter sees the same fields with LF in place of CRLF
(`from_milter`, `milter_value`).
"""

from __future__ import annotations

from collections.abc import Sequence


class HeaderField:
    """One header field: `name` as written (without the colon) and `value` exact; `lower` compares names."""

    __slots__ = ("lower", "name", "value")

    name: bytes
    """As written, with any blanks that stood before the colon."""
    value: bytes
    """Exact after the colon: leading blank included, folds as CRLF + WSP, no final CRLF."""
    lower: bytes
    """The name in lower case, without blanks around it: what names are compared by."""

    def __init__(self, name: bytes, value: bytes) -> None:
        self.name = name
        self.value = value
        self.lower = name.lower().strip()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HeaderField):
            return NotImplemented
        return self.name == other.name and self.value == other.value

    def __hash__(self) -> int:
        return hash((self.name, self.value))

    def __repr__(self) -> str:
        return f"HeaderField({self.name!r}, {self.value!r})"

    def octets(self) -> bytes:
        """Return the field as it stands in a message, with its final CRLF."""
        return b"%b:%b\r\n" % (self.name, self.value)


def from_milter(name: bytes, value: bytes, leading_space: bool) -> HeaderField:
    """Return the field that an MTA's milter packet describes.

    Args:
        name: The name as the packet has it.
        value: The value as the packet has it; folds are LF there (CRLF from some MTAs).
        leading_space: True where SMFIP_HDR_LEADSPC was negotiated, so that the value still has its leading
            blanks.
            Otherwise the MTA has taken one blank off, and one is put back.
    """
    if b"\n" in value:
        value = value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return HeaderField(name, value if leading_space else b" " + value)


def milter_value(value: bytes, *, leading_space: bool) -> bytes:
    """Return a field's value as a milter reply carries it: folds as LF, the leading blank only where it was
    negotiated."""
    if b"\r" in value:
        value = value.replace(b"\r\n", b"\n")
    if not leading_space and value.startswith(b" "):
        value = value[1:]
    return value


def parse_message(octets: bytes) -> tuple[list[HeaderField], bytes]:
    """Return the header fields and the body of a message read from a file.

    Line ends may be LF or CRLF, even mixed; what comes back has CRLF everywhere. A first line `From ...`
    (mbox) is passed over. The first line that is neither a field nor a continuation begins the body, as
    sendmail has it. Never raises.
    """
    if b"\n" in octets:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    position = 0
    if octets.startswith((b"From ", b">From ")):
        position = _line_end(octets, 0)
    fields: list[HeaderField] = []
    name = b""
    start = -1  # where the value of the field being read begins; -1: none is open
    while position < len(octets):
        end = _line_end(octets, position)
        first = octets[position : position + 1]
        if start >= 0 and first in (b" ", b"\t"):
            position = end
            continue
        if start >= 0:
            fields.append(HeaderField(name, _without_crlf(octets[start:position])))
            start = -1
        if first == b"\r" and octets.startswith(b"\r\n", position):
            return fields, octets[end:]
        colon = octets.find(b":", position, end)
        if colon <= position or not _is_name(octets[position:colon]):
            return fields, octets[position:]
        name, start = octets[position:colon], colon + 1
        position = end
    if start >= 0:
        fields.append(HeaderField(name, _without_crlf(octets[start:])))
    return fields, b""


def format_message(fields: Sequence[HeaderField], body: bytes) -> bytes:
    """Return the message as octets, with the empty line between header and body."""
    return b"".join([field.octets() for field in fields]) + b"\r\n" + body


def _line_end(octets: bytes, position: int) -> int:
    end = octets.find(b"\r\n", position)
    return len(octets) if end < 0 else end + 2


def _without_crlf(octets: bytes) -> bytes:
    return octets[:-2] if octets.endswith(b"\r\n") else octets


def _is_name(name: bytes) -> bool:
    """Blanks may stand before the colon (RFC 5322 section 4.5.8), but not within the name."""
    stripped = name.rstrip(b" \t")
    return bool(stripped) and b" " not in stripped and b"\t" not in stripped
