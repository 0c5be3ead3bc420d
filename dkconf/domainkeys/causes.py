"""Why a DomainKeys signature did not pass, and what each cause means: RFC 8601's words and dk-filter's
conditions.

RFC 4870 section 3.7.4 knows good, bad, no key, revoked and bad format. Unlike dk-filter, nothing permanent
is ever
deferred: an absent key, a revoked one and one that cannot be decoded are `bad`, and only a lookup that
    failed is `dns`.
"""

from __future__ import annotations

from enum import Enum

from dkconf.mail.verdict import Condition, Result


class Cause(Enum):
    """A cause: (result, condition, reason)."""

    def __init__(self, result: Result, condition: Condition, reason: str) -> None:
        self.result = result
        self.condition = condition
        self.reason = reason

    SYNTAX = ("neutral", "bad", "signature syntax error")
    MISSING_TAG = ("neutral", "bad", "signature missing required tag")
    UNKNOWN_ALGORITHM = ("neutral", "bad", "unknown signature algorithm")
    UNKNOWN_CANONICALIZATION = ("neutral", "bad", "unknown canonicalization")
    UNKNOWN_QUERY = ("neutral", "bad", "unknown query method")
    TOO_MANY_NAMES = ("policy", "bad", "too many names in h=")
    TOO_MANY_SIGNATURES = ("policy", "bad", "too many signatures, not evaluated")
    NO_SENDER = ("permerror", "bad", "no usable sender")
    NOT_THE_SENDER = ("neutral", "bad", "d= is not the sender's domain")
    SENDER_NOT_SIGNED = ("neutral", "bad", "sender's field not signed")
    KEY_UNAVAILABLE = ("temperror", "dns", "key unavailable")
    NO_KEY = ("neutral", "bad", "no key")
    KEY_SYNTAX = ("permerror", "bad", "key syntax error")
    KEY_REVOKED = ("permerror", "bad", "key revoked")
    KEY_ALGORITHM = ("permerror", "bad", "inappropriate key algorithm")
    KEY_GRANULARITY = ("fail", "bad", "g= does not match the sender")
    KEY_TOO_SHORT = ("policy", "bad", "key too short")
    KEY_TOO_LONG = ("policy", "bad", "key too long")
    SIGNATURE = ("fail", "bad", "signature did not verify")
