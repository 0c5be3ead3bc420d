"""The running sendmail: making it read its configuration again, and seeing that it has.

What 8.17 does (seen on Debian 12): SIGHUP to the master closes the listeners and executes sendmail again, which forks
into the background: the process id changes (with -bD it stays). A configuration that fails at start ends it for good:
no process, no pid file, the port closed. A sendmail that was started without a full path ends too ("need full path").
Where two daemons want one port it tries ten times, five seconds apart, before it gives up. Under load it closes its
ports, and is well.

Who the master is: `master`. How it is started again: `starting`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dkconf.errors import NotTold
from dkconf.probe import facts, logs, master, smtp
from dkconf.probe.facts import Facts, Site
from dkconf.probe.master import Found, NotConfirmed, describe, find
from dkconf.probe.procfs import stat_fields
from dkconf.probe.starting import PATH, NotReady, detach, pause, start
from dkconf.sendmail.cf import Daemon

__all__ = [
    "PATH", "How", "NotConfirmed", "NotReady", "answers_untold", "boot_ticks_now", "closed_by_load", "detach",
    "greets", "start", "stat_of", "strangers", "tell", "wait_ready",
]  # fmt: skip

POLL_SECONDS = 0.1
"""Between two looks at the processes while sendmail starts; nothing tells when it is ready."""
DEAD_AFTER_SECONDS = 2.0
"""Without a process of it for this long, it has died: it forks within milliseconds."""
BEFORE_SECONDS = 10.0
"""For a banner of the running sendmail; greet_pause is a few seconds where it is used."""
READY_SECONDS = 60.0
"""From the HUP to the banner: sendmail needs about 50 s where it has to try for a port to the last."""
MOST_SECONDS = 180.0
"""While it is still starting, or its log says that it tries again; each daemon that clashes takes its own 50 s."""
RETRY_SECONDS = 15.0
"""A retry that is older than this is over; sendmail tries every 5 s."""
LOG_AGAIN_SECONDS = 1.0
"""Between two looks at the log: with the journal each is a process."""
SIGNAL_TRIES = 5
"""A master that somebody restarts at the same moment is looked for again; nobody restarts it five times."""
GREET_AGAIN_SECONDS = 1.0
"""Between two attempts at a port whose listener is not to be seen: each is a process and a line in the log."""


class Died(NotReady):
    """There is no master any more."""


Say = Callable[[str], None]


def stat_of(pid: int) -> tuple[int, int] | None:
    """Return (session, start ticks) of a process, None if there is none (or only its zombie)."""
    fields = stat_fields(pid)
    return None if not fields or fields[0] in "ZX" else (int(fields[3]), int(fields[19]))


def boot_ticks_now() -> int:
    """Return the present time in clock ticks since boot, as /proc/PID/stat counts."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def greets(daemon: Daemon, timeout_seconds: float) -> str:
    """Return "" when a daemon port gives a banner of any kind, else why not."""
    try:
        with smtp.connect_daemon(daemon, timeout_seconds) as client:
            if "s" in daemon.modifiers:
                return ""  # TLS from the first octet: the banner is behind it; a listener is what can be seen
            client.banner()
    except smtp.SmtpFailed as error:
        return f"{port(daemon)}: {error}"
    return ""


def port(daemon: Daemon) -> str:
    """Return a daemon in words: port 25 (MTA-v4)."""
    return f"port {smtp.port_words(daemon)} ({daemon.name})"


def answers_untold(found: Found) -> str:
    """Return "" unless a configured port answers and no master was found; then all that was looked at, in words."""
    if found.master is not None:
        return ""
    answering = master.answering(found.site.daemons)
    if not answering:
        return ""
    held = [words for daemon in answering for words in _held_by(daemon)]
    looked = "; ".join([*describe(found), *held])
    ports = " and ".join(map(port, answering))
    verb = "answers" if len(answering) == 1 else "answer"
    return f"{ports} {verb}, but no process is confirmed as sendmail's master ({looked})"


def _held_by(daemon: Daemon) -> list[str]:
    holders = master.holders(daemon)
    if not holders:
        return [f"who holds {port(daemon)} is not to be seen from here"]
    return [f"{port(daemon)} is held by process {pid} ({program or 'unknown program'})" for pid, program in holders]


def strangers(found: Found) -> str:
    """Return "" unless another sendmail than the master holds a configured port: it would not be told."""
    words = [f"{one} holds {', '.join(sorted(one.holds))}" for one in found.choice.others]
    if not words or found.master is None:
        return ""
    return f"{'; '.join(words)}, and is another sendmail than the master, {found.master}: it is not told"


def to_do(found: Found) -> str:
    """Return the commands that tell by hand what could not be told, in words."""
    pids = [pid for daemon in found.site.daemons for pid, _ in master.holders(daemon)]
    pids += [one.pid for one in (*found.choice.ambiguous, *found.choice.others)]
    if pids:
        numbers = list(dict.fromkeys(pids))
        look = f"look with `ps -fp {','.join(map(str, numbers))}` whose process it is"
        told = " or ".join(f"kill -HUP {pid}" for pid in numbers)
        return f"{look}; if it is sendmail: {told}; if another program has taken the port: stop it and start sendmail"
    ports = " or ".join(f"sport = :{daemon.port}" for daemon in found.site.daemons if daemon.port)
    return f"find sendmail's process with `ss -ltnp '{ports}'`, then: kill -HUP PID"


@dataclass
class Watch:
    """What is known of a sendmail while it is waited for."""

    site: Site
    daemons: Sequence[Daemon]
    before: Facts | None
    mark: logs.Mark
    started: float = field(default_factory=lambda: time.monotonic())
    pids: list[int] = field(default_factory=list)
    why: str = "no process of it runs"
    gone_since: float | None = None
    greeted: float = 0.0
    lines: list[str] = field(default_factory=list)
    read: float = 0.0
    retries: int = 0
    retried: float = 0.0

    def log(self) -> list[str]:
        """Return what its processes have logged since; not looked at again before a second is over."""
        now = time.monotonic()
        if now - self.read >= LOG_AGAIN_SECONDS:
            self.read, self.lines = now, logs.texts(self.mark, self.pids)
        return self.lines

    def see(self, found: Found) -> None:
        """Remember the processes whose log is of interest."""
        fit = (one.pid for one in found.processes if facts.role(one, self.site))
        self.pids += [pid for pid in fit if pid not in self.pids]

    def over(self, ready_seconds: float, unfinished: bool) -> bool:
        """Return whether it has had its time; more of it while it starts, or tries again for a port."""
        now = time.monotonic()
        if now - self.started < ready_seconds:
            return False
        if now - self.started > MOST_SECONDS:
            return True
        count = facts.retries(self.log())
        if count != self.retries:
            self.retries, self.retried = count, now
        return not unfinished and (not count or now - self.retried > RETRY_SECONDS)


def wait_ready(
    site: Site,
    daemons: Sequence[Daemon],
    before: Facts | None,
    mark: logs.Mark,
    ready_seconds: float = READY_SECONDS,
    told: Say = lambda _: None,
) -> Facts:
    """Wait until a master that has read its configuration runs and greets on every port; return it.

    Args:
        daemons: Those that must greet. A port that is closed because of load need not; it is told.
        before: The master as it was before the HUP; None = any running master will do.
        mark: The end of the log before that.
        ready_seconds: More is granted, up to `MOST_SECONDS`, while it starts or tries again.

    Raises:
        NotReady: It died (`Died`), or a port stays silent.
    """
    watch = Watch(site, daemons, before, mark)
    while True:
        found = find(site)
        here = found.master
        starting = found.choice.role == "starting"
        # It has a title once it has gone through all its ports, also those that it tries for in vain.
        unfinished = starting or (here is not None and not here.title.startswith("sendmail: "))
        watch.see(found)
        if here is None:
            _gone(watch, found)
        else:
            watch.gone_since = None
            if before is not None and here.same_run(before):
                watch.why = f"process {here.pid} has not read its configuration again"
            elif starting:
                watch.why = f"process {here.pid} has not opened its ports yet"
            elif _all_greet(watch, here, told):
                return here
        if watch.over(ready_seconds, unfinished):
            raise NotReady(f"sendmail is not ready after {time.monotonic() - watch.started:.0f} s: {watch.why}")
        pause(POLL_SECONDS)


def _gone(watch: Watch, found: Found) -> None:
    """Raise `Died` once nothing of the master has been there for a while."""
    now = time.monotonic()
    if found.choice.ambiguous:
        watch.why = "; ".join(describe(found))
        return
    watch.gone_since = watch.gone_since or now
    if now - watch.gone_since > DEAD_AFTER_SECONDS:
        raise Died("sendmail has died: no process of it listens or starts")


def _all_greet(watch: Watch, here: Facts, told: Say) -> bool:
    """Return whether every port greets that is not closed because of load."""
    closed = [daemon for daemon in watch.daemons if daemon.name not in here.holds]
    load = closed_by_load(here, watch.site, watch.log()) if closed else {}
    if any(daemon.name not in load for daemon in closed) and time.monotonic() - watch.greeted < GREET_AGAIN_SECONDS:
        return False
    watch.greeted = time.monotonic()
    silent = {d.name: why for d in watch.daemons if d.name not in load and (why := greets(d, BEFORE_SECONDS))}
    if silent:
        watch.why = "; ".join(silent.values())
        return False
    for name, words in load.items():
        told(f"daemon {name}: its port is closed because of load, which is no fault of the change: {words}")
    return True


def closed_by_load(here: Facts, site: Site, log: Sequence[str]) -> dict[str, str]:
    """Return the daemons whose port the master keeps closed because of load: name -> sendmail's words."""
    return facts.refusing(here, site, log, os.getloadavg()[0])


def settled(site: Site, told: Say) -> Found:
    """Return the master, having waited for one that is just starting: a HUP would end it at that time."""
    watch = Watch(site, (), None, logs.mark())
    found = find(site)
    while found.choice.role == "starting":
        if watch.started + MOST_SECONDS < time.monotonic():
            break
        if not watch.greeted:
            watch.greeted = time.monotonic()
            told("sendmail is just starting; waiting until it has opened its ports")
        pause(POLL_SECONDS)
        found = find(site)
    return found


@dataclass(frozen=True, slots=True)
class How:
    """How sendmail is to be told."""

    start: tuple[str, ...] = ()
    """The command that starts it if it ends; () = none is known."""
    ran: bool = True
    """It ran when the change began: so it must run afterwards. False: it is not started."""
    full_path: bool = True
    """It was started by a full path; without one, a HUP ends it."""


def tell(site: Site, how: How, *, told: Say = lambda _: None, ready_seconds: float = READY_SECONDS) -> Facts | None:
    """Make sendmail read its configuration, and return its master once it greets on every port; None: it is off.

    Every port that greeted before: one that was silent already (an address that this machine does not have now) is
    not held against the change. By HUP; if it dies of that, or died before, it is started.

    Args:
        told: Is given one line per act.

    Raises:
        NotTold: A configured port answers, but nobody who was told is behind it: the message says what to do.
        NotReady: It does not come up.
    """
    found = settled(site, told)
    here = found.master
    mark = logs.mark()
    if here is None:
        words = answers_untold(found)
        if words:
            raise NotTold(f"{words}. sendmail was NOT told: {to_do(found)}")
        if not how.ran:
            return None
        return _start(site, site.daemons, how, mark, told, ready_seconds)
    daemons = tuple(d for d in site.daemons if not greets(d, BEFORE_SECONDS))
    if not how.full_path and not how.start:
        raise NotTold(
            f"{here} was started without a full path, so that a HUP would end it, and no command is known to start it "
            "with. sendmail was NOT told: restart it by hand, with its full path"
        )
    wanted = daemons or (() if found.choice.role == "busy" else site.daemons)
    try:
        here = _signal(here, site, how, told)
        now = wait_ready(site, wanted, here, mark, ready_seconds, told)
    except Died as error:
        told(str(error))
        now = _start(site, wanted, how, mark, told, ready_seconds)
    _no_strangers(find(site))
    return now


def _signal(here: Facts, site: Site, how: How, told: Say) -> Facts:
    """Signal the master, and return it as it was before; another one if it was restarted by somebody meanwhile."""
    number = signal.SIGHUP if how.full_path else signal.SIGTERM
    for left in reversed(range(SIGNAL_TRIES)):
        try:
            told(f"{number.name.removeprefix('SIG')} to sendmail {here.pid}")
            master.send(here, site, number, 0.0 if how.full_path else READY_SECONDS)
            return here
        except NotConfirmed as error:
            told(str(error))
            pause(POLL_SECONDS)
            now = settled(site, told).master
            if now is None or not left:
                raise Died(str(error)) from error
            here = now
    raise AssertionError("the loop ends by itself")


def _start(site: Site, daemons: Sequence[Daemon], how: How, mark: logs.Mark, told: Say, ready_seconds: float) -> Facts:
    if not how.start:
        raise NotReady(
            "sendmail does not run any more, and no command is known to start it with that root alone has written: "
            "start it by hand at once (`systemctl start sendmail`, `service sendmail start`), and set "
            "hosts.HOST.services.sendmail.argv in the inventory"
        )
    told("starting sendmail: " + " ".join(how.start))
    start(how.start)
    return wait_ready(site, daemons, None, mark, ready_seconds, told)


def _no_strangers(found: Found) -> None:
    words = strangers(found)
    if words:
        raise NotTold(f"{words}: {to_do(found)}")
