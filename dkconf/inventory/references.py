"""What must fit together in an inventory: names, and what programs can do. Errors only.

Runs also over an inventory with other errors in it, so that all are told in one run: an entry that could
not be read is None, and is left alone here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from . import conditions
from .findings import quote
from .model import Domain, Filter, Host, Inventory
from .places import Path, key_at, linked, value_at, written
from .reader import nearest
from .source import Node, Source

MAX_FILTERS = 24  # sendmail's MAXFILTERS is 25 and counts the end mark


class Checker:
    """Where findings of one inventory go."""

    def __init__(self, source: Source, root: Node) -> None:
        self.source, self.root = source, root

    def at_value(self, rule: str, path: Path, found: str, right: str) -> None:
        self.source.add(rule, value_at(self.root, path), linked(path), found, right)

    def at_key(self, rule: str, path: Path, found: str, right: str) -> None:
        self.source.add(rule, key_at(self.root, path), linked(path), found, right)

    def has(self, *path: str | int) -> bool:
        """Tell whether a key is written in the entry itself."""
        return written(self.root, path) is not None


SERVICE_MANAGERS = {
    "debian": ("systemd", "sysv", "direct"),
    "rhel": ("systemd", "sysv", "direct"),
    "freebsd": ("rcd", "direct"),
}


def check(source: Source, root: Node, inventory: Inventory) -> None:
    """Add a finding per thing that does not fit together."""
    checker = Checker(source, root)
    for name, domain in _usable(inventory.domains):
        _check_domain(checker, name, domain)
    for name, filter_ in _usable(inventory.filters):
        _check_filter(checker, name, filter_)
    for name, host in _usable(inventory.hosts):
        _check_host(checker, inventory, name, host)


Entry = TypeVar("Entry")


def _usable(entries: Mapping[str, Entry] | None) -> Iterator[tuple[str, Entry]]:
    yield from ((name, entry) for name, entry in (entries or {}).items() if entry is not None)


def _check_domain(checker: Checker, name: str, domain: Domain) -> None:
    seen: dict[str, str] = {}
    selectors = dict(_usable(domain.selectors))
    for selector in selectors:
        if selector.lower() in seen:
            checker.at_key(
                "KEY005",
                ("domains", name, "selectors", selector),
                f"the selector {quote(selector)} is used by two keys: DNS does not tell it from "
                f"{quote(seen[selector.lower()])}",
                "give one of them another name",
            )
        seen.setdefault(selector.lower(), selector)
    active = {s.algorithm for s in selectors.values() if s.state == "active"}
    if "domainkeys" in (domain.sign or ()) and active and "rsa" not in active:
        checker.at_value(
            "SEL003",
            ("domains", name, "sign"),
            "DomainKeys signs with RSA only, and no active selector is RSA",
            "add an RSA selector, or write sign: [dkim]",
        )


def _check_filter(checker: Checker, name: str, filter_: Filter) -> None:
    tables = filter_.conditions
    if checker.has("filters", name, "conditions", "dkim", "miss") or (
        tables is not None and tables.dkim is not None and tables.dkim.miss is not None
    ):
        checker.at_key(
            "CND001",
            ("filters", name, "conditions", "dkim", "miss"),
            "DKIM has no condition miss",
            "take it out; it belongs below domainkeys:",
        )
    if filter_.program != "dk-filter":
        if tables is not None and tables.raw is not None:
            checker.at_value(
                "INV002",
                ("filters", name, "conditions"),
                f"a -C string stands here, but {quote(name)} is {filter_.program}",
                "write the mapping with domainkeys: and dkim:, or program: dk-filter",
            )
        return
    if filter_.schemes is not None and checker.has("filters", name, "schemes") and filter_.schemes != ("domainkeys",):
        checker.at_value(
            "DKF004",
            ("filters", name, "schemes"),
            f"dk-filter cannot do {', '.join(s for s in filter_.schemes if s != 'domainkeys') or 'nothing'}",
            "take schemes out; dk-filter is DomainKeys only",
        )
    if tables is None or tables.domainkeys is None or tables.raw is not None:
        return
    for condition in conditions.KEYS:
        if getattr(tables.domainkeys, condition, None) == "quarantine":
            checker.at_value(
                "DKF003",
                ("filters", name, "conditions", "domainkeys", condition),
                "dk-filter's -C cannot say quarantine",
                "write accept, discard, reject or tempfail, or quarantine: true for all that fails",
            )


def _check_host(checker: Checker, inventory: Inventory, name: str, host: Host) -> None:
    here: Path = ("hosts", name)
    filters, domains = host.filters or (), host.domains or ()
    _check_names(checker, (*here, "filters"), filters, inventory.filters, "filter", "REF001")
    _check_names(checker, (*here, "domains"), domains, inventory.domains, "domain", "REF002")
    for index, disabled in enumerate(host.disabled_filters or ()):
        if disabled is not None and disabled not in filters:
            checker.at_value(
                "REF003",
                (*here, "disabled_filters", index),
                f"{quote(disabled)} is not among the filters of this host",
                nearest(disabled, filters) or f"its filters are {', '.join(filters) or 'none'}",
            )
    for service in host.services or {}:
        if service not in filters and service != "sendmail":
            checker.at_key(
                "REF004",
                (*here, "services", service),
                f"{quote(service)} is not among the filters of this host",
                nearest(service, (*filters, "sendmail")) or f"its filters are {', '.join(filters) or 'none'}",
            )
    if len(filters) > MAX_FILTERS:
        checker.at_value(
            "MC011",
            (*here, "filters"),
            f"{len(filters)} filters are listed",
            f"sendmail takes at most {MAX_FILTERS}",
        )
    known = [
        (i, n, inventory.filters[n]) for i, n in enumerate(filters) if inventory.filters and inventory.filters.get(n)
    ]
    _check_sockets(checker, here, known)
    _check_keys_of_dk_filter(checker, here, inventory, host, known)
    # Either is None where the value itself is in error already.
    managers = SERVICE_MANAGERS.get(host.platform, ())
    if managers and host.service_manager and host.service_manager not in managers:
        at = "service_manager" if checker.has(*here, "service_manager") else "platform"
        checker.at_value(
            "REF006",
            (*here, at),
            f"{host.service_manager} is no service manager of {host.platform}",
            f"write service_manager: {managers[0]}, or direct",
        )


def _check_names(
    checker: Checker,
    path: Path,
    names: Iterable[str],
    defined: Mapping[str, object] | None,
    what: str,
    rule: str,
) -> None:
    for index, name in enumerate(names):
        if name is not None and name not in (defined or {}):
            known = ", ".join(list(defined or {})[:6]) or "none"
            checker.at_value(
                rule,
                (*path, index),
                f"there is no {what} {quote(name)}",
                nearest(name, defined or {}) or f"{what}s defined are {known}",
            )


def _check_sockets(checker: Checker, here: Path, known: list[tuple[int, str, Filter]]) -> None:
    sockets: dict[str, str] = {}
    for index, name, filter_ in known:
        socket = (filter_.socket or "").replace("unix:", "local:").replace("@localhost", "@127.0.0.1")
        if socket and socket in sockets and sockets[socket] != name:
            checker.at_value(
                "MC012",
                (*here, "filters", index),
                f"{quote(name)} and {quote(sockets[socket])} have the same socket, {filter_.socket}",
                "give each filter its own",
            )
        sockets.setdefault(socket, name)


def _check_keys_of_dk_filter(
    checker: Checker, here: Path, inventory: Inventory, host: Host, known: list[tuple[int, str, Filter]]
) -> None:
    if not any(
        f.program == "dk-filter" and "sign" in (f.roles or ()) and n not in (host.disabled_filters or ())
        for _, n, f in known
    ):
        return
    for index, name in enumerate(host.domains or ()):
        domain = (inventory.domains or {}).get(name)
        if domain is None or "domainkeys" not in (domain.sign or ()):
            continue
        active = [
            s for s, selector in _usable(domain.selectors) if selector.state == "active" and selector.algorithm == "rsa"
        ]
        if len(active) > 1:
            checker.at_value(
                "DKF005",
                (*here, "domains", index),
                f"{quote(name)} has {len(active)} active RSA selectors ({', '.join(active)}), and dk-filter "
                "signs with one",
                "leave one active; the other may be published or percolating",
            )
