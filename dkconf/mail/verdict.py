"""What became of one signature: a value, never an exception.

The words of `result` are RFC 8601's (section 2.7.1); those of `condition` are dk-filter's, by which an
operator chooses what to do. Each scheme has one table that gives both for a cause.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Scheme = Literal["domainkeys", "dkim"]
Result = Literal["pass", "fail", "neutral", "policy", "temperror", "permerror", "none"]
Condition = Literal["", "bad", "dns", "int", "no", "miss", "sec"]


class Verdict(NamedTuple):
    """The outcome for one signature. Like all values of the filter's path a named tuple: a frozen dataclass takes
    five times as long to make."""

    scheme: Scheme
    domain: str
    """d= in lower case; empty where the signature could not be read that far."""
    selector: str
    algorithm: str
    """a= as the signature has it, in lower case."""
    result: Result
    reason: str
    """The RFC's own phrase; of a pass, how much of the body is not signed (l=), else empty."""
    condition: Condition
    """Empty for a pass."""
    testing: bool = False
    """The key (or for DomainKeys the policy) has the flag t=y."""
    identity: str = ""
    """DKIM: i= or its default; DomainKeys: the sender's address."""
    key_bits: int = 0
    """Length of the public key in bits; 0 where none was reached."""
    signature: bytes = b""
    """The base64 of b= without blanks, for header.b."""
    header_field: int = -1
    """Position of the signature's field, counted from 0 at the top of all fields."""
    identity_property: str = "header.i"
    """The property under which Authentication-Results names `identity`: header.i, header.from or
    header.sender."""
