"""Which name servers to ask: those of the settings, or the system's."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

# glibc looks at three and no more.
_MOST: Final = 6


class Nameservers(NamedTuple):
    """Addresses with ports, and whether their word on DNSSEC counts."""

    addresses: tuple[tuple[str, int], ...]
    trust_ad: bool = False


def split_address(text: str) -> tuple[str, int]:
    """Return (address, port) of ADDRESS, ADDRESS:PORT or [IPv6]:PORT. Raises ValueError."""
    address, port = text, "53"
    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else port
    elif text.count(":") == 1:
        address, _, port = text.partition(":")
    # resolv.conf may name an interface (fe80::1%eth0).
    ipaddress.ip_address(address.partition("%")[0])
    return address, int(port)


def from_settings(texts: Sequence[str]) -> Nameservers:
    """Return the servers that the settings name."""
    return Nameservers(tuple(split_address(text) for text in texts)[:_MOST])


def from_resolv_conf(text: str, otherwise: tuple[tuple[str, int], ...] = (("127.0.0.1", 53),)) -> Nameservers:
    """Return the servers of a resolv.conf; without any, the one on this host, as resolv.conf(5) says."""
    addresses: list[tuple[str, int]] = []
    trust_ad = False
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            try:
                addresses.append(split_address(words[1] if words[1].count(":") != 1 else ""))
            except ValueError:
                continue
        elif words[:1] == ["options"]:
            trust_ad = trust_ad or "trust-ad" in words
    return Nameservers(tuple(addresses[:_MOST]) or otherwise, trust_ad)


def numeric(server: tuple[str, int]) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the socket address of a server. As it is, fe80::1%eth9 would be looked up as a host name if eth9 is gone.

    Raises:
        OSError: There is no such interface.
    """
    address, _, scope = server[0].partition("%")
    if not scope:
        return server
    return address, server[1], 0, int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
