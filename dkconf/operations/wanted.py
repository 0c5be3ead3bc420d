"""What the inventory wants of this host, with what was turned on or off against it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dkconf.desired.state import DesiredState
from dkconf.inventory.hosts import own_name
from dkconf.inventory.model import Host, Inventory
from dkconf.operations.context import Context
from dkconf.operations.git import Commit, commit_of
from dkconf.probe.hostname import host_name as kernel_name


@dataclass(frozen=True)
class Wanted:
    """What the inventory wants of one host."""

    desired: DesiredState
    inventory: Inventory
    path: str
    overrides: Mapping[str, bool]
    """Those in force against the inventory; one that it follows by now is none."""
    commit: Commit


def machine_name() -> str:
    """Return the machine's own name."""
    return kernel_name()


def host_name(ctx: Context) -> str:
    """Return --host, or this machine's name."""
    return ctx.host or kernel_name()


def host_in(ctx: Context, inventory: Inventory) -> str:
    """Return --host, or this machine's name as the inventory spells it."""
    return ctx.host or own_name(host_name(ctx), inventory.hosts)


def load(ctx: Context) -> tuple[Inventory, str]:
    """Return the inventory and its path.

    Raises:
        DkconfError: There is none, or it is invalid.
    """
    from dkconf.inventory import load as load_inventory

    path = ctx.inventory or "inventory.yaml"
    return load_inventory(path).inventory, os.path.abspath(path)


def wanted(ctx: Context, overrides: Mapping[str, bool]) -> Wanted:
    """Return what the inventory wants of this host, with `overrides` on top."""
    from dkconf import desired, keys

    inventory, path = load(ctx)
    name = host_in(ctx, inventory)
    host = inventory.hosts.get(name)
    active = against(host, overrides)
    if host is not None:
        inventory = replace(inventory, hosts={**inventory.hosts, name: with_overrides(host, active)})
    halves = keys.read_public_halves(os.path.join(os.path.dirname(path), "keys"))
    return Wanted(desired.build(inventory, name, halves), inventory, path, active, commit_of(path))


def against(host: Host | None, overrides: Mapping[str, bool]) -> dict[str, bool]:
    """Return the overrides that say something else than the inventory does."""
    if host is None:
        return {}
    return {n: on for n, on in overrides.items() if n in host.filters and on != called(host, n)}


def called(host: Host, name: str) -> bool:
    """Return whether the inventory has the host call the filter."""
    return name not in host.disabled_filters


def with_overrides(host: Host, overrides: Mapping[str, bool]) -> Host:
    """Return the host with some filters turned on or off against the inventory."""
    off = [n for n in host.disabled_filters if not overrides.get(n, False)]
    off += [n for n, on in overrides.items() if not on and n not in off]
    return replace(host, disabled_filters=tuple(off))
