"""How sendmail is started again where a SIGHUP has ended it: only by what root alone can have written.

In this order: the service manager that runs the master; the argv of the inventory; the System V or rc.d script of a
host whose inventory names that manager; the command line that the master itself recorded when it started. The record
is the second line of its pid file, and on Debian that file lies in a folder of the mail user's, who can put another
file there. So it is not read by its path there, but through the master's own descriptor: that file was made and
written by the root process that holds it. And only words of a known, harmless form are taken from it:
`-C /tmp/evil.cf`, `-X`, `-D` or `-O` would make whoever wrote it root.
"""

from __future__ import annotations

import os
import re
import select
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from dkconf.errors import DkconfError
from dkconf.files.folders import folders_above, others_write
from dkconf.files.looking import known, may_run
from dkconf.files.reading import FileProblem, open_file, read_file
from dkconf.probe import master
from dkconf.probe.facts import Facts, Site

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
START_TIMEOUT_SECONDS = 90.0
"""sendmail sleeps 60 s at start where its host name has no domain."""
MAX_RECORD_OCTETS = 4096
COMMAND_SECONDS = 5.0
UNITS = ("sendmail.service", "sm-mta.service")
MANAGERS = frozenset(
    {("systemctl", "restart", unit) for unit in UNITS}
    | {("service", "sendmail", "start"), ("service", "sendmail", "onestart")}
)
"""Every command of a service manager that this module gives."""
_UNIT = re.compile(r"/system\.slice/(?:[^/\n]+/)*(?P<unit>[A-Za-z0-9][A-Za-z0-9@_.:-]*\.service)$", re.MULTILINE)

# Every word of a recorded command line must be one of these: flags that name no file, no program and no option.
HARMLESS = re.compile(
    r"-b[dD]"
    r"|-q(?:p)?(?:\d{1,9}[smhdw]?){0,5}"
    r"|-L(?:[A-Za-z0-9][A-Za-z0-9_-]{0,31})?"
    r"|-A[mc]"
    r"|-o?[im]"
    r"|-ODaemonPortOptions=(?:Addr|Name|Port|Family)=[A-Za-z0-9.:-]+(?:,(?:Addr|Name|Port|Family)=[A-Za-z0-9.:-]+)*"
)
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""The word behind a lone -L: what sendmail calls itself in the log."""


class NotReady(DkconfError):
    """sendmail does not run, or does not greet on every port; the message says which."""


def how_to_start(process: Facts, site: Site, sendmail: str, inventory: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command that starts this master again should it end, () where no safe one is known.

    Args:
        sendmail: The configured program.
        inventory: The argv, or the manager's command, that the inventory gives.
    """
    unit = unit_of(process)
    if unit:
        # `start` would do nothing while the unit's other processes run on.
        return ("systemctl", "restart", unit)
    return tuple(inventory) or harmless(recorded(process, site), site, sendmail)


def script(manager: str) -> tuple[str, ...]:
    """Return the command of the System V or rc.d script of a host that the inventory says to have one."""
    if manager == "sysv" and (may_run("/etc/init.d/sendmail") or may_run("/etc/rc.d/sendmail")):
        return ("service", "sendmail", "start")
    if manager == "rcd" and may_run("/etc/rc.d/sendmail"):
        return ("service", "sendmail", "onestart")
    return ()


def unit_of(process: Facts) -> str:
    """Return the systemd unit that runs a process, "" where none does: the kernel's word, which root alone can set."""
    if not os.path.isdir("/run/systemd/system"):
        return ""
    try:
        groups = Path(f"/proc/{process.pid}/cgroup").read_text("utf-8", "replace")
    except OSError:
        return ""
    unit = unit_in(groups)
    # A sendmail that was started by hand from another service's job is in that service's group.
    return unit if unit in UNITS or (unit and _main_process(unit) == process.pid) else ""


def unit_in(groups: str) -> str:
    """Return the unit that the text of /proc/PID/cgroup names, "" for none."""
    match = _UNIT.search(groups)
    return match["unit"] if match is not None else ""


def _main_process(unit: str) -> int:
    argv = ["systemctl", "show", "-p", "MainPID", "--value", unit]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": PATH},
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = done.stdout.strip()
    return int(said) if said.isdigit() else 0


def recorded(process: Facts, site: Site) -> str:
    """Return the command line that a master has recorded, "" where it is not provably its own and root's."""
    for text in (*_own_files(process), *(_record_by_path(path, site.own_id) for path in site.pid_files)):
        lines = text.split("\n")
        if len(lines) > 1 and lines[0].strip() == str(process.pid):
            return lines[1].strip()
    return ""


def _own_files(process: Facts) -> Iterator[str]:
    """Yield the text of each small file of root's that the process itself keeps open: one of them is its pid file.

    Whatever lies at that file's path by now: whoever may write its folder can move it away, and not change it.
    """
    try:
        names = os.listdir(f"/proc/{process.pid}/fd")
    except OSError:
        return
    for name in names:
        found = known(f"/proc/{process.pid}/fd/{name}")
        if found is None or not stat.S_ISREG(found.st_mode):
            continue
        try:
            # Opened through the descriptor: this is the file that was written.
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            handle = os.open(f"/proc/{process.pid}/fd/{name}", flags)
        except OSError:
            continue
        try:
            yield _roots_text(handle, process.uids[0])
        finally:
            os.close(handle)


def _record_by_path(path: str, owner: int) -> str:
    """Return the text of a pid file that nobody but root could have put there: each folder above it is root's."""
    if not _only_ours(path):
        return ""
    try:
        handle = open_file(path)
    except (FileProblem, OSError):
        return ""
    try:
        return _roots_text(handle, owner)
    finally:
        os.close(handle)


def _only_ours(path: str) -> bool:
    """Return whether nobody but root and we can put anything where a path leads, or on the way there."""
    found = [info for _, info in folders_above(path)]
    return all(isinstance(info, os.stat_result) and not _others_put(info) for info in found)


def _others_put(folder: os.stat_result) -> bool:
    # In a sticky folder others cannot put theirs in the place of ours, but theirs where nothing is.
    return others_write(folder) or bool(folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _roots_text(handle: int, owner: int) -> str:
    """Return the text of an open file, "" unless it is small, has one name, and its owner alone can write it."""
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_RECORD_OCTETS or found.st_nlink > 1:
        return ""
    if found.st_uid != owner or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return ""
    return os.read(handle, MAX_RECORD_OCTETS).decode("ascii", "replace")


def harmless(line: str, site: Site, sendmail: str) -> tuple[str, ...]:
    """Return a recorded command line as an argv, () unless it starts sendmail's daemon by harmless words alone.

    The program is the configured one where the record names it by another path of it, or without a path.
    """
    words = line.split()
    if not words:
        return ()
    program = words[0] if words[0].startswith("/") else sendmail
    if not program.startswith("/") or os.path.realpath(program) not in site.programs:
        return ()
    if not words[0].startswith("/") and words[0] not in ("sendmail", "sm-mta", "sendmail-mta"):
        return ()
    if not _only_ours(program):
        return ()
    rest, before = words[1:], ""
    for word in rest:
        if not (TAG if before == "-L" else HARMLESS).fullmatch(word):
            return ()
        before = "" if before == "-L" else word
    daemon = {"-bd", "-bD"} & set(rest)
    return (program, *rest) if daemon and before != "-L" and "-Ac" not in rest else ()


def checked(argv: Sequence[str], site: Site, sendmail: str) -> tuple[str, ...]:
    """Return a command that was noted earlier, () unless it is a service manager's or does no harm by its words."""
    noted = tuple(argv)
    return noted if noted in MANAGERS else harmless(" ".join(noted), site, sendmail)


def relative(line: str) -> bool:
    """Return whether a recorded command line has no full path: a SIGHUP ends such a sendmail ("need full path")."""
    words = line.split()
    return bool(words) and not words[0].startswith("/")


def claimed(site: Site) -> str:
    """Return the command line in the first pid file that has one: a claim of whoever could write it, never run."""
    for path in site.pid_files:
        try:
            lines = read_file(path, limit=master.MAX_PID_FILE_OCTETS).decode("ascii", "replace").split("\n")
        except (FileProblem, OSError):
            continue
        if len(lines) > 1 and lines[1].strip():
            return lines[1].strip()
    return ""


def start(argv: Sequence[str]) -> None:
    """Start sendmail by a command; it goes into the background by itself (-bd), or not (-bD).

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


def pause(seconds: float) -> None:
    """Wait; in one place."""
    select.select([], [], [], max(0.0, seconds))
