"""The DomainKey-Signature field as a value: RFC 4870 section 3.3 and appendix A.

Lenient where old signers were (a, c and q may be missing), strict on everything else: an inconsistency
makes the field void (section 3.7.3).
"""

from __future__ import annotations

from dataclasses import dataclass

from dkconf.domainkeys.causes import Cause
from dkconf.mail import base64, taglist
from dkconf.mail.domain import is_domain
from dkconf.mail.limits import MAX_HEADER_NAMES


class SignatureError(Exception):
    """The field is no signature that can be evaluated. Caught by the verifier: it becomes a verdict."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        self.cause = cause
        self.detail = detail
        super().__init__(cause.name, detail)


@dataclass(frozen=True, slots=True)
class Signature:
    """A well-formed signature."""

    algorithm: str
    """a=, always `rsa-sha1`."""
    domain: bytes
    """d= in lower case."""
    selector: bytes
    """s= in lower case."""
    canonicalization: str
    """`simple` or `nofws`."""
    header_names: tuple[bytes, ...] | None
    """h= in lower case, in its order; None = all fields below the signature."""
    signature: bytes
    """b= decoded."""
    signature_text: bytes
    """b= without blanks."""


def read_tags(value: bytes) -> dict[bytes, bytes]:
    """Return the tags of a field's value.

    Raises:
        SignatureError: It is not a tag-list.
    """
    try:
        return taglist.parse(value, one_letter=True)
    except taglist.TagListError as error:
        raise SignatureError(Cause.SYNTAX, error.reason) from None


def from_tags(tags: dict[bytes, bytes]) -> Signature:
    """Return the signature that the tags describe.

    Raises:
        SignatureError: A tag is missing, or has a value that the RFC does not know.
    """
    for name in (b"b", b"d", b"s"):
        if name not in tags:
            raise SignatureError(Cause.MISSING_TAG, f"{name.decode('ascii')}=")
    algorithm = tags.get(b"a", b"rsa-sha1").lower()
    if algorithm != b"rsa-sha1":
        raise SignatureError(Cause.UNKNOWN_ALGORITHM, algorithm[:32].decode("ascii", "replace"))
    # Absent: libdomainkeys and Mail::DKIM take simple, although c= is required.
    form = tags.get(b"c", b"simple").lower()
    if form not in (b"simple", b"nofws"):
        raise SignatureError(Cause.UNKNOWN_CANONICALIZATION, form[:32].decode("ascii", "replace"))
    if tags.get(b"q", b"dns").lower() != b"dns":
        raise SignatureError(Cause.UNKNOWN_QUERY)
    domain, selector = tags[b"d"].lower(), tags[b"s"].lower()
    if not is_domain(domain):
        raise SignatureError(Cause.SYNTAX, "d= is not a domain name")
    if not is_domain(selector):
        raise SignatureError(Cause.SYNTAX, "s= is not a domain name")
    signature = base64.decode(tags[b"b"])
    if not signature:
        raise SignatureError(Cause.SYNTAX, "b= is not base64")
    return Signature(
        algorithm="rsa-sha1",
        domain=domain,
        selector=selector,
        canonicalization=form.decode("ascii"),
        header_names=_header_names(tags[b"h"]) if b"h" in tags else None,
        signature=signature,
        signature_text=taglist.without_blanks(tags[b"b"]),
    )


def parse(value: bytes) -> Signature:
    """Return the signature in a field's value.

    Raises:
        SignatureError: It cannot be evaluated.
    """
    return from_tags(read_tags(value))


def _header_names(value: bytes) -> tuple[bytes, ...]:
    if value.count(b":") >= MAX_HEADER_NAMES:
        raise SignatureError(Cause.TOO_MANY_NAMES)
    names = tuple(taglist.without_blanks(value).lower().split(b":"))
    if not all(names):
        raise SignatureError(Cause.SYNTAX, "empty name in h=")
    return names
