"""Warnings about an inventory that can be read: what its owner would rather know before.

One function per subject, each called with the whole inventory; `rules.py` has the long form of each rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .findings import quote
from .kinds import short_duration
from .model import Conditions, Domain, Filter, Host, Inventory, Scheme
from .places import Path
from .references import Checker
from .source import Node, Source

GOOD_RSA_BITS = 2048  # RFC 8301 section 3.2: SHOULD
DAY = 86400
QUEUE_SECONDS = 5 * DAY  # sendmail's Timeout.queuereturn, and RFC 5321 section 4.5.4.1: 4 to 5 days at least
REFUSING = ("reject", "discard")

NOT_FOR: dict[str, tuple[tuple[str, ...], ...]] = {
    "dk-filter": (
        ("canonicalization", "dkim"),
        ("conditions", "dkim"),
        ("headers", "sign"),
        ("headers", "oversign"),
        ("signature_ttl",),
        ("clock_skew",),
        ("verifying",),
        ("limits",),
        ("nameservers",),
        ("authserv_id",),
        ("observe",),
        ("log_format",),
        ("workers",),
        ("metrics",),
        ("min_key_bits",),
    ),
    "dkconf-filter": (("report",), ("restart",), ("popauth",)),
    "external": (
        ("canonicalization",),
        ("conditions",),
        ("internal_hosts",),
        ("external_ignore",),
        ("peers",),
        ("daemons",),
        ("macros",),
        ("headers",),
        ("signature_ttl",),
        ("clock_skew",),
        ("verifying",),
        ("limits",),
        ("nameservers",),
        ("authserv_id",),
        ("observe",),
        ("log_format",),
        ("quarantine",),
        ("report",),
        ("restart",),
        ("popauth",),
        ("user",),
        ("socket_mode",),
        ("workers",),
        ("metrics",),
        ("min_key_bits",),
    ),
}
"""Settings that a program does not have. Only what an entry itself says counts: defaults are for many programs."""


def check(source: Source, root: Node, inventory: Inventory) -> None:
    """Add a finding per thing that looks like a slip or a risk."""
    checker = Checker(source, root)
    for subject in SUBJECTS:
        subject(checker, inventory)


def on(host: Host) -> Iterator[str]:
    """Yield the filters that sendmail calls on a host, in order."""
    yield from (name for name in host.filters if name not in host.disabled_filters)


def signers(inventory: Inventory, host: Host, scheme: Scheme) -> list[str]:
    """Return the filters that are on and sign with a scheme, in call order."""
    known = inventory.filters
    return [n for n in on(host) if "sign" in known[n].roles and scheme in known[n].schemes and not known[n].observe]


# filters ---------------------------------------------------------------------------------------------------


def filters_that_are_called(checker: Checker, inventory: Inventory) -> None:
    listed = {name for host in inventory.hosts.values() for name in host.filters}
    called = {name for host in inventory.hosts.values() for name in on(host)}
    for name in inventory.filters:
        if name not in listed:
            checker.at_key("FLT001", ("filters", name), f"no host calls {quote(name)}",
                           "add it to a host's filters, or take it out")  # fmt: skip
        elif name not in called and len(inventory.hosts) > 1:
            checker.at_key("FLT002", ("filters", name), f"{quote(name)} is off on every host that has it",
                           "take it out of the hosts, or switch it on")  # fmt: skip


def failure_of_filters(checker: Checker, inventory: Inventory) -> None:
    for name, filter_ in inventory.filters.items():
        here: Path = ("filters", name, "on_failure")
        if filter_.on_failure == "reject":
            checker.at_value("MC006", here, f"while {quote(name)} is down all mail is refused with 554",
                             "write tempfail, so that senders try again")  # fmt: skip
        elif filter_.on_failure == "shutdown":
            checker.at_value("MC008", here, f"while {quote(name)} is down every connection ends with 421",
                             "write tempfail")  # fmt: skip
        elif filter_.on_failure == "accept" and "sign" in filter_.roles and filter_.schemes:
            checker.at_value("MC007", here, f"while {quote(name)} is down mail leaves unsigned",
                             "write tempfail, so that it waits for the filter")  # fmt: skip


def times_of_filters(checker: Checker, inventory: Inventory) -> None:
    for name, filter_ in inventory.filters.items():
        times = filter_.timeouts
        if filter_.program != "external" and (filter_.dns_timeout >= times.read or filter_.dns_timeout == 0):
            wait = "has no limit" if filter_.dns_timeout == 0 else f"is {short_duration(filter_.dns_timeout)}"
            written = "dns_timeout" if checker.has("filters", name, "dns_timeout") else "timeouts"
            checker.at_value(
                "TMO001",
                ("filters", name, *(("dns_timeout",) if written == "dns_timeout" else ("timeouts", "read"))),
                f"dns_timeout {wait}, and sendmail waits {short_duration(times.read)} for a reply",
                "keep dns_timeout below timeouts.read",
            )
        if filter_.program == "dkconf-filter" and 0 < filter_.signature_ttl < QUEUE_SECONDS:
            checker.at_value("TMO003", ("filters", name, "signature_ttl"),
                             f"mail may be under way for {short_duration(QUEUE_SECONDS)}, and its signature expires "
                             f"after {short_duration(filter_.signature_ttl)}",
                             f"write {short_duration(QUEUE_SECONDS)} or more, or 0 for no x=")  # fmt: skip
        if times.end_of_message < times.read:
            checker.at_value("TMO002", ("filters", name, "timeouts", "end_of_message"),
                             f"end_of_message is {short_duration(times.end_of_message)}, and one reply may take "
                             f"{short_duration(times.read)}", "make it larger than timeouts.read")  # fmt: skip


def networks_of_filters(checker: Checker, inventory: Inventory) -> None:
    for name, filter_ in inventory.filters.items():
        if filter_.program == "external" or "sign" not in filter_.roles:
            continue
        for index, item in enumerate(filter_.internal_hosts):
            _judge_network(checker, ("filters", name, "internal_hosts", index), item)
        missing = [a for a in ("127.0.0.1", "::1") if not _holds(filter_.internal_hosts, a)]
        if missing:
            checker.at_key("NET002", ("filters", name, "internal_hosts"),
                           f"internal_hosts lacks {' and '.join(missing)}; the list replaces the default",
                           f"add {' and '.join(missing)}, or mail made on the host is not signed")  # fmt: skip


def _judge_network(checker: Checker, path: Path, item: str) -> None:
    if "/" not in item:
        return
    import ipaddress

    network = ipaddress.ip_network(item)
    if network.prefixlen == 0:
        checker.at_value("NET001", path, f"{item} makes the whole internet internal: mail of anybody is signed",
                         "list your own networks")  # fmt: skip
    elif not network.is_private and network.prefixlen < (16 if network.version == 4 else 32):
        checker.at_value("NET003", path, f"{item} is a very large network, and all of it can have mail signed",
                         "list your own networks")  # fmt: skip


def _holds(items: tuple[str, ...], address: str) -> bool:
    if address in items or "localhost" in items:
        return True
    import ipaddress

    wanted = ipaddress.ip_address(address)
    networks = [ipaddress.ip_network(i) for i in items if "/" in i]
    return any(wanted.version == n.version and wanted in n for n in networks)


def sockets_of_filters(checker: Checker, inventory: Inventory) -> None:
    for name, filter_ in inventory.filters.items():
        host = filter_.socket.partition("@")[2].strip("[]")
        path: Path = ("filters", name, "socket")
        if host in ("0.0.0.0", "::"):
            checker.at_value("FLT005", path, f"{filter_.socket} listens on all addresses of the host",
                             "write 127.0.0.1, or a Unix socket")  # fmt: skip
        elif host and host != "localhost" and not all(c in "0123456789.:abcdefABCDEF" for c in host):
            checker.at_value("FLT004", path, f"sendmail does not start while {host} cannot be resolved",
                             "write the address")  # fmt: skip
        if filter_.socket_mode[-1] in "2367":
            checker.at_value("FLT007", ("filters", name, "socket_mode"),
                             f"{filter_.socket_mode} lets every local user in",
                             "write 0660")  # fmt: skip


def settings_of_programs(checker: Checker, inventory: Inventory) -> None:
    for name, filter_ in inventory.filters.items():
        for setting in NOT_FOR[filter_.program]:
            if checker.has("filters", name, *setting):
                checker.at_key("FLT003", ("filters", name, *setting),
                               f"{filter_.program} has no {'.'.join(setting)}", "take it out")  # fmt: skip
        if filter_.program != "dk-filter":
            continue
        if filter_.restart:
            checker.at_value("DKF006", ("filters", name, "restart"), "-A forks again at once, without limit",
                             "take it out; the service manager restarts it")  # fmt: skip
        if not filter_.headers.h_tag and "sign" in filter_.roles:
            checker.at_value("DKF007", ("filters", name, "headers", "h_tag"), "without -H no h= is written",
                             "write h_tag: true")  # fmt: skip


def conditions_of_filters(checker: Checker, inventory: Inventory) -> None:
    for name, filter_ in inventory.filters.items():
        if filter_.program == "external" or "verify" not in filter_.roles:
            continue
        for scheme in ("domainkeys", "dkim"):
            if scheme not in filter_.schemes:
                continue
            here: Path = ("filters", name, "conditions", scheme)
            if filter_.conditions.raw is not None:
                here = ("filters", name, "conditions")
            _judge_conditions(checker, here, getattr(filter_.conditions, scheme), filter_)


def _judge_conditions(checker: Checker, here: Path, table: Conditions, filter_: Filter) -> None:
    def place(condition: str) -> Path:
        return here if filter_.conditions.raw is not None else (*here, condition)

    for condition in ("dns", "int", "sec"):
        if getattr(table, condition) in REFUSING:
            checker.at_value("CND002", place(condition), f"{condition}={getattr(table, condition)} loses mail for a "
                             "fault that passes", "write tempfail")  # fmt: skip
    if table.no in REFUSING:
        checker.at_value("CND003", place("no"), f"no={table.no} acts on all unsigned mail", "write accept")
    if "discard" in (table.bad, table.miss):
        condition = "bad" if table.bad == "discard" else "miss"
        checker.at_value("CND004", place(condition), f"{condition}=discard drops mail and tells nobody",
                         "write reject, or quarantine")  # fmt: skip


# hosts -----------------------------------------------------------------------------------------------------


def order_of_filters(checker: Checker, inventory: Inventory) -> None:
    for name, host in inventory.hosts.items():
        called = list(on(host))
        verifiers = [n for n in called if "verify" in inventory.filters[n].roles and inventory.filters[n].schemes]
        for filter_name in called:
            if "dmarc" in filter_name.lower() and any(called.index(v) > called.index(filter_name) for v in verifiers):
                checker.at_value("MC010", ("hosts", name, "filters", host.filters.index(filter_name)),
                                 f"{quote(filter_name)} is called before the verifier",
                                 f"put it after {quote(verifiers[-1])}")  # fmt: skip


def signers_of_hosts(checker: Checker, inventory: Inventory) -> None:
    for name, host in inventory.hosts.items():
        by_scheme: dict[str, list[str]] = {s: signers(inventory, host, s) for s in ("dkim", "domainkeys")}
        for scheme, found in by_scheme.items():
            if len(found) > 1:
                checker.at_value("FLT006", ("hosts", name, "filters", host.filters.index(found[1])),
                                 f"{' and '.join(map(quote, found))} both sign with {scheme}",
                                 "let one of them sign, by roles or schemes")  # fmt: skip
        for index, domain_name in enumerate(host.domains):
            watching = [n for n in on(host) if inventory.filters[n].observe and "sign" in inventory.filters[n].roles]
            _judge_signers(checker, ("hosts", name, "domains", index), domain_name,
                           inventory.domains[domain_name], by_scheme, watching)  # fmt: skip


def _judge_signers(
    checker: Checker, path: Path, name: str, domain: Domain, by_scheme: dict[str, list[str]], watching: list[str]
) -> None:
    lacking = [scheme for scheme in domain.sign if not by_scheme[scheme]]
    strict = domain.domainkeys_policy is not None and domain.domainkeys_policy.signs == "all"
    if strict and ("domainkeys" in lacking or "domainkeys" not in domain.sign):
        checker.at_value("DNS005", path, f"the policy of {quote(name)} says o=-, all mail is signed, and this host "
                         "signs none of it with DomainKeys",
                         "write signs: some until every host signs, or switch the signer on")  # fmt: skip
    elif domain.sign and len(lacking) == len(domain.sign):
        which = f"no filter that is on signs with {' or '.join(domain.sign)}"
        would = "add a signer, or take the domain out"
        if watching:
            which = f"{' and '.join(map(quote, watching))} only {'observe' if watching[1:] else 'observes'}"
            would = "take observe away once the log is what you want"
        checker.at_value("DOM002", path, f"mail of {quote(name)} leaves this host unsigned: {which}", would)


def services_of_hosts(checker: Checker, inventory: Inventory) -> None:
    groups: dict[str, list[str]] = {}
    for name, host in inventory.hosts.items():
        if host.service:
            groups.setdefault(host.service, []).append(name)
        if host.service_manager != "direct":
            continue
        for service_name, service in host.services.items():
            if service.service and service_name != "sendmail" and inventory.filters[service_name].program != "external":
                checker.at_value("SVC001", ("hosts", name, "services", service_name, "service"),
                                 "a service name does nothing under service_manager: direct", "write argv")  # fmt: skip
    for group, names in groups.items():
        hosts = [inventory.hosts[n] for n in names]
        has_signer = [h for h in hosts if any("sign" in inventory.filters[f].roles for f in h.filters)]
        if has_signer and not any(signers(inventory, h, s) for h in hosts for s in ("dkim", "domainkeys")):
            checker.at_key("SVC002", ("hosts", names[0], "service"),
                           f"no host of {quote(group)} has a signer that is on", "switch one on")  # fmt: skip


# domains ---------------------------------------------------------------------------------------------------


def selectors_of_domains(checker: Checker, inventory: Inventory) -> None:
    for name, domain in inventory.domains.items():
        active = {s: selector for s, selector in domain.selectors.items() if selector.state == "active"}
        here: Path = ("domains", name)
        for selector_name, selector in domain.selectors.items():
            weak = selector.algorithm == "rsa" and selector.bits < GOOD_RSA_BITS
            if weak and selector.state in ("planned", "published", "active"):
                checker.at_value("KEY002", (*here, "selectors", selector_name, "bits"),
                                 f"an RSA key of {selector.bits} bits is on the weak side", "use 2048")  # fmt: skip
            if selector.testing and selector.state == "active":
                checker.at_value("SEL006", (*here, "selectors", selector_name, "testing"),
                                 f"{quote(selector_name)} signs while its record says testing",
                                 "take t=y out once good signatures were seen")  # fmt: skip
        coming = any(s.state in ("planned", "published") for s in domain.selectors.values())
        if domain.sign and not active and not coming:
            checker.at_key("SEL001", here, f"{quote(name)} signs, but no selector is active",
                           "set a selector to active, or write sign: []")  # fmt: skip
        if active and not domain.sign:
            checker.at_value("SEL005", (*here, "sign"), f"{quote(name)} has an active selector and signs with nothing",
                             "write sign: [dkim], or set the selector to published")  # fmt: skip
        for algorithm in ("rsa", "ed25519"):
            same = [s for s, selector in active.items() if selector.algorithm == algorithm]
            if len(same) > 1:
                checker.at_key("SEL002", (*here, "selectors", same[-1]),
                               f"{', '.join(same)} are active at once, all {algorithm}: each mail is signed by each",
                               "leave one active; set the old one to percolating")  # fmt: skip
        if "dkim" in domain.sign and active and {s.algorithm for s in active.values()} == {"ed25519"}:
            checker.at_key("SEL004", (*here, "selectors"), f"{quote(name)} signs with Ed25519 only, which many "
                           "verifiers do not know", "add an active RSA selector")  # fmt: skip


def domains_in_use(checker: Checker, inventory: Inventory) -> None:
    served = {name for host in inventory.hosts.values() for name in host.domains}
    for name, domain in inventory.domains.items():
        if name not in served:
            checker.at_key("DOM001", ("domains", name), f"no host serves {quote(name)}",
                           "add it to a host's domains, or take it out")  # fmt: skip
        if domain.ttl > DAY:
            checker.at_value("DOM003", ("domains", name, "ttl"), f"a TTL of {short_duration(domain.ttl)} makes every "
                             "change as slow as that", "write 1h, or 1d at most")  # fmt: skip
        if (
            domain.domainkeys_policy is not None
            and "domainkeys" not in domain.sign
            and (domain.domainkeys_policy.signs != "all" or name not in served)
        ):
            checker.at_key("DNS008", ("domains", name, "domainkeys_policy"),
                           f"{quote(name)} has a DomainKeys policy and does not sign with DomainKeys",
                           "take the policy out, or add domainkeys to sign")  # fmt: skip


SUBJECTS: tuple[Callable[[Checker, Inventory], None], ...] = (
    filters_that_are_called,
    failure_of_filters,
    times_of_filters,
    networks_of_filters,
    sockets_of_filters,
    settings_of_programs,
    conditions_of_filters,
    order_of_filters,
    signers_of_hosts,
    services_of_hosts,
    selectors_of_domains,
    domains_in_use,
)
