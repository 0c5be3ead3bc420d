"""RFC 6376 section 5: what is signed, and how the field looks."""

from __future__ import annotations

import pytest

from dkconf.dkim import signer
from dkconf.dkim.signature import parse
from dkconf.mail.header import parse_message
from tests.dkim.helpers import ED25519_KEY, KEY, NOW, sign, verify
from tests.signing import MESSAGES


def names_of(message: bytes, with_signer: signer.Signer | None = None) -> list[str]:
    """Return h= of the signature put on a message."""
    fields, _ = parse_message(sign(message, with_signer))
    return [name.decode("ascii") for name in parse(fields[0].value).header_names]


def test_the_field() -> None:
    """Order of tags, folds, and nothing that varies but by key, message and time."""
    signed = sign(
        b"From: joe@example.com\r\nSubject: x\r\n\r\n",
        signer.Signer(
            "Example.COM", "jan", ED25519_KEY, "relaxed", "simple", ttl_seconds=60, auid="joe doe@example.com"
        ),
    )

    assert signed.startswith(
        b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=example.com;\r\n"
        b"\ts=jan; i=joe=20doe@example.com;\r\n"
        b"\tt=1700000000; x=1700000060;\r\n"
        b"\th=from:from:subject:subject;\r\n"
        b"\tbh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=;\r\n"
        b"\tb="
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_lines_are_short_and_no_line_is_blank(name: str) -> None:
    """RFC 5322 section 2.1.1: 78 octets; the value begins with a blank, folds are CRLF + TAB."""
    fields, _ = parse_message(sign(MESSAGES[name]))
    lines = fields[0].octets().split(b"\r\n")

    assert b"" == lines.pop()
    assert all(len(line) <= 78 and line.strip() for line in lines)
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert fields[0].value.startswith(b" v=1;")


def test_present_fields_only_every_occurrence_and_once_more() -> None:
    """What is there is signed as often as it is there, singletons once more; absent Date and Message-ID
    never."""
    assert ["from", "from", "subject", "subject", "subject"] == names_of(MESSAGES["name repeated"])
    assert ["from", "from", "to", "to", "subject", "subject", "date", "date", "message-id", "message-id"] == names_of(
        MESSAGES["plain"]
    )


def test_own_lists() -> None:
    """From is always signed, and once more; other names as configured, in the configured order."""
    made = signer.Signer("example.com", "jan", KEY, sign_headers=["Received", "SUBJECT", "Cc"], oversign=["cc"])

    assert ["from", "from", "received", "received", "received", "subject", "subject"] == names_of(
        MESSAGES["name repeated"], made
    )


def test_no_from() -> None:
    """RFC 6376 section 5.4: From must be signed; without one there is nothing to sign."""
    with pytest.raises(signer.CannotSign):
        signer.Signer("example.com", "jan", KEY).begin(parse_message(b"To: a@b.c\r\n\r\n")[0])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"domain": "exam ple.com"}, "not a domain name"),
        ({"selector": "a/b"}, "not a domain name"),
        ({"header_canon": "nofws"}, "canonicalizations"),
        ({"auid": "joe@example.org"}, "not within"),
    ],
)
def test_settings_that_cannot_work(arguments: dict[str, str], text: str) -> None:
    """Found when the signer is made, not with the first message."""
    settings: dict[str, str] = {"domain": "example.com", "selector": "jan", **arguments}
    with pytest.raises(signer.SignerProblem, match=text):
        signer.Signer(key=KEY, **settings)  # type: ignore[arg-type]


def test_one_signer_many_messages() -> None:
    """A signer holds nothing of a message: jobs may overlap."""
    made = signer.Signer("example.com", "jan", KEY, "simple", "simple")
    for name in list(MESSAGES) * 2:
        (verdict,) = verify(sign(MESSAGES[name], made, NOW))
        assert "pass" == verdict.result


def test_name_list_cache_is_bounded() -> None:
    """However many different headers come, the cache stays small."""
    made = signer.Signer("example.com", "jan", KEY, sign_headers=["From", "X"])
    for count in range(signer.CACHED_NAME_LISTS + 10):
        made.begin(parse_message(b"From: a@example.com\r\n" + b"X: y\r\n" * count + b"\r\n")[0])

    assert len(made._name_lists) <= signer.CACHED_NAME_LISTS


def test_thousand_signed_fields_fold() -> None:
    """A header of a thousand fields gives a long h=, folded, that still verifies."""
    message = b"From: a@example.com\r\n" + b"Received: x\r\n" * 900 + b"\r\nHi\r\n"
    made = signer.Signer("example.com", "jan", KEY, sign_headers=["From", "Received"])
    (verdict,) = verify(sign(message, made))

    assert "pass" == verdict.result
