"""What the DNS must say before a change: keys are published, and no policy promises what will no longer be so."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from dkconf.desired.state import DesiredState, Signature
from dkconf.dns.check import key_problem, signs_all
from dkconf.dns.resolve import Lookup, TxtAnswer
from dkconf.errors import Refusal

UNPUBLISHED_KEY = "unpublished-key"
POLICY = "policy"
MAX_LOOKUPS = 16
"""Side by side; what a resolver on a small host takes without dropping any."""


def signatures(desired: DesiredState) -> set[Signature]:
    """Return every signature that the host adds: of the filters that sendmail calls."""
    return {signature for one in desired.filters if one.enabled for signature in one.signs}


def unpublished_keys(desired: DesiredState, signers: Collection[Signature], lookup: Lookup) -> list[Refusal]:
    """Return a refusal for every signer whose key record is absent, different, or cannot be looked up.

    Args:
        signers: The signatures that go live now, and did not before.
    """
    wanted = {(r.domain, r.selector): r for r in desired.records if r.kind == "key"}
    keys = sorted({(s.domain, s.selector) for s in signers})
    names = [wanted[key].name for key in keys if key in wanted]
    answers = dict(zip(names, _all(names, lookup), strict=True))
    found = []
    for domain, selector in keys:
        record = wanted.get((domain, selector))
        if record is None:
            problem = f"{selector}._domainkey.{domain}: no public half is known here, so it cannot be compared"
            way_on = f"put keys/{domain}/{selector}.pub.pem beside the inventory"
        else:
            problem = key_problem(record, answers[record.name])
            way_on = "publish the record that `dkconf dns show` prints"
        if problem:
            found.append(Refusal(UNPUBLISHED_KEY, problem, f"{way_on}, or --accept-risk {UNPUBLISHED_KEY}"))
    return found


def losing_last_signer(before: Iterable[Signature], after: Iterable[Signature]) -> set[str]:
    """Return the domains that lose their last signer of DomainKeys, or their last signer of all.

    The policy record (o=-) is DomainKeys' own, so that a DKIM signer that stays does not keep its promise; and a
    domain that promises it with DKIM alone must not go wholly unsigned unnoticed.
    """
    was, will = list(before), list(after)
    lost = {s.domain for s in was} - {s.domain for s in will}
    return lost | (
        {s.domain for s in was if s.scheme == "domainkeys"} - {s.domain for s in will if s.scheme == "domainkeys"}
    )


def policy_strict(domains: Collection[str], lookup: Lookup) -> list[Refusal]:
    """Return a refusal for every domain that still promises, by o=-, that all its mail is signed."""
    order = sorted(domains)
    answers = _all([f"_domainkey.{domain}" for domain in order], lookup)
    return [
        Refusal(
            POLICY,
            f"_domainkey.{domain}: the published policy says that all mail is signed (o=-), and no signer is left",
            f'publish _domainkey.{domain}. TXT "o=~" first and wait its TTL, or --accept-risk {POLICY}',
        )
        for domain, answer in zip(order, answers, strict=True)
        if signs_all(answer)
    ]


def _all(names: Sequence[str], lookup: Lookup) -> list[TxtAnswer]:
    """Return the answers to many names, asked side by side: one server that is silent must not cost its time each."""
    if len(names) < 2:
        return [lookup(name) for name in names]
    with ThreadPoolExecutor(max_workers=MAX_LOOKUPS) as pool:
        return list(pool.map(lookup, names))
