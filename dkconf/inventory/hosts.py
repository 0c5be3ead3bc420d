"""Which host of an inventory is meant: by the name that was given, or by this machine's own."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from dkconf.errors import UsageProblem


def own_name(name: str, hosts: Collection[str]) -> str:
    """Return this machine's name as the inventory spells it: with or without its domain; else as it is.

    A short name that several hosts have is left as it is.
    """
    if name in hosts:
        return name
    short, dot, _ = name.partition(".")
    if dot:
        return short if short in hosts else name
    near = [host for host in hosts if host.partition(".")[0] == name]
    return near[0] if len(near) == 1 else name


def no_such_host(name: str, hosts: Collection[str], whose: str = "") -> UsageProblem:
    """Return what is said where the inventory has no host of that name.

    Args:
        whose: Words behind the name: where it comes from.
    """
    near = difflib.get_close_matches(name, hosts, 1)
    known = ", ".join(sorted(hosts)[:10]) or "none"
    hint = f"did you mean {near[0]}?" if near else f"it has {known}"
    return UsageProblem(f"hosts: {name}{whose} is not in the inventory; {hint}; name one with --host")
