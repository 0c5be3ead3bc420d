"""RFC 4870 section 3.5, in dk-filter's form."""

from __future__ import annotations

import pytest

from dkconf.domainkeys import signer
from dkconf.domainkeys.signature import parse
from dkconf.mail.header import parse_message
from tests.dkim.helpers import ED25519_KEY
from tests.domainkeys.helpers import KEY, OTHER_KEY, sign, verify
from tests.signing import MESSAGES


def test_the_field() -> None:
    """Order of tags a; s; d; c; q; h; b, no semicolon behind b, and dk-filter's folds."""
    fields, _ = parse_message(sign(MESSAGES["plain"], signer.Signer("example.com", "jan", OTHER_KEY)))
    lines = fields[0].value.split(b"\r\n")

    assert b" a=rsa-sha1; s=jan; d=example.com; c=nofws; q=dns;" == lines[0]
    assert b"\th=received:from:to:subject:date:message-id;" == lines[1]
    assert lines[2].startswith(b"\tb=")
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert {68} == {len(line) for line in lines[2:-1]}
    assert not lines[-1].endswith(b";")


def test_every_field_is_listed_every_occurrence() -> None:
    """Section 3.3: a signer using h= must list all fields of the message; top to bottom, lower case."""
    fields, _ = parse_message(sign(MESSAGES["name repeated"]))

    assert (b"received", b"received", b"from", b"received", b"subject", b"subject") == parse(
        fields[0].value
    ).header_names


def test_long_lists_fold_behind_colons() -> None:
    """Lines of h= stay within 65 octets, the TAB included, and end in a colon, the last in a semicolon."""
    message = b"From: a@example.com\r\n" + b"X-Rather-Long-Name: x\r\n" * 20 + b"\r\n"
    fields, _ = parse_message(sign(message))
    lines = fields[0].value.partition(b"\th=")[2].partition(b"\r\n\tb=")[0].split(b"\r\n")

    assert all(len(line) <= 65 for line in lines)
    assert all(line.endswith(b":") for line in lines[:-1])
    assert lines[-1].endswith(b";")
    assert "pass" == verify(sign(message))[0].result


def test_omitted_fields() -> None:
    """-o leaves fields out of h=, but never the sender's."""
    made = signer.Signer("example.com", "jan", KEY, "simple", ["Received", "From", "X-Foo"])
    signed = sign(MESSAGES["name repeated"], made)

    assert b"h=from:subject:subject;" in signed
    assert "pass" == verify(signed.replace(b"Received: one", b"Received: else"))[0].result


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"To: a@b.c\r\n\r\n", "no From field"),
        (b"From: a@example.com\r\nFrom: a@example.com\r\n\r\n", "more than one From"),
        (b"From: a@example.com\r\nSender: nobody\r\n\r\n", "no usable address in Sender"),
        (b"From: a\r\n\r\n", "no usable address in From"),
        (b"From: a@example.org\r\n\r\n", "not within example.com"),
    ],
)
def test_must_not_sign(message: bytes, reason: str) -> None:
    """Section 3.5.1: no From, or an unusable From or Sender, even if the other one is good."""
    with pytest.raises(signer.CannotSign, match=reason):
        signer.Signer("example.com", "jan", KEY).begin(parse_message(message)[0])


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"canon": "relaxed"}, "simple and nofws"),
        ({"domain": "exam ple"}, "not a domain name"),
        ({"key": ED25519_KEY}, "RSA keys only"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object], text: str) -> None:
    """Found when the signer is made."""
    with pytest.raises(signer.SignerProblem, match=text):
        signer.Signer(**{"domain": "example.com", "selector": "jan", "key": KEY, **settings})  # type: ignore[arg-type]


def test_odd_field_names_are_not_listed() -> None:
    """A name with a semicolon would end h=; it is not signed, and harms nothing."""
    message = b"From: a@example.com\r\nX;b=foo: bar\r\nX\xff: y\r\n\r\nHi\r\n"
    signed = sign(message)

    assert b"h=from;" in signed
    assert "pass" == verify(signed)[0].result
