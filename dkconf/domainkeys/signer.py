"""Signing: RFC 4870 section 3.5, in the form in which dk-filter wrote it, and always with h=.

The field goes on top of all that it signs: directly below the Received that the MTA adds itself. Its value
has a leading blank and is folded with CRLF + TAB. Whether a message may be signed (who sent it, whether it
has a signature already) is local policy and is decided elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from dkconf.crypto.keys import PrivateKey
from dkconf.domainkeys.canonical import CANONICALIZATIONS, BodyStream
from dkconf.domainkeys.headers import canonical_header
from dkconf.errors import DkconfError
from dkconf.mail import base64
from dkconf.mail.address import find_sender
from dkconf.mail.domain import is_domain, within
from dkconf.mail.folding import FOLD, fold_text, fold_words
from dkconf.mail.header import HeaderField

FIELD_NAME = b"DomainKey-Signature"
NAMES_WIDTH = 65
"""Octets of a line of h=, as dk-filter's lines were at most."""
SIGNATURE_WIDTH = 67
"""Octets of a line of b=, `b=` included, the TAB not."""
CACHED_NAME_LISTS = 256

_NAME_OCTETS = bytes(octet for octet in range(33, 127) if octet not in b":;")


class SignerProblem(DkconfError):
    """The settings cannot make a signature that verifies; found when the filter starts."""


class CannotSign(DkconfError):
    """This message must not be signed; the message says why (RFC 4870 section 3.5.1)."""


class Signer:
    """Signs with one key; holds no state of any message."""

    __slots__ = ("_head", "_key", "_name_lists", "_omit", "canon", "domain", "selector")

    domain: bytes
    selector: bytes
    canon: str

    def __init__(
        self, domain: str, selector: str, key: PrivateKey, canon: str = "nofws", omit: Iterable[str] = ()
    ) -> None:
        """Make a signer.

        Args:
            domain: d=.
            selector: s=.
            key: RSA of any length; verifiers must know 512 to 2048 bits (RFC 4870 section 3.2.3).
            canon: `nofws` or `simple`.
            omit: Names of fields not signed (dk-filter's -o), against the RFC; From and Sender are never
                left out.

        Raises:
            SignerProblem: No verifier would accept the result.
        """
        self.domain, self.selector = domain.lower().encode("ascii"), selector.lower().encode("ascii")
        if not is_domain(self.domain) or not is_domain(self.selector):
            raise SignerProblem(f"{selector}._domainkey.{domain} is not a domain name")
        if key.algorithm != "rsa":
            raise SignerProblem(f"{selector}._domainkey.{domain}: DomainKeys has RSA keys only")
        if canon not in CANONICALIZATIONS:
            raise SignerProblem(f"{canon}: DomainKeys' canonicalizations are simple and nofws")
        self.canon = canon
        self._key = key
        self._omit = frozenset(name.lower().encode("ascii") for name in omit) - {b"from", b"sender"}
        self._head = b" a=rsa-sha1; s=%b; d=%b; c=%b; q=dns;" % (self.selector, self.domain, canon.encode("ascii"))
        self._name_lists: dict[tuple[bytes, ...], bytes] = {}

    def begin(self, fields: Sequence[HeaderField]) -> SigningJob:
        """Return a job for a message; all the fields given will lie below the signature.

        Raises:
            CannotSign: No usable sender, or one outside d=.
        """
        sender, problem = find_sender(fields)
        if sender is None:
            raise CannotSign(problem)
        if not within(sender.domain, self.domain):
            raise CannotSign(f"sender {sender.address} is not within {self.domain.decode('ascii')}")
        omit = self._omit
        signed = [
            field for field in fields if field.lower not in omit and not field.lower.translate(None, _NAME_OCTETS)
        ]
        header = canonical_header(signed, self.canon)
        names = self._folded_names(tuple([field.lower for field in signed]))
        return SigningJob(self, names, BodyStream(self.canon, hashlib.sha1(header, usedforsecurity=False)))

    def _folded_names(self, names: tuple[bytes, ...]) -> bytes:
        """Return the h= tag, folded; the same lists come again and again."""
        folded = self._name_lists.get(names)
        if folded is None:
            folded = b"h=" + fold_words(names, 3, NAMES_WIDTH, b":") + b";"
            if len(self._name_lists) >= CACHED_NAME_LISTS:
                self._name_lists.clear()
            self._name_lists[names] = folded
        return folded


class SigningJob:
    """One message being signed by one signer."""

    __slots__ = ("_body", "_names", "_signer")

    def __init__(self, signer: Signer, names: bytes, body: BodyStream) -> None:
        self._signer = signer
        self._names = names
        self._body = body

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next piece of the body as received; it may be split anywhere."""
        self._body.update(chunk)

    def finish(self) -> HeaderField:
        """Return the DomainKey-Signature field."""
        text = base64.encode(self._signer._key.sign_sha1(self._body.digest()))
        value = FOLD.join(
            (self._signer._head, self._names, b"b=" + fold_text(text, SIGNATURE_WIDTH - 2, SIGNATURE_WIDTH))
        )
        return HeaderField(FIELD_NAME, value)
