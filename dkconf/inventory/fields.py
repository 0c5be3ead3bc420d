"""Which kind of text each field of the model takes.

A field of type `str` or `int` must stand here (a test says so): nothing of an inventory is taken unread.
For a tuple the kind is that of its items, for a mapping that of its values; `KEYS` has the kinds of mapping
keys.
"""

from __future__ import annotations

from . import addresses as a
from . import kinds as k
from . import model as m

DAY = 86400

KINDS: dict[tuple[type, str], k.Kind] = {
    (m.Selector, "bits"): k.number(1024, 4096, "RSA keys have 1024 to 4096 bits; 2048 is right", below="KEY002"),
    (m.Selector, "note"): k.NOTE,
    (m.DomainKeysPolicy, "report"): k.ADDRESS,
    (m.DomainKeysPolicy, "note"): k.NOTE,
    (m.Domain, "ttl"): k.duration(1, 7 * DAY),
    (m.Timeouts, "connect"): k.duration(0, DAY, " (the system's own)"),
    (m.Timeouts, "send"): k.duration(1, DAY),
    (m.Timeouts, "read"): k.duration(1, DAY),
    (m.Timeouts, "end_of_message"): k.duration(1, DAY),
    (m.Headers, "sign"): k.HEADER,
    (m.Headers, "omit"): k.HEADER,
    (m.Headers, "oversign"): k.HEADER,
    (m.Limits, "header_octets"): k.number(1024, 16 * 1024 * 1024),
    (m.Limits, "header_fields"): k.number(10, 100_000),
    (m.Limits, "signatures"): k.number(1, 100),
    (m.Filter, "socket"): a.SOCKET,
    (m.Filter, "internal_hosts"): a.NETWORK,
    (m.Filter, "external_ignore"): a.NETWORK,
    (m.Filter, "peers"): a.NETWORK,
    (m.Filter, "daemons"): k.DAEMON,
    (m.Filter, "macros"): k.MACRO_VALUE,
    (m.Filter, "signature_ttl"): k.duration(0, 365 * DAY, " (no x=)"),
    (m.Filter, "clock_skew"): k.duration(0, DAY),
    (m.Filter, "dns_timeout"): k.duration(0, 300, " (no limit)"),
    (m.Filter, "nameservers"): a.NAMESERVER,
    (m.Filter, "authserv_id"): k.AUTHSERV_ID,
    (m.Filter, "popauth"): a.PATH,
    (m.Filter, "user"): k.USER,
    (m.Filter, "socket_mode"): k.SOCKET_MODE,
    (m.Filter, "socket_group"): k.USER,
    (m.Filter, "workers"): k.number(0, 256),
    (m.Filter, "metrics"): a.METRICS,
    (m.Filter, "min_key_bits"): k.number(512, 4096, "RFC 8301 forbids less than 1024; 512 is for tests"),
    (m.FilterService, "service"): k.SERVICE,
    (m.FilterService, "argv"): a.ARGUMENT,
    (m.FilterService, "pid_file"): a.PATH,
    (m.Milter, "log_level"): k.number(0, 99),
    (m.Milter, "macros"): k.STAGE_MACROS,
    (m.Host, "service"): k.GROUP,
    (m.Host, "filters"): k.FILTER_NAME,
    (m.Host, "disabled_filters"): k.FILTER_NAME,
    (m.Host, "domains"): k.DOMAIN,
    (m.Host, "probe_recipient"): k.ADDRESS,
    (m.Inventory, "version"): k.number(0, 10**9),
    **{(m.Paths, name): a.PATH for name in m.Paths.__dataclass_fields__},
}

KEYS: dict[tuple[type, str], k.Kind] = {
    (m.Inventory, "domains"): k.DOMAIN,
    (m.Inventory, "filters"): k.FILTER_NAME,
    (m.Inventory, "hosts"): k.HOST,
    (m.Domain, "selectors"): k.SELECTOR,
    (m.Filter, "macros"): k.MACRO,
    (m.Host, "services"): k.FILTER_NAME,
}
