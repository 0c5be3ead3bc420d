"""Which keys sign what, on one host: the inventory's domains and selectors, seen by one filter.

Only selectors in state `active` sign. Ed25519 never signs DomainKeys (RFC 4870 knows rsa-sha1 alone).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dkconf.desired.errors import NotRenderable
from dkconf.desired.state import HostPaths, Signature
from dkconf.inventory.model import Filter, Host, Inventory, Scheme, Selector

SCHEME_ORDER: tuple[Scheme, ...] = ("domainkeys", "dkim")
"""DomainKeys first, then DKIM above it, so that the DKIM signature may cover the other."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An active selector of a domain of this host, with what this filter makes of it."""

    domain: str
    selector: str
    spec: Selector
    path: str
    schemes: tuple[Scheme, ...]
    subdomains: bool


def filter_schemes(spec: Filter) -> tuple[Scheme, ...]:
    """What the program can sign; dk-filter knows DomainKeys only."""
    return ("domainkeys",) if spec.program == "dk-filter" else spec.schemes


def private_path(paths: HostPaths, domain: str, selector: str) -> str:
    """Where the private half lies on the host."""
    return f"{paths.key_dir}/{domain}/{selector}.private"


def signing_keys(inventory: Inventory, host: Host, spec: Filter, paths: HostPaths) -> Iterator[SigningKey]:
    """The keys that this filter signs with, by domain in the host's order, then by selector.

    Raises:
        NotRenderable: The host names a domain that the inventory does not have.
    """
    if "sign" not in spec.roles:
        return
    possible = filter_schemes(spec)
    for name in host.domains:
        domain = inventory.domains.get(name)
        if domain is None:
            raise NotRenderable(f"domains.{name}: named by a host, but not in the inventory")
        for selector, key in sorted(domain.selectors.items()):
            schemes = tuple(
                scheme
                for scheme in SCHEME_ORDER
                if scheme in possible
                and scheme in domain.sign
                and not (scheme == "domainkeys" and key.algorithm != "rsa")
            )
            if key.state == "active" and schemes:
                yield SigningKey(name, selector, key, private_path(paths, name, selector), schemes, domain.subdomains)


_ALGORITHM = {
    ("domainkeys", "rsa"): "rsa-sha1",
    ("dkim", "rsa"): "rsa-sha256",
    ("dkim", "ed25519"): "ed25519-sha256",
}


def signatures(keys: tuple[SigningKey, ...], already: Mapping[str, bool]) -> tuple[Signature, ...]:
    """The signatures that a message from each domain carries when it leaves the filter.

    Args:
        already: Domains that an earlier filter signs with DomainKeys. A later one then leaves DomainKeys
            alone: a message with a DomainKey-Signature is verified, not signed again (RFC 4870 section 3.5.2).
    """
    return tuple(
        Signature(scheme, key.domain, key.selector, _ALGORITHM[scheme, key.spec.algorithm])
        for key in keys
        for scheme in key.schemes
        if not (scheme == "domainkeys" and already.get(key.domain))
    )
