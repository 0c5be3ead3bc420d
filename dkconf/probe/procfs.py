"""Reads facts about sendmail's processes from Linux's /proc; see `facts` for what they mean."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dkconf.files.looking import known
from dkconf.probe import facts
from dkconf.probe.facts import Facts, Listener, Site
from dkconf.probe.process import DELETED
from dkconf.sendmail.cf import Daemon

_LISTEN = "0A"
_UNIX_LISTENS = 0x10000
"""__SO_ACCEPTCON in the flags of /proc/net/unix."""
_NAMESPACES = (("net", "another network namespace"), ("pid", "another process namespace"))
_PARENT, _START, _START_STACK, _ARG_START = 1, 19, 25, 45
"""Positions in `stat_fields`: proc(5) numbers them 4, 22, 28 and 48."""


def processes(site: Site) -> list[Facts]:
    """Return the facts about every process that runs sendmail's program, whoever started it, wherever it lives."""
    table = facts.listeners_of(site.daemons, service_ports(site.daemons), listeners())
    kept = _pid_file(site)
    found = (_facts(pid, site, table, kept) for pid in _pids())
    return [one for one in found if one is not None]


def stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (proc(5) counts it as 3), [] if there is no process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("latin-1")
    except OSError:
        return []
    # The name in parentheses may hold anything; the fields count from behind the last one.
    return text[text.rfind(")") + 2 :].split()


def _pids() -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            yield int(entry)


def program_of(pid: int) -> tuple[str, bool]:
    """Return (path of a process's program, whether it was replaced since); "" where it cannot be seen."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return "", False
    return path.removesuffix(DELETED), path.endswith(DELETED)


def _is_hidden(pid: int, site: Site) -> bool:
    """Return whether a process is called like sendmail, and its program is closed to us although we are root."""
    try:
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return os.geteuid() == site.own_id and _name(pid) in {os.path.basename(path)[:15] for path in site.programs}
    except OSError:
        pass
    return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _facts(pid: int, site: Site, table: Mapping[int, str], kept: tuple[int, int, float] | None) -> Facts | None:
    program, replaced = program_of(pid)
    hidden = not program and _is_hidden(pid, site)
    if program not in site.programs and not hidden:
        return None
    fields = stat_fields(pid)
    if not fields or fields[0] in "ZX":
        return None
    inodes, files = (set(table), set()) if hidden else _open_files(pid)
    keeps = kept is not None and kept[:2] in files
    held = inodes & set(table)
    words = _words(pid)
    uids = _uids(pid)
    place = _elsewhere_hidden(pid) if hidden else elsewhere(pid)
    again = stat_fields(pid)
    if uids is None or not again or again[_START] != fields[_START]:
        return None  # it ended meanwhile; the number may be another's
    return Facts(
        pid=pid,
        parent=int(fields[_PARENT]),
        start=int(fields[_START]),
        image=(int(fields[_START_STACK]), int(fields[_ARG_START])),
        uids=uids,
        program=program,
        replaced=replaced,
        elsewhere=place,
        title=" ".join(words).strip(),
        words=words,
        sockets=frozenset(held),
        holds=frozenset(table[inode] for inode in held),
        keeps_pid_file=keeps,
        hidden=hidden,
        # With -bD it stays the same process, and writes its pid file anew.
        read_at=max(_epoch(int(fields[_START])), kept[2] if keeps and kept is not None else 0.0),
    )


def _elsewhere_hidden(pid: int) -> str:
    """Return why a process whose namespaces are closed to us does not live where we live; "" = nothing says so.

    A process of a namespace within ours has a number there too. Its network shows the listeners of ours, or not.
    """
    if len(_status(pid, "NSpid")) > 1:
        return "lives in another process namespace"
    try:
        theirs = tcp_listeners(Path(f"/proc/{pid}/net/tcp").read_text("latin-1"), "inet")
    except OSError:
        return "lives in a network that cannot be seen"
    ours = tcp_listeners(_read_table("inet"), "inet")
    # Those that come and go meanwhile are no difference.
    return (
        ""
        if not ours or {one.inode for one in ours} & {one.inode for one in theirs}
        else ("lives in another network namespace")
    )


def elsewhere(pid: int) -> str:
    """Return why a process does not live where we live, in words; "" = it does."""
    for name, words in _NAMESPACES:
        if _identity(f"/proc/{pid}/ns/{name}") != _identity(f"/proc/self/ns/{name}"):
            return f"lives in {words}"
    if _identity(f"/proc/{pid}/root") != _identity("/proc/self/root"):
        return "has another file system root"
    return ""


def _pid_file(site: Site) -> tuple[int, int, float] | None:
    """Return what names the file at the pid file's path, and when it was written."""
    found = known(site.pid_files[0]) if site.pid_files else None
    if found is None:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime)


def _epoch(ticks: int) -> float:
    """Return epoch seconds for clock ticks since boot."""
    since = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - since


def _identity(path: str) -> tuple[int, int] | None:
    found = known(path)
    return None if found is None else (found.st_dev, found.st_ino)


def _open_files(pid: int) -> tuple[set[int], set[tuple[int, int]]]:
    """Return the inodes of a process's sockets, and what names its other open files."""
    sockets: set[int] = set()
    files: set[tuple[int, int]] = set()
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return sockets, files
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(int(target[8:-1]))
        elif target.startswith("/"):
            found = _identity(f"/proc/{pid}/fd/{name}")
            if found is not None:
                files.add(found)
    return sockets, files


def _uids(pid: int) -> tuple[int, ...] | None:
    return tuple(_status(pid, "Uid")[:3]) or None


def _status(pid: int, name: str) -> list[int]:
    """Return the numbers of one line of /proc/PID/status, [] where there is none."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("latin-1")
    except OSError:
        return []
    lines = (line.partition(":")[2].split() for line in text.splitlines() if line.startswith(f"{name}:"))
    return [int(word) for word in next(lines, [])]


def _words(pid: int) -> tuple[str, ...]:
    try:
        octets = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(word for word in octets.decode("utf-8", "replace").split("\0") if word)


def listeners() -> list[Listener]:
    """Return the listening sockets of this network namespace."""
    found = [one for family in ("inet", "inet6") for one in tcp_listeners(_read_table(family), family)]
    return found + unix_listeners(_read_table("unix"))


def _read_table(family: str) -> str:
    name = {"inet": "tcp", "inet6": "tcp6", "unix": "unix"}[family]
    try:
        return Path(f"/proc/self/net/{name}").read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def tcp_listeners(table: str, family: str) -> list[Listener]:
    """Return the listening sockets in the text of /proc/net/tcp or tcp6."""
    found = []
    for line in table.splitlines()[1:]:
        row = line.split()
        if len(row) > 9 and row[3] == _LISTEN:
            address, _, port = row[1].rpartition(":")
            found.append(Listener(family, _address(address), int(port, 16), int(row[9])))
    return found


def _address(digits: str) -> str:
    """Return the address of a /proc/net/tcp row: words of 32 bits in the machine's own order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    octets = struct.pack(f"={len(words)}I", *words)
    return facts.canonical(socket.inet_ntop(socket.AF_INET6 if len(octets) == 16 else socket.AF_INET, octets))


def unix_listeners(table: str) -> list[Listener]:
    """Return the listening sockets with a path in the text of /proc/net/unix."""
    rows = (line.split(None, 7) for line in table.splitlines()[1:])
    return [
        Listener("unix", row[7], 0, int(row[6])) for row in rows if len(row) == 8 and int(row[3], 16) & _UNIX_LISTENS
    ]


def service_ports(daemons: Iterable[Daemon]) -> dict[str, int]:
    """Return the numbers of the services that daemons name instead of a port; an unknown one is left out."""
    found = {}
    for name in {daemon.service for daemon in daemons if daemon.service and not daemon.port}:
        try:
            found[name] = socket.getservbyname(name, "tcp")
        except OSError:
            continue
    return found


def holder(inode: int) -> int | None:
    """Return a process that has a socket open, None where it cannot be seen (or is of another namespace)."""
    for pid in _pids():
        if inode in _open_files(pid)[0]:
            return pid
    return None
