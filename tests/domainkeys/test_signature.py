"""RFC 4870 section 3.3 and appendix A: lenient on a, c and q, strict on everything else."""

from __future__ import annotations

import pytest

from dkconf.domainkeys.causes import Cause
from dkconf.domainkeys.signature import SignatureError, parse
from dkconf.mail.limits import MAX_HEADER_NAMES

GOOD = {
    "a": "rsa-sha1",
    "s": "jan.eu",
    "d": "Example.com",
    "c": "nofws",
    "q": "dns",
    "h": "From:\r\n\tTo",
    "b": "AAAA BB\r\n BB",
}


def field(**tags: str | None) -> bytes:
    """Return the good signature with tags replaced, added, or (None) left out."""
    merged: dict[str, str | None] = {**GOOD, **tags}
    return "; ".join(f"{name}={value}" for name, value in merged.items() if value is not None).encode("utf-8")


def test_all_tags() -> None:
    """Values come out decoded and in lower case where case does not matter."""
    sig = parse(field(z="unknown letter"))

    assert (b"example.com", b"jan.eu", "nofws") == (sig.domain, sig.selector, sig.canonicalization)
    assert (b"from", b"to") == sig.header_names
    assert b"AAAABBBB" == sig.signature_text


def test_lenient_where_old_signers_were() -> None:
    """a, c and q may be missing (old Gmail and Yahoo), and be in any case; h is optional."""
    sig = parse(field(a=None, c=None, q=None, h=None))

    assert ("rsa-sha1", "simple", None) == (sig.algorithm, sig.canonicalization, sig.header_names)
    assert "nofws" == parse(field(a="RSA-SHA1", c="NoFWS", q="DNS")).canonicalization


BROKEN: list[tuple[dict[str, str | None], Cause]] = [
    *[({name: None}, Cause.MISSING_TAG) for name in ("b", "d", "s")],
    ({"a": "rsa-sha256"}, Cause.UNKNOWN_ALGORITHM),
    ({"a": ""}, Cause.UNKNOWN_ALGORITHM),
    ({"c": "relaxed"}, Cause.UNKNOWN_CANONICALIZATION),
    ({"c": ""}, Cause.UNKNOWN_CANONICALIZATION),
    ({"q": ""}, Cause.UNKNOWN_QUERY),
    ({"q": "dns/txt"}, Cause.UNKNOWN_QUERY),
    ({"h": ""}, Cause.SYNTAX),
    ({"h": "from::to"}, Cause.SYNTAX),
    ({"h": "from:" * MAX_HEADER_NAMES + "from"}, Cause.TOO_MANY_NAMES),
    ({"d": ""}, Cause.SYNTAX),
    ({"d": "a b"}, Cause.SYNTAX),
    ({"s": ""}, Cause.SYNTAX),
    ({"b": ""}, Cause.SYNTAX),
    ({"b": "*"}, Cause.SYNTAX),
    ({"bh": "AAAA"}, Cause.SYNTAX),
    ({"A": "x"}, Cause.SYNTAX),
]


@pytest.mark.parametrize(("tags", "cause"), BROKEN, ids=[str(tags)[:40] for tags, _ in BROKEN])
def test_broken(tags: dict[str, str | None], cause: Cause) -> None:
    """Each makes the field void for its own reason, and all of them are `bad`."""
    with pytest.raises(SignatureError) as caught:
        parse(field(**tags))

    assert cause is caught.value.cause
    assert "bad" == cause.condition


def test_only_a_failed_lookup_is_dns() -> None:
    """dk-filter deferred absent, revoked and undecodable keys for ever; here they are `bad`."""
    assert {Cause.KEY_UNAVAILABLE} == {cause for cause in Cause if cause.condition == "dns"}
    assert {"bad", "dns"} == {cause.condition for cause in Cause}
