"""What a change of an inventory can do to mail: signers or records in use that go, policies that come too early."""

from __future__ import annotations

from dataclasses import fields

from dkconf.inventory.findings import quote
from dkconf.inventory.lint import signers
from dkconf.inventory.model import Conditions, Domain, Filter, Inventory
from dkconf.inventory.references import Checker

from .changes import pairs

LIVE = ("published", "active", "percolating")
"""States of a selector that verifiers fetch a key for."""
NEXT = {
    ("planned", "published"),
    ("published", "active"),
    ("active", "percolating"),
    ("percolating", "revoked"),
    ("revoked", "removed"),
    # back again, where nothing is lost by it
    ("published", "planned"),
    ("percolating", "active"),
    ("active", "published"),
}
"""Steps of a selector that leave out no wait."""
REFUSING = ("reject", "discard")


def dangers(checker: Checker, old: Inventory, new: Inventory) -> None:
    """Add a finding per change that can hurt mail."""
    signing_before, signing_after = _signing(old), _signing(new)
    for name, before, after in pairs(old.domains, new.domains):
        if before is not None:
            _selectors(checker, name, before, after)
    for name in sorted(signing_before.keys() - signing_after.keys()):
        checker.at_key(
            "CHG001",
            ("domains", name),
            f"no host signs mail of {quote(name)} any more; {', '.join(sorted(signing_before[name])[:4])} did",
            "relax its policy first, and wait its TTL",
        )
    _policies(checker, old, new)
    _groups(checker, old, new)
    for name, earlier, later in pairs(old.filters, new.filters):
        if later is not None:
            _refusals(checker, name, earlier or Filter(later.socket), later)


def _signing(inventory: Inventory) -> dict[str, list[str]]:
    """Return the hosts that sign, by domain; domains without one are left out."""
    found: dict[str, list[str]] = {}
    for host_name, host in inventory.hosts.items():
        by_scheme = {scheme: bool(signers(inventory, host, scheme)) for scheme in ("dkim", "domainkeys")}
        for name in host.domains:
            domain = inventory.domains[name]
            if any(by_scheme[s] for s in domain.sign) and any(x.state == "active" for x in domain.selectors.values()):
                found.setdefault(name, []).append(host_name)
    return found


def _selectors(checker: Checker, name: str, old: Domain, new: Domain | None) -> None:
    for selector_name, before in old.selectors.items():
        after = new.selectors.get(selector_name) if new else None
        state = after.state if after else "gone"
        here = ("domains", name, "selectors", selector_name)
        shown = f"{quote(selector_name)} of {quote(name)}"
        if before.state == state:
            continue
        if before.state in ("active", "percolating") and (
            state in ("gone", "planned", "removed") or (before.state, state) == ("active", "revoked")
        ):
            checker.at_value(
                "CHG003",
                (*here, "state"),
                f"the key record of {shown}, {before.state} until now, goes",
                "let it percolate at least 8 days, then revoke it, then remove it",
            )
        elif before.state in ("revoked", "removed") and state in (*LIVE, "planned"):
            checker.at_value(
                "CHG006",
                (*here, "state"),
                f"{shown} was {before.state} and comes back as {state}",
                "take a new selector name",
            )
        elif after is not None and (before.state, state) not in NEXT:
            checker.at_value(
                "CHG008",
                (*here, "state"),
                f"{shown} goes from {before.state} straight to {state}",
                "go step by step: planned, published, active, percolating, revoked, removed",
            )


def _policies(checker: Checker, old: Inventory, new: Inventory) -> None:
    for name, domain in new.domains.items():
        before = old.domains.get(name)
        strict = domain.domainkeys_policy is not None and domain.domainkeys_policy.signs == "all"
        was_strict = bool(before and before.domainkeys_policy and before.domainkeys_policy.signs == "all")
        if not strict or was_strict:
            continue
        # A signer that is switched on by this same change signs only once its host was applied: after the record.
        unsigned = [
            host_name
            for host_name, host in new.hosts.items()
            if name in host.domains
            and not (
                host_name in old.hosts
                and name in old.hosts[host_name].domains
                and before
                and "domainkeys" in before.sign
                and signers(old, old.hosts[host_name], "domainkeys")
            )
        ]
        if unsigned:
            checker.at_value(
                "CHG002",
                ("domains", name, "domainkeys_policy", "signs"),
                f"o=- is published for {quote(name)} while {', '.join(unsigned[:4])} did not sign with "
                "DomainKeys before this change",
                "let all hosts sign first; tighten in a later change",
            )


def _groups(checker: Checker, old: Inventory, new: Inventory) -> None:
    groups: dict[str, list[str]] = {}
    for name, host in new.hosts.items():
        if host.service:
            groups.setdefault(host.service, []).append(name)
    for group, names in groups.items():
        if len(names) < 2:
            continue
        changed = [n for n in names if n in old.hosts and _of_host(old, n) != _of_host(new, n)]
        if len(changed) > 1:
            checker.at_key(
                "CHG004",
                ("hosts", changed[1]),
                f"{len(changed)} of {len(names)} hosts of {quote(group)} change at once: {', '.join(changed[:6])}",
                "apply them one after the other, and watch the first",
            )


def _of_host(inventory: Inventory, name: str) -> tuple[object, ...]:
    """Return all of an inventory that a host's files are made from."""
    host = inventory.hosts[name]
    return (
        host,
        [inventory.filters[f] for f in host.filters],
        [
            (d, inventory.domains[d].sign, inventory.domains[d].subdomains, _signing_keys(inventory.domains[d]))
            for d in host.domains
        ],
    )


def _signing_keys(domain: Domain) -> list[tuple[str, str]]:
    return [(name, s.algorithm) for name, s in domain.selectors.items() if s.state == "active"]


def _refusals(checker: Checker, name: str, old: Filter, new: Filter) -> None:
    if new.on_failure == "reject" != old.on_failure:
        checker.at_value(
            "CHG007",
            ("filters", name, "on_failure"),
            f"{quote(name)} begins to refuse mail while it is down",
            "keep tempfail",
        )
    for scheme in ("domainkeys", "dkim"):
        before: Conditions = getattr(old.conditions, scheme)
        after: Conditions = getattr(new.conditions, scheme)
        for field in fields(Conditions):
            action = getattr(after, field.name)
            if action in REFUSING and getattr(before, field.name) != action:
                here = (
                    "filters",
                    name,
                    "conditions",
                    *(() if new.conditions.raw is not None else (scheme, field.name)),
                )
                checker.at_value(
                    "CHG007",
                    here,
                    f"{quote(name)} begins to {action} mail on {field.name} ({scheme})",
                    "try it with observe: true, or on one host first",
                )
