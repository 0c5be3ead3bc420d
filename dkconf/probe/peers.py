"""Who still talks to a filter: sendmail's older processes, and the peers on the filter's socket. Linux: /proc.

A filter must not be stopped before sendmail has forgotten it: processes from before the HUP keep the old
configuration until they end.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from dkconf.probe.live import boot_ticks_now, find_master, stat_of
from dkconf.sendmail import endpoint

_ESTABLISHED = "01"
_UNIX_CONNECTED = "03"
# They deliver what is queued already, and call no filter.
_NO_CALLERS = ("running queue", "Queue runner", "queue control", "Queue control", "accepting connections")


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    title: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.title})"


def older_processes(pid_file: str, since: float) -> list[Process]:
    """Return sendmail's processes, other than the master, that began before `since` (epoch seconds).

    Those that only run the queue are left out: filters are called when mail comes in.
    """
    master = find_master(pid_file)
    if master is None:
        return []
    program = _program(master.pid)
    ticks = boot_ticks_now() - int((time.time() - since) * os.sysconf("SC_CLK_TCK"))
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == master.pid:
            continue
        state = stat_of(int(entry))
        if state is None or state[1] >= ticks or not program or _program(int(entry)) != program:
            continue
        title = _title(int(entry))
        if not any(words in title for words in _NO_CALLERS):
            found.append(Process(int(entry), title))
    return found


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


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
