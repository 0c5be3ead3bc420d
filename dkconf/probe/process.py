"""A process that is to be signalled: looked at, confirmed, and signalled as that very process.

A number in a file is somebody's claim, and a number is another process's once the first one has ended. So the process
is held first (a pidfd, which no other process can come into), then looked at, then compared with what it must be, and
signalled through what is held:

    with hold(pid) as held:
        if held is not None and not differs(held.process, Expected(uids=(110,), executables=("/usr/sbin/x",))):
            held.signal(signal.SIGTERM)

Where there is no pidfd (FreeBSD; Linux before 5.3) the process is looked at once more directly before kill(2): what is
left is the moment between the two. Where there is no /proc, ps(1) and procstat(1) say what can be known.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

DELETED = " (deleted)"
"""Behind the path of an executable that was replaced since, as a package upgrade does; proc_pid_exe(5)."""
MAX_ARGUMENTS_OCTETS = 64 * 1024
POLL_SECONDS = 0.05
"""Between two looks at a process whose end nothing tells, for want of a pidfd."""
PS_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Process:
    """What the kernel says of a process."""

    pid: int
    start: int
    """When it started: clock ticks since boot, or seconds since 1970 where only ps tells. With the pid, what names a
    process for good (until the next boot)."""
    uids: frozenset[int]
    """Real, effective and saved, and that for files: {0} is root's own, {0, 110} one that can become root again."""
    executable: str
    """Its path, also if it was replaced since; "" where we may not see it (root without CAP_SYS_PTRACE)."""
    parent: int
    session: int
    argv: tuple[str, ...]
    """As the process shows it: its own claim."""
    namespace: str = ""
    """Of its process numbers; "" where it is not to be seen."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a process must be; () and None ask nothing."""

    uids: Collection[int] = ()
    """All of its user ids are among these."""
    executables: Collection[str] = ()
    start: int | None = None
    parent: int | None = None
    not_before: int | None = None
    """The least `start`."""
    not_after: int | None = None
    """The greatest `start`."""
    may_hide: bool = False
    """An executable that we may not see is none that differs: only where `start` says who it is."""


def differs(process: Process, expected: Expected) -> str:
    """Return "" if a process is what is expected, else in words how it differs."""
    name = f"process {process.pid}"
    if expected.start is not None and process.start != expected.start:
        return f"{name} is another one by now: it started at another time"
    if expected.not_before is not None and process.start < expected.not_before:
        return f"{name} is older than it could be"
    if expected.not_after is not None and process.start > expected.not_after:
        return f"{name} is younger than what it would have to be"
    if expected.uids and not process.uids <= set(expected.uids):
        return f"{name} belongs to user {_words(process.uids)}, not to {_words(expected.uids)}"
    if expected.parent is not None and process.parent != expected.parent:
        return f"{name} was not started by process {expected.parent}"
    if expected.executables and process.executable not in expected.executables:
        if process.executable:
            return f"{name} runs {process.executable}, not {' or '.join(sorted(expected.executables))}"
        if not expected.may_hide:
            return f"{name} does not show which program it runs"
    if process.namespace != own_namespace() and process.namespace:
        return f"{name} lives in a container"
    return ""


def _words(uids: Collection[int]) -> str:
    return " and ".join(str(uid) for uid in sorted(uids))


class Held:
    """One process, from `hold`: what is signalled is the process that was looked at, or nothing."""

    def __init__(self, process: Process, descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        """A pidfd; -1 where the system has none."""

    def signal(self, number: int) -> bool:
        """Send a signal; return whether the process was still there."""
        try:
            if self._descriptor >= 0:
                signal.pidfd_send_signal(self._descriptor, number)
            elif not self._is_still_there():
                return False
            else:
                os.kill(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def ended(self, seconds: float) -> bool:
        """Wait for its end, for at most `seconds`; return whether it has ended. A zombie has."""
        if self._descriptor >= 0:
            return bool(select.select([self._descriptor], [], [], max(0.0, seconds))[0])
        deadline = time.monotonic() + seconds
        while self._is_still_there():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(POLL_SECONDS, left))
        return True

    def _is_still_there(self) -> bool:
        now = look(self.process.pid)
        return now is not None and now.start == self.process.start


@contextmanager
def hold(pid: int) -> Iterator[Held | None]:
    """Hold a process while the body looks at it and signals it; None if there is none of this number.

    What `Held.process` says is of the very process that is held: it is read after the process was taken hold of, and
    counts only if that one had not ended by then.
    """
    descriptor = _pidfd(pid)
    if descriptor is None:
        yield None
        return
    try:
        process = look(pid)
        held = None if process is None else Held(process, descriptor)
        if held is not None and descriptor >= 0 and held.ended(0):
            held = None
        yield held
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def end_session(pid: int, start: int) -> None:
    """Kill the process that leads a session, and all that are in it; nothing if it is another process by now."""
    with hold(pid) as leader:
        if leader is None or differs(leader.process, Expected(start=start)) or leader.process.session != pid:
            return
        # It starts nobody anew meanwhile, and while it is there no other session can have its number.
        leader.signal(signal.SIGSTOP)
        end_members(pid, start)
        leader.signal(signal.SIGKILL)


def end_members(session: int, since: int) -> None:
    """Kill all processes of a session but its leader, who must still be there, if only as our own zombie.

    Args:
        since: The `start` of the leader.
    """
    while True:
        members = [one for one in map(look, numbers()) if one and one.session == session != one.pid]
        killed = [_killed(one) for one in members if one.start >= since]
        if not any(killed):
            return


def _killed(process: Process) -> bool:
    with hold(process.pid) as held:
        if held is None or held.process.session != process.session or held.process.start != process.start:
            return False
        return held.signal(signal.SIGKILL) and held.ended(PS_SECONDS)


def numbers() -> list[int]:
    """Return the numbers of all processes."""
    words = os.listdir("/proc") if _has_proc() else _output(["ps", "-ax", "-o", "pid="]).split()
    return [int(word) for word in words if word.isdigit()]


def _pidfd(pid: int) -> int | None:
    """Return a pidfd; None where there is no such process, -1 where the system has no pidfds."""
    # kill(2) takes 0 and negative numbers for groups of processes.
    if pid < 1:
        return None
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        # EINVAL, ENOENT: the number is a thread's. ENOSYS, EPERM: an old kernel, or a container that forbids it.
        return -1 if error.errno in (errno.ENOSYS, errno.EPERM) else None


def look(pid: int) -> Process | None:
    """Return what the kernel says of a process, None if there is none (or only its zombie)."""
    return _from_proc(pid) if _has_proc() else _from_ps(pid)


def _has_proc() -> bool:
    return os.path.exists("/proc/self/stat")


def start_at(time_since_1970: float) -> int:
    """Return the `start` of a process that started then; true to a second or two, since clocks are rounded."""
    if not _has_proc():
        return int(time_since_1970)
    return start_now() - int((time.time() - time_since_1970) * os.sysconf("SC_CLK_TCK"))


def start_now() -> int:
    """Return the `start` of a process that starts now."""
    if not _has_proc():
        return int(time.time())
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def boot() -> str:
    """Return what names this boot, "" where the system has no such name: `Process.start` holds for one boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def own_namespace() -> str:
    """Return the namespace of process numbers that we live in, "" where the system has none."""
    return _link("/proc/self/ns/pid")


def _from_proc(pid: int) -> Process | None:
    place = f"/proc/{pid}"
    try:
        stat = _read(f"{place}/stat")
        status = dict(line.partition(":")[::2] for line in _read(f"{place}/status").splitlines())
        arguments = _read(f"{place}/cmdline", MAX_ARGUMENTS_OCTETS)
    except OSError:
        return None
    # The name in parentheses may hold anything; the fields count from behind the last one. proc_pid_stat(5).
    fields = stat[stat.rfind(")") + 2 :].split()
    if len(fields) < 20 or fields[0] in "ZX" or status.get("Tgid", "").strip() != str(pid):
        return None
    return Process(
        pid,
        int(fields[19]),
        frozenset(int(word) for word in status["Uid"].split()),
        _link(f"{place}/exe").removesuffix(DELETED),
        int(fields[1]),
        int(fields[3]),
        tuple(arguments.removesuffix("\0").split("\0")) if arguments else (),
        _link(f"{place}/ns/pid"),
    )


def _read(path: str, limit: int = 1 << 20) -> str:
    with open(path, "rb") as file:
        return os.fsdecode(file.read(limit))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


PS_WORDS = ("state", "ppid", "sid", "uid", "ruid", "svuid", "lstart", "args")
"""Of FreeBSD's ps(1). `lstart` are five words, such as "Sat Nov 28 05:40:50 2026"."""


def _from_ps(pid: int) -> Process | None:
    """By construction: no FreeBSD was there to try it."""
    # Each word in an option of its own: what is behind a "=" is a heading, commas too.
    said = _output(["ps", "-ww", *(part for word in PS_WORDS for part in ("-o", f"{word}=")), "-p", str(pid)])
    return parse_ps(pid, said, _output(["procstat", "-h", "-b", str(pid)]))


def parse_ps(pid: int, said: str, binary: str) -> Process | None:
    """Return the process of which ps said one line; None where it said none, or that it is a zombie.

    Args:
        said: The words of `PS_WORDS`.
        binary: What `procstat -h -b` said: PID, command, version of the ABI, path.
    """
    words = said.split()
    if len(words) < 11 or words[0].startswith("Z") or not all(word.isdigit() for word in words[1:6]):
        return None
    try:
        start = int(time.mktime(time.strptime(" ".join(words[6:11]), "%a %b %d %H:%M:%S %Y")))
    except ValueError:
        return None
    parent, session, *uids = (int(word) for word in words[1:6])
    path = binary.split(None, 3)
    executable = path[3].strip() if len(path) == 4 and path[0] == str(pid) else ""
    return Process(pid, start, frozenset(uids), executable, parent, session, tuple(words[11:]))


def _output(argv: list[str]) -> str:
    environment = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=PS_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
