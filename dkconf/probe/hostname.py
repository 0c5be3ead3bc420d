"""This host's name as sendmail looks for it."""

from __future__ import annotations

import socket


def host_name() -> str:
    """Return the host name as the kernel has it."""
    return socket.gethostname()


def qualified_name() -> str:
    """Return this host's name with its domain, "" where it has none.

    As sendmail looks for it: the host name itself, else the canonical name that the resolver gives for it.
    """
    name = socket.gethostname()
    if "." in name:
        return name
    try:
        found = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)
    except OSError:
        return ""
    canonical = next((one[3] for one in found if one[3]), "")
    return canonical if "." in canonical else ""
