"""Kinds of paths, sockets, networks and name servers: see `kinds.py`."""

from __future__ import annotations

import re
from typing import Any

from .findings import quote
from .kinds import Kind, Wrong, breaks_out, dns_name, m4_word

_PATH = re.compile(r"(/[A-Za-z0-9._+@:~-]+)+")


def _path(text: str) -> str:
    if text and (not _PATH.fullmatch(text) or len(text) > 1000):
        found = f"{quote(text)} is not a plain absolute path"
        raise Wrong(found, "INV005" if breaks_out(text) else "INV003")
    if any(part in ("..", ".") for part in text.split("/")):
        raise Wrong(f"{quote(text)} holds a . or .. part")
    return text


PATH = Kind(
    _path,
    "write an absolute path of letters, digits and . _ + @ : ~ -",
    {"type": "string", "pattern": "^((/[A-Za-z0-9._+@:~-]+)+)?$"},
)


def _argument(text: str) -> str:
    if not text.isprintable() or len(text) > 4000:
        raise Wrong(f"{quote(text)} holds characters that cannot be printed", "INV005")
    return text


ARGUMENT = Kind(_argument, "write one argument of the command, as it is, without quotes of a shell")
_UNIX_MAX = 104  # sun_path: 108 octets on Linux, 104 on FreeBSD, the NUL included
_SOCKET_RIGHT = "write inet:PORT@HOST, inet6:PORT@HOST, local:/PATH or unix:/PATH"


def socket(text: str) -> str:
    """Return a socket specification as sendmail's S= takes it, or say what is wrong with it.

    Source: sendmail's op.me, X lines; libmilter smfi_setconn.
    """
    scheme, colon, rest = text.partition(":")
    if not colon:
        if text.startswith("/"):
            raise Wrong(f"{quote(text)} names no scheme", right=f"write {quote('local:' + text)}")
        if text.isdigit():
            raise Wrong(f"{quote(text)} names no host", right=f"write inet:PORT@HOST, e.g. inet:{text[:5]}@localhost")
        raise Wrong(f"{quote(text)} is not a socket")
    if scheme in ("local", "unix"):
        if not rest.startswith("/"):
            raise Wrong(
                f"{quote(text)} has no absolute path",
                right=f"write {scheme}:/PATH, e.g. local:/run/dkconf/milter.sock",
            )
        if len(rest) >= _UNIX_MAX:
            raise Wrong(f"the socket's path has {len(rest)} characters", right=f"it may have {_UNIX_MAX - 1}")
        return f"{scheme}:{m4_word(_path(rest))}"
    if scheme not in ("inet", "inet6"):
        raise Wrong(
            f"{quote(text)} begins with {quote(scheme)}, which is no socket scheme",
            "INV005" if breaks_out(text) else "INV003",
        )
    port, at, host = rest.partition("@")
    if not at:
        raise Wrong(
            f"{quote(text)} names no host",
            right=f"sendmail needs it: write {scheme}:PORT@HOST, "
            f"e.g. {scheme}:{port[:5] if port.isdigit() else 8891}@localhost",
        )
    if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
        raise Wrong(f"{quote(port)} is not a port number", right="write a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        _ip(host[1:-1], host)
    elif ":" in host or re.fullmatch(r"[\d.]+", host):
        address = _ip(host, host)
        if (address.version == 6) != (scheme == "inet6"):
            raise Wrong(
                f"{quote(host)} is an IPv{address.version} address",
                right=f"write {'inet6' if address.version == 6 else 'inet'}:{port}@{host}",
            )
    else:
        m4_word(dns_name(host))
    return text


def _ip(text: str, shown: str) -> Any:
    import ipaddress

    try:
        _plain_zone(text)
        return ipaddress.ip_address(text)
    except ValueError:
        raise Wrong(f"{quote(shown)} is not an IP address", right="write e.g. 127.0.0.1 or ::1") from None


def _plain_zone(text: str) -> None:
    """Raise ValueError where the zone of an IPv6 address ("fe80::1%eth0") is no interface's name; Python takes any."""
    _, percent, zone = text.partition("%")
    if percent and not _ZONE.fullmatch(zone):
        raise ValueError


_ZONE = re.compile(r"[A-Za-z0-9._-]{1,15}")

SOCKET = Kind(socket, _SOCKET_RIGHT, {"type": "string", "pattern": r"^((inet6?:\d{1,5}@\S+)|((local|unix):/\S+))$"})


def _metrics(text: str) -> str:
    if not text:
        return text
    socket(text)
    host = text.partition("@")[2]
    if host and host.strip("[]") not in ("127.0.0.1", "::1", "localhost"):
        raise Wrong(f"{quote(text)} is reachable from outside", right="write inet:PORT@127.0.0.1 or local:/PATH")
    return text


METRICS = Kind(_metrics, "write inet:PORT@127.0.0.1 or local:/PATH", {"type": "string"})


# networks --------------------------------------------------------------------------------------------------


def _network(text: str) -> str:
    import ipaddress

    if ":" in text or "/" in text or re.fullmatch(r"[\d.]+", text):
        try:
            _plain_zone(text.partition("/")[0])
            ipaddress.ip_network(text)
        except ValueError as error:
            if "host bits" in str(error):
                raise Wrong(
                    f"{quote(text)} is an address inside a network",
                    right=f"write {ipaddress.ip_network(text, strict=False)}",
                ) from None
            raise Wrong(f"{quote(text)} is not an address or a network") from None
        return text
    dns_name(text.removeprefix("."))
    return text


NETWORK = Kind(_network, "write an address, a network such as 192.0.2.0/24, a host name, or a .domain")


def _nameserver(text: str) -> str:
    match = re.fullmatch(r"\[(.+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?|([0-9A-Fa-f:.]+)", text)
    if not match or not 0 < int(match[2] or match[4] or 53) < 65536:
        raise Wrong(f"{quote(text)} is not a name server's address")
    _ip(match[1] or match[3] or match[5], text)
    return text


NAMESERVER = Kind(_nameserver, "write ADDRESS, ADDRESS:PORT or [IPv6]:PORT")
