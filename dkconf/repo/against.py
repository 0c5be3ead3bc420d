"""`check --against REV`: what a branch changes, in words, and what is dangerous in it.

The inventory at the commit where this branch left REV's is compared with the one in the work tree, value by value.
Findings stand at the lines of the present file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

from dkconf import spec
from dkconf.spec import ignores
from dkconf.spec.findings import Skipped, quote
from dkconf.spec.lint import on, signers
from dkconf.spec.model import Conditions, Domain, Filter, Host, Inventory
from dkconf.spec.references import Checker

from . import git, history
from .report import Change, Report

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


def compare(
    report: Report, new: spec.Loaded | None, repository: git.Repository | None, path: Path, revision: str
) -> Report:
    """Return the report with the changes since a revision, and with the findings about them."""
    old, skipped = _at(repository, path, revision)
    if old is None or new is None or new.checker is None:
        reason = skipped or "the inventory has errors"
        names = [rule.id for rule in spec.RULES.values() if rule.scope == "history"]
        return replace(report, skipped=(*report.skipped, *(Skipped(name, reason) for name in names)), against=revision)
    assert repository is not None
    before, commit = old
    checker = Checker(new.checker.source, new.checker.root)
    start = len(checker.source.findings)
    changes = tuple(differences(before, new.inventory))
    dangers(checker, before, new.inventory)
    _keys(checker, before, repository, commit, path)
    more = history.check(checker, before, new.inventory, repository, commit, path)
    if not repository.merge_base(repository.commit(revision)):
        more.append(
            Skipped("branch point", f"the clone does not reach back to it: compared with {revision} as it is now")
        )
    mine = tuple(checker.source.findings[start:])
    kept, silenced = ignores.apply(mine, checker.source, {"history"})
    return replace(
        report,
        findings=(*report.findings, *kept),
        skipped=(*report.skipped, *more),
        silenced=report.silenced + silenced,
        changes=changes,
        against=revision,
    )


def _at(repository: git.Repository | None, path: Path, revision: str) -> tuple[tuple[Inventory, str] | None, str]:
    """Return the inventory at a revision and its commit, or the reason why there is none."""
    if repository is None:
        return None, "not in a git repository"
    commit = repository.commit(revision)
    if not commit:
        hint = "; this clone is shallow, fetch more history" if repository.is_shallow() else ""
        return None, f"this clone has no commit {revision}{hint}"
    # A branch is judged by what it changes, not by what has happened beside it since.
    commit = repository.merge_base(commit) or commit
    name = relative(repository, path)
    octets = repository.blob(commit, name)
    if octets is None:
        if name in repository.blobs(commit, name):
            return None, f"this clone lacks the contents of {revision}, fetch them"
        return (Inventory({}, {}, {}), commit), ""
    try:
        return (spec.load_octets(octets, f"{revision}:{path.name}").inventory, commit), ""
    except spec.InventoryInvalid:
        return None, f"the inventory at {revision} has errors"


def relative(repository: git.Repository, path: Path) -> str:
    """Return a file's name inside its repository, as git writes it."""
    return os.path.relpath(path.resolve(), repository.top).replace(os.sep, "/")


# what changes ----------------------------------------------------------------------------------------------


def differences(old: Inventory, new: Inventory) -> Iterator[Change]:
    """Yield what differs between two inventories: per host, filter and domain, in words."""
    for name, before, after in _pairs(old.hosts, new.hosts):
        yield from (Change("host", name, text) for text in _host(before, after))
    for name, earlier, later in _pairs(old.filters, new.filters):
        yield from (Change("filter", name, text) for text in _entry(earlier, later))
    for name, first, second in _pairs(old.domains, new.domains):
        yield from (Change("domain", name, text) for text in _domain(first, second))


Entry = TypeVar("Entry")


def _pairs(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _host(old: Host | None, new: Host | None) -> Iterator[str]:
    if old is None or new is None:
        yield "is new" if old is None else "is gone"
        return
    before, after = list(on(old)), list(on(new))
    for name in dict.fromkeys((*old.filters, *new.filters)):
        was = "called" if name in before else "defined, not called" if name in old.filters else "not there"
        now = "called" if name in after else "defined, not called" if name in new.filters else "not there"
        if was != now:
            yield f"{name}: {was} -> {now}"
    kept = [n for n in after if n in before]
    if kept != [n for n in before if n in after]:
        yield f"filters are called in the order {', '.join(after)}"
    yield from _lists("domains", old.domains, new.domains)
    yield from _entry(old, new, ("filters", "disabled_filters", "domains"))


def _domain(old: Domain | None, new: Domain | None) -> Iterator[str]:
    if old is None or new is None:
        yield "is new" if old is None else "is gone"
    for name in sorted({*(old.selectors if old else ()), *(new.selectors if new else ())}):
        before = old.selectors.get(name) if old else None
        after = new.selectors.get(name) if new else None
        if before is None or after is None:
            state = after.state if after else before.state if before else ""
            yield f"selector {name}: {'new' if before is None else 'gone'}, {'' if after else 'was '}{state}"
        elif before != after:
            yield from (f"selector {name}: {text}" for text in _entry(before, after))
    if old is not None and new is not None:
        yield from _entry(old, new, ("selectors",))


def _entry(old: object, new: object, but: tuple[str, ...] = (), prefix: str = "") -> Iterator[str]:
    if old is None or new is None:
        yield "is new" if old is None else "is gone"
        return
    for field in fields(new):  # type: ignore[arg-type]
        before, after = getattr(old, field.name), getattr(new, field.name)
        if field.name in but or before == after:
            continue
        if hasattr(before, "__dataclass_fields__") and hasattr(after, "__dataclass_fields__"):
            yield from _entry(before, after, prefix=f"{prefix}{field.name}.")
        elif isinstance(before, tuple) and isinstance(after, tuple):
            yield from _lists(f"{prefix}{field.name}", before, after)
        else:
            yield f"{prefix}{field.name}: {_short(before)} -> {_short(after)}"


def _lists(name: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    gone, come = [x for x in old if x not in new], [x for x in new if x not in old]
    shown = [*(f"-{x}" for x in gone), *(f"+{x}" for x in come)]
    if len(shown) > 12:
        yield f"{name}: {len(gone)} taken out, {len(come)} added"
    elif shown:
        yield f"{name}: {' '.join(shown)}"
    elif old != new:
        yield f"{name}: another order"


def _short(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "__dataclass_fields__"):
        return " ".join(f"{f.name}={_short(getattr(value, f.name))}" for f in fields(value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return ", ".join(f"{k}={_short(v)}" for k, v in value.items()) or "none"
    return str(value)


# what is dangerous -----------------------------------------------------------------------------------------


def signing_hosts(inventory: Inventory, name: str) -> set[str]:
    """Return the hosts that sign mail of a domain with any of its schemes."""
    domain = inventory.domains.get(name)
    if domain is None or not any(s.state == "active" for s in domain.selectors.values()):
        return set()
    return {
        host_name
        for host_name, host in inventory.hosts.items()
        if name in host.domains and any(signers(inventory, host, scheme) for scheme in domain.sign)
    }


def dangers(checker: Checker, old: Inventory, new: Inventory) -> None:
    """Add a finding per change that can hurt mail."""
    signing_before, signing_after = _signing(old), _signing(new)
    for name, before, after in _pairs(old.domains, new.domains):
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
    for name, earlier, later in _pairs(old.filters, new.filters):
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


def _keys(checker: Checker, old: Inventory, repository: git.Repository, commit: str, path: Path) -> None:
    """Add a finding per public key that is another one under the same selector."""
    folder = os.path.normpath(os.path.join(relative(repository, path.parent), "keys"))
    for name, blob in repository.blobs(commit, folder).items():
        domain, _, file = os.path.relpath(name, folder).partition("/")
        selector = file.removesuffix(".pub.pem")
        before = old.domains[domain].selectors.get(selector) if domain in old.domains else None
        if before is None or before.state not in LIVE or selector == file:
            continue
        try:
            octets = (repository.top / name).read_bytes()
        except OSError:
            continue  # DNS002 says that it is missing
        if blob != _blob_name(octets, len(blob)):
            checker.at_key(
                "CHG005",
                ("domains", domain, "selectors", selector),
                f"the key of {quote(selector)}, {before.state} until now, is another one",
                "take a new selector for a new key",
            )


def _blob_name(octets: bytes, digits: int) -> str:
    """Return the name git gives to a file's octets: SHA-1, or SHA-256 in repositories of that format."""
    digest = hashlib.sha256() if digits == 64 else hashlib.sha1(usedforsecurity=False)
    digest.update(b"blob %d\0" % len(octets) + octets)
    return digest.hexdigest()
