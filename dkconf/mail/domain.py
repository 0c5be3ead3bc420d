"""Domain names as they stand in d=, s= and i=: ASCII, in lower case, compared octet by octet."""

from __future__ import annotations

_ALLOWED = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
MAX_DOMAIN_OCTETS = 253
"""RFC 1035 section 2.3.4, without the final dot."""
MAX_LABEL_OCTETS = 63


def is_domain(name: bytes) -> bool:
    """Return True for one or more labels of letters, digits, `-` and `_`, in lower case.

    Deliberate: a single label is allowed, where RFC 6376 wants two; hosts on closed networks have such
    names. U-labels (RFC 8616) are not: write A-labels.
    """
    if not 0 < len(name) <= MAX_DOMAIN_OCTETS or name.translate(None, _ALLOWED + b"."):
        return False
    return all(0 < len(label) <= MAX_LABEL_OCTETS for label in name.split(b"."))


def within(domain: bytes, parent: bytes) -> bool:
    """Return True if the domain is the parent or lies below it; both in lower case."""
    return domain == parent or domain.endswith(b"." + parent)


def key_name(selector: bytes, domain: bytes) -> bytes:
    """Return the name of a selector's TXT record; both schemes have the same."""
    return selector + b"._domainkey." + domain
