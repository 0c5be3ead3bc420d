"""Reads facts about sendmail's processes on FreeBSD, which has no /proc: from ps(1), procstat(1) and sockstat(1).

By construction from their manual pages: no FreeBSD host was at hand. Three things are less sure than on Linux:

- there is no pidfd, so that a process is confirmed once more right before `kill`, and a number could in theory become
  another's in the microseconds between;
- a sendmail that a SIGHUP has executed again in the same process (-bD) is known by the time of its pid file, whose
  folder, /var/run, is root's there;
- a process of a jail is known by its number (`jid`), not by its network.
"""

from __future__ import annotations

import calendar
import os
import subprocess
import time
from collections.abc import Sequence

from dkconf.files.looking import known
from dkconf.probe import facts
from dkconf.probe.facts import Facts, Listener, Site
from dkconf.sendmail.cf import Daemon

COMMAND_SECONDS = 10.0
PS = ("/bin/ps", "-axww", "-o", "pid=,ppid=,ruid=,uid=,svuid=,jid=,lstart=,args=")
"""lstart is five words in the C locale: Mon Jan  5 10:20:30 2026."""
SOCKETS = (
    ("/usr/bin/sockstat", "-46", "-l", "-P", "tcp", "-q"),
    ("/usr/bin/sockstat", "-u", "-l", "-q"),
)
PROGRAM = ("/usr/bin/procstat", "-h", "-b")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
_LSTART = "%a %b %d %H:%M:%S %Y"


def run(argv: Sequence[str]) -> str:
    """Return the standard output of a command, "" where it fails."""
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            env=_ENVIRONMENT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def processes(site: Site) -> list[Facts]:
    """Return the facts about every process that runs sendmail's program."""
    rows = [row for row in ps_rows(run(PS)) if "sendmail" in row[3] or "sm-mta" in row[3]]
    if not rows:
        return []
    bound = [pair for command in SOCKETS for pair in sockstat_rows(run(command))]
    stamp = _stamp(site.pid_files)
    return [one for row in rows if (one := _facts(row, bound, site, stamp)) is not None]


Row = tuple[tuple[int, int, int, int, int], int, int, str]
"""(pid, ppid, real, effective, saved uid), jail, start (epoch seconds), command line or title."""


def ps_rows(text: str) -> list[Row]:
    """Return the rows of `PS`."""
    found: list[Row] = []
    for line in text.splitlines():
        words = line.split(None, 11)
        if len(words) < 12 or not all(word.isdigit() for word in words[:6]):
            continue
        try:
            start = calendar.timegm(time.strptime(" ".join(words[6:11]), _LSTART))
        except ValueError:
            continue
        pid, parent, real, effective, saved, jail = map(int, words[:6])
        found.append(((pid, parent, real, effective, saved), jail, start, words[11].strip()))
    return found


def sockstat_rows(text: str) -> list[tuple[int, Listener]]:
    """Return (process id, listener) of the rows of sockstat: USER COMMAND PID FD PROTO LOCAL FOREIGN."""
    found = []
    for number, line in enumerate(text.splitlines()):
        words = line.split()
        if len(words) < 6 or not words[2].isdigit():
            continue
        pid, protocol, local = int(words[2]), words[4], words[5]
        if protocol == "stream":
            found.append((pid, Listener("unix", local, 0, number)))
            continue
        address, _, port = local.rpartition(":")
        if protocol.startswith("tcp") and port.isdigit():
            family = "inet6" if protocol.startswith("tcp6") else "inet"
            host = "" if address == "*" else facts.canonical(address.partition("%")[0])
            found.append((pid, Listener(family, host, int(port), number)))
    return found


def program_of(text: str) -> str:
    """Return the path in the output of `procstat -b PID`: PID COMM OSREL PATH."""
    words = text.split(None, 3)
    return words[3].strip() if len(words) == 4 else ""


def _facts(row: Row, bound: Sequence[tuple[int, Listener]], site: Site, stamp: int) -> Facts | None:
    (pid, parent, real, effective, saved), jail, start, title = row
    program = program_of(run((*PROGRAM, str(pid))))
    if program not in site.programs:
        return None
    own = [listener for holder, listener in bound if holder == pid]
    held = facts.listeners_of(site.daemons, _ports(site.daemons), own)
    words = () if title.startswith("sendmail: ") else tuple(title.split())
    return Facts(
        pid=pid,
        parent=parent,
        start=start,
        image=(stamp,),
        uids=(real, effective, saved),
        program=program,
        replaced=False,
        elsewhere="" if jail == 0 or _own_jail() == jail else "lives in a jail",
        title=title,
        words=words,
        sockets=frozenset(held),
        holds=frozenset(held.values()),
    )


def holders(daemon: Daemon) -> list[tuple[int, str]]:
    """Return (process id, program) of who listens on a daemon's port."""
    found = {}
    for command in SOCKETS:
        for pid, listener in sockstat_rows(run(command)):
            if facts.listeners_of([daemon], _ports([daemon]), [listener]):
                found[pid] = program_of(run((*PROGRAM, str(pid))))
    return list(found.items())


def _ports(daemons: Sequence[Daemon]) -> dict[str, int]:
    from dkconf.probe.procfs import service_ports

    return service_ports(daemons)


def _own_jail() -> int:
    text = run(("/bin/ps", "-o", "jid=", "-p", str(os.getpid()))).strip()
    return int(text) if text.isdigit() else 0


def _stamp(paths: Sequence[str]) -> int:
    found = (known(path) for path in paths)
    return next((one.st_mtime_ns for one in found if one is not None), 0)
