"""Canonical forms of header fields and bodies: RFC 6376 section 3.4.

A body arrives in pieces that may be split anywhere, between CR and LF too, and none of it is kept: what is
held back at the end of a piece is a count of CRLFs, and whether blanks and a CR stood there. Each piece is
brought into canonical form by `split` and `strip` at the places that need it, and only if there are any.

Where the RFC leaves room: a last line without CRLF gets one (3.4.3, 3.4.4); in relaxed form blanks at its
end go first, so that a body of nothing but blanks is empty and hashes as nothing. A CR or LF that stands
alone is an octet like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from dkconf.dkim.blanks import relaxed_blanks
from dkconf.mail.octets import LineEnds

CANONICALIZATIONS = ("simple", "relaxed")
_WSP = b" \t"


# -- header fields -----------------------------------------------------------------------------------------


def relaxed_value(value: bytes) -> bytes:
    """Return a field's value in relaxed form, without the CRLF that ends the field (RFC 6376 section 3.4.2)."""
    return b" ".join(value.split()) if splits_plainly(value) else relaxed_value_exactly(value)


def splits_plainly(values: bytes) -> bool:
    """Return True if `split()` cuts values where the RFC does: the fastest way by far to relax them.

    `split` takes \\v and \\f for blanks as well, and a CR or LF that folds nothing. Several values can be asked for at
    once, joined by a letter.
    """
    others = len(values) - len(values.translate(None, b"\r\n\v\f"))
    # Each fold has two of these octets; nothing else may have any.
    return not others or others == 2 * (values.count(b"\r\n ") + values.count(b"\r\n\t"))


def relaxed_value_exactly(value: bytes) -> bytes:
    """Return the same where `split()` would not do."""
    text = value.replace(b"\r\n", b"").replace(b"\t", b" ")
    while b"  " in text:  # each pass halves the longest run
        text = text.replace(b"  ", b" ")
    return text.strip(b" ")


def relaxed_field(lower: bytes, value: bytes) -> bytes:
    """Return a field in relaxed form with its CRLF; `lower` is its name in lower case without blanks."""
    return b"%b:%b\r\n" % (lower, relaxed_value(value))


def simple_field(name: bytes, value: bytes) -> bytes:
    """Return a field in simple form, which is as it stands, with its CRLF (RFC 6376 section 3.4.1)."""
    return b"%b:%b\r\n" % (name, value)


# -- bodies ------------------------------------------------------------------------------------------------


class SimpleBody:
    """The simple form of a body (RFC 6376 section 3.4.3), piece by piece."""

    __slots__ = ("_ends", "feed")

    def __init__(self) -> None:
        self._ends = LineEnds()
        self.feed = self._ends.feed
        """Takes a piece, and returns the canonical octets that are certain now."""

    def finish(self) -> list[bytes | memoryview]:
        """Return the rest: a lone CR if one ends the body, and one CRLF, which even an empty body gets."""
        return [*self._ends.finish(), b"\r\n"]


class RelaxedBody:
    """The relaxed form of a body (RFC 6376 section 3.4.4), piece by piece."""

    __slots__ = ("_any", "_blank", "_cr", "_ends")

    def __init__(self) -> None:
        self._ends = LineEnds()
        self._blank = False  # blanks that may be followed by a line end
        self._cr = False  # a CR whose LF may be in the next piece
        self._any = False  # something has been given out

    def feed(self, chunk: bytes | memoryview) -> list[bytes | memoryview]:
        """Return the canonical octets that are certain now."""
        if self._blank or self._cr:
            data = b"".join((b" " if self._blank else b"", b"\r" if self._cr else b"", chunk))
            self._blank = self._cr = False
        else:
            data = bytes(chunk)
        if not data.endswith(b"\n"):
            data = self._without_open_end(data)
        if b"\t" in data:
            data = data.replace(b"\t", b" ")
        if b" " in data:
            data = relaxed_blanks(data)
        pieces = self._ends.feed(data)
        if pieces:
            self._any = True
        return pieces

    def _without_open_end(self, data: bytes) -> bytes:
        """Return the data without the blanks, or the CR, or both, that may turn out to be the end of a line."""
        self._cr = data.endswith(b"\r")
        if self._cr:
            data = data[:-1]
        self._blank = data.endswith((b" ", b"\t"))
        return _rstripped(data) if self._blank else data

    def finish(self) -> list[bytes | memoryview]:
        """Return the rest: a lone CR if one stands in the last line, and one CRLF unless the body is empty."""
        rest = self._ends.feed(b" \r" if self._blank else b"\r") if self._cr else []
        # A CR behind which blanks were dropped is held back there still: a body of that alone is not empty.
        rest += self._ends.finish()
        return [*rest, b"\r\n"] if rest or self._any else []


def _rstripped(data: bytes) -> bytes:
    """Return the data without blanks and tabs at its end."""
    end = data[-_FEW_BLANKS:]
    bare = end.rstrip(_WSP)
    if bare:
        return data[: len(bare) - len(end)]
    # A long run: `rstrip()` goes ten times as fast, but takes line ends as well.
    bare = data.rstrip()
    end = data[len(bare) :]
    if b"\r" in end or b"\n" in end or b"\v" in end or b"\f" in end:
        return bare + end.rstrip(_WSP)
    return bare


_FEW_BLANKS = 32


_FORMS: dict[str, type[SimpleBody] | type[RelaxedBody]] = {"simple": SimpleBody, "relaxed": RelaxedBody}


class HashKey(NamedTuple):
    """What a body hash depends on; signatures with equal keys share one."""

    canonicalization: str
    hash_name: str
    length: int | None = None
    """l=: canonical octets that are hashed; None = all."""


class BodyHash:
    """One hash over a canonical body or its beginning."""

    __slots__ = ("_hash", "_left", "octets")

    octets: int
    """Canonical octets of the body so far, beyond l= too."""

    def __init__(self, hash_name: str, length: int | None) -> None:
        self._hash: Any = hashlib.sha1(usedforsecurity=False) if hash_name == "sha1" else hashlib.sha256()
        self._left = length
        self.octets = 0

    def add(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Hash canonical octets, as far as l= reaches."""
        for piece in pieces:
            size = len(piece)
            self.octets += size
            if self._left is None:
                self._hash.update(piece)
            elif self._left:
                self._hash.update(piece if size <= self._left else piece[: self._left])
                self._left -= min(size, self._left)

    def digest(self) -> bytes:
        """Return the digest of what has been hashed."""
        return bytes(self._hash.digest())


class BodyHasher:
    """One streaming body hash: `BodyHasher(*hash_key)`, then `update` for each piece, then `digest`."""

    __slots__ = ("_body", "_finished", "_hash")

    def __init__(self, canonicalization: str, hash_name: str = "sha256", length: int | None = None) -> None:
        """Begin.

        Args:
            canonicalization: `simple` or `relaxed`.
            hash_name: `sha256` or `sha1`.
            length: l=, canonical octets to hash; None = all.
        """
        self._body = _FORMS[canonicalization]()
        self._hash = BodyHash(hash_name, length)
        self._finished = False

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next piece of the body as received; it may be split anywhere."""
        self._hash.add(self._body.feed(chunk))

    def digest(self) -> bytes:
        """Return the body hash; no update may follow."""
        if not self._finished:
            self._finished = True
            self._hash.add(self._body.finish())
        return self._hash.digest()

    @property
    def octets(self) -> int:
        """The length of the canonical body in octets; whole after `digest`."""
        return self._hash.octets


class BodyHashes:
    """All the body hashes that a message needs; each canonical form is made once, however many hashes share
    it."""

    __slots__ = ("_finished", "_hashes", "_pairs")

    def __init__(self, keys: Iterable[HashKey]) -> None:
        self._hashes: dict[HashKey, BodyHash] = {}
        self._finished = False
        sinks: dict[str, list[BodyHash]] = {}
        for key in dict.fromkeys(keys):
            self._hashes[key] = BodyHash(key.hash_name, key.length)
            sinks.setdefault(key.canonicalization, []).append(self._hashes[key])
        self._pairs = [(_FORMS[form](), hashes) for form, hashes in sinks.items()]

    def __len__(self) -> int:
        return len(self._hashes)

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next piece of the body as received; it may be split anywhere."""
        for body, hashes in self._pairs:
            pieces = body.feed(chunk)
            for each in hashes:
                each.add(pieces)

    def __getitem__(self, key: HashKey) -> BodyHash:
        """Return the finished hash for a key; no update may follow."""
        if not self._finished:
            self._finished = True
            for body, hashes in self._pairs:
                pieces = body.finish()
                for each in hashes:
                    each.add(pieces)
        return self._hashes[key]
