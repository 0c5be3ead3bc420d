"""TXT records: key records by selector state, and the DomainKeys policy record.

Written by the modules of the filter half that parse them. One key record serves DomainKeys and DKIM alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dkconf.desired.errors import NotRenderable
from dkconf.desired.state import TxtRecord
from dkconf.dkim.keyrecord import format_record
from dkconf.domainkeys import policyrecord
from dkconf.inventory.model import Domain, Inventory
from dkconf.keys.public import PublicHalf

PublicKeys = Mapping[tuple[str, str], PublicHalf]

_WITH_KEY = frozenset(("published", "active", "percolating"))


def domain_records(name: str, domain: Domain, public_keys: PublicKeys) -> Iterator[TxtRecord]:
    """The records of one domain; a key whose public half is not known yet has none.

    Raises:
        NotRenderable: The public half is of another algorithm than the selector.
    """
    for selector, spec in sorted(domain.selectors.items()):
        owner = f"{selector}._domainkey.{name}"
        if spec.state == "revoked":
            value = format_record(spec.algorithm, b"", testing=spec.testing, note=spec.note, revoked=True)
        elif spec.state in _WITH_KEY and (half := public_keys.get((name, selector))):
            if half.algorithm != spec.algorithm:
                raise NotRenderable(
                    f"domains.{name}.selectors.{selector}: is {spec.algorithm} in the inventory, but its public "
                    f"half is {half.algorithm}; correct the inventory, or take a new selector"
                )
            value = format_record(spec.algorithm, half.record_octets, testing=spec.testing, note=spec.note)
        else:
            continue
        yield TxtRecord(owner, value, domain.ttl, "key", name, selector)
    if policy := domain.domainkeys_policy:
        record = policyrecord.PolicyRecord(
            signs_all=policy.signs == "all",
            testing=policy.testing,
            report=policy.report,
            note=policy.note,
        )
        yield TxtRecord(f"_domainkey.{name}", policyrecord.format_record(record), domain.ttl, "policy", name)


def records(
    inventory: Inventory, public_keys: PublicKeys, domains: Iterable[str] | None = None
) -> tuple[TxtRecord, ...]:
    """The records of `domains` (of all in the inventory, if None), sorted by name."""
    names = inventory.domains if domains is None else domains
    found = [r for name in names for r in domain_records(name, inventory.domains[name], public_keys)]
    return tuple(sorted(found, key=lambda r: (r.name.split(".")[::-1], r.kind)))
