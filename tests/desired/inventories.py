"""Inventories as values, for tests that do not read YAML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dkconf.inventory.model import Domain, DomainKeysPolicy, Filter, Host, Inventory, Selector
from dkconf.keys import PublicHalf
from dkconf.keys.public import parse_pem

HOST = "mx1.example.com"

# Test keys; nothing real is signed with them.
RSA_PEM = b"""\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkM
oGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/R
tdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToI
MmPSPDdQPNUYckcQ2QIDAQAB
-----END PUBLIC KEY-----
"""
"""RFC 6376 appendix C: 1024 bits."""
ED25519_PEM = b"""\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
"""
"""RFC 8463 appendix A."""

RSA: PublicHalf = parse_pem(RSA_PEM)
ED25519: PublicHalf = parse_pem(ED25519_PEM)


def one_host(
    spec: Filter | None = None,
    *,
    name: str = "signer",
    domain: Domain | None = None,
    **host: Any,
) -> Inventory:
    """An inventory of one host, one filter and one domain."""
    spec = spec or Filter("inet:8891@127.0.0.1")
    domain = domain or Domain(
        {"s1": Selector(bits=1024)}, sign=("dkim", "domainkeys"), domainkeys_policy=DomainKeysPolicy()
    )
    base = Host(filters=(name,), domains=("example.com",))
    return Inventory({"example.com": domain}, {name: spec}, {HOST: replace(base, **host)})
