"""RFC 6376 section 3.4 written down as plainly as can be: what the fast code is held against."""

from __future__ import annotations


def collapse(octets: bytes) -> bytes:
    """Return the octets with each run of blanks and tabs as one blank."""
    made = bytearray()
    for octet in octets:
        if octet in b" \t":
            if not made.endswith(b" "):
                made += b" "
        else:
            made.append(octet)
    return bytes(made)


def canonical_body(body: bytes, canonicalization: str) -> bytes:
    """Return the canonical body."""
    lines = body.split(b"\r\n")
    if canonicalization == "relaxed":
        lines = [collapse(line.rstrip(b" \t")) for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return b"\r\n" if canonicalization == "simple" else b""
    return b"".join(line + b"\r\n" for line in lines)


def relaxed_header_value(value: bytes) -> bytes:
    """Return a field's value in relaxed form."""
    return collapse(value.replace(b"\r\n", b"")).strip(b" ")
