"""Inventories for the lab's host."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.lab.lab import BIN, SENDMAIL, Lab

DOMAIN = "example.org"
SELECTOR = "s1"
OWN = "dkconf-filter"
OWN_PORT = 8893
OWN_SERVICE = f'{OWN}:\n  argv: ["{BIN}/dkconf-filter", "--config", /etc/dkconf-filter/{OWN}.toml]'
"""The `services` of a host with a dkconf-filter that dkconf starts directly."""


def write(
    lab: Lab,
    filters: str,
    order: Sequence[str],
    *,
    services: str = "",
    domains: Sequence[str] = (DOMAIN,),
    domain: str = "sign: [dkim]",
    disabled: Sequence[str] = (),
    host: str = "",
) -> Path:
    """Write DIR/inventory.yaml for mx1.example.test; return its path.

    Args:
        filters: YAML of the filters, each at the left margin.
        order: The host's filters, in call order.
        services: YAML below the host's `services`, at the left margin.
        domain: YAML below the domain, at the left margin.
        host: More YAML below the host, at the left margin.
    """
    sendmail = ", ".join(f'"{word}"' for word in SENDMAIL)
    text = f"""\
# The lab's inventory. This comment stays, whatever dkconf edits.
version: 1
domains:
  {DOMAIN}:
{_indented(domain, 4)}
    selectors:
      {SELECTOR}: {{algorithm: rsa, bits: 2048, state: active}}
filters:
{_indented(filters, 2)}
hosts:
  mx1.example.test:
    platform: debian
    service_manager: direct
    filters: [{", ".join(order)}] # in call order
    disabled_filters: [{", ".join(disabled)}]
    domains: [{", ".join(domains)}]
    services:
      sendmail:
        argv: [{sendmail}]
{_indented(services, 6)}
{_indented(host, 4)}
"""
    path = lab.dir / "inventory.yaml"
    path.write_text(text)
    return path


def external(name: str, port: int, roles: str = "sign", schemes: str = "dkim", more: str = "") -> str:
    """Return the YAML of a filter that somebody else runs."""
    return (
        f"{name}:\n  program: external\n  socket: inet:{port}@127.0.0.1\n  on_failure: tempfail\n"
        f"  roles: [{roles}]\n  schemes: [{schemes}]\n"
        "  timeouts: {connect: 20s, send: 20s, read: 20s, end_of_message: 60s}\n" + more
    )


def own_filter(more: str = "") -> str:
    """Return the YAML of a dkconf-filter; `more` at its left margin, indented by two."""
    return (
        f"{OWN}:\n  program: dkconf-filter\n  socket: inet:{OWN_PORT}@127.0.0.1\n  on_failure: tempfail\n"
        "  timeouts: {connect: 20s, send: 20s, read: 20s, end_of_message: 60s}\n  workers: 1\n" + more
    )


def own_key(lab: Lab) -> str:
    """Have dkconf make the domain's key; return its key record as `dns show` says it."""
    made = lab.dkconf("keys", "generate", DOMAIN, SELECTOR)
    assert made.status == 0, made
    return record(lab)


def record(lab: Lab) -> str:
    """Return the zone lines of the domain's records."""
    shown = lab.dkconf("dns", "show", DOMAIN)
    assert shown.status == 0, shown
    return shown.out


def private_key(lab: Lab) -> Path:
    """Return where the private half is, as seen from outside while the lab runs."""
    return lab.path(f"/etc/dkconf-filter/keys/{DOMAIN}/{SELECTOR}.private")


def copy_for_outside(lab: Lab, target: Path) -> Path:
    """Copy the private key to `target`, readable outside, for another signer; return it."""
    shutil.copyfile(private_key(lab), target)
    target.chmod(0o600)
    return target


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line else line for line in text.splitlines())
