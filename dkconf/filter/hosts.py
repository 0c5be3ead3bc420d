"""Lists of hosts: addresses, networks, host names and `.domain` suffixes, looked up in constant time.

Used for internal hosts (-i), external hosts not to be reported (-I) and peers (-a).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from dkconf.filter.values import network

MAX_ADDRESS_OCTETS: Final = 64
"""An IPv6 address has 45 at most, and a scope some more."""
REMEMBERED_ADDRESSES: Final = 1024
"""Clients whose address is not read anew for each of their connections: that takes 5 us."""


class HostList:
    """A list of hosts; `matches` says whether a client is on it."""

    __slots__ = ("_names", "_networks", "_suffixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take patterns that `values.host_pattern` lets through."""
        self._names: set[str] = set()
        self._suffixes: set[str] = set()
        # (version, prefix length) -> the networks' leading bits: one look per length that occurs.
        self._networks: dict[tuple[int, int], set[int]] = {}
        for pattern in patterns:
            try:
                found = network(pattern)
            except ValueError:
                name = pattern.lower().rstrip(".")
                if name.startswith("."):
                    self._suffixes.add(name[1:])
                else:
                    self._names.add(name)
                continue
            bits = int(found.network_address) >> (found.max_prefixlen - found.prefixlen)
            self._networks.setdefault((found.version, found.prefixlen), set()).add(bits)

    def __bool__(self) -> bool:
        return bool(self._names or self._suffixes or self._networks)

    def matches(self, hostname: bytes, address: bytes) -> bool:
        """Whether a client with this name and address (as the MTA gave them) is on the list.

        A name in brackets is an address that did not resolve, and no name. `address` may be empty.
        """
        if (self._names or self._suffixes) and hostname and hostname[:1] != b"[":
            name = hostname.decode("ascii", "replace").lower().rstrip(".")
            if name in self._names:
                return True
            while self._suffixes:
                # ".example.com" is what is below it, not the domain itself.
                _, dot, name = name.partition(".")
                if not dot:
                    break
                if name in self._suffixes:
                    return True
        return bool(address and self._networks) and self._address_matches(address)

    def _address_matches(self, address: bytes) -> bool:
        found = _number(address) if len(address) <= MAX_ADDRESS_OCTETS else None
        if found is None:
            return False
        version, size, number = found
        return any(
            version == kind and number >> (size - length) in leading
            for (kind, length), leading in self._networks.items()
        )


@lru_cache(maxsize=REMEMBERED_ADDRESSES)
def _number(address: bytes) -> tuple[int, int, int] | None:
    """Return the version, bits and number of an address, None if it is none; a mapped IPv4 address is what it maps."""
    try:
        found = ipaddress.ip_address(address.decode("ascii"))
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.version, found.max_prefixlen, int(found)
