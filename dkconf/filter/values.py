"""Values of the settings file: how each kind is checked, and how it is written as TOML.

A check returns the value for `Settings`, or raises ValueError with what was found and what would be right.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """How a value is checked and written."""

    check: Callable[[Any], Any]
    """The value for `Settings`; raises ValueError saying what would be right."""
    write: Callable[[Any], str]
    """The value as TOML."""


# --- writing

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def toml_string(text: str) -> str:
    """`text` as a TOML basic string."""
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif ord(char) < 0x20 or ord(char) == 0x7F:
            out.append(f"\\u{ord(char):04X}")
        else:
            out.append(char)
    return '"' + "".join(out) + '"'


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _write_list(values: tuple[str, ...]) -> str:
    inline = "[" + ", ".join(map(toml_string, values)) + "]"
    if len(inline) <= 90:
        return inline
    return "[\n" + "".join(f"    {toml_string(v)},\n" for v in values) + "]"


def write_macros(value: Mapping[str, str]) -> str:
    """The lines of a [macros] table, sorted."""
    return "".join(f"{toml_string(name)} = {toml_string(value[name])}\n" for name in sorted(value))


# --- checking


def show(value: Any) -> str:
    """`value` as a message quotes it, at most 80 characters."""
    text = toml_string(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def boolean(value: Any) -> bool:
    """`value` if it is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{show(value)} is no boolean; write true or false")
    return value


def string(value: Any) -> str:
    """`value` if it is a string without NUL."""
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is no string; put it in quotes")
    if "\0" in value:
        raise ValueError(f"{show(value)} holds a NUL")
    return value


def matching(pattern: str, right: str) -> Callable[[Any], str]:
    """A check for strings that match `pattern` wholly; `right` says what to write."""
    compiled = re.compile(pattern)

    def check(value: Any) -> str:
        if not compiled.fullmatch(string(value)):
            raise ValueError(f"{show(value)}: {right}")
        return str(value)

    return check


def number(low: int, high: int, unit: str = "") -> Callable[[Any], int]:
    """A check for whole numbers from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{show(value)}; write a whole number{unit} from {low} to {high}")
        return value

    return check


def one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    """A check for one of `words`; a near miss is named."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            near = difflib.get_close_matches(value, words, 1) if isinstance(value, str) else []
            hint = f'; did you mean "{near[0]}"?' if near else f"; write one of {', '.join(words)}"
            raise ValueError(f"{show(value)} is unknown{hint}")
        return value

    return check


def list_of(item: Callable[[Any], str], *, least: int = 0, unique: bool = False) -> Callable[[Any], tuple[str, ...]]:
    """A check for lists whose members pass `item`."""

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{show(value)} is no list; write [{show(value)}]")
        out = tuple(item(one) for one in value)
        if len(out) < least:
            raise ValueError("is empty; name at least one")
        if unique and len(set(out)) < len(out):
            raise ValueError(f"{show(value)} names something twice")
        return out

    return check


def or_empty(check: Callable[[Any], str]) -> Callable[[Any], str]:
    """`check`, but "" passes too."""
    return lambda value: "" if value == "" else check(value)


_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"

domain = matching(_DOMAIN, "write a domain name")
domain_pattern = matching(r"[A-Za-z0-9_*-]+(?:\.[A-Za-z0-9_*-]+)*", 'write a domain, or a pattern with "*"')
selector = matching(_DOMAIN, 'write DNS labels: letters, digits and "-"')
field_name = matching(r"[!-9;-~]+", "write a header field's name without its colon")
token = matching(r"[!#$%&'*+.0-9A-Z^_`a-z|~{}-]+", "write a host name, without blanks")
path = matching(r"(?s:.+)", "write a path")


def socket_spec(value: Any) -> str:
    """`value` if it names a socket the way sendmail's S= and dk-filter's -p do; no scheme means a path."""
    text = string(value)
    scheme, colon, rest = text.partition(":")
    if not colon or text.startswith("/"):
        rest, scheme = text, "local"
        # A path by sendmail's rules, and surely not meant as one.
        if re.fullmatch(r"[0-9]+(@.*)?", text):
            host = text if "@" in text else f"{text}@localhost"
            raise ValueError(f"{show(value)} is a port without its kind; write inet:{host}")
    if scheme in ("local", "unix"):
        # 107 octets: sun_path of Linux without its NUL.
        if rest and len(rest.encode("utf-8", "replace")) <= 107:
            return text
        raise ValueError(f"{show(value)}: write a path of at most 107 octets, e.g. local:/run/dkconf.sock")
    if scheme in ("inet", "inet6"):
        port, at, host = rest.partition("@")
        good_host = (host or not at) and " " not in host
        if good_host and port.isascii() and port.isdigit() and int(port[:6]) < 65536:
            return text
        raise ValueError(f"{show(value)}: write {scheme}:PORT@HOST, e.g. {scheme}:8891@localhost")
    if scheme == "fd":
        if rest.isascii() and rest.isdigit():
            return text
        raise ValueError(f"{show(value)}: write fd:NUMBER, e.g. fd:3")
    raise ValueError(f"{show(value)}: write inet:PORT@HOST, inet6:PORT@HOST, local:PATH or unix:PATH")


def metrics_spec(value: Any) -> str:
    """`value` if it names a socket that only this host can reach."""
    text = socket_spec(value)
    scheme, _, rest = text.partition(":")
    host = rest.partition("@")[2].strip("[]").lower()
    if scheme in ("local", "unix") or "/" in text or not rest or _is_loopback(host):
        return text
    raise ValueError(f"{show(value)} can be reached from outside; write e.g. inet:9891@127.0.0.1")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_pattern(value: Any) -> str:
    """`value` if it is an address, a network (CIDR), a host name or `.domain`."""
    text = string(value)
    if re.fullmatch(r"\.?" + _DOMAIN, text) and not re.fullmatch(r"[0-9.]+", text):
        return text
    try:
        network(text)
    except ValueError:
        raise ValueError(
            f"{show(value)}: write an address, a network like 192.0.2.0/24, a host name or .domain"
        ) from None
    return text


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network that `text` names: an address or CIDR, perhaps in brackets or with sendmail's "IPv6:".

    Host bits are cleared; an IPv4 address mapped into IPv6 becomes IPv4. Raises ValueError.
    """
    address, slash, bits = text.partition("/")
    address = address.strip("[]")
    if address[:5].lower() == "ipv6:":
        address = address[5:]
    found = ipaddress.ip_network(address + slash + bits, strict=False)
    if isinstance(found, ipaddress.IPv6Network) and found.prefixlen >= 96:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, found.prefixlen - 96), strict=False)
    return found


def nameserver(value: Any) -> str:
    """`value` if it is ADDRESS, ADDRESS:PORT or [IPv6]:PORT."""
    text = string(value)
    match = re.fullmatch(r"\[(.+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?|([0-9A-Fa-f:.]+)", text)
    try:
        ipaddress.ip_address((match[1] or match[3] or match[5]) if match else "")
        if match and not 0 < int(match[2] or match[4] or 53) < 65536:
            raise ValueError
    except ValueError:
        raise ValueError(f"{show(value)}: write an address, ADDRESS:PORT or [IPv6]:PORT, e.g. 127.0.0.1:53") from None
    return text


def _mode(value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError(f'{show(value)}: write an octal mode in quotes, e.g. "0660"')


def _macros(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f'{show(value)} is no table; write [macros] and NAME = "VALUE" lines')
    for name, wanted in value.items():
        if not re.fullmatch(r"[A-Za-z0-9_]+", name):
            raise ValueError(f"{show(name)}: write a macro's name without braces")
        string(wanted)
    return dict(value)


TEXT = Kind(string, toml_string)
PATH = Kind(path, toml_string)
DOMAIN_PATTERN = Kind(domain_pattern, toml_string)
SELECTOR = Kind(selector, toml_string)
SOCKET = Kind(socket_spec, toml_string)
METRICS_OR_NONE = Kind(or_empty(metrics_spec), toml_string)
TOKEN_OR_NONE = Kind(or_empty(token), toml_string)
MODE = Kind(_mode, lambda mode: f'"{mode:04o}"')
BOOL = Kind(boolean, _write_bool)
NAMES = Kind(list_of(string), _write_list)
FIELD_NAMES = Kind(list_of(field_name), _write_list)
HOSTS = Kind(list_of(host_pattern), _write_list)
NAMESERVERS = Kind(list_of(nameserver), _write_list)
MACROS = Kind(_macros, write_macros)


def whole(low: int, high: int, unit: str = "") -> Kind:
    """Whole numbers from `low` to `high`."""
    return Kind(number(low, high, unit), str)


def choice(words: tuple[str, ...]) -> Kind:
    """One of `words`."""
    return Kind(one_of(words), toml_string)


def some_of(words: tuple[str, ...]) -> Kind:
    """A list of at least one of `words`, none twice."""
    return Kind(list_of(one_of(words), least=1, unique=True), _write_list)
