"""Signatures as signers of others write them: legal forms that other verifiers have stumbled over."""

from __future__ import annotations

import base64
import hashlib

import pytest

from dkconf.dkim.headers import HeaderPool
from dkconf.mail.header import HeaderField, format_message, parse_message
from tests.dkim.helpers import KEY, verify_fields
from tests.signing import MESSAGES

PLAIN = MESSAGES["plain"]


def signed_by_hand(message: bytes, tags: bytes, names: list[bytes], before: bytes = b"") -> bytes:
    """The message with a simple/simple signature whose tags are written as they are; `before` is put on top of it."""
    fields, body = parse_message(message)
    value = b" v=1; a=rsa-sha256; s=jan; %b bh=%b; b=" % (tags, base64.b64encode(hashlib.sha256(body).digest()))
    pool = HeaderPool([*fields, HeaderField(b"DKIM-Signature", value)])
    octets = pool.canonical(names, "simple") + pool.own_field(len(fields), value, "simple")
    value += base64.b64encode(KEY.sign_sha256(hashlib.sha256(octets).digest()))
    return before + b"DKIM-Signature:" + value + b"\r\n" + message


FORMS = {
    "names in mixed case": (b"d=example.com; h=FROM:Subject;", [b"from", b"subject"]),
    "one name twice, in two cases": (b"d=example.com; h=From:from:SUBJECT;", [b"from", b"from", b"subject"]),
    "a name for each of two occurrences, absent": (b"d=example.com; h=from:x-none:X-None;", [b"from"]),
    "no i=": (b"d=example.com; h=from;", [b"from"]),
    "i= quoted-printable": (b"d=example.com; i=joe=20doe=40@example.com; h=from;", [b"from"]),
    "i= in UTF-8": ("d=example.com; i=jürgen@example.com; h=from;".encode(), [b"from"]),
    "i= of a subdomain, without a local part": (b"d=example.com; i=@Mail.EXAMPLE.com; h=from;", [b"from"]),
    "several query methods": (b"d=example.com; q=x-other/y:dns/txt; h=from;", [b"from"]),
    "d= in capitals": (b"d=Example.COM; h=from;", [b"from"]),
    "unknown tags, and an empty one": (b"d=example.com; r=y; zz=; h=from;", [b"from"]),
    "folded within h=": (b"d=example.com; h=from :\r\n\t subject\r\n ;", [b"from", b"subject"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_legal_forms_pass(name: str) -> None:
    """RFC 6376 sections 3.2 and 3.5."""
    tags, names = FORMS[name]
    fields, body = parse_message(signed_by_hand(PLAIN, tags, names))

    (verdict,) = verify_fields(fields, body)
    assert (verdict.result, verdict.reason) == ("pass", "")
    assert verdict.domain == "example.com"


@pytest.mark.parametrize("result", ["fail", "pass"])
def test_each_signature_has_its_own_result(result: str) -> None:
    """One that passes lends its result to no other, above or below it."""
    good = signed_by_hand(PLAIN, b"d=example.com; h=from:subject;", [b"from", b"subject"])
    fields, body = parse_message(good)
    bad = HeaderField(b"DKIM-Signature", fields[0].value.replace(b"h=from:subject", b"h=subject:from"))
    both = [bad, *fields] if result == "fail" else [fields[0], bad, *fields[1:]]

    assert [v.result for v in verify_fields(both, body)] == [result, "pass" if result == "fail" else "fail"]


def test_8_bit_header_fields_are_signed_as_they_are() -> None:
    """Raw octets in a signed field are hashed, neither decoded nor left out: one changed octet is found."""
    message = PLAIN.replace(b"Subject:", b"Subject: \xe4\xff\x80", 1)
    assert message != PLAIN
    fields, body = parse_message(signed_by_hand(message, b"d=example.com; h=from:subject;", [b"from", b"subject"]))
    changed = parse_message(format_message(fields, body).replace(b"\xff\x80", b"\xff\x81"))

    assert [v.result for v in verify_fields(fields, body)] == ["pass"]
    assert [v.result for v in verify_fields(*changed)] == ["fail"]
