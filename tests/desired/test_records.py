"""Records: which selectors have one, and that the verifiers' own parsers read them."""

from __future__ import annotations

import pytest

from dkconf.desired import NotRenderable, records
from dkconf.dkim import keyrecord
from dkconf.domainkeys import keyrecord as dk_keyrecord
from dkconf.domainkeys import policyrecord
from dkconf.inventory.model import Domain, DomainKeysPolicy, Selector

from .inventories import ED25519, RSA, one_host

PUBLIC = {("example.com", "s1"): RSA, ("example.com", "e1"): ED25519}


@pytest.mark.parametrize("state", ["published", "active", "percolating"])
def test_a_living_selector_has_its_key_record(state: str) -> None:
    """Both verifiers find the key in it; no g=."""
    (record,) = records(one_host(domain=Domain({"s1": Selector(state=state)})), PUBLIC)  # type: ignore[arg-type]

    assert record.name == "s1._domainkey.example.com"
    assert keyrecord.parse(record.value).public == RSA.der
    assert dk_keyrecord.parse(record.value).public == RSA.der
    assert b"g=" not in record.value.partition(b"p=")[0]


def test_an_ed25519_record_holds_the_bare_key() -> None:
    """RFC 8463 section 4.2."""
    (record,) = records(one_host(domain=Domain({"e1": Selector("ed25519")})), PUBLIC)

    assert keyrecord.parse(record.value).public == ED25519.raw


def test_a_revoked_selector_has_an_empty_p() -> None:
    """No public half is needed for it."""
    (record,) = records(one_host(domain=Domain({"s1": Selector(state="revoked")})), {})

    assert keyrecord.parse(record.value).revoked


@pytest.mark.parametrize("state", ["planned", "removed"])
def test_planned_and_removed_selectors_have_none(state: str) -> None:
    """Nothing public."""
    assert records(one_host(domain=Domain({"s1": Selector(state=state)})), PUBLIC) == ()  # type: ignore[arg-type]


def test_a_key_of_another_algorithm_is_refused() -> None:
    """The record would say k= of one and p= of the other."""
    with pytest.raises(NotRenderable, match="ed25519"):
        records(one_host(domain=Domain({"s1": Selector("ed25519")})), PUBLIC)


def test_the_policy_record_reads_back() -> None:
    """o=, t=, r= and n=."""
    policy = DomainKeysPolicy("all", True, "postmaster@example.com", "see us")
    (record,) = records(one_host(domain=Domain(domainkeys_policy=policy, ttl=300)), {})

    assert (record.name, record.kind, record.ttl) == ("_domainkey.example.com", "policy", 300)
    assert policyrecord.parse(record.value) == policyrecord.PolicyRecord(
        signs_all=True, testing=True, report="postmaster@example.com", note="see us"
    )
