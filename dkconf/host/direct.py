"""Filters that dkconf starts itself (`service_manager: direct`): started, found again, and ended.

Which process is the filter? Its own pid file is a claim of the filter's user, who could have any process of root's
killed by it. So dkconf keeps a record of its own, in a directory that root alone can write: process id, start time,
boot, user ids, program. Whom it records it knows by descent, not by hearsay: while a filter starts, dkconf is the
"subreaper" of what it started, and a filter that goes into the background becomes dkconf's own child (prctl(2),
PR_SET_CHILD_SUBREAPER). Every signal goes through a pidfd to a process that was confirmed while it was held.

Only where no record says anything (a filter that somebody started by hand) a pid file counts, and then only for a
process of the user that could have written the file, with the program and the command line of the service.

On FreeBSD there are neither subreapers nor pidfds: there a filter that goes into the background is known by its pid
file, confirmed in the same way, once and for all at its start; and see `dkconf.probe.process`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dkconf.desired.state import Service
from dkconf.errors import DkconfError
from dkconf.files import looking
from dkconf.files.folders import Way, others_write
from dkconf.files.making import make_folders
from dkconf.files.reading import FileProblem, open_file, read_handle
from dkconf.files.removing import remove_file
from dkconf.files.writing import write_file
from dkconf.probe import live
from dkconf.probe.process import Expected, Held, Process, boot, differs, hold, look, start_at, start_now

STOP_SECONDS = 60.0
"""A filter finishes the messages in flight first; sendmail's own E= of the end of a message is 300 s at most."""
START_SECONDS = 20.0
"""Until a filter has written its pid file; Python, the keys and the workers take under a second."""
SETTLE_SECONDS = 0.5
"""A program that cannot go on has ended by then, and the processes between it and its daemon too."""
PATIENCE_SECONDS = 5.0
"""Until a program that has a daemon already, by its pid file, ends itself; a wrapper never does."""
FORMAT = 1
RECORD_OCTETS = 8192
PID_FILE_OCTETS = 256
MAX_WORDS = 2000
_RECORD_SECONDS = 5
"""Between the start of a program and the record of it, as dkconf wrote it before it recorded start times."""
_CLOCK_SECONDS = 2
_GENERATIONS = 10
"""From a daemon up to the program that was started, at most."""
_PR_SET_CHILD_SUBREAPER = 36
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


class ServiceFailed(DkconfError):
    """A service, or the command for it, says no."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a pid file says, and who can have said it."""

    pid: int
    uids: frozenset[int]
    """Who could have written it besides root and us; empty = nobody."""
    written: float
    """Seconds since 1970."""


class Direct:
    """The filters that are started directly, as far as `directory` knows of them."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def runs(self, service: Service) -> bool:
        """Return whether a filter runs."""
        with self._held(service) as held:
            return held is not None

    def signal(self, service: Service, number: int) -> bool:
        """Send a signal to a filter; return False where it does not run."""
        with self._held(service) as held:
            return held is not None and held.signal(number)

    def stop(self, service: Service) -> None:
        """End a filter, and wait for it; nothing if it does not run.

        Raises:
            ServiceFailed: It still runs.
        """
        with self._held(service) as held:
            if held is not None:
                end(held, f"filter {service.filter}")
        self._forget(service)

    def start(self, service: Service) -> None:
        """Start the argv in a session of its own, and wait until it has written its pid file, if it has one.

        Raises:
            ServiceFailed: It cannot be started, or ends with an error.
        """
        if not service.argv:
            raise ServiceFailed(
                f"filter {service.filter}: no argv to start it with; set services.{service.filter}.argv"
            )
        self._make_directory()
        with _adopting() as adopts:
            since, others = start_now(), frozenset(_children())
            try:
                first = live.detach(service.argv, str(self._own(service, "err")))
            except live.NotReady as error:
                raise ServiceFailed(f"filter {service.filter}: {error}") from error
            # At once, should we be killed while it comes up; then for good.
            self._note(service, look(first))
            self._note(service, self._settle(_Birth(service, first, since, others, adopts)))

    # --- what is known of it

    def _own(self, service: Service, ending: str) -> Path:
        """A file of ours about a filter that we started: `.process`, `.pid` or `.err`."""
        return Path(f"{self._directory}/{service.filter}.{ending}")

    def _forget(self, service: Service) -> None:
        if looking.look(self._directory) is None:
            return  # nothing was ever started
        for ending in ("process", "pid"):
            remove_file(str(self._own(service, ending)))

    def _make_directory(self) -> None:
        try:
            make_folders(self._directory, mode=0o711)
            found = looking.look(self._directory)
        except (FileProblem, OSError) as error:
            raise ServiceFailed(f"{self._directory}: {error}") from error
        if not found or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ServiceFailed(
                f"{self._directory}: is not a directory of our own that only we may write to; remove it"
            )

    def _note(self, service: Service, running: Process | None) -> None:
        """Keep who the filter is; the number alone, in a file of its own, is for people and for older dkconfs."""
        if running is None:
            self._forget(service)
            return
        record = {
            "format": FORMAT,
            "boot": boot(),
            "pid": running.pid,
            "start": running.start,
            "uids": sorted(running.uids),
            "executable": running.executable,
        }
        write_file(str(self._own(service, "process")), json.dumps(record).encode() + b"\n", mode=0o600)
        write_file(str(self._own(service, "pid")), b"%d\n" % running.pid, mode=0o644)

    @contextlib.contextmanager
    def _held(self, service: Service) -> Iterator[Held | None]:
        """Hold the filter's process, confirmed; None where it does not run."""
        for pid, expected, argv in self._candidates(service):
            with hold(pid) as held:
                if held is not None and not differs(held.process, expected) and _shows(held.process, argv):
                    yield held
                    return
        yield None

    def _candidates(self, service: Service) -> Iterator[tuple[int, Expected, Sequence[str]]]:
        """Yield process ids, what each must be, and the command line it must show: our own word first."""
        recorded = self._recorded(service)
        if recorded is not None:
            yield *recorded, ()
        numbered = _claim(str(self._own(service, "pid")))
        if numbered is not None and not numbered.uids and recorded is None:
            # Of an older dkconf, which wrote it directly after the start.
            since, until = numbered.written - _RECORD_SECONDS, numbered.written + _CLOCK_SECONDS
            yield numbered.pid, Expected(not_before=start_at(since), not_after=start_at(until)), ()
        claimed = _claim(service.pid_file) if service.pid_file and service.argv else None
        if claimed is not None:
            yield claimed.pid, _allowed(service, claimed), service.argv

    def _recorded(self, service: Service) -> tuple[int, Expected] | None:
        """Return the process of our record, None where it says nothing of this boot.

        Which program it runs by now is not asked: process id and start time are the very process that we started, and
        a wrapper becomes the filter by execve(2).
        """
        words = _words(str(self._own(service, "process")), RECORD_OCTETS)
        if words is None or words.uids:
            return None
        try:
            record = json.loads(words.text)
            if record["format"] != FORMAT or record["boot"] != boot():
                return None
            pid, start, uids = int(record["pid"]), int(record["start"]), {int(uid) for uid in record["uids"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        # One that was root's when we wrote it may have become its user since; nobody becomes root.
        return pid, Expected(uids=() if 0 in uids else uids, start=start)

    # --- its start

    def _settle(self, birth: _Birth) -> Process | None:
        """Wait until the filter is up; return its process, None where nothing stays."""
        service, first = birth.service, birth.first
        begun = time.monotonic()
        deadline = begun + (START_SECONDS if service.pid_file else SETTLE_SECONDS)
        named: Process | None = None
        while (left := deadline - time.monotonic()) > 0:
            status = _ended(first, min(left, 0.1))
            if status:
                raise ServiceFailed(
                    f"filter {service.filter}: {' '.join(service.argv)} ended with status {status}: "
                    f"{_said(str(self._own(service, 'err')))}"
                )
            if status == 0:
                return _daemon(birth)
            named = _named(birth, {first})
            if named is not None and (named.pid == first or time.monotonic() - begun > PATIENCE_SECONDS):
                break
        return named or look(first)


@dataclass(frozen=True, slots=True)
class _Birth:
    """What was started, and what was there before."""

    service: Service
    first: int
    """The process of the argv."""
    since: int
    others: frozenset[int]
    """Children of ours that are none of the filter's."""
    adopts: bool
    """Whether its orphans become ours."""


def end(held: Held, what: str, seconds: float = STOP_SECONDS) -> None:
    """Send SIGTERM and wait until the process has ended.

    Raises:
        ServiceFailed: It still runs; it is not killed, since it may hold a message.
    """
    if held.signal(signal.SIGTERM) and not held.ended(seconds):
        raise ServiceFailed(f"{what}: process {held.process.pid} still runs {seconds:g} s after SIGTERM")


def _daemon(birth: _Birth) -> Process | None:
    """Return the process that a program has left behind: one that we have adopted, or whose pid file holds."""
    pid_file = birth.service.pid_file
    deadline = time.monotonic() + (START_SECONDS if pid_file else SETTLE_SECONDS)
    while True:
        adopted = map(look, _children() - birth.others)
        alive = [one for one in adopted if one is not None and one.start >= birth.since]
        named = _named(birth, {one.pid for one in alive})
        left = deadline - time.monotonic()
        if named is not None or left <= 0 or (birth.adopts and not alive):
            break
        time.sleep(min(left, 0.05))
    # With several and no pid file that names one of them: the one that leads a session.
    alive.sort(key=lambda one: (one.session != one.pid, one.start))
    return named or (alive[0] if alive else None)


def _named(birth: _Birth, family: set[int]) -> Process | None:
    """Return the process that the pid file names, if it is one of `family` or comes from one of them.

    Where orphans are not adopted, one that is what the pid file's owner may have signalled will do.
    """
    service = birth.service
    claim = _claim(service.pid_file) if service.pid_file else None
    found = look(claim.pid) if claim is not None else None
    if claim is None or found is None or found.start < birth.since:
        return None
    if _descends(found, family):
        return found
    if birth.adopts or differs(found, _allowed(service, claim)) or not _shows(found, service.argv):
        return None
    return found


def _descends(process: Process, family: set[int]) -> bool:
    for _ in range(_GENERATIONS):
        if process.pid in family:
            return True
        parent = look(process.parent)
        if parent is None:
            return False
        process = parent
    return False


def _ended(pid: int, seconds: float) -> int | None:
    """Return the exit status of a child of ours that ends within `seconds`, None while it runs.

    A daemon that goes into the background ends its first process with 0.
    """
    with hold(pid) as held:
        if held is not None and not held.ended(seconds):
            return None
    # One that could not be looked at just now may run on: its end is not waited for.
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


@contextlib.contextmanager
def _adopting() -> Iterator[bool]:
    """Make orphans of what is started in the body our own children, where the system can; give whether it can."""
    adopts = _set_subreaper(1)
    try:
        yield adopts
    finally:
        if adopts:
            _set_subreaper(0)


def _set_subreaper(value: int) -> bool:
    if sys.platform != "linux":
        return False
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return False
    prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return bool(prctl(_PR_SET_CHILD_SUBREAPER, value, 0, 0, 0) == 0)


def _children() -> set[int]:
    """Return the children of this process, those that it has adopted among them; empty where nothing tells."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            found.update(map(int, Path(f"/proc/self/task/{thread}/children").read_text("ascii").split()))
    return found


def _allowed(service: Service, claim: Claim) -> Expected:
    """Return what a process must be for a pid file to have it signalled.

    A pid file that others can write to has power over processes of just these others, and nobody else's.
    """
    # After a reboot, or once the numbers have gone round, the number is that of a process younger than the file.
    latest = start_at(claim.written + _CLOCK_SECONDS)
    return Expected(uids=claim.uids, executables=programs(service.argv[0]), not_after=latest)


def _shows(process: Process, argv: Sequence[str]) -> bool:
    """Return whether a process shows a command line; that of a script has its interpreter in front."""
    return not argv or process.argv[-len(argv) :] == tuple(argv)


def programs(path: str) -> tuple[str, ...]:
    """Return the executables that a process may show that was started as `path`: a script's is its interpreter."""
    try:
        handle = open_file(path)
    except (OSError, FileProblem):
        return (os.path.realpath(path),)
    try:
        line = os.read(handle, 512).partition(b"\n")[0]
    finally:
        os.close(handle)
    if not line.startswith(b"#!"):
        return (os.path.realpath(path),)
    words = [os.fsdecode(word) for word in line[2:].split()]
    if words and os.path.basename(words[0]) == "env":
        words = [shutil.which(word, path=live.PATH) or "" for word in words[1:] if not word.startswith("-")]
    return (os.path.realpath(words[0] if words and words[0] else path),)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a file says, and who can have said it; see `Claim`."""

    text: bytes
    uids: frozenset[int]
    written: float


def _words(path: str, limit: int) -> _Words | None:
    """Return what a file says; None where it is none, or one that anybody could have written."""
    try:
        with Way(path) as way:
            handle = way.open(_FLAGS)
            try:
                file, folder = os.fstat(handle), os.fstat(way.folder)
                text = read_handle(handle, path, limit) if stat.S_ISREG(file.st_mode) else b""
            finally:
                os.close(handle)
    except (OSError, FileProblem, ValueError):
        return None
    others = frozenset({file.st_uid, folder.st_uid} - {0, os.geteuid()})
    if len(others) > 1 or file.st_mode & 0o022 or (others_write(folder) and folder.st_mode & 0o022):
        return None
    return _Words(text, others, file.st_mtime)


def _claim(path: str) -> Claim | None:
    """Return what a pid file says; None where it says nothing, or nobody could be held to it."""
    words = _words(path, PID_FILE_OCTETS)
    numbers = words.text.split()[:1] if words is not None else []
    if words is None or not numbers or not numbers[0].isdigit() or len(numbers[0]) > 10:
        return None
    return Claim(int(numbers[0]), words.uids, words.written)


def _said(path: str) -> str:
    """Return the end of what a program said on standard error, on one line."""
    try:
        handle = open_file(path)
    except (OSError, FileProblem):
        return ""
    try:
        octets = os.pread(handle, MAX_WORDS, max(0, os.fstat(handle).st_size - MAX_WORDS))
    finally:
        os.close(handle)
    return octets.decode("utf-8", "replace").strip().replace("\n", "; ")
