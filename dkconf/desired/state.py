"""What a host should look like: plain values, built by `desired.build`, read by `plan`, `apply` and `probe`.

No private key is ever in here: a key is its path and its fingerprint.
"""

from __future__ import annotations

from dataclasses import dataclass

from dkconf.inventory.model import OnFailure, Role, Scheme, ServiceManager, Timeouts


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Every path on the host, platform table and overrides already merged; absolute."""

    sendmail_mc: str
    sendmail_cf: str
    fragment: str
    cf_m4: str
    """Read by m4 before the .mc; "" where the .mc includes it itself (Debian, RHEL)."""
    sendmail: str
    m4: str
    pid_file: str
    key_dir: str
    state_dir: str
    filter_config: str
    dk_filter: str
    unit_dir: str
    mail_group: str
    """Group of .mc and .cf; e.g. smmsp."""
    cf_dir: str
    """The cf directory for -D_CF_DIR_=; "" unless the platform needs it."""
    dkconf_filter: str = "/usr/local/bin/dkconf-filter"
    """dkconf-filter's own program path."""


@dataclass(frozen=True, slots=True)
class ManagedFile:
    path: str
    content: bytes
    mode: int
    owner: str
    group: str
    role: str
    """fragment, filter-settings, dk-filter-options, list, unit, sysusers, tmpfiles ..."""
    filter: str = ""
    """The filter it belongs to, "" for sendmail's own."""


@dataclass(frozen=True, slots=True)
class ManagedDirectory:
    """A directory that must exist before the files in it, or before a service starts."""

    path: str
    mode: int
    owner: str
    group: str
    runtime: bool = False
    """Below /run: gone after a reboot; the service's own unit or script makes it again."""


@dataclass(frozen=True, slots=True)
class TxtRecord:
    name: str
    """Absolute, no final dot: s2026a._domainkey.example.com."""
    value: bytes
    """The joined octets; the 255-octet pieces are a matter of the zone text."""
    ttl: int
    kind: str
    """key or policy."""
    domain: str
    selector: str = ""


@dataclass(frozen=True, slots=True)
class KeyFile:
    path: str
    domain: str
    selector: str
    algorithm: str
    fingerprint: str
    """SHA-256 of the public half's SubjectPublicKeyInfo, lower-case hex; "" while no public half is known."""
    owner: str
    group: str
    mode: int = 0o600


@dataclass(frozen=True, slots=True)
class SystemUser:
    name: str
    home: str
    shell: str = "/usr/sbin/nologin"
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A filter as a service. `running` says whether it should run; managed by `manager`."""

    filter: str
    manager: ServiceManager
    name: str
    argv: tuple[str, ...]
    """The whole command line under `direct`; else informational."""
    pid_file: str
    running: bool
    managed: bool
    """False for an external filter without a service entry: dkconf neither starts nor stops it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that a message from `domain` must carry when it leaves a filter."""

    scheme: Scheme
    domain: str
    selector: str
    algorithm: str


@dataclass(frozen=True, slots=True)
class MilterFilter:
    """One X line of sendmail.cf, and what it means."""

    name: str
    socket: str
    on_failure: OnFailure
    timeouts: Timeouts
    enabled: bool
    """INPUT_MAIL_FILTER (called) or MAIL_FILTER (defined, not called)."""
    program: str
    roles: tuple[Role, ...]
    signs: tuple[Signature, ...]
    """Every signature it adds, over all domains of the host; of an external filter, those whose public half is
    known here."""
    internal_hosts: tuple[str, ...]
    settings_digest: str
    """Changes when the filter's settings or keys change: then the canary needs a throwaway instance."""
    start_digest: str = ""
    """Changes when something changes that only a start takes up: the command line, the unit, and those of its
    settings that a reload leaves alone. "" = not known, as of an external filter."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    host: str
    platform: str
    service_group: str
    paths: HostPaths
    service_manager: ServiceManager
    filters: tuple[MilterFilter, ...]
    """In call order, disabled ones included."""
    files: tuple[ManagedFile, ...]
    """All but sendmail.mc and sendmail.cf, which are the host's and are derived when staging."""
    records: tuple[TxtRecord, ...]
    keys: tuple[KeyFile, ...]
    users: tuple[SystemUser, ...]
    services: tuple[Service, ...]
    sendmail_argv: tuple[str, ...]
    """The command that starts sendmail's MTA again, should it end; () = the inventory names none."""
    probe_recipient: str
    digest: str
    """SHA-256 over all else here, hex."""
    directories: tuple[ManagedDirectory, ...] = ()
    """Parents first."""
    warnings: tuple[str, ...] = ()
    """What can be built but may not be meant; one sentence each."""
