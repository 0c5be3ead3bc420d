"""Canary signatures are verified with the host keys' own public halves."""

from __future__ import annotations

from dkconf.crypto.keys import PrivateKey, generate
from dkconf.dkim.canonical import BodyHasher
from dkconf.dkim.keyrecord import format_record
from dkconf.dkim.signer import Signer
from dkconf.mail.header import HeaderField
from dkconf.probe.canary import message
from dkconf.probe.signatures import verify
from dkconf.sendmail.qf import Field

NOW = 1_800_000_000


def signed() -> tuple[list[Field], bytes, bytes]:
    """Return (fields, body, key record) of a canary that a DKIM signer has signed."""
    key = PrivateKey.load_pem(generate("rsa", 1024))
    header, _, body = message("example.org", "mx1.example.test").partition(b"\r\n\r\n")
    lines = header.replace(b"\r\n\t", b"\0").split(b"\r\n")
    fields = [HeaderField(*line.replace(b"\0", b"\r\n\t").split(b":", 1)) for line in lines]
    job = Signer("example.org", "s1", key).begin(fields)
    hasher = BodyHasher(*job.hash_key)
    hasher.update(body)
    top = job.finish(hasher.digest(), NOW)
    record = format_record("rsa", key.public_der)
    return [Field(b"Return-Path", b" <x>", b"P"), *(Field(f.name, f.value, b"") for f in (top, *fields))], body, record


def test_good_signature_passes_and_a_changed_one_fails() -> None:
    """With the right record it passes; with another octet, or without the record, it does not."""
    fields, body, record = signed()
    records = {"s1._domainkey.example.org": record}

    [good] = verify(fields, body, records, NOW)
    [changed] = verify(fields, body + b"x\r\n", records, NOW)
    [unknown] = verify(fields, body, {}, NOW)

    assert ("pass", "dkim", "example.org", "s1") == (good.result, good.scheme, good.domain, good.selector)
    assert "fail" == changed.result
    assert "permerror" == unknown.result


def test_no_signature_no_verdict() -> None:
    """An unsigned canary has no verdicts."""
    fields, body, _ = signed()

    assert [] == verify([f for f in fields if f.name != b"DKIM-Signature"], body, {}, NOW)
