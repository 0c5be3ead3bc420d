"""What sendmail logged about one of its processes: why a canary was refused, which its reply does not tell.

Read from the mail log where there is one, else from the journal. Nothing is found where syslog goes elsewhere: the
replies alone decide, the log only explains.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dkconf.files.looking import known, may_run
from dkconf.files.reading import FileProblem, open_file
from dkconf.sendmail import maillog

FILES = ("/var/log/mail.log", "/var/log/maillog")
"""Debian's and RHEL's; FreeBSD has the second too."""
JOURNAL = "/usr/bin/journalctl"
WAIT_SECONDS = 1.0
"""A syslog daemon writes within milliseconds; it must not hold up a refusal for longer."""
MAX_OCTETS = 1024 * 1024
"""Of what was logged meanwhile: a busy host logs some MB per minute."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log, taken before something is tried."""

    path: str
    """"" = the journal."""
    inode: int
    offset: int
    seconds: float
    """Epoch seconds."""


def mark(files: Sequence[str] = FILES) -> Mark:
    """Return the present end of the log."""
    for path in files:
        found = known(path)
        if found is not None:
            return Mark(path, found.st_ino, found.st_size, time.time())
    return Mark("", 0, 0, time.time())


def failures(since: Mark, pid: int, wait_seconds: float = WAIT_SECONDS) -> list[maillog.Failure]:
    """Return what filters did wrong to the messages of one sendmail process; [] where the log does not tell."""
    deadline = time.monotonic() + wait_seconds
    while True:
        lines = [line for line in _lines(since, [pid]) if f"[{pid}]: " in line]
        found = maillog.failures(lines)
        if found or time.monotonic() >= deadline:
            return found
        select.select([], [], [], 0.1)


def _lines(since: Mark, pids: Sequence[int]) -> list[str]:
    return (_from_file(since) if since.path else _from_journal(since, pids)).decode("utf-8", "replace").splitlines()


def _from_file(since: Mark) -> bytes:
    try:
        handle = open_file(since.path)
    except (FileProblem, FileNotFoundError):
        return b""
    try:
        found = os.fstat(handle)
        # Rotated meanwhile: a new file, or the same one cut short.
        start = since.offset if found.st_ino == since.inode and found.st_size >= since.offset else 0
        return os.pread(handle, MAX_OCTETS, max(start, found.st_size - MAX_OCTETS))
    except OSError:
        return b""
    finally:
        os.close(handle)


def _from_journal(since: Mark, pids: Sequence[int]) -> bytes:
    if not may_run(JOURNAL) or not pids:
        return b""
    # Several matches of one field are alternatives.
    argv = [JOURNAL, "--quiet", "--no-pager", "--output=short", f"--since=@{int(since.seconds)}"]
    argv += [f"_PID={pid}" for pid in pids]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout[:MAX_OCTETS]


def texts(since: Mark, pids: Sequence[int]) -> list[str]:
    """Return what these processes of sendmail have logged since, without time and queue id; [] where it is not kept.

    Any user of the host can write such lines: they explain, they prove nothing.
    """
    found = []
    names = {f"[{pid}]: " for pid in pids}
    for line in _lines(since, pids):
        if any(name in line for name in names):
            split = maillog.split_line(line)
            if split is not None:
                found.append(split[1])
    return found
