"""The DKIM-Signature field as a value: RFC 6376 sections 3.5 and 6.1.1, with RFC 8463's algorithm.

Section 6.1.1 asks for meticulous checks, and for silence about tags that are unknown. What is wrong is a
`Cause`; `causes.py` says what it means.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from dkconf.dkim.causes import Cause
from dkconf.mail import base64, taglist
from dkconf.mail.domain import is_domain, within
from dkconf.mail.limits import MAX_HEADER_NAMES

_ALGORITHMS = {  # a= -> key algorithm, hash
    b"rsa-sha256": ("rsa", "sha256"),
    b"ed25519-sha256": ("ed25519", "sha256"),
    b"rsa-sha1": ("rsa", "sha1"),
}
_FORMS = {
    b"%b/%b" % (header, body): (header.decode("ascii"), body.decode("ascii"))
    for header in (b"simple", b"relaxed")
    for body in (b"simple", b"relaxed")
}
_DIGEST_OCTETS = {"sha256": 32, "sha1": 20}
_REQUIRED = (b"v", b"a", b"b", b"bh", b"d", b"h", b"s")

MAX_TIME_DIGITS = 12
"""t= and x= with more digits are taken for infinite, as RFC 6376 section 3.5 suggests."""
INFINITE = 10**MAX_TIME_DIGITS
MAX_LENGTH_DIGITS = 76
"""Digits of l= by the grammar of RFC 6376 section 3.5."""
MAX_IDENTITY_OCTETS = 1024
"""Octets of i= as it is written: an address has 320 at most (RFC 5321 section 4.5.3.1), three times as many if all of
them are quoted."""
MAX_QUERY_METHODS = 16
"""Methods in q=; there is one, dns/txt."""
CACHED_TERMS = 512
"""Signers whose terms are kept: what they write into each of their signatures."""
MAX_CACHED_OCTETS = 1024
"""Of h= or q=, so that what is kept stays below two megabytes, whatever arrives."""


class SignatureError(Exception):
    """The field is no signature that can be evaluated. Caught by the verifier: it becomes a verdict."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        self.cause = cause
        self.detail = detail
        super().__init__(cause.name, detail)


class Signature(NamedTuple):
    """A well-formed signature. What its signer writes into each of them comes first, see `_terms`."""

    algorithm: str
    """a= in lower case."""
    key_algorithm: str
    hash_name: str
    domain: bytes
    """d=, the SDID, in lower case."""
    selector: bytes
    """s= in lower case."""
    header_canonicalization: str
    body_canonicalization: str
    header_names: tuple[bytes, ...]
    """h= in lower case, in its order."""
    words: tuple[str, str, str]
    """d=, s= and a= in lower case, as text."""
    body_hash: bytes
    """bh= decoded."""
    signature: bytes
    """b= decoded."""
    signature_text: bytes
    """b= without blanks."""
    identity: str
    """i=, the AUID, decoded; by default `@` and the domain."""
    identity_domain: bytes
    """The domain of i= in lower case."""
    length: int | None = None
    """l= in octets of the canonical body; None = all."""
    timestamp: int | None = None
    """t= in seconds since 1970."""
    expiration: int | None = None
    """x= in seconds since 1970."""


def read_tags(value: bytes) -> dict[bytes, bytes]:
    """Return the tags of a field's value.

    Raises:
        SignatureError: It is not a tag-list.
    """
    try:
        return taglist.parse(value)
    except taglist.TagListError as error:
        raise SignatureError(Cause.SYNTAX, error.reason) from None


def from_tags(tags: dict[bytes, bytes]) -> Signature:
    """Return the signature that the tags describe.

    Raises:
        SignatureError: Whatever section 6.1.1 finds wrong, in its order.
    """
    if b"v" in tags and tags[b"v"] != b"1":
        raise SignatureError(Cause.VERSION)
    for name in _REQUIRED:
        if name not in tags:
            raise SignatureError(Cause.MISSING_TAG, f"{name.decode('ascii')}=")
    query, names = tags.get(b"q", b"dns/txt"), tags[b"h"]
    small = len(query) <= MAX_CACHED_OCTETS and len(names) <= MAX_CACHED_OCTETS
    make_terms = _terms if small else _terms.__wrapped__
    terms = make_terms(tags[b"a"], tags.get(b"c", b"simple/simple"), tags[b"d"], tags[b"s"], query, names)
    _, _, hash_name, domain, _, _, _, header_names, _ = terms
    identity, identity_domain = _identity(tags.get(b"i"), domain)
    if not within(identity_domain, domain):
        raise SignatureError(Cause.DOMAIN_MISMATCH)
    if b"from" not in header_names:
        raise SignatureError(Cause.FROM_NOT_SIGNED)
    body_hash = base64.decode(tags[b"bh"])
    if body_hash is None or len(body_hash) != _DIGEST_OCTETS[hash_name]:
        raise SignatureError(Cause.SYNTAX, f"bh= is not a {hash_name} digest in base64")
    signature = base64.decode(tags[b"b"])
    if not signature:
        raise SignatureError(Cause.SYNTAX, "b= is not base64")
    timestamp, expiration = _time(tags, b"t"), _time(tags, b"x")
    if timestamp is not None and expiration is not None and expiration <= timestamp:
        raise SignatureError(Cause.SYNTAX, "x= is not after t=")
    return Signature(
        *terms,
        body_hash,
        signature,
        taglist.without_blanks(tags[b"b"]),
        identity,
        identity_domain,
        _length(tags),
        timestamp,
        expiration,
    )


_Terms = tuple[str, str, str, bytes, bytes, str, str, tuple[bytes, ...], tuple[str, str, str]]


@lru_cache(maxsize=CACHED_TERMS)
def _terms(algorithm: bytes, form: bytes, domain: bytes, selector: bytes, query: bytes, names: bytes) -> _Terms:
    """Return the first fields of a signature, up to `words`, by the values of a, c, d, s, q and h.

    What is wrong is raised, and not kept; what is right is short but for q and h.
    """
    algorithm, domain, selector = algorithm.lower(), domain.lower(), selector.lower()
    if algorithm not in _ALGORITHMS:
        raise SignatureError(Cause.UNKNOWN_ALGORITHM, _shown(algorithm))
    forms = _FORMS.get(form) or _canonicalization(form)
    for name, text in (("d", domain), ("s", selector)):
        if not is_domain(text):
            raise SignatureError(Cause.SYNTAX, f"{name}= is not a domain name")
    if query.count(b":") >= MAX_QUERY_METHODS or b"dns/txt" not in [
        method.strip(b" \t\r\n").lower() for method in query.split(b":")
    ]:
        raise SignatureError(Cause.UNKNOWN_QUERY)
    words = (domain.decode("ascii"), selector.decode("ascii"), algorithm.decode("ascii"))
    return words[2], *_ALGORITHMS[algorithm], domain, selector, *forms, _header_names(names), words


def parse(value: bytes) -> Signature:
    """Return the signature in a field's value.

    Raises:
        SignatureError: It cannot be evaluated.
    """
    return from_tags(read_tags(value))


def _canonicalization(value: bytes) -> tuple[str, str]:
    """Return (header form, body form); the body's is simple where only one is named."""
    header, _, body = value.lower().partition(b"/")
    forms = (header.decode("ascii", "replace"), body.decode("ascii", "replace") if b"/" in value else "simple")
    if not {*forms} <= {"simple", "relaxed"}:
        raise SignatureError(Cause.UNKNOWN_CANONICALIZATION, _shown(value))
    return forms


def _header_names(value: bytes) -> tuple[bytes, ...]:
    if value.count(b":") >= MAX_HEADER_NAMES:
        raise SignatureError(Cause.TOO_MANY_NAMES)
    names = tuple([name.strip(b" \t\r\n") for name in value.lower().split(b":")])
    if not all(names):
        raise SignatureError(Cause.SYNTAX, "empty name in h=")
    return names


def _identity(value: bytes | None, domain: bytes) -> tuple[str, bytes]:
    """Return (i= decoded, its domain in lower case)."""
    if value is None:
        return "@" + domain.decode("ascii"), domain
    text = taglist.without_blanks(value)
    if len(text) > MAX_IDENTITY_OCTETS:
        raise SignatureError(Cause.SYNTAX, f"i= has over {MAX_IDENTITY_OCTETS} octets")
    decoded = _unquoted(text)
    local, at, host = decoded.rpartition(b"@")
    host = host.lower()
    if not at or not is_domain(host):
        raise SignatureError(Cause.SYNTAX, "i= has no domain")
    return (local + b"@" + host).decode("utf-8", "replace"), host


def _unquoted(value: bytes) -> bytes:
    """Return dkim-quoted-printable decoded (RFC 6376 section 2.11)."""
    first, *rest = value.split(b"=")
    pieces = [first]
    for piece in rest:
        digits = piece[:2]
        if len(digits) != 2 or digits.translate(None, b"0123456789ABCDEFabcdef"):
            raise SignatureError(Cause.SYNTAX, "i= is not quoted-printable")
        pieces += [bytes([int(digits, 16)]), piece[2:]]
    return b"".join(pieces)


def _time(tags: dict[bytes, bytes], name: bytes) -> int | None:
    value = tags.get(name)
    if value is None:
        return None
    if not value.isdigit():
        raise SignatureError(Cause.SYNTAX, f"{name.decode('ascii')}= is not a number")
    return int(value) if len(value) <= MAX_TIME_DIGITS else INFINITE


def _length(tags: dict[bytes, bytes]) -> int | None:
    value = tags.get(b"l")
    if value is None:
        return None
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise SignatureError(Cause.SYNTAX, "l= is not a number")
    return int(value)


def _shown(value: bytes) -> str:
    return value[:32].decode("ascii", "replace")
