"""What fits together, across the entries of an inventory."""

from __future__ import annotations

import pytest

from dkconf.inventory import InventoryInvalid, load_octets

INVENTORY = """\
version: 1
domains:
  example.com:
    selectors:
      s1: {{algorithm: rsa}}
filters:
  dkconf:
    socket: local:/var/run/dkconf/filter.sock
hosts:
  mx1.example.com:
    {host}
    filters: [dkconf]
    domains: [example.com]
"""


def rules(host: str) -> list[str]:
    """Return the rules of the errors that a host with these lines has."""
    try:
        load_octets(INVENTORY.format(host=host).encode(), "inventory.yaml")
    except InventoryInvalid as invalid:
        return [finding.rule for finding in invalid.findings if finding.severity == "error"]
    return []


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("platform: freebsd", ["REF006"]),
        ("platform: freebsd\n    service_manager: rcd", []),
        ("service_manager: rcd", ["REF006"]),
        ("service_manager: sysv", []),
        # One fault is one finding: what is no platform at all has no service managers to speak of.
        ("platform: solaris", ["INV003"]),
        ("platform: freebsd\n    service_manager: launchd", ["INV003"]),
        ("platform: [freebsd]", ["INV002"]),
    ],
)
def test_a_platform_has_its_own_service_managers(host, found):
    """systemd is the default, and FreeBSD has none."""
    assert rules(host) == found
