"""Base64 as signatures and key records carry it: blanks anywhere, padding optional, nothing else forgiven."""

from __future__ import annotations

import binascii

from dkconf.mail.taglist import without_blanks


def decode(value: bytes) -> bytes | None:
    """Return the octets, or None if the value is not base64.

    RFC 6376 section 2.10: folding white space may stand anywhere, and the grammar leaves the padding
    optional.
    """
    compact = without_blanks(value)
    if len(compact) % 4 and not compact.endswith(b"="):
        compact += b"=" * (-len(compact) % 4)
    try:
        return binascii.a2b_base64(compact, strict_mode=True)
    except binascii.Error:
        return None


def encode(octets: bytes) -> bytes:
    """Return the base64 text on one line, without a line end."""
    return binascii.b2a_base64(octets, newline=False)
