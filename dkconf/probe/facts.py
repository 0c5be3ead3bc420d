"""Which process is sendmail's master: facts about processes, and the judgement over them. Pure.

A pid file is only a claim: on Debian its directory belongs to the mail user, who may write any number into it. So
the master is known by what the kernel says of it:

- its program is sendmail's, also one that a package upgrade has replaced since;
- real, effective and saved user are root's. With `O RunAsUser` too: the daemon stays root, its children change
  (observed, 8.17). A sendmail that another user has started is never the master;
- it lives where we live: same network, same process numbers, same file system root. A container's is not ours;
- it listens on a socket of a configured daemon. Where it has closed them because of load, or has not opened them yet,
  its title or its command line says so; these are its own, and root's.

A child that serves a connection shares the listeners for a moment after its fork, and a queue runner has none: a
process whose parent qualifies too is left out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dkconf.sendmail.cf import Daemon, equates

Role = Literal["listening", "busy", "apart", "starting", ""]
"""listening: it holds a socket of a configured daemon. busy: it has closed them all for a while. apart: it accepts
connections elsewhere, since the .cf has other daemons now, and keeps the .cf's pid file open. starting: it has not
opened its sockets yet. "": something else."""

RANKS: tuple[Role, ...] = ("listening", "busy", "apart", "starting")
DEFAULT_REFUSE_LA = 12
"""Of sendmail, where the .cf does not say; conf.c."""

# A title is "sendmail: [PREFIX: ]words". A child's title holds what its client has sent, but behind a queue id and a
# host name, so that a blank comes before it.
_TITLE = re.compile(r"sendmail: (?:[^\s:\[]+: )?(?P<words>.*)")
_BUSY = re.compile(r"(?:rejecting connections on daemon|deferring connections on daemon|rejecting new messages)\b")
_REJECTING = re.compile(r"(?:have been )?rejecting connections on daemon (?P<name>[^:]+?)(?:: | for )(?P<why>.*)")
_AGAIN = re.compile(r"accepting connections again for daemon (?P<name>.+)")
_RETRIES = re.compile(
    r"problem creating SMTP socket|opendaemonsocket: daemon .*: cannot (?:bind|listen)\b.*[Aa]ddress already in use"
)


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket of this network."""

    family: str
    """inet, inet6 or unix."""
    address: str
    """Canonical; "" = all. The path of a Unix socket."""
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Site:
    """Where this host's sendmail is to be looked for."""

    programs: frozenset[str]
    """The paths that its program may run from, links resolved."""
    daemons: tuple[Daemon, ...]
    pid_files: tuple[str, ...]
    """That of the .cf first. Claims: they decide only between processes that qualify."""
    prefix: str = ""
    """O ProcessTitlePrefix, as far as known."""
    refuse_la: int = DEFAULT_REFUSE_LA
    own_id: int = 0
    """The user that it must run as; tests have another one than root."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel says of one process that runs sendmail's program."""

    pid: int
    parent: int
    start: int
    """When it began, in the system's own units: with the pid, what names a process for good."""
    image: tuple[int, ...]
    """Differs after each exec: a SIGHUP executes sendmail again, with -bD in the same process."""
    uids: tuple[int, ...]
    """Real, effective, saved."""
    program: str
    """Path, without the " (deleted)" of one that was replaced."""
    replaced: bool
    elsewhere: str
    """Why it is not of this host, in words; "" = it is."""
    title: str
    words: tuple[str, ...]
    """Its command line word by word; of use only until it has a title."""
    sockets: frozenset[int]
    """Inodes of the listening sockets of configured daemons that it holds."""
    holds: frozenset[str]
    """Names of these daemons."""
    keeps_pid_file: bool = False
    """It has the pid file of the .cf open, as a daemon has from its start to its end."""
    hidden: bool = False
    """Its program and its open files cannot be seen: we are root without CAP_SYS_PTRACE, as in most containers, and
    sendmail has another group than ours. It is known by its users, its title and the listeners of its network."""
    read_at: float = 0.0
    """When it has executed, and so read its .cf, epoch seconds as far as known; 0 = not known."""

    def same_process(self, other: Facts) -> bool:
        """Return whether both are one process, whatever it has executed since."""
        return (self.pid, self.start) == (other.pid, other.start)

    def same_run(self, other: Facts) -> bool:
        """Return whether both are one process that has not executed sendmail again in between."""
        if not self.same_process(other) or self.image != other.image:
            return False
        return not (self.sockets and other.sockets) or bool(self.sockets & other.sockets)

    def __str__(self) -> str:
        return f"process {self.pid} ({self.title or self.program})"


@dataclass(frozen=True, slots=True)
class Choice:
    """What came of looking."""

    master: Facts | None
    role: Role = ""
    ambiguous: tuple[Facts, ...] = ()
    """Several that qualify alike."""
    others: tuple[Facts, ...] = ()
    """Further sendmails of this host that hold a socket of a configured daemon: they were started apart."""


def canonical(address: str) -> str:
    """Return an address in one spelling, "" for all addresses; a name as it is."""
    text = address.removeprefix("IPv6:").removeprefix("ipv6:").strip("[]")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return "" if found.is_unspecified else str(found)


def serves(listener: Listener, daemon: Daemon, port: int) -> bool:
    """Return whether a listener is the socket of a configured daemon.

    Args:
        port: The daemon's, service names resolved.
    """
    if daemon.local:
        return listener.family == "unix" and listener.address == daemon.address
    if listener.family == "unix" or listener.port != port or not port:
        return False
    wanted = canonical(daemon.address)
    if daemon.family == "inet6" and listener.family != "inet6":
        return False
    if daemon.family != "inet6" and listener.family == "inet6" and ":" in listener.address:
        return False
    numeric = not wanted or wanted[0].isdigit() or ":" in wanted
    return not wanted or not numeric or listener.address in ("", wanted)


def doing(title: str, prefix: str = "") -> str:
    """Return what a title says that the process does; "" where it is no title of sendmail's."""
    own = f"sendmail: {prefix}: "
    if prefix and title.startswith(own):
        return title.removeprefix(own)
    match = _TITLE.fullmatch(title)
    return match["words"] if match is not None else ""


def role(facts: Facts, site: Site) -> Role:
    """Return what part a process plays; "" = it cannot be the master."""
    if why_not(facts, site):
        return ""
    if facts.sockets and not facts.hidden:
        return "listening"
    if facts.hidden and facts.sockets and doing(facts.title, site.prefix) == "accepting connections":
        return "listening"
    if facts.title.startswith("sendmail: "):
        words = doing(facts.title, site.prefix)
        if _BUSY.match(words):
            return "busy"
        return "apart" if words == "accepting connections" and facts.keeps_pid_file else ""
    by_name = facts.words[:1] and facts.words[0].rpartition("/")[2] == "smtpd"
    return "starting" if by_name or {"-bd", "-bD"} & set(facts.words) else ""


def why_not(facts: Facts, site: Site) -> str:
    """Return why a process is not this host's sendmail run by root, in words; "" = it is."""
    if facts.program not in site.programs and not facts.hidden:
        return f"runs {facts.program}"
    if any(uid != site.own_id for uid in facts.uids):
        return f"does not run as root (user ids {', '.join(map(str, facts.uids))})"
    return facts.elsewhere


def choose(processes: Sequence[Facts], site: Site, claims: Sequence[int] = ()) -> Choice:
    """Return the master among processes.

    Args:
        claims: Process ids that pid files name, in the order of the files.
    """
    roles = {one.pid: role(one, site) for one in processes}
    fit = [one for one in processes if roles[one.pid] and not roles.get(one.parent)]
    best: Role = next((r for r in RANKS if any(roles[one.pid] == r for one in fit)), "")
    among = [one for one in fit if roles[one.pid] == best]
    if not among:
        return Choice(None)
    most = max(len(one.holds) for one in among)
    top = [one for one in among if len(one.holds) == most]
    claimed = [one for pid in claims for one in top if one.pid == pid]
    if len(top) > 1 and not claimed:
        return Choice(None, "", tuple(top))
    master = claimed[0] if claimed else top[0]
    others = tuple(one for one in fit if one.pid != master.pid and roles[one.pid] == "listening")
    return Choice(master, best, (), others)


def refusing(facts: Facts, site: Site, log: Iterable[str], load: float) -> dict[str, str]:
    """Return the daemons whose port is closed because of load: name -> sendmail's own words.

    Args:
        log: Texts that this process has logged, in order.
        load: The load average of one minute. What is logged can be written by any user of the host; so a line about
            the load counts only while the load is about that high.
    """
    found: dict[str, str] = {}
    words = doing(facts.title, site.prefix)
    match = _REJECTING.match(words)
    if match is not None:
        # The title names the last one only.
        found = {daemon.name: words for daemon in site.daemons if daemon.name not in facts.holds}
    for text in log:
        again = _AGAIN.match(text)
        if again is not None:
            found.pop(again["name"].strip(), None)
        rejecting = _REJECTING.match(text)
        if rejecting is not None and _plausible(text, rejecting["name"], site, load):
            found[rejecting["name"]] = text
    return {name: why for name, why in found.items() if name not in facts.holds}


def _plausible(text: str, name: str, site: Site, load: float) -> bool:
    if "load average" not in text:
        return False
    daemon = next((d for d in site.daemons if d.name == name), None)
    if daemon is None:
        return False
    own = next((value for letter, value in equates(daemon.raw) if letter == "r"), "")
    limit = int(own) if own.isascii() and own.isdigit() else site.refuse_la
    # A port stays closed for 15 s after the load has fallen.
    return limit > 0 and load >= limit * 0.8 - 0.5


def retries(log: Iterable[str]) -> int:
    """Return how many lines say that sendmail tries again to open a socket."""
    return sum(1 for text in log if _RETRIES.search(text))


def listeners_of(daemons: Sequence[Daemon], ports: Mapping[str, int], table: Iterable[Listener]) -> dict[int, str]:
    """Return inode -> name of the daemon, for the listening sockets of configured daemons.

    Args:
        ports: Name of a service that a daemon is given by -> its number.
    """
    found = {}
    for listener in table:
        for daemon in daemons:
            if serves(listener, daemon, daemon.port or ports.get(daemon.service, 0)):
                found[listener.inode] = daemon.name
    return found
