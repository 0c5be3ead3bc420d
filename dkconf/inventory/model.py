"""The inventory as values: frozen, typed, complete.

`spec.load` fills these from YAML; every other room reads them. Field names are the YAML keys. Words are
those of sendmail's manual, dk-filter(8) and the RFCs. Everything optional has its default here, after
`defaults:` has been merged in by the loader; durations are whole seconds; nothing here touches a machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scheme = Literal["dkim", "domainkeys"]
Role = Literal["sign", "verify"]
Program = Literal["dkconf-filter", "dk-filter", "external"]
Platform = Literal["debian", "rhel", "freebsd"]
ServiceManager = Literal["systemd", "sysv", "rcd", "direct"]
OnFailure = Literal["accept", "tempfail", "reject", "shutdown"]
"""sendmail's F=: accept = none, tempfail = T, reject = R, shutdown = 4."""
Action = Literal["accept", "discard", "tempfail", "reject", "quarantine"]
Condition = Literal["bad", "dns", "int", "no", "miss", "sec"]
SelectorState = Literal["planned", "published", "active", "percolating", "revoked", "removed"]
"""planned: nothing public. published: record out, does not sign. active: record out, signs. percolating: the
record stays, signs no more. revoked: record with an empty p=. removed: no record; the name is never used again."""
Algorithm = Literal["rsa", "ed25519"]


@dataclass(frozen=True, slots=True)
class Selector:
    algorithm: Algorithm = "rsa"
    bits: int = 2048
    """RSA modulus, 1024 to 4096; of no meaning for ed25519."""
    state: SelectorState = "active"
    testing: bool = False
    """t=y in the key record."""
    note: str = ""
    """n= in the key record."""


@dataclass(frozen=True, slots=True)
class DomainKeysPolicy:
    """The TXT record at `_domainkey.DOMAIN` (RFC 4870 section 3.6)."""

    signs: Literal["some", "all"] = "some"
    """some: o=~, all: o=-."""
    testing: bool = False
    report: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Domain:
    selectors: Mapping[str, Selector] = field(default_factory=dict)
    sign: tuple[Scheme, ...] = ("dkim",)
    subdomains: bool = False
    """Mail from subdomains is signed with this domain too."""
    domainkeys_policy: DomainKeysPolicy | None = None
    ttl: int = 3600


@dataclass(frozen=True, slots=True)
class Timeouts:
    """sendmail's T=, in seconds; the defaults are sendmail's own."""

    connect: int = 300
    send: int = 10
    read: int = 10
    end_of_message: int = 300


@dataclass(frozen=True, slots=True)
class Canonicalization:
    domainkeys: Literal["simple", "nofws"] = "nofws"
    dkim: Literal["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"] = "relaxed/simple"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a verifier does per condition; None = the program's default."""

    bad: Action = "accept"
    dns: Action = "tempfail"
    int: Action = "tempfail"
    no: Action = "accept"
    miss: Action | None = "accept"
    """DomainKeys only; None in a DKIM table."""
    sec: Action = "tempfail"


@dataclass(frozen=True, slots=True)
class ConditionTables:
    domainkeys: Conditions = Conditions()
    dkim: Conditions = Conditions(miss=None)
    raw: str | None = None
    """A dk-filter -C string as the administrator wrote it (already checked), else None."""


@dataclass(frozen=True, slots=True)
class Headers:
    sign: tuple[str, ...] = ()
    """Field names to sign; empty = the program's default choice."""
    omit: tuple[str, ...] = ()
    """dk-filter -o: field names to leave out."""
    oversign: tuple[str, ...] = ()
    """Field names that DKIM names once more where they are present, so that nobody can add another; From always.
    Empty = the program's default choice, the fields that occur once at most."""
    h_tag: bool = True
    """dk-filter -H."""
    identify: bool = False
    """dk-filter -h: add X-DomainKeys."""
    authentication_results: bool = True
    domainkey_status: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """dkconf-filter: how much of a message it takes; more header is condition `sec`."""

    header_octets: int = 262144
    """Octets of all header fields together."""
    header_fields: int = 1000
    signatures: int = 10
    """Per message and scheme; those beyond are reported as policy."""


@dataclass(frozen=True, slots=True)
class Verifying:
    """dkconf-filter: what a verifier makes of signatures that hold."""

    unsigned_content: Literal["accept", "policy"] = "accept"
    """DKIM signatures whose l= leaves the end of the body unsigned: they pass, or are reported as policy and met as
    condition `bad`."""


@dataclass(frozen=True, slots=True)
class Filter:
    socket: str
    """As in sendmail's S=: inet:PORT@HOST, inet6:PORT@HOST, local:PATH or unix:PATH."""
    program: Program = "dkconf-filter"
    on_failure: OnFailure = "tempfail"
    timeouts: Timeouts = Timeouts()
    roles: tuple[Role, ...] = ("sign", "verify")
    schemes: tuple[Scheme, ...] = ("dkim", "domainkeys")
    """external filters: what it signs and verifies; dk-filter: always ("domainkeys",)."""
    canonicalization: Canonicalization = Canonicalization()
    conditions: ConditionTables = ConditionTables()
    internal_hosts: tuple[str, ...] = ("127.0.0.1", "::1")
    """-i: addresses, networks, host names, .domains whose mail is signed."""
    external_ignore: tuple[str, ...] = ()
    """-I: external hosts that are not reported."""
    peers: tuple[str, ...] = ()
    """-a: connections accepted without processing."""
    daemons: tuple[str, ...] = ()
    """-m: Name= of DaemonPortOptions whose mail is signed."""
    macros: Mapping[str, str] = field(default_factory=dict)
    """-M: macro name without braces -> value ("" = any)."""
    headers: Headers = Headers()
    signature_ttl: int = 0
    """dkconf-filter: DKIM's x= is so long after t=; 0 = no x=."""
    clock_skew: int = 300
    """dkconf-filter: tolerance for DKIM's t= and x= when verifying."""
    verifying: Verifying = Verifying()
    limits: Limits = Limits()
    dns_timeout: int = 5
    """-T, seconds."""
    nameservers: tuple[str, ...] = ()
    authserv_id: str = ""
    """"" = macro j."""
    observe: bool = False
    """dkconf-filter: evaluate and log, change and refuse nothing."""
    quarantine: bool = False
    """-q."""
    report: bool = False
    """-R."""
    restart: bool = False
    """-A."""
    popauth: str = ""
    """-U."""
    log: bool = True
    """-l."""
    log_format: Literal["text", "json"] = "text"
    """dkconf-filter: json = one object per line."""
    user: str = ""
    """-u; "" = the platform package's user."""
    socket_mode: str = "0660"
    socket_group: str = ""
    """"" = the platform's mail group, so that sendmail may connect."""
    workers: int = 0
    """dkconf-filter: processes; 0 = one per core."""
    metrics: str = ""
    """dkconf-filter: inet:PORT@127.0.0.1 or local:PATH; "" = off."""
    min_key_bits: int = 1024


@dataclass(frozen=True, slots=True)
class FilterService:
    """How a filter runs on a host: a service name, or (direct) an argv."""

    service: str = ""
    argv: tuple[str, ...] = ()
    pid_file: str = ""


@dataclass(frozen=True, slots=True)
class Milter:
    """confMILTER_*; None and {} leave sendmail's defaults alone."""

    log_level: int | None = None
    macros: Mapping[Literal["connect", "helo", "envfrom", "envrcpt", "data", "eoh", "eom"], str] = field(
        default_factory=dict
    )
    """Macros to add to sendmail's own list of that stage."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Overrides of the platform's paths; "" = the platform's."""

    sendmail_mc: str = ""
    sendmail_cf: str = ""
    fragment: str = ""
    cf_m4: str = ""
    sendmail: str = ""
    m4: str = ""
    pid_file: str = ""
    key_dir: str = ""
    state_dir: str = ""
    filter_config: str = ""
    """dkconf-filter: directory of NAME.toml."""
    dk_filter: str = ""
    """dk-filter's own program path."""
    dkconf_filter: str = ""
    """dkconf-filter's own program path."""
    unit_dir: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    platform: Platform = "debian"
    service_manager: ServiceManager = "systemd"
    service: str = ""
    """The service group this host belongs to."""
    filters: tuple[str, ...] = ()
    """Names, in the order in which sendmail calls them."""
    disabled_filters: tuple[str, ...] = ()
    """Of those, the ones that are defined but not called (MAIL_FILTER)."""
    services: Mapping[str, FilterService] = field(default_factory=dict)
    """By filter name; and "sendmail" for sendmail itself: how it is started again, should it end."""
    domains: tuple[str, ...] = ()
    milter: Milter = Milter()
    paths: Paths = Paths()
    probe_recipient: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    domains: Mapping[str, Domain]
    filters: Mapping[str, Filter]
    hosts: Mapping[str, Host]
    version: int = 1
    path: str = ""
    """The file it was read from; public keys lie beside it in keys/DOMAIN/SELECTOR.pub.pem."""
    digest: str = ""
    """SHA-256 of the file's octets, hex."""
