"""Canonical forms "simple" and "nofws": RFC 4870 section 3.4.2.

Header and body go into one SHA-1 stream, the empty line between them included. That line counts as the
first of the empty lines held back, so that no body, no separator and only empty lines all come out the
same: the header alone.

Where the RFC leaves room: a last line without CRLF gets one; a CR or LF that stands alone is dropped in
nofws and kept in simple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dkconf.mail.octets import LineEnds

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

    __slots__ = ("_any", "_cr", "_ends", "_finished", "_hashes", "_nofws")

    def __init__(self, canonicalization: str, sha1: Any) -> None:
        """Begin.

        Args:
            canonicalization: `simple` or `nofws`.
            sha1: A hash object that holds the canonical header.
        """
        self._hashes = [sha1]
        self._nofws = canonicalization == "nofws"
        self._ends = LineEnds(1)  # one empty line is held back already: the separator
        self._any = False  # a body line has been given out
        self._cr = False  # nofws: a CR whose LF may be in the next piece
        self._finished = False

    def share(self, sha1: Any) -> int:
        """Take one more hash object, before the first update; return its number for `digest`."""
        self._hashes.append(sha1)
        return len(self._hashes) - 1

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next piece of the body as received; it may be split anywhere."""
        if self._nofws:
            data = b"\r" + bytes(chunk) if self._cr else bytes(chunk)
            self._cr = data.endswith(b"\r")
            chunk = _without_blanks(data[:-1] if self._cr else data)
        self._add(self._ends.feed(chunk))

    def _add(self, pieces: Sequence[bytes | memoryview]) -> None:
        for piece in pieces:
            self._any = True
            for sha1 in self._hashes:
                sha1.update(piece)

    def digest(self, number: int = 0) -> bytes:
        """Return the digest of a header and the body; no update may follow."""
        if not self._finished:
            self._finished = True
            self._add(self._ends.finish())
            if self._any:
                self._add([b"\r\n"])
        return bytes(self._hashes[number].digest())


def _without_blanks(data: bytes) -> bytes:
    """Return the data without blanks, lone CRs and LFs."""
    text = data.translate(None, b" \t") if b" " in data or b"\t" in data else data
    if len(text) - len(text.translate(None, b"\r\n")) == 2 * data.count(b"\r\n"):
        # All of them are line ends. Looking at each line would cost more than twice as much.
        return text
    return b"\r\n".join([line.translate(None, _FWS) for line in data.split(b"\r\n")])
