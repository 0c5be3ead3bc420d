"""For any message: what is signed verifies, and one octet changed in body, header or key does not."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dkconf.dkim import signer as dkim_signer
from dkconf.dkim.choice import DEFAULT_SIGN_HEADERS
from dkconf.domainkeys import signer as domainkeys_signer
from dkconf.mail.header import HeaderField, parse_message
from tests.dkim import helpers as dkim
from tests.domainkeys import helpers as domainkeys
from tests.property.strategies import messages

DKIM_SIGNERS = [
    dkim_signer.Signer("example.com", selector, key, header_form, body_form)
    for selector, key in (("jan", dkim.KEY), ("ed", dkim.ED25519_KEY))
    for header_form in ("simple", "relaxed")
    for body_form in ("simple", "relaxed")
]
DOMAINKEYS_SIGNERS = [
    domainkeys_signer.Signer("example.com", "jan", domainkeys.KEY, form) for form in ("simple", "nofws")
]
fewer = settings(max_examples=50, deadline=None)


@fewer
@given(message=messages(), signer=st.sampled_from(DKIM_SIGNERS))
def test_dkim_round(message: bytes, signer: dkim_signer.Signer) -> None:
    """Sign, then verify: pass."""
    (verdict,) = dkim.verify(dkim.sign(message, signer))

    assert ("pass", "") == (verdict.result, verdict.reason)


@fewer
@given(message=messages(), signer=st.sampled_from(DOMAINKEYS_SIGNERS))
def test_domainkeys_round(message: bytes, signer: domainkeys_signer.Signer) -> None:
    """Sign, then verify: pass."""
    (verdict,) = domainkeys.verify(domainkeys.sign(message, signer))

    assert ("pass", "") == (verdict.result, verdict.reason)


@fewer
@given(message=messages(), at=st.integers(0, 10_000), octet=st.sampled_from(b"ABCXYZ123"))
def test_one_body_octet_changed(message: bytes, at: int, octet: int) -> None:
    """A visible octet put in place of another one, or of a blank, fails under every form."""
    fields, body = parse_message(message)
    assume(body)
    at %= len(body)
    changed = body[:at] + bytes([octet]) + body[at + 1 :]
    assume(changed != body)
    for signer in DKIM_SIGNERS:
        signed, _ = parse_message(dkim.sign(message, signer))
        (verdict,) = dkim.verify_fields(signed, changed)
        assert ("fail", "body hash did not verify") == (verdict.result, verdict.reason)
    for other in DOMAINKEYS_SIGNERS:
        signed, _ = parse_message(domainkeys.sign(message, other))
        (verdict,) = domainkeys.verify_fields(signed, changed)
        assert ("fail", "signature did not verify") == (verdict.result, verdict.reason)
    assert fields


@fewer
@given(message=messages(), which=st.integers(0, 100), at=st.integers(0, 10_000))
def test_one_header_octet_changed(message: bytes, which: int, at: int) -> None:
    """A visible octet changed in any signed field fails under every form."""
    fields, body = parse_message(message)
    signed_names = {name.lower().encode("ascii") for name in DEFAULT_SIGN_HEADERS}
    fitting = [
        number
        for number, field in enumerate(fields)
        if field.lower in signed_names and field.lower != b"from" and any(octet > 32 for octet in field.value)
    ]
    assume(fitting)
    which = fitting[which % len(fitting)]
    field = fields[which]
    visible = [place for place, octet in enumerate(field.value) if octet > 32]
    place = visible[at % len(visible)]
    octet = b"y" if field.value[place : place + 1] == b"x" else b"x"
    changed = HeaderField(field.name, field.value[:place] + octet + field.value[place + 1 :])
    for signer in DKIM_SIGNERS:
        signed, _ = parse_message(dkim.sign(message, signer))
        (verdict,) = dkim.verify_fields([*signed[: which + 1], changed, *signed[which + 2 :]], body)
        assert ("fail", "signature did not verify") == (verdict.result, verdict.reason)
    for other in DOMAINKEYS_SIGNERS:
        signed, _ = parse_message(domainkeys.sign(message, other))
        (verdict,) = domainkeys.verify_fields([*signed[: which + 1], changed, *signed[which + 2 :]], body)
        assert ("fail", "signature did not verify") == (verdict.result, verdict.reason)


@pytest.mark.parametrize("at", range(0, 162, 9))
def test_one_key_octet_changed(at: int) -> None:
    """No key with one octet changed lets the signature pass; none raises."""
    octets = dkim.KEY.public_raw
    octets = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
    message = b"From: joe@example.com\r\n\r\nHi.\r\n"
    record = dkim.found(b"p=" + __import__("base64").b64encode(octets))
    (one,) = dkim.verify(dkim.sign(message), {dkim.NAME: record})
    (two,) = domainkeys.verify(domainkeys.sign(message), {domainkeys.NAME: record})

    assert {"bad"} == {one.condition, two.condition}
