"""RFC 4870 section 3.4.2 written down as plainly as can be: what the fast code is held against."""

from __future__ import annotations

from collections.abc import Sequence

FWS = (9, 10, 13, 32)


def canonical_message(header_lines: Sequence[bytes], body: bytes, canonicalization: str) -> bytes:
    """Return what is hashed: header fields (with folds, without their final CRLF), then the body."""
    lines = body.split(b"\r\n")
    if not lines[-1]:
        lines.pop()
    if canonicalization == "nofws":
        header_lines = [bytes(octet for octet in field if octet not in FWS) for field in header_lines]
        lines = [bytes(octet for octet in line if octet not in FWS) for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    made = b"".join(field + b"\r\n" for field in header_lines)
    if lines:
        made += b"\r\n" + b"".join(line + b"\r\n" for line in lines)
    return made
