"""Finding sendmail's master process on this machine, and sending it a signal: only to a process that is confirmed.

Looked for in this order: the pid file that `O PidFile` of the live sendmail.cf names, the platform's (or the
inventory's) pid file, all processes of the host. The first two only decide between processes that qualify by what
they are; see `facts`. On Linux a signal goes through a pidfd: the process is opened, confirmed once more, and then
signalled, so that it cannot be another one with the same number. Where the system has no pidfd (FreeBSD) it is
confirmed once more right before `kill`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dkconf.desired.state import HostPaths
from dkconf.errors import DkconfError
from dkconf.files.reading import FileProblem, read_file
from dkconf.probe import bsd, facts, procfs, smtp
from dkconf.probe.facts import Choice, Facts, Listener, Site
from dkconf.probe.process import Held, hold
from dkconf.sendmail import macros
from dkconf.sendmail.cf import CfModel, Daemon

DEFAULT_PID_FILE = "/var/run/sendmail.pid"
"""sendmail's own, where the .cf names none."""
MAX_PID_FILE_OCTETS = 64 * 1024
"""Two lines; the second holds a command line."""
CONNECT_SECONDS = 3.0
"""A listener of this machine accepts at once; the kernel does it."""
PLACES = (
    "/usr/libexec/sendmail/sendmail",
    "/usr/lib/sm.bin/sendmail",
    "/usr/lib/sendmail",
    "/usr/sbin/sendmail",
    "/usr/sbin/sendmail-mta",
    "/usr/sbin/sendmail.sendmail",
    "/usr/local/sbin/sendmail",
)
"""Where packages put the program itself. One that was upgraded under a running daemon may have lain elsewhere than
the new one: Debian moved it from /usr/lib/sm.bin to /usr/libexec."""
MAILER_CONF = ("/etc/mail/mailer.conf", "/usr/local/etc/mail/mailer.conf")
"""FreeBSD's /usr/sbin/sendmail is mailwrapper(8), which executes what these name."""


class NotConfirmed(DkconfError):
    """The process is gone, or is not (or no longer) sendmail's master: nothing was sent."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of looking for the master."""

    site: Site
    choice: Choice
    processes: tuple[Facts, ...] = ()
    claims: tuple[str, ...] = ()
    """What each pid file says, in words."""
    blind: bool = False
    """Without root's rights the processes of root cannot be looked at."""

    @property
    def master(self) -> Facts | None:
        return self.choice.master


def site_of(paths: HostPaths, model: CfModel) -> Site:
    """Return where to look for the sendmail of these paths, with the live sendmail.cf as a model."""
    known = macros.definitions(model.others)
    own = macros.expand(model.option("PidFile", DEFAULT_PID_FILE).strip('"'), known)
    files = [name for name in (own, paths.pid_file, DEFAULT_PID_FILE) if name and name.startswith("/")]
    refuse = model.option("RefuseLA", str(facts.DEFAULT_REFUSE_LA))
    return Site(
        programs=programs(paths.sendmail),
        daemons=model.daemons,
        pid_files=tuple(dict.fromkeys(files)),
        prefix=macros.expand(model.option("ProcessTitlePrefix"), known) or "",
        refuse_la=int(refuse) if refuse.isascii() and refuse.isdigit() else facts.DEFAULT_REFUSE_LA,
    )


def programs(sendmail: str) -> frozenset[str]:
    """Return the paths that the configured sendmail may run from: links, alternatives and mailwrapper resolved."""
    names = {sendmail, *_wrapped(), *PLACES}
    return frozenset({os.path.realpath(name) for name in names} | {sendmail, *PLACES})


def _wrapped() -> list[str]:
    """Return what FreeBSD's mailer.conf executes for `sendmail`."""
    found = []
    for path in MAILER_CONF:
        try:
            text = read_file(path, limit=MAX_PID_FILE_OCTETS).decode("utf-8", "replace")
        except (FileProblem, OSError):
            continue
        rows = (line.split("#")[0].split() for line in text.splitlines())
        found += [row[1] for row in rows if len(row) > 1 and row[0] == "sendmail" and row[1].startswith("/")]
    return found


def find(site: Site) -> Found:
    """Return the master, or what speaks against each process that could have been it; reads only."""
    claims, words = [], []
    for path in site.pid_files:
        pid, said = read_pid(path)
        words.append(said)
        if pid:
            claims.append(pid)
    there = tuple(bsd.processes(site) if has_no_proc() else procfs.processes(site))
    return Found(site, facts.choose(there, site, claims), there, tuple(words), os.geteuid() != site.own_id)


def has_no_proc() -> bool:
    """Return whether this system has no Linux /proc to read: FreeBSD."""
    return sys.platform.startswith("freebsd")


def read_pid(path: str) -> tuple[int, str]:
    """Return (process id, 0 if there is none; what the pid file says, in words): a claim, no more."""
    try:
        first = read_file(path, limit=MAX_PID_FILE_OCTETS).split(b"\n", 1)[0].strip()
    except FileNotFoundError:
        return 0, f"{path} is not there"
    except (FileProblem, OSError) as error:
        return 0, str(error)
    if not first.isdigit() or len(first) > 10:
        return 0, f"{path} holds no process id"
    return int(first), f"{path} names process {int(first)}"


def describe(found: Found) -> list[str]:
    """Return what was looked at, and why none of it is the master; a sentence each."""
    said = list(found.claims)
    if found.choice.ambiguous:
        said.append(f"these qualify alike: {', '.join(map(str, found.choice.ambiguous))}")
    for one in found.processes[:MAX_NAMED]:
        why = facts.why_not(one, found.site) or "listens on no configured port"
        if facts.role(one, found.site) == "":
            said.append(f"{one} {why}")
    return said


MAX_NAMED = 8
"""Processes that one message names; a busy host has hundreds."""


def answering(daemons: Sequence[Daemon]) -> list[Daemon]:
    """Return the daemons whose port takes a connection on this machine, or has a listener that is too busy to."""
    table = [] if has_no_proc() else procfs.listeners()
    found = []
    for daemon in daemons:
        if _has_listener(daemon, table):
            found.append(daemon)
            continue
        try:
            with smtp.connect_daemon(daemon, CONNECT_SECONDS):
                found.append(daemon)
        except smtp.SmtpFailed:
            continue
    return found


def _has_listener(daemon: Daemon, table: Sequence[Listener]) -> bool:
    """Return whether somebody listens on the very address of a daemon.

    A full queue of connections, or a rule of the firewall, keeps us from connecting, and mail comes in all the same.
    """
    port = daemon.port or procfs.service_ports([daemon]).get(daemon.service, 0)
    family = "unix" if daemon.local else "inet6" if daemon.family == "inet6" else "inet"
    addresses = (daemon.address if daemon.local else facts.canonical(daemon.address), "")
    return any(one.family == family and one.address in addresses and facts.serves(one, daemon, port) for one in table)


def holders(daemon: Daemon) -> list[tuple[int, str]]:
    """Return (process id, program) of who listens on a daemon's port here, as far as it can be seen."""
    if has_no_proc():
        return bsd.holders(daemon)
    ports = procfs.service_ports([daemon])
    inodes = facts.listeners_of([daemon], ports, procfs.listeners())
    pids = [pid for pid in (procfs.holder(inode) for inode in inodes) if pid is not None]
    return [(pid, procfs.program_of(pid)[0]) for pid in dict.fromkeys(pids)]


def confirmed(known: Facts, site: Site) -> bool:
    """Return whether a process that was found to be the master still is this very process, and qualifies."""
    there = bsd.processes(site) if has_no_proc() else procfs.processes(site)
    return any(one.same_process(known) and facts.role(one, site) for one in there)


@contextmanager
def held(known: Facts, site: Site) -> Iterator[Held]:
    """Hold the process that was found to be the master, confirmed once more after it was taken hold of.

    Raises:
        NotConfirmed: It is gone, or no longer what was found.
    """
    with hold(known.pid) as process:
        if process is None or process.process.start != known.start or not confirmed(known, site):
            raise NotConfirmed(f"process {known.pid} is gone, or no longer sendmail's master: no signal was sent")
        yield process


def send(known: Facts, site: Site, number: signal.Signals, wait_seconds: float = 0.0) -> bool:
    """Send a signal to the master, and to no other process; return whether it ended within `wait_seconds`.

    Raises:
        NotConfirmed: It is gone, or no longer what was found: nothing was sent.
    """
    with held(known, site) as process:
        if not process.signal(number):
            raise NotConfirmed(f"sendmail's master process {known.pid} is gone")
        return process.ended(wait_seconds) if wait_seconds else False
