"""Keeps private keys out of everything that is shown or kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BEGIN = "PRIVATE KEY-----"
"""Ends the first and the last line of a PEM private key of any kind (PKCS#1, PKCS#8, SEC 1, OpenSSH)."""
HIDDEN = "[private key, not shown]"


def has_private_key(content: bytes) -> bool:
    """Return whether the octets hold a PEM private key."""
    return BEGIN.encode() in content


def redact(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, with one line in place of each PEM private key.

    A block that never ends is hidden to the end: too much hidden is the better fault.
    """
    inside = False
    for line in lines:
        begins = "-----BEGIN" in line and BEGIN in line
        ends = "-----END" in line and BEGIN in line
        if begins and not inside:
            yield line[: line.index("-----BEGIN")] + HIDDEN
        inside = (inside or begins) and not ends
        if not inside and not begins and not ends:
            yield line
