"""RFC 6376 section 3.6.1: records read and written by the same hands."""

from __future__ import annotations

import pytest

from dkconf.dkim.keyrecord import KeyRecord, KeyRecordError, format_record, parse
from tests.dkim.helpers import ED25519_KEY, KEY

ROUND = [
    (("rsa", KEY.public_raw), {}),
    (("ed25519", ED25519_KEY.public_raw), {}),
    (("rsa", KEY.public_raw), {"testing": True}),
    (("rsa", KEY.public_raw), {"note": "rotated; 2026=27 \u00fc"}),
    (("rsa", KEY.public_raw), {"revoked": True}),
]


@pytest.mark.parametrize(("positional", "named"), ROUND)
def test_round(positional: tuple[str, bytes], named: dict[str, object]) -> None:
    """What is published is understood."""
    record = parse(format_record(*positional, **named))  # type: ignore[arg-type]

    assert positional[0] == record.algorithm
    assert (b"" if named.get("revoked") else positional[1]) == record.public
    assert bool(named.get("testing")) == record.testing
    assert bool(named.get("revoked")) == record.revoked
    assert record.for_email


def test_published_form() -> None:
    """v= first, no g=, no h=, the key last on one line; 44 characters for Ed25519."""
    text = format_record("ed25519", ED25519_KEY.public_raw, testing=True, note="x y")

    assert text.startswith(b"v=DKIM1; k=ed25519; t=y; n=x y; p=")
    assert 44 == len(text.rpartition(b"p=")[2])
    assert b"g=" not in text
    assert b"v=DKIM1; k=rsa; p=" == format_record("rsa", KEY.public_raw, revoked=True)


def test_all_tags() -> None:
    """Lists are sets in lower case; blanks around their words do not count."""
    record = parse(b"v=DKIM1 ; h= sha1 : SHA256; k=RSA; n=note; p=AAAA; s=email : foo; t= y : s :x; unknown=1;")

    assert (
        KeyRecord(
            "rsa",
            b"\0\0\0",
            frozenset({"sha1", "sha256"}),
            frozenset({"email", "foo"}),
            frozenset({"y", "s", "x"}),
            "note",
        )
        == record
    )
    assert record.testing
    assert record.strict


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"v=DKIM1",
        b"v=DKIM2; p=AAAA",
        b"v=DKIM1.0; p=AAAA",
        b"p=AAAA; v=DKIM1",
        b"p=AA=A",
        b"p=A",
        b"p=AAAA; p=AAAA",
        b"p",
        b"=; p=",
        b"p=AAAA;;",
        b"p=AAAA\x00",
        b"-----BEGIN PUBLIC KEY-----",
        b"p=-----BEGIN PUBLIC KEY-----",
        b"x" * 65536,
        b"a=1;" * 1000,
    ],
)
def test_broken(octets: bytes) -> None:
    """Anything else is a KeyRecordError with a reason, and nothing else."""
    with pytest.raises(KeyRecordError) as caught:
        parse(octets)

    assert caught.value.reason
