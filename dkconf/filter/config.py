"""The filter's settings as a value, and as TOML: one format, written by the manager, read by the daemon.

`loads` reads with tomllib and reports every problem of the file at once, each with its key path and with what
would be right. `dumps` writes all settings, each with a line of comment, always the same octets for the same
value; `loads(dumps(s)) == s`. One table (`_TABLE`) drives both. Nothing here opens a file or looks at the
machine: whether a key file can be read is the engine's business.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dkconf.dkim.choice import DEFAULT_OVERSIGN
from dkconf.errors import DkconfError, Status
from dkconf.filter.values import (
    BOOL,
    DOMAIN_PATTERN,
    FIELD_NAMES,
    HOSTS,
    MACROS,
    METRICS_OR_NONE,
    MODE,
    NAMES,
    NAMESERVERS,
    PATH,
    SELECTOR,
    SOCKET,
    TEXT,
    TOKEN_OR_NONE,
    Kind,
    choice,
    show,
    some_of,
    toml_string,
    whole,
)

Scheme = Literal["dkim", "domainkeys"]
Role = Literal["sign", "verify"]
UnsignedContent = Literal["accept", "policy"]
Action = Literal["accept", "discard", "tempfail", "reject", "quarantine"]

SCHEMES = ("dkim", "domainkeys")
ROLES = ("sign", "verify")
UNSIGNED_CONTENT = ("accept", "policy")
ACTIONS = ("accept", "discard", "tempfail", "reject", "quarantine")
DOMAINKEYS_CANONICALIZATIONS = ("simple", "nofws")
DKIM_CANONICALIZATIONS = ("simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed")
CONDITIONS = ("bad", "dns", "int", "no", "miss", "sec")
ONLY_AT_START = ("socket", "socket_mode", "socket_group", "user", "pid_file", "workers", "log", "metrics")
"""Settings that hold from a start on: a reload cannot change them."""
LONGEST_DEADLINE_SECONDS = 280  # below sendmail's T=E, five minutes


class SettingsError(DkconfError):
    """The settings are not usable; `problems` holds every fault, one line each."""

    status = Status.INVALID

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One private key, and the mail that is signed with it."""

    domain: str
    """d= of the signature. With a "*" it is a pattern, and d= is the sender's own domain."""
    selector: str
    path: str
    """PEM file."""
    schemes: tuple[Scheme, ...] = ("dkim",)
    subdomains: bool = False
    """Senders below `domain` are signed too."""
    senders: tuple[str, ...] = ()
    """Patterns with "*" for the whole address (dk-filter's key list): they decide instead of the domain."""


@dataclass(frozen=True, slots=True)
class Canonicalization:
    """How we sign; a verifier obeys the signature."""

    domainkeys: str = "nofws"
    dkim: str = "relaxed/simple"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to a message per condition."""

    bad: Action = "accept"
    dns: Action = "tempfail"
    int: Action = "tempfail"
    no: Action = "accept"
    miss: Action | None = "accept"
    """DomainKeys only; None in the DKIM table."""
    sec: Action = "tempfail"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the daemon needs. The comments in `_TABLE` say what each one means."""

    socket: str
    socket_mode: int = 0o660
    socket_group: str = ""
    user: str = ""
    pid_file: str = ""
    workers: int = 0
    log: str = "syslog"
    log_format: str = "text"
    metrics: str = ""

    roles: tuple[Role, ...] = ("sign", "verify")
    observe: bool = False
    keys: tuple[KeyEntry, ...] = ()
    canonicalization: Canonicalization = Canonicalization()
    sign_headers: tuple[str, ...] = ()
    omit_headers: tuple[str, ...] = ()
    oversign_headers: tuple[str, ...] = DEFAULT_OVERSIGN
    signature_ttl_seconds: int = 0
    identify: bool = False

    internal_hosts: tuple[str, ...] = ("127.0.0.1", "::1")
    external_ignore: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    daemons: tuple[str, ...] = ()
    macros: Mapping[str, str] = field(default_factory=dict)

    verify_schemes: tuple[Scheme, ...] = ("dkim", "domainkeys")
    authserv_id: str = ""
    authentication_results: bool = True
    domainkey_status: bool = False
    quarantine: bool = False
    min_key_bits: int = 1024
    clock_skew_seconds: int = 300
    unsigned_content: UnsignedContent = "accept"
    domainkeys_conditions: Conditions = Conditions()
    dkim_conditions: Conditions = Conditions(miss=None)

    dns_timeout_seconds: int = 5
    dns_deadline_seconds: int = 8
    nameservers: tuple[str, ...] = ()
    records_file: str = ""

    header_octets: int = 262144
    header_fields: int = 1000
    max_signatures: int = 10


# --- the table: section, key, attribute, kind, comment. Section "" is first in the file, as TOML demands.

# fmt: off
_TABLE: tuple[tuple[str, str, str, Kind, str], ...] = (
    ("", "socket", "socket", SOCKET,
     "Where the MTA finds us: inet:PORT@HOST, inet6:PORT@HOST, local:PATH or unix:PATH (sendmail's S=)."),
    ("", "socket_mode", "socket_mode", MODE, "Mode of a Unix socket, octal."),
    ("", "socket_group", "socket_group", TEXT,
     'Group of a Unix socket, so that the MTA may connect; "" = that of the user we run as.'),
    ("", "user", "user", TEXT, 'Become this user (or user:group) once socket and keys are open; "" = stay.'),
    ("", "pid_file", "pid_file", TEXT, 'One decimal line; "" = none.'),
    ("", "workers", "workers", whole(0, 1024), "Processes; 0 = one per core."),
    ("", "log", "log", choice(("syslog", "stderr", "off")),
     "Where log lines go: syslog (facility mail), stderr or off."),
    ("", "log_format", "log_format", choice(("text", "json")), "text or json."),
    ("", "metrics", "metrics", METRICS_OR_NONE,
     'Prometheus text: inet:PORT@127.0.0.1 or local:PATH; "" = off.'),
    ("", "roles", "roles", some_of(ROLES), "sign, verify or both (-b)."),
    ("", "observe", "observe", BOOL, "Evaluate, count and log only: change nothing, refuse nothing."),

    ("signing", "domainkeys_canonicalization", "canonicalization.domainkeys",
     choice(DOMAINKEYS_CANONICALIZATIONS), "simple or nofws (-c)."),
    ("signing", "dkim_canonicalization", "canonicalization.dkim", choice(DKIM_CANONICALIZATIONS),
     "HEADER/BODY, each simple or relaxed."),
    ("signing", "headers", "sign_headers", FIELD_NAMES,
     "DKIM: header fields to sign; [] = our choice. DomainKeys signs every field."),
    ("signing", "omit", "omit_headers", FIELD_NAMES, "Header fields to leave out (-o)."),
    ("signing", "oversign", "oversign_headers", FIELD_NAMES,
     "DKIM: those that are there are named once more, so that nobody can add another."),
    ("signing", "ttl_seconds", "signature_ttl_seconds", whole(0, 10**9, " of seconds"),
     "DKIM: x= so long after t=; 0 = no x=."),
    ("signing", "identify", "identify", BOOL, "Add X-DomainKeys (-h)."),

    ("origin", "internal_hosts", "internal_hosts", HOSTS,
     "Mail from these is signed (-i): addresses, networks, host names, .domains."),
    ("origin", "external_ignore", "external_ignore", HOSTS,
     "Hosts that may send as our domains unreported (-I)."),
    ("origin", "peers", "peers", HOSTS, "Connections accepted without processing (-a)."),
    ("origin", "daemons", "daemons", NAMES, "Name= of DaemonPortOptions whose mail is signed (-m)."),

    ("verifying", "schemes", "verify_schemes", some_of(SCHEMES), "dkim, domainkeys or both."),
    ("verifying", "authserv_id", "authserv_id", TOKEN_OR_NONE,
     'Our name in Authentication-Results; "" = the MTA\'s macro j.'),
    ("verifying", "authentication_results", "authentication_results", BOOL, "Add Authentication-Results."),
    ("verifying", "domainkey_status", "domainkey_status", BOOL, "Add DomainKey-Status as well."),
    ("verifying", "quarantine", "quarantine", BOOL, "Quarantine what fails and would be accepted (-q)."),
    ("verifying", "min_key_bits", "min_key_bits", whole(512, 16384, " of bits"),
     "DKIM signatures by shorter RSA keys do not pass (RFC 8301: never below 1024)."),
    ("verifying", "clock_skew_seconds", "clock_skew_seconds", whole(0, 10**6, " of seconds"),
     "Tolerance for t= and x=."),
    ("verifying", "unsigned_content", "unsigned_content", choice(UNSIGNED_CONTENT),
     "DKIM signatures whose l= leaves the end of the body unsigned: accept = pass; policy = condition bad."),

    ("dns", "timeout_seconds", "dns_timeout_seconds", whole(0, 3600, " of seconds"),
     "For one lookup (-T); 0 = only the deadline."),
    ("dns", "deadline_seconds", "dns_deadline_seconds", whole(1, LONGEST_DEADLINE_SECONDS, " of seconds"),
     "For all lookups of a message; below sendmail's T=E (5 minutes)."),
    ("dns", "nameservers", "nameservers", NAMESERVERS, "[] = the system's."),
    ("dns", "records_file", "records_file", TEXT, 'Answer from this file instead of DNS; "" = DNS.'),

    ("limits", "header_octets", "header_octets", whole(1024, 16 * 1024 * 1024, " of octets"),
     "Larger headers are condition sec; OpenDKIM stops at 64 KiB."),
    ("limits", "header_fields", "header_fields", whole(10, 100_000), "More fields are condition sec."),
    ("limits", "signatures", "max_signatures", whole(1, 100),
     "Signatures that are verified per message; the others are reported as policy."),
)
# fmt: on

_CONDITION_COMMENT = {
    "domainkeys": "What happens to a message (-C): accept, discard, tempfail, reject or quarantine.",
    "dkim": "Likewise for DKIM, which has no `miss`.",
}
_KEY_COMMENT = """\
# Private keys and the mail they sign: From or Sender in `domain`, with `subdomains` also below it. The
# longest match holds; several entries for one domain sign one message several times."""
_KEY_KINDS: dict[str, Kind] = {
    "domain": DOMAIN_PATTERN,
    "selector": SELECTOR,
    "path": PATH,
    "schemes": some_of(SCHEMES),
    "subdomains": BOOL,
    "senders": NAMES,
}
_SECTIONS = ("signing", "origin", "macros", "verifying", "conditions", "dns", "limits", "keys")


# --- reading


class _Reader:
    """Collects values and problems while the parsed TOML is walked."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def take(self, path: str, kind: Kind, value: Any) -> Any:
        try:
            return kind.check(value)
        except ValueError as error:
            self.problems.append(f"{path}: {error}")
            return None

    def known(self, path: str, found: Mapping[str, Any], names: tuple[str, ...]) -> None:
        """Report keys of `found` that are not in `names`."""
        for name in found:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(names)}"
                self.problems.append(f"{path}{name}: unknown key; {hint}")

    def table(self, path: str, value: Any) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self.problems.append(f"{path}: {show(value)} is no table; write [{path}]")
        return {}


def loads(text: str, *, name: str = "") -> Settings:
    """The settings that `text` (TOML) holds.

    Args:
        name: The file's name, to stand before each problem.

    Raises:
        SettingsError: With every problem of the text.
    """
    prefix = f"{name}: " if name else ""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{prefix}is not TOML: {str(error)[:1].lower()}{str(error)[1:]}"]) from None
    except RecursionError:
        raise SettingsError([f"{prefix}is not TOML: nested too deeply"]) from None
    reader = _Reader()
    values: dict[str, Any] = {}
    names: dict[str, list[str]] = {"": list(_SECTIONS)}
    canonicalization: dict[str, Any] = {}
    for section, key, attribute, kind, _comment in _TABLE:
        names.setdefault(section, []).append(key)
        holder = document if not section else document.get(section, {})
        if isinstance(holder, dict) and key in holder:
            path = f"{section}.{key}" if section else key
            value = reader.take(path, kind, holder[key])
            group, dot, inner = attribute.partition(".")
            (canonicalization if dot else values)[inner if dot else group] = value
    values["canonicalization"] = replace(Canonicalization(), **canonicalization)
    for section, keys in names.items():
        holder = document if not section else document.get(section, {})
        reader.known(f"{section}." if section else "", reader.table(section, holder), tuple(keys))
    if "macros" in document:
        values["macros"] = reader.take("macros", MACROS, document["macros"])
    _read_conditions(reader, document.get("conditions", {}), values)
    values["keys"] = _read_keys(reader, document.get("keys", []))
    if "socket" not in document:
        reader.problems.append('socket: is missing; write e.g. socket = "inet:8891@localhost"')
    _cross_check(reader, values)
    if reader.problems:
        raise SettingsError([prefix + problem for problem in reader.problems])
    return Settings(**values)


def _read_conditions(reader: _Reader, found: Any, values: dict[str, Any]) -> None:
    tables = reader.table("conditions", found)
    reader.known("conditions.", tables, ("domainkeys", "dkim"))
    for scheme, default in (("domainkeys", Conditions()), ("dkim", Conditions(miss=None))):
        names = tuple(n for n in CONDITIONS if n != "miss" or scheme == "domainkeys")
        table = reader.table(f"conditions.{scheme}", tables.get(scheme, {}))
        reader.known(f"conditions.{scheme}.", table, names)
        chosen = {
            name: reader.take(f"conditions.{scheme}.{name}", choice(ACTIONS), table[name])
            for name in names
            if name in table
        }
        values[f"{scheme}_conditions"] = replace(default, **chosen)


def _read_keys(reader: _Reader, found: Any) -> tuple[KeyEntry, ...]:
    if not isinstance(found, list):
        reader.problems.append("keys: is no list of tables; write [[keys]] before each key")
        return ()
    out = []
    for number, item in enumerate(found):
        path = f"keys[{number}]"
        entry = reader.table(path, item)
        reader.known(f"{path}.", entry, tuple(_KEY_KINDS))
        before = len(reader.problems)
        values = {
            name: reader.take(f"{path}.{name}", kind, entry[name]) for name, kind in _KEY_KINDS.items() if name in entry
        }
        for name in ("domain", "selector", "path"):
            if name not in entry:
                reader.problems.append(f"{path}.{name}: is missing")
        if len(reader.problems) == before:
            out.append(KeyEntry(**values))
    return tuple(out)


def _cross_check(reader: _Reader, values: Mapping[str, Any]) -> None:
    """What no single key can say."""
    omitted = {name.lower() for name in values.get("omit_headers") or ()}
    if "from" in omitted:
        # RFC 6376 section 5.4: From MUST be signed; RFC 4870 section 3.3: h= names the sender's field.
        reader.problems.append("signing.omit: From must be signed; leave it out of this list")


# --- writing


def dumps(settings: Settings) -> str:
    """`settings` as commented TOML; all of them are written, in a fixed order."""
    out = ["# Settings of dkconf-filter (dkconf-filter --config FILE; -n checks them).\n"]
    for section in ("", *_SECTIONS):
        if section == "keys":
            out.append(_write_keys(settings.keys))
        elif section == "conditions":
            out.append(_write_conditions("domainkeys", settings.domainkeys_conditions))
            out.append(_write_conditions("dkim", settings.dkim_conditions))
        elif section == "macros":
            out.append('\n# Mail is signed if one of these MTA macros has this value; "" = any (-M).\n')
            out.append("[macros]\n")
            out.append(MACROS.write(settings.macros))
        else:
            out.append(f"\n[{section}]\n" if section else "\n")
            out += [
                f"# {comment}\n{key} = {kind.write(_get(settings, attribute))}\n"
                for where, key, attribute, kind, comment in _TABLE
                if where == section
            ]
    return "".join(out)


def _get(settings: Settings, attribute: str) -> Any:
    value: Any = settings
    for part in attribute.split("."):
        value = getattr(value, part)
    return value


def _write_conditions(scheme: str, table: Conditions) -> str:
    lines = [f"\n# {_CONDITION_COMMENT[scheme]}\n[conditions.{scheme}]\n"]
    for name in CONDITIONS:
        action = getattr(table, name)
        if action is not None:
            lines.append(f"{name} = {toml_string(action)}\n")
    return "".join(lines)


def _write_keys(keys: tuple[KeyEntry, ...]) -> str:
    lines = ["\n" + _KEY_COMMENT + "\n"] if keys else []
    for entry in keys:
        lines.append("[[keys]]\n")
        for name, kind in _KEY_KINDS.items():
            value = getattr(entry, name)
            if name != "senders" or value:
                lines.append(f"{name} = {kind.write(value)}\n")
        lines.append("\n")
    return "".join(lines)
