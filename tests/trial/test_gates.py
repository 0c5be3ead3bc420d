"""What the DNS must say before signers go live or leave."""

from __future__ import annotations

from collections.abc import Mapping

from dkconf.desired.platform import PLATFORMS
from dkconf.desired.state import DesiredState, Signature, TxtRecord
from dkconf.dns.resolve import Lookup
from dkconf.mail.lookup import ABSENT, TxtAnswer
from dkconf.trial.gates import losing_last_signer, policy_strict, unpublished_keys

RECORD = TxtRecord("s1._domainkey.example.org", b"v=DKIM1; p=QUJD", 3600, "key", "example.org", "s1")
DKIM = Signature("dkim", "example.org", "s1", "rsa-sha256")
DOMAINKEYS = Signature("domainkeys", "example.org", "s1", "rsa-sha1")


def desired() -> DesiredState:
    paths = PLATFORMS["debian"].paths
    return DesiredState("mx1", "debian", "", paths, "direct", (), (), (RECORD,), (), (), (), (), "", "")


def answers(records: Mapping[str, bytes]) -> Lookup:
    return lambda name: TxtAnswer("found", (records[name],)) if name in records else ABSENT


def test_published_key_passes() -> None:
    """One lookup for both schemes of a selector; nothing to refuse."""
    assert [] == unpublished_keys(desired(), [DKIM, DOMAINKEYS], answers({RECORD.name: RECORD.value}))


def test_absent_key_is_refused_once_with_its_risk() -> None:
    """The refusal names the record and the flag that goes on."""
    [found] = unpublished_keys(desired(), [DKIM, DOMAINKEYS], answers({}))

    assert "unpublished-key" == found.risk
    assert found.sentence.startswith("s1._domainkey.example.org: no TXT record")
    assert "--accept-risk unpublished-key" in found.way_on


def test_key_without_a_public_half_here_is_refused() -> None:
    """It cannot be compared; the file to add is named."""
    [found] = unpublished_keys(desired(), [Signature("dkim", "example.net", "x", "rsa-sha256")], answers({}))

    assert "keys/example.net/x.pub.pem" in found.way_on


def test_last_domainkeys_signer() -> None:
    """The policy record is DomainKeys' own: a DKIM signer that stays does not keep its promise."""
    assert {"example.org"} == losing_last_signer([DKIM, DOMAINKEYS], [DKIM])
    assert {"example.org"} == losing_last_signer([DKIM], [])
    assert set() == losing_last_signer([DOMAINKEYS], [DOMAINKEYS, DKIM])


def test_strict_policy_is_refused() -> None:
    """The record to publish first is in the refusal."""
    [found] = policy_strict(["example.org"], answers({"_domainkey.example.org": b"o=-"}))

    assert "policy" == found.risk
    assert '_domainkey.example.org. TXT "o=~"' in found.way_on
    assert [] == policy_strict(["example.org"], answers({"_domainkey.example.org": b"o=~"}))
