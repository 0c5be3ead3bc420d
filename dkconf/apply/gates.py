"""What the DNS must say before a change: keys are published, and no policy promises what will no longer be so."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dkconf.desired.state import DesiredState, Signature
from dkconf.dns.check import key_problem, signs_all
from dkconf.dns.resolve import Lookup
from dkconf.errors import Refusal

UNPUBLISHED_KEY = "unpublished-key"
POLICY = "policy"


def signatures(desired: DesiredState) -> set[Signature]:
    """Return every signature that the host adds: of the filters that sendmail calls."""
    return {signature for one in desired.filters if one.enabled for signature in one.signs}


def unpublished_keys(desired: DesiredState, signers: Collection[Signature], lookup: Lookup) -> list[Refusal]:
    """Return a refusal for every signer whose key record is absent, different, or cannot be looked up.

    Args:
        signers: The signatures that go live now, and did not before.
    """
    wanted = {(r.domain, r.selector): r for r in desired.records if r.kind == "key"}
    found = []
    for domain, selector in sorted({(s.domain, s.selector) for s in signers}):
        record = wanted.get((domain, selector))
        if record is None:
            problem = f"{selector}._domainkey.{domain}: no public half is known here, so it cannot be compared"
            way_on = f"put keys/{domain}/{selector}.pub.pem beside the inventory"
        else:
            problem = key_problem(record, lookup(record.name))
            way_on = "publish the record that `dkconf dns show` prints"
        if problem:
            found.append(Refusal(UNPUBLISHED_KEY, problem, f"{way_on}, or --accept-risk {UNPUBLISHED_KEY}"))
    return found


def losing_last_signer(before: Iterable[Signature], after: Iterable[Signature]) -> set[str]:
    """Return the domains whose mail is signed with DomainKeys now, and no more after the change."""
    return {s.domain for s in before if s.scheme == "domainkeys"} - {
        s.domain for s in after if s.scheme == "domainkeys"
    }


def policy_strict(domains: Collection[str], lookup: Lookup) -> list[Refusal]:
    """Return a refusal for every domain that still promises, by o=-, that all its mail is signed."""
    return [
        Refusal(
            POLICY,
            f"_domainkey.{domain}: the published policy says that all mail is signed (o=-), and no signer is left",
            f'publish _domainkey.{domain}. TXT "o=~" first and wait its TTL, or --accept-risk {POLICY}',
        )
        for domain in sorted(domains)
        if signs_all(lookup(f"_domainkey.{domain}"))
    ]
