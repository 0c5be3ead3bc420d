"""RFC 4870 sections 3.2.3 and 3.6: key records and policy records, read and written by the same hands."""

from __future__ import annotations

import pytest

from dkconf.dkim import keyrecord as dkim_keyrecord
from dkconf.domainkeys import keyrecord, policyrecord
from dkconf.domainkeys.policyrecord import PolicyRecord
from dkconf.mail.lookup import ABSENT, TxtAnswer
from tests.domainkeys.helpers import KEY


def test_key_record_round() -> None:
    """What is published is understood, by both schemes."""
    octets = keyrecord.format_record("rsa", KEY.public_raw, testing=True, note="a; b\u00fc")

    assert octets.startswith(b"k=rsa; t=y; n=a? b?; p=")
    assert keyrecord.KeyRecord("rsa", KEY.public_raw, b"", True, "a? b?") == keyrecord.parse(octets)
    assert dkim_keyrecord.parse(octets).public == KEY.public_raw
    assert keyrecord.parse(keyrecord.format_record("rsa", KEY.public_raw, revoked=True)).revoked


def test_a_dkim_record_is_read() -> None:
    """v= is an unknown letter; flags may be a colon list; the word of one scheme is the word of both."""
    record = keyrecord.parse(dkim_keyrecord.format_record("rsa", KEY.public_raw, testing=True, note="x"))

    assert (KEY.public_raw, True) == (record.public, record.testing)
    assert keyrecord.parse(b"t=s:y; p=AAAA").testing
    assert not keyrecord.parse(b"t=s; p=AAAA").testing


@pytest.mark.parametrize(
    "octets", [b"", b"k=rsa", b"p=*", b"p=AAAA; p=AAAA", b"pp=AAAA", b"P=AAAA", b"p", b"x" * 65536]
)
def test_broken_key_records(octets: bytes) -> None:
    """Anything else is a KeyRecordError with a reason."""
    with pytest.raises(keyrecord.KeyRecordError) as caught:
        keyrecord.parse(octets)

    assert caught.value.reason


POLICIES = [
    (PolicyRecord(), b"o=~"),
    (PolicyRecord(signs_all=True), b"o=-"),
    (PolicyRecord(True, True, "abuse@example.com", "all mail"), b"o=-; t=y; r=abuse@example.com; n=all mail"),
]


@pytest.mark.parametrize(("policy", "octets"), POLICIES)
def test_policy_round(policy: PolicyRecord, octets: bytes) -> None:
    """One table drives parse and format."""
    assert octets == policyrecord.format_record(policy)
    assert policy == policyrecord.parse(octets)


def test_policy_answers() -> None:
    """The first record that can be read counts; where there is none, it is said what is wrong."""
    fault = "policy syntax error: o= must be ~ or -"
    assert (None, "") == policyrecord.from_answer(ABSENT)
    assert (None, fault) == policyrecord.from_answer(TxtAnswer("found", (b"o=?", b"junk")))
    assert (PolicyRecord(signs_all=True), "") == policyrecord.from_answer(TxtAnswer("found", (b"junk", b"o=-")))
    assert (None, "policy lookup failed: timeout") == policyrecord.from_answer(TxtAnswer("failed", reason="timeout"))
    assert b"_domainkey.example.com" == policyrecord.query_name(b"Example.com")


@pytest.mark.parametrize("octets", [b"o=+", b"o", b"o=-; o=~", b"op=1", b"n=" + b"x" * 65536])
def test_broken_policies(octets: bytes) -> None:
    """Anything else is a PolicyRecordError with a reason."""
    with pytest.raises(policyrecord.PolicyRecordError):
        policyrecord.parse(octets)
