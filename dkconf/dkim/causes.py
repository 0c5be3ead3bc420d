"""Why a DKIM signature did not pass, and what each cause means: one table for RFC 8601's words and the
conditions.

RFC 6376 knows PERMFAIL and TEMPFAIL; RFC 8601 section 2.7.1 knows more words and leaves the mapping open.
Ours:

- `fail`: the signature was calculated, and body or header do not fit it.
- `neutral`: the field has a syntax error, or asks for something we do not know.
- `permerror`: it can be read, but must not or cannot be verified, now or later.
- `policy`: it might verify, but a limit of this filter stands against it.
- `temperror`: the key lookup failed; nothing else is.
"""

from __future__ import annotations

from enum import Enum

from dkconf.mail.verdict import Condition, Result


class Cause(Enum):
    """A cause: (result, condition, the RFC's phrase where it has one)."""

    def __init__(self, result: Result, condition: Condition, reason: str) -> None:
        self.result = result
        self.condition = condition
        self.reason = reason

    # RFC 6376 section 6.1.1
    SYNTAX = ("neutral", "bad", "signature syntax error")
    VERSION = ("neutral", "bad", "incompatible version")
    MISSING_TAG = ("neutral", "bad", "signature missing required tag")
    UNKNOWN_ALGORITHM = ("neutral", "bad", "unknown signature algorithm")
    UNKNOWN_CANONICALIZATION = ("neutral", "bad", "unknown canonicalization")
    UNKNOWN_QUERY = ("neutral", "bad", "unknown query method")
    DOMAIN_MISMATCH = ("permerror", "bad", "domain mismatch")
    FROM_NOT_SIGNED = ("permerror", "bad", "From field not signed")
    EXPIRED = ("policy", "bad", "signature expired")
    FUTURE = ("policy", "bad", "signature timestamp in the future")
    RSA_SHA1 = ("permerror", "bad", "rsa-sha1 must not be used (RFC 8301)")
    # RFC 6376 section 6.1.2
    KEY_UNAVAILABLE = ("temperror", "dns", "key unavailable")
    NO_KEY = ("permerror", "bad", "no key for signature")
    KEY_SYNTAX = ("permerror", "bad", "key syntax error")
    HASH_NOT_ALLOWED = ("permerror", "bad", "inappropriate hash algorithm")
    KEY_REVOKED = ("permerror", "bad", "key revoked")
    KEY_ALGORITHM = ("permerror", "bad", "inappropriate key algorithm")
    KEY_SERVICE = ("permerror", "bad", "key is not for email")
    KEY_SUBDOMAIN = ("permerror", "bad", "key forbids i= below d=")
    KEY_TOO_SHORT = ("permerror", "bad", "key too short (RFC 8301)")
    KEY_BELOW_MINIMUM = ("policy", "bad", "key shorter than the configured minimum")
    KEY_TOO_LONG = ("policy", "bad", "key too long")
    # RFC 6376 section 6.1.3
    BODY_HASH = ("fail", "bad", "body hash did not verify")
    BODY_LENGTH = ("fail", "bad", "l= exceeds the body")
    SIGNATURE = ("fail", "bad", "signature did not verify")
    UNSIGNED_CONTENT = ("policy", "bad", "octets unsigned")
    # Limits
    TOO_MANY_SIGNATURES = ("policy", "bad", "too many signatures, not evaluated")
    TOO_MANY_NAMES = ("policy", "bad", "too many names in h=")
