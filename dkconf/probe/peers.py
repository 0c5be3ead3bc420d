"""Who still talks to a filter: sendmail's older processes, and the peers on the filter's socket. Linux: /proc.

A filter must not be stopped before sendmail has forgotten it: processes from before the HUP keep the old
configuration until they end.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from dkconf.probe.facts import Facts, doing
from dkconf.probe.live import boot_ticks_now
from dkconf.probe.master import Found, has_no_proc
from dkconf.sendmail import endpoint

_ESTABLISHED = "01"
_UNIX_CONNECTED = "03"
# They deliver what is queued already, and call no filter. At the beginning only: further on in a title there may
# stand what a client has sent.
_NO_CALLERS = ("running queue", "Queue runner", "queue control", "Queue control", "accepting connections")


def older_processes(found: Found, since: float) -> list[Facts]:
    """Return sendmail's processes, other than the master, that began before `since` (epoch seconds).

    Those that only run the queue are left out: filters are called when mail comes in. So are a container's.
    """
    return [one for one in found.processes if _may_call(one, found) and _began(one) < since]


def _may_call(one: Facts, found: Found) -> bool:
    site, master = found.site, found.master
    if one.elsewhere or (master is not None and one.same_process(master)):
        return False
    return not doing(one.title, site.prefix).startswith(_NO_CALLERS)


def _began(one: Facts) -> float:
    """Return when a process began, epoch seconds."""
    if has_no_proc():
        return float(one.start)
    return time.time() - (boot_ticks_now() - one.start) / os.sysconf("SC_CLK_TCK")


def peers(value: str) -> int:
    """Return how many connections a filter holds on the socket of an S=.

    Raises:
        EndpointError: `value` is not an S=.
    """
    place = endpoint.parse(value)
    if place.family == "unix":
        return unix_peers(_read("/proc/net/unix"), place.path)
    try:
        port = int(place.port) if place.port.isdigit() else socket.getservbyname(place.port, "tcp")
    except OSError:
        return 0
    return sum(tcp_peers(_read(f"/proc/net/{table}"), port) for table in ("tcp", "tcp6"))


def unix_peers(table: str, path: str) -> int:
    """Return the connected sockets of a path in the text of /proc/net/unix."""
    rows = (line.split(None, 7) for line in table.splitlines()[1:])
    return sum(1 for row in rows if len(row) == 8 and row[7] == path and row[5] == _UNIX_CONNECTED)


def tcp_peers(table: str, port: int) -> int:
    """Return the established connections to a local port in the text of /proc/net/tcp."""
    count = 0
    for line in table.splitlines()[1:]:
        row = line.split()
        if len(row) > 3 and row[3] == _ESTABLISHED and int(row[1].rpartition(":")[2], 16) == port:
            count += 1
    return count


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
