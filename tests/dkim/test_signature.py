"""RFC 6376 sections 3.5 and 6.1.1: what a signature field must be, and what is wrong with those that are
not."""

from __future__ import annotations

import pytest

from dkconf.dkim.causes import Cause
from dkconf.dkim.signature import INFINITE, SignatureError, parse
from dkconf.mail.limits import MAX_HEADER_NAMES

GOOD = {
    "v": "1",
    "a": "rsa-sha256",
    "c": "relaxed/simple",
    "d": "Example.com",
    "s": "jan.eu",
    "h": "From : To:\r\n subject",
    "bh": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3h\r\n SuFU=",
    "b": "AAAA BBBB\r\n\tCCCC",
}


def field(**tags: str | None) -> bytes:
    """Return the good signature with tags replaced, added, or (None) left out."""
    merged: dict[str, str | None] = {**GOOD, **tags}
    return " ".join(f"{name}={value};" for name, value in merged.items() if value is not None).encode("utf-8")


def test_all_tags() -> None:
    """Values come out decoded and in lower case where case does not matter."""
    sig = parse(
        field(i="Joe=20Doe@mail.EXAMPLE.com", l="12", t="1", x="2", q="dns/txt:foo", z="From:x|To:y", unknown="7")
    )

    assert ("rsa-sha256", "rsa", "sha256") == (sig.algorithm, sig.key_algorithm, sig.hash_name)
    assert (b"example.com", b"jan.eu") == (sig.domain, sig.selector)
    assert ("relaxed", "simple") == (sig.header_canonicalization, sig.body_canonicalization)
    assert (b"from", b"to", b"subject") == sig.header_names
    assert ("Joe Doe@mail.example.com", b"mail.example.com") == (sig.identity, sig.identity_domain)
    assert (12, 1, 2) == (sig.length, sig.timestamp, sig.expiration)
    assert b"AAAABBBBCCCC" == sig.signature_text


def test_defaults() -> None:
    """c= is simple/simple, i= is @d, l=, t=, x= are absent."""
    sig = parse(field(c=None))

    assert ("simple", "simple") == (sig.header_canonicalization, sig.body_canonicalization)
    assert "@example.com" == sig.identity
    assert (None, None, None) == (sig.length, sig.timestamp, sig.expiration)
    assert "simple" == parse(field(c="relaxed")).body_canonicalization


def test_numbers_of_any_size() -> None:
    """More than 12 digits of time are infinite; 76 digits of length are a number (RFC 6376 section 3.5)."""
    assert INFINITE == parse(field(t="1", x="9" * 13)).expiration
    assert int("9" * 76) == parse(field(l="9" * 76)).length
    assert INFINITE == parse(field(x="9" * 1_000_000)).expiration


BROKEN: list[tuple[dict[str, str | None], Cause]] = [
    ({"v": "2"}, Cause.VERSION),
    ({"v": ""}, Cause.VERSION),
    *[({name: None}, Cause.MISSING_TAG) for name in ("v", "a", "b", "bh", "d", "h", "s")],
    ({"a": "rsa-md5"}, Cause.UNKNOWN_ALGORITHM),
    ({"a": ""}, Cause.UNKNOWN_ALGORITHM),
    ({"c": "nofws"}, Cause.UNKNOWN_CANONICALIZATION),
    ({"c": "relaxed/nofws"}, Cause.UNKNOWN_CANONICALIZATION),
    ({"c": "relaxed/simple/simple"}, Cause.UNKNOWN_CANONICALIZATION),
    ({"c": "relaxed/"}, Cause.UNKNOWN_CANONICALIZATION),
    ({"q": "http"}, Cause.UNKNOWN_QUERY),
    ({"q": ""}, Cause.UNKNOWN_QUERY),
    ({"i": "joe@example.org"}, Cause.DOMAIN_MISMATCH),
    ({"i": "joe@notexample.com"}, Cause.DOMAIN_MISMATCH),
    ({"h": "to:subject"}, Cause.FROM_NOT_SIGNED),
    ({"h": ""}, Cause.SYNTAX),
    ({"h": "from::to"}, Cause.SYNTAX),
    ({"h": "from:" * MAX_HEADER_NAMES + "from"}, Cause.TOO_MANY_NAMES),
    ({"h": "from:" * 250_000 + "from"}, Cause.TOO_MANY_NAMES),
    ({"d": ""}, Cause.SYNTAX),
    ({"d": "exa mple.com"}, Cause.SYNTAX),
    ({"d": "example..com"}, Cause.SYNTAX),
    ({"d": "a" * 64 + ".com"}, Cause.SYNTAX),
    ({"d": "a." * 127 + "com"}, Cause.SYNTAX),
    ({"s": "jan/feb"}, Cause.SYNTAX),
    ({"s": ".jan"}, Cause.SYNTAX),
    ({"i": "nobody"}, Cause.SYNTAX),
    ({"i": "=XX@example.com"}, Cause.SYNTAX),
    ({"i": "=2"}, Cause.SYNTAX),
    ({"bh": "!!"}, Cause.SYNTAX),
    ({"bh": "AAAA"}, Cause.SYNTAX),
    ({"b": ""}, Cause.SYNTAX),
    ({"b": "A"}, Cause.SYNTAX),
    ({"b": "AA=A"}, Cause.SYNTAX),
    ({"b": "AAAA\x7f"}, Cause.SYNTAX),
    ({"t": "-1"}, Cause.SYNTAX),
    ({"t": ""}, Cause.SYNTAX),
    ({"t": "1e3"}, Cause.SYNTAX),
    ({"x": "soon"}, Cause.SYNTAX),
    ({"t": "5", "x": "5"}, Cause.SYNTAX),
    ({"t": "5", "x": "4"}, Cause.SYNTAX),
    ({"l": "-1"}, Cause.SYNTAX),
    ({"l": ""}, Cause.SYNTAX),
    ({"l": "9" * 77}, Cause.SYNTAX),
    ({"l": "9" * 1_000_000}, Cause.SYNTAX),
    ({"0": "x"}, Cause.SYNTAX),
]


@pytest.mark.parametrize(("tags", "cause"), BROKEN, ids=[f"{str(tags)[:40]}" for tags, _ in BROKEN])
def test_broken(tags: dict[str, str | None], cause: Cause) -> None:
    """Each makes the field void for its own reason, and all of them are `bad`."""
    with pytest.raises(SignatureError) as caught:
        parse(field(**tags))

    assert cause is caught.value.cause
    assert "bad" == cause.condition


@pytest.mark.parametrize("value", [b"", b" ", b"v", b"v=1; v=1", b"=1", b"v=1;; a=x", b"v=1\x00", b";", b"\xff=1"])
def test_no_tag_list(value: bytes) -> None:
    """What is no tag-list is a syntax error, or lacks its tags; never anything else."""
    with pytest.raises(SignatureError):
        parse(value)


def test_every_cause_has_a_condition_of_its_own_kind() -> None:
    """Only the failed lookup is `dns`; nothing here is `int`."""
    assert {Cause.KEY_UNAVAILABLE} == {cause for cause in Cause if cause.condition == "dns"}
    assert {"bad", "dns"} == {cause.condition for cause in Cause}
    assert {Cause.KEY_UNAVAILABLE} == {cause for cause in Cause if cause.result == "temperror"}
