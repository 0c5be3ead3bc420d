"""The running sendmail: its master process, making it read its configuration again, starting it if it died.

What 8.17 does (seen on Debian 12): SIGHUP to the master closes the listeners, executes the recorded command
line again, and that forks into the background: the process id in the pid file changes. A configuration that
fails at start ends it for good: no process, no pid file, the port closed. The command line is the second line
of the pid file; /proc/PID/cmdline holds the process title instead.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dkconf.errors import DkconfError
from dkconf.probe import smtp
from dkconf.sendmail.cf import CfModel, Daemon

POLL_SECONDS = 0.05
"""Between two looks at the pid file while sendmail starts; nothing else tells when it is written."""
DEAD_AFTER_SECONDS = 2.0
"""Without process, pid file and port for this long, it has died: it forks within milliseconds."""
BEFORE_SECONDS = 10.0
"""For a banner of the running sendmail; greet_pause is a few seconds where it is used."""
START_TIMEOUT_SECONDS = 90.0
"""sendmail sleeps 60 s at start where its host name has no domain."""
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class NotReady(DkconfError):
    """sendmail does not run, or does not greet on every port; the message says which."""


@dataclass(frozen=True, slots=True)
class Master:
    """sendmail's listening process, as recorded before something is done to it."""

    pid: int
    argv: tuple[str, ...]
    start_ticks: int
    """Start time in clock ticks since boot: with the pid, what names a process for good."""
    session: int
    """Its session id, which its children share."""
    stamp: tuple[int, int]
    """Inode and mtime (ns) of the pid file: written anew at every start, also by `sendmail -bD`."""

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        now = stat_of(self.pid)
        return now is not None and now[1] == self.start_ticks


def stat_of(pid: int) -> tuple[int, int] | None:
    """Return (session, start ticks) of a process, None if there is none (or only its zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("latin-1")
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields count from behind the last one. proc(5).
    fields = text[text.rfind(")") + 2 :].split()
    return None if fields[0] in "ZX" else (int(fields[3]), int(fields[19]))


def boot_ticks_now() -> int:
    """Return the present time in clock ticks since boot, as /proc/PID/stat counts."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def find_master(pid_file: str) -> Master | None:
    """Return the running master that the pid file names, None where none runs."""
    try:
        found = os.stat(pid_file)
        lines = Path(pid_file).read_text("latin-1").split("\n")
    except OSError:
        return None
    if not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    state = stat_of(pid)
    if state is None:
        return None
    argv = tuple(lines[1].split()) if len(lines) > 1 else ()
    return Master(pid, argv, state[1], state[0], (found.st_ino, found.st_mtime_ns))


def start(argv: Sequence[str]) -> None:
    """Start sendmail by a recorded command line; it goes into the background by itself (-bd), or not (-bD).

    Raises:
        NotReady: It ended with an error.
    """
    if not argv:
        raise NotReady("sendmail does not run, and no command line is known to start it with; start it by hand")
    if "-bD" in argv:
        detach(argv)
        return
    try:
        done = subprocess.run(
            list(argv),
            cwd="/",
            env={"PATH": PATH},
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=START_TIMEOUT_SECONDS,
            check=False,
        )
    except OSError as error:
        raise NotReady(f"{argv[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NotReady(f"{' '.join(argv)} did not go into the background within {error.timeout:g} s") from error
    if done.returncode:
        words = done.stdout.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise NotReady(f"{' '.join(argv)}: status {done.returncode}: {words}")


def detach(argv: Sequence[str], errors: str = "/dev/null") -> int:
    """Start a program in a session of its own, its standard error in the file `errors`; return its process id.

    Raises:
        NotReady: It cannot be executed.
    """
    actions = [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1)]
    actions.append((os.POSIX_SPAWN_OPEN, 2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    try:
        return os.posix_spawn(argv[0], list(argv), {"PATH": PATH}, file_actions=actions, setsid=True)
    except OSError as error:
        raise NotReady(f"{argv[0]}: {error.strerror}") from error


def greets(daemon: Daemon, timeout_seconds: float) -> str:
    """Return "" when a daemon port gives a banner of any kind, else why not."""
    try:
        with smtp.connect_daemon(daemon, timeout_seconds) as client:
            if "s" in daemon.modifiers:
                return ""  # TLS from the first octet: the banner is behind it; a listener is what can be seen
            client.banner()
    except smtp.SmtpFailed as error:
        return f"port {smtp.port_words(daemon)} ({daemon.name}): {error}"
    return ""


def wait_ready(
    daemons: Sequence[Daemon], pid_file: str, before: Master | None, deadline_seconds: float = 30.0
) -> Master:
    """Wait until a master other than `before` runs and greets on every port; return it.

    Args:
        daemons: Those that must greet.
        before: The master as it was before the HUP or start; None = any running master will do.

    Raises:
        NotReady: It died, or a port stays silent.
    """
    deadline = time.monotonic() + deadline_seconds
    gone_since: float | None = None
    why = "no pid file"
    while time.monotonic() < deadline:
        master = find_master(pid_file)
        if master is None:
            alive = before is not None and before.alive
            now = time.monotonic()
            gone_since = None if alive else (gone_since or now)
            if gone_since is not None and now - gone_since > DEAD_AFTER_SECONDS:
                raise NotReady(f"sendmail has died: no running process in {pid_file}")
            _pause(before, min(POLL_SECONDS, deadline - now))
            continue
        gone_since = None
        if before is not None and master.stamp == before.stamp and master.pid == before.pid:
            _pause(None, POLL_SECONDS)
            why = f"process {master.pid} has not read its configuration again"
            continue
        silent = [words for daemon in daemons if (words := greets(daemon, max(0.1, deadline - time.monotonic())))]
        if not silent:
            return master
        why = "; ".join(silent)
        _pause(None, POLL_SECONDS)
    raise NotReady(f"sendmail is not ready after {deadline_seconds:g} s: {why}")


def _pause(until_ends: Master | None, seconds: float) -> None:
    """Wait for a process to end, or for the time."""
    if until_ends is not None:
        try:
            descriptor = os.pidfd_open(until_ends.pid)
        except OSError:
            pass
        else:
            try:
                select.select([descriptor], [], [], max(0.0, seconds))
            finally:
                os.close(descriptor)
            return
    select.select([], [], [], max(0.0, seconds))


def hup(master: Master) -> None:
    """Send SIGHUP to the master, if it is still this very process.

    Raises:
        NotReady: It is gone.
    """
    if not master.alive:
        raise NotReady(f"sendmail's master process {master.pid} is gone")
    os.kill(master.pid, signal.SIGHUP)


def stop(master: Master, timeout_seconds: float = 30.0) -> None:
    """Send SIGTERM to the master and wait until it has ended.

    Raises:
        NotReady: It still runs.
    """
    try:
        descriptor = os.pidfd_open(master.pid)
    except OSError:
        return
    try:
        if not master.alive:
            return
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        ready, _, _ = select.select([descriptor], [], [], timeout_seconds)
    finally:
        os.close(descriptor)
    if not ready:
        raise NotReady(f"sendmail's master process {master.pid} does not end")


def tell(
    master: Master | None,
    model: CfModel,
    pid_file: str,
    argv: Sequence[str] = (),
    *,
    deadline_seconds: float = 30.0,
    told: Callable[[str], None] = lambda _: None,
) -> Master:
    """Make sendmail read its configuration, and return the new master once it greets on every port.

    Every port that greeted before: one that was silent already (an address that this machine does not have now) is
    not held against the change.

    By HUP; if it died (or did not run, or was started by a relative path, which a HUP cannot execute again),
    by the command line recorded beforehand.

    Args:
        master: As recorded before the configuration was put in place; None = it did not run.
        argv: How to start it where the record has no command line.
        told: Is given one line per act.

    Raises:
        NotReady: It does not come up.
    """
    command = tuple(master.argv) if master is not None and master.argv else tuple(argv)
    daemons = model.daemons
    if master is not None and master.alive:
        daemons = tuple(d for d in daemons if not greets(d, BEFORE_SECONDS)) or daemons
    if master is not None and master.alive and command and command[0].startswith("/"):
        told(f"HUP to sendmail {master.pid}")
        hup(master)
        try:
            return wait_ready(daemons, pid_file, master, deadline_seconds)
        except NotReady as error:
            current = find_master(pid_file)
            if current is not None:
                raise
            told(str(error))
    elif master is not None and master.alive:
        stop(master)
    told("starting sendmail: " + " ".join(command))
    start(command)
    return wait_ready(daemons, pid_file, None, deadline_seconds)
