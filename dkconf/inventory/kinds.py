"""Kinds of text values: what is taken, what would be right, and the same as JSON Schema.

One table for reader and schema. A kind's `parse` returns the value, or raises `Wrong` with what was found;
`right` says what to write instead. Most kinds are lists of allowed characters, not of forbidden ones:
whatever passes here is safe in m4 quotes, in a unit file, in a shell word and in a zone file, each of which
quotes it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .findings import quote

MAX_NAME_OCTETS = 253  # RFC 1035 section 2.3.4, without the root's octet
M4_WORDS = frozenset(
    """
    builtin changecom changequote changeword debugfile debugmode decr define defn divert divnum dnl dumpdef
    errprint esyscmd eval expr format ifdef ifelse include incr index indir len m4exit m4wrap maketemp mkstemp
    paste patsubst popdef pushdef regexp shift sinclude spaste substr symbols syscmd sysval traceoff traceon
    translit undefine undivert unix windows
    concat lower strcasecmp CONCAT DOL DOMAIN FEATURE HACK MAILER OSTYPE POPDIVERT PUSHDIVERT SITE SITECONFIG TEMPFILE
    UUCPSMTP VERSIONID
    """.split()  # noqa: SIM905 - a list of 90 quoted words reads worse
)
"""Builtins of GNU and BSD m4, and sendmail's own macros: m4 reads a filter's name and socket more than once."""
M4_NAMES = re.compile(r"__\w*__|_[A-Z]\w*|_+|conf[A-Z]\w*|[A-Z][A-Z0-9]*_[A-Z0-9_]*")
"""How sendmail names its own: _OPTION_, confOPTION, LOCAL_CONFIG; and GNU m4's __file__."""


class Wrong(ValueError):
    """A value that its kind does not take: what was found, and the rule that it breaks."""

    def __init__(self, found: str, rule: str = "INV003", right: str = "") -> None:
        self.found, self.rule, self.right = found, rule, right
        super().__init__(found)


@dataclass(frozen=True, slots=True)
class Kind:
    parse: Callable[[str], Any]
    right: str
    """What would be right, as the second half of a message."""
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    plain_number: bool = False
    """A number may stand here without quotes, and is taken as it is written."""


def pattern(regex: str, right: str, what: str = "cannot stand here", *, empty: bool = False) -> Kind:
    """Return a kind of text that matches a regular expression as a whole."""
    compiled = re.compile(regex)

    def parse(text: str) -> str:
        if not (compiled.fullmatch(text) or (empty and not text)):
            raise Wrong(f"{quote(text)} {what}", "INV005" if breaks_out(text) else "INV003")
        return text

    return Kind(parse, right, {"type": "string", "pattern": f"^({regex})?$" if empty else f"^({regex})$"})


def breaks_out(text: str) -> bool:
    """Tell whether a text holds what ends a quote, a line or a word somewhere."""
    return any(c in "`'\n\r$,\"\\;|&<>()" for c in text)


# durations -------------------------------------------------------------------------------------------------

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d{1,9})([smhdw]?)")


def duration(low: int, high: int, why_low: str = "") -> Kind:
    """Return the kind of a time span: whole seconds, or a number and s, m, h, d or w."""

    def parse(text: str) -> int:
        match = _DURATION.fullmatch(text)
        if not match:
            raise Wrong(f"{quote(text)} is not a duration")
        seconds = int(match[1]) * _UNITS[match[2] or "s"]
        if not low <= seconds <= high:
            raise Wrong(
                f"{quote(text)} is {seconds} seconds",
                right=f"write a duration from {low}s{why_low} to {short_duration(high)}",
            )
        return seconds

    schema = {
        "anyOf": [
            {"type": "integer", "minimum": low, "maximum": high},
            {"type": "string", "pattern": r"^\d{1,9}[smhdw]?$"},
        ]
    }
    return Kind(parse, "write 30s, 1m, 2h, 1d, or whole seconds", schema, plain_number=True)


def short_duration(seconds: int) -> str:
    """Return seconds in their largest whole unit: 3600 -> 1h."""
    for unit, size in reversed(_UNITS.items()):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


# names -----------------------------------------------------------------------------------------------------

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)


def dns_name(text: str) -> str:
    """Return a host or domain name, or say which label is none."""
    if not text.isascii():
        raise Wrong(f"{quote(text)} is not ASCII", right=_a_label_advice(text))
    if text.endswith("."):
        raise Wrong(f"{quote(text)} ends in a dot", right=f"write {quote(text.rstrip('.'))}")
    if len(text) > MAX_NAME_OCTETS:
        raise Wrong(f"{quote(text)} is longer than {MAX_NAME_OCTETS} octets")
    for label in text.split("."):
        if not _LABEL.fullmatch(label):
            raise Wrong(
                f"{quote(label)} is not a DNS label",
                "INV005" if breaks_out(label) else "INV003",
                'use letters, digits and "-", at most 63, no "-" at the ends',
            )
    return text


def _a_label_advice(text: str) -> str:
    try:
        written = dns_name(text.encode("idna").decode())
    except (UnicodeError, Wrong):
        return "write the A-label form, xn--…"
    return f"write its A-label form, {written}"


def _domain(text: str) -> str:
    dns_name(text)
    if text != text.lower():
        raise Wrong(f"{quote(text)} has capital letters", right=f"write {text.lower()}; DNS does not tell them apart")
    if "." not in text:
        raise Wrong(f"{quote(text)} has no dot", right="write the whole domain name, e.g. example.com")
    return text


def _host(text: str) -> str:
    dns_name(text)
    if text != text.lower():
        raise Wrong(f"{quote(text)} has capital letters", right=f"write {text.lower()}")
    return text


_NAME_SCHEMA = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$",
    "maxLength": MAX_NAME_OCTETS,
}
DOMAIN = Kind(_domain, "write a domain name, e.g. example.com", _NAME_SCHEMA)
HOST = Kind(_host, "write the host's name, e.g. mx1.example.com", _NAME_SCHEMA)
SELECTOR = Kind(dns_name, 'use letters, digits and "-", e.g. s2026a', _NAME_SCHEMA)


def m4_word(text: str) -> str:
    """Return a text, or say which of its words m4 would take for a macro."""
    for word in re.split(r"[^A-Za-z0-9_]+", text):
        if word in M4_WORDS or M4_NAMES.fullmatch(word):
            raise Wrong(
                f"{quote(text)} holds {quote(word)}, which m4 takes for a macro",
                "INV005",
                "choose another name",
            )
    return text


def _filter_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,48}", text):
        raise Wrong(f"{quote(text)} cannot name a filter", "INV005" if breaks_out(text) else "INV003")
    return m4_word(text)


FILTER_NAME = Kind(
    _filter_name,
    "use letters, digits, - and _, at most 48",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,48}$"},
)
USER = pattern(
    r"[a-z_][a-z0-9_-]{0,30}", "write a user or group name, e.g. dkconf", "is not an account name", empty=True
)
SERVICE = pattern(
    r"[A-Za-z0-9_][A-Za-z0-9:_.@-]{0,100}",
    "write the service's name, e.g. opendkim",
    "is not a service name",
    empty=True,
)
GROUP = pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}",
    "write a short name, e.g. relay-eu",
    "is not a group name",
    empty=True,
)
HEADER = pattern(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,75}",
    "write a header field's name without the colon, e.g. Subject",
    "is not a header field name",
)
DAEMON = pattern(r"[A-Za-z0-9_.-]{1,64}", "write the Name= of a DaemonPortOptions, e.g. MSA", "is not a daemon name")
MACRO = pattern(
    r"[A-Za-z_][A-Za-z0-9_]{0,40}",
    "write the macro's name without braces, e.g. auth_type",
    "is not a macro name",
)
MACRO_VALUE = pattern(
    r"[A-Za-z0-9 _.:@/+=-]{0,120}",
    "use letters, digits, blanks and _ . : @ / + = -",
    "cannot be a macro's value",
)
NOTE = pattern(
    r"[A-Za-z0-9 _.:@/+,?!()*#~-]{0,200}",
    "write at most 200 plain characters, without ; and quotes",
    "cannot stand in a record",
    empty=True,
)
AUTHSERV_ID = pattern(
    r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?",
    "write a host name, e.g. mx1.example.com",
    "is not an authserv-id",
    empty=True,
)
ADDRESS = pattern(
    r"[A-Za-z0-9_.+=-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?",
    "write an address, e.g. postmaster@example.com",
    "is not a plain mail address",
    empty=True,
)
SOCKET_MODE = Kind(
    pattern(r"0?[0-7]{3}", "").parse,
    "write three octal digits, e.g. 0660",
    {"type": ["string", "integer"], "pattern": "^0?[0-7]{3}$"},
    plain_number=True,
)


def _stage_macros(text: str) -> str:
    if not re.fullmatch(r"(\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_])(, *(\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_]))*", text):
        raise Wrong(f"{quote(text)} is not a list of macros", "INV005" if breaks_out(text) else "INV003")
    return text


STAGE_MACROS = Kind(_stage_macros, "write macros as sendmail does: j, {auth_type}, {rcpt_addr}")


# numbers ---------------------------------------------------------------------------------------------------


def number(low: int, high: int, right: str = "", below: str = "INV003") -> Kind:
    """Return the kind of a whole number in a range; `below` is the rule that a smaller one breaks."""
    right = right or f"write a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,9}", text):
            raise Wrong(f"{quote(text)} is not a whole number")
        value = int(text)
        if not low <= value <= high:
            raise Wrong(f"{value} is too {'small' if value < low else 'large'}", below if value < low else "INV003")
        return value

    return Kind(parse, right, {"type": "integer", "minimum": low, "maximum": high}, plain_number=True)
