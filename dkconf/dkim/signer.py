"""Signing: RFC 6376 section 5, RFC 8301, RFC 8463.

A `Signer` is made once per key and holds all that does not depend on the message. `begin` takes the header
at its end; the job it returns needs one body hash (`hash_key`, shared between signers that agree on it);
`finish` gives the field, to be put on top of the message. Its value has a leading blank and is folded with
CRLF + TAB.

Which fields are signed: those of the list that are there, every occurrence. A field that must not be added
later is named once more than it occurs (oversigning). What is not there is not named, but for From:
sendmail adds a missing Date or Message-ID after the filter, and would break a signature that promised their
absence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from dkconf.crypto.keys import PrivateKey
from dkconf.dkim.canonical import (
    CANONICALIZATIONS,
    HashKey,
    relaxed_field,
    relaxed_value,
    simple_field,
    splits_plainly,
)
from dkconf.dkim.choice import DEFAULT_OVERSIGN, DEFAULT_SIGN_HEADERS
from dkconf.errors import DkconfError
from dkconf.mail import base64
from dkconf.mail.domain import is_domain, within
from dkconf.mail.folding import FOLD, fold_text, fold_words
from dkconf.mail.header import HeaderField

FIELD_NAME = b"DKIM-Signature"
MIN_RSA_BITS = 1024
"""RFC 8301 section 3.2: signers MUST use at least 1024 bits."""
LINE_WIDTH = 76
"""Octets of a folded line; RFC 5322 section 2.1.1 asks for 78 at most."""
CACHED_NAME_LISTS = 256


class SignerProblem(DkconfError):
    """The settings cannot make a signature that verifies; found when the filter starts."""


class CannotSign(DkconfError):
    """This message must not be signed; the message says why (RFC 6376 section 5.4: From MUST be signed)."""


class Signer:
    """Signs with one key; holds no state of any message."""

    __slots__ = (
        "_always",
        "_auid",
        "_ed25519",
        "_head",
        "_key",
        "_name_lists",
        "_oversign",
        "_relaxed",
        "_wanted",
        "domain",
        "hash_key",
        "selector",
        "ttl_seconds",
    )

    domain: bytes
    selector: bytes
    hash_key: HashKey
    """The body hash that every message of this signer needs."""
    ttl_seconds: int
    """x= is t= plus this; 0 = no x=."""

    def __init__(
        self,
        domain: str,
        selector: str,
        key: PrivateKey,
        header_canon: str = "relaxed",
        body_canon: str = "simple",
        sign_headers: Iterable[str] = DEFAULT_SIGN_HEADERS,
        oversign: Iterable[str] = DEFAULT_OVERSIGN,
        ttl_seconds: int = 0,
        auid: str = "",
    ) -> None:
        """Make a signer.

        Args:
            domain: d=.
            selector: s=.
            key: RSA of at least 1024 bits, or Ed25519; it decides on a=.
            header_canon: `simple` or `relaxed`.
            body_canon: Likewise.
            sign_headers: Names signed where present, in this order in h=; From is added if it is missing.
            oversign: Names mentioned once more than they occur, if they occur; From always.
            ttl_seconds: Lifetime of a signature; 0 = unlimited.
            auid: i=; empty = none is written.

        Raises:
            SignerProblem: No verifier would accept the result.
        """
        self.domain, self.selector = domain.lower().encode("ascii"), selector.lower().encode("ascii")
        if not is_domain(self.domain) or not is_domain(self.selector):
            raise SignerProblem(f"{selector}._domainkey.{domain} is not a domain name")
        if key.algorithm == "rsa" and key.bits < MIN_RSA_BITS:
            raise SignerProblem(
                f"{selector}._domainkey.{domain}: the RSA key has {key.bits} bits; DKIM needs {MIN_RSA_BITS}, best 2048"
            )
        if header_canon not in CANONICALIZATIONS or body_canon not in CANONICALIZATIONS:
            raise SignerProblem(f"{header_canon}/{body_canon}: canonicalizations are simple and relaxed")
        if auid and not within(auid.rpartition("@")[2].lower().encode("utf-8"), self.domain):
            raise SignerProblem(f"i={auid} is not within d={domain}")
        self._key = key
        self._ed25519 = key.algorithm == "ed25519"
        self._relaxed = header_canon == "relaxed"
        self.hash_key = HashKey(body_canon, "sha256", None)
        self.ttl_seconds = ttl_seconds
        wanted = [name.lower().encode("ascii") for name in sign_headers]
        self._wanted = tuple(dict.fromkeys(wanted if b"from" in wanted else [b"from", *wanted]))
        self._oversign = frozenset(name.lower().encode("ascii") for name in oversign) | {b"from"}
        tags = [
            b"v=1;",
            b"a=ed25519-sha256;" if self._ed25519 else b"a=rsa-sha256;",
            b"c=%b/%b;" % (header_canon.encode("ascii"), body_canon.encode("ascii")),
            b"d=%b;" % self.domain,
            b"s=%b;" % self.selector,
        ]
        if auid:
            tags.append(b"i=%b;" % _quoted_printable(auid))
        self._head = b" " + fold_words(tags, len(FIELD_NAME) + 2, LINE_WIDTH)
        self._name_lists: dict[tuple[bytes, ...], bytes] = {}

    def begin(self, fields: Sequence[HeaderField]) -> SigningJob:
        """Return a job for a message, whose header is hashed at once and not kept.

        Raises:
            CannotSign: There is no From.
        """
        found: dict[bytes, list[HeaderField]] = {name: [] for name in self._wanted}
        for field in fields:
            same = found.get(field.lower)
            if same is not None:
                same.append(field)
        if not found[b"from"]:
            raise CannotSign("no From field")
        names: list[bytes] = []
        pieces: list[bytes] = []
        relaxed, oversign = self._relaxed, self._oversign
        plain = relaxed and splits_plainly(b"x".join([field.value for same in found.values() for field in same]))
        for name, same in found.items():
            if not same:
                continue
            for field in reversed(same):  # the bottom-most is taken first
                names.append(name)
                if plain:
                    pieces.append(b"%b:%b\r\n" % (name, b" ".join(field.value.split())))
                elif relaxed:
                    pieces.append(relaxed_field(name, field.value))
                else:
                    pieces.append(simple_field(field.name, field.value))
            if name in oversign:
                names.append(name)
        return SigningJob(self, self._folded_names(tuple(names)), hashlib.sha256(b"".join(pieces)))

    def _folded_names(self, names: tuple[bytes, ...]) -> bytes:
        """Return the h= tag, folded; the same lists come again and again."""
        folded = self._name_lists.get(names)
        if folded is None:
            folded = b"h=" + fold_words(names, 3, LINE_WIDTH, b":") + b";"
            if len(self._name_lists) >= CACHED_NAME_LISTS:
                self._name_lists.clear()
            self._name_lists[names] = folded
        return folded


class SigningJob:
    """One message being signed by one signer."""

    __slots__ = ("_hash", "_names", "_signer", "hash_key")

    hash_key: HashKey
    """The body hash that `finish` needs."""

    def __init__(self, signer: Signer, names: bytes, header_hash: Any) -> None:
        self._signer = signer
        self._names = names
        self._hash = header_hash
        self.hash_key = signer.hash_key

    def finish(self, body_digest: bytes, now: int) -> HeaderField:
        """Return the DKIM-Signature field.

        Args:
            body_digest: The finished hash for `hash_key`.
            now: t=, seconds since 1970.
        """
        signer = self._signer
        times = b"t=%d; x=%d;" % (now, now + signer.ttl_seconds) if signer.ttl_seconds else b"t=%d;" % now
        unsigned = FOLD.join((signer._head, times, self._names, b"bh=%b;" % base64.encode(body_digest), b"b="))
        if signer._relaxed:
            self._hash.update(b"dkim-signature:" + relaxed_value(unsigned))
        else:
            self._hash.update(simple_field(FIELD_NAME, unsigned)[:-2])
        digest = self._hash.digest()
        sign = signer._key.sign_ed25519 if signer._ed25519 else signer._key.sign_sha256
        text = base64.encode(sign(digest))
        return HeaderField(FIELD_NAME, unsigned + fold_text(text, LINE_WIDTH - 3, LINE_WIDTH - 1))


_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b'=;"(),:\\<>[]')


def _quoted_printable(auid: str) -> bytes:
    """Return i= as dkim-quoted-printable (RFC 6376 section 2.11)."""
    return b"".join(bytes([octet]) if octet in _PLAIN else b"=%02X" % octet for octet in auid.encode("utf-8"))
