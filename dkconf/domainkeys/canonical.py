"""Canonical forms "simple" and "nofws": RFC 4870 section 3.4.2.

Header and body go into one SHA-1 stream, the empty line between them included. That line counts as the
first of the empty lines held back, so that no body, no separator and only empty lines all come out the
same: the header alone.

Where the RFC leaves room: a last line without CRLF gets one; a CR or LF that stands alone is dropped in
nofws and kept in simple.
"""

from __future__ import annotations

from typing import Any

from dkconf.mail.octets import crlfs, trailing_crlfs

CANONICALIZATIONS = ("simple", "nofws")
_FWS = b" \t\r\n"


def canonical_field(name: bytes, value: bytes, canonicalization: str) -> bytes:
    """Return a header field in canonical form with its CRLF; its name keeps its case in both forms."""
    if canonicalization == "simple":
        return b"%b:%b\r\n" % (name, value)
    return b"%b:%b\r\n" % (name.translate(None, _FWS), value.translate(None, _FWS))


class BodyStream:
    """Feeds the canonical body into SHA-1 objects that have been fed with a header already.

    Several signatures of one message have different headers and the same body: `share` lets them have one pass.
    """

    __slots__ = ("_any", "_cr", "_finished", "_hashes", "_nofws", "_pending")

    def __init__(self, canonicalization: str, sha1: Any) -> None:
        """Begin.

        Args:
            canonicalization: `simple` or `nofws`.
            sha1: A hash object that holds the canonical header.
        """
        self._hashes = [sha1]
        self._nofws = canonicalization == "nofws"
        self._pending = 1  # empty lines held back; the first is the separator
        self._any = False  # a body line has been given out
        self._cr = False  # a CR whose LF may be in the next piece
        self._finished = False

    def share(self, sha1: Any) -> int:
        """Take one more hash object, before the first update; return its number for `digest`."""
        self._hashes.append(sha1)
        return len(self._hashes) - 1

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next piece of the body as received; it may be split anywhere."""
        data = b"\r" + bytes(chunk) if self._cr else bytes(chunk)
        self._cr = data.endswith(b"\r")
        if self._cr:
            data = data[:-1]
        if self._nofws:
            data, tail = _without_blanks(data)
        else:
            tail = trailing_crlfs(data)
            if tail:
                data = data[: len(data) - 2 * tail]
        if not data:
            self._pending += tail
            return
        self._release()
        self._pending = tail
        self._add(data)

    def _add(self, data: bytes) -> None:
        for sha1 in self._hashes:
            sha1.update(data)

    def _release(self) -> None:
        """Hash the empty lines held back: what follows them is a line with something in it."""
        for piece in crlfs(self._pending):
            self._add(piece)
        self._any = True

    def digest(self, number: int = 0) -> bytes:
        """Return the digest of a header and the body; no update may follow."""
        if not self._finished:
            self._finished = True
            if self._cr and not self._nofws:
                self._release()
                self._add(b"\r")
            if self._any:
                self._add(b"\r\n")
        return bytes(self._hashes[number].digest())


def _without_blanks(data: bytes) -> tuple[bytes, int]:
    """Return the data without blanks, lone CRs and LFs, and the CRLFs at their end; and how many those were."""
    if data.count(b"\r\n") == data.count(b"\n"):
        # Every LF ends a line: the CRs go with the blanks, and come back. Half the cost of looking at each line.
        lines = data.translate(None, b" \t\r")
        text = lines.rstrip(b"\n")
        return text.replace(b"\n", b"\r\n"), len(lines) - len(text)
    data = b"\r\n".join([line.translate(None, _FWS) for line in data.split(b"\r\n")])
    tail = trailing_crlfs(data)
    return data[: len(data) - 2 * tail], tail
