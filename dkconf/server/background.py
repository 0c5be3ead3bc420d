"""Going into the background, and the pid file.

The first process stays until the daemon says that it is ready, and exits with what the daemon says: an init
script learns of a failure from the exit status, and of success only when the MTA can connect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys

from dkconf.server.fault import EX_OSERR, EX_SOFTWARE, StartFailure


def fill_standard_descriptors() -> None:
    """Open /dev/null wherever 0, 1 or 2 is closed, as some supervisors start their children.

    Else a socket or the pid file would be opened there, and whatever writes to standard error would write to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


class Waiter:
    """The daemon's end of the pipe to the process that was started; without one, nothing happens."""

    def __init__(self, descriptor: int = -1, *, keep_stderr: bool = False) -> None:
        self._descriptor = descriptor
        self._keep_stderr = keep_stderr

    def tell(self, status: int) -> None:
        """Let the first process exit with `status`; on 0 the terminal is let go of."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            os.write(self._descriptor, bytes([status]))
        if status == 0:
            self.let_go()

    def let_go(self) -> None:
        """Close the pipe, and the terminal but for what is logged there; in each process of the daemon."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1) if self._keep_stderr else (0, 1, 2):
            os.dup2(null, number)
        os.close(null)


def detach(*, keep_stderr: bool) -> Waiter:
    """Fork; return in the child only, in a session of its own.

    Raises:
        StartFailure: There is no process to be had (71).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        ours, theirs = os.pipe()
        child = os.fork()
    except OSError as error:
        raise StartFailure(f"fork(): {error.strerror}", EX_OSERR) from None
    if child:
        os.close(theirs)
        said = os.read(ours, 1)
        os._exit(said[0] if said else EX_SOFTWARE)
    os.close(ours)
    os.setsid()
    os.chdir("/")
    return Waiter(theirs, keep_stderr=keep_stderr)


class PidFile:
    """One decimal line; kept open, so that it can be emptied when its directory is no longer ours."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._descriptor = -1
        self._line = b""

    def write(self, pid: int) -> None:
        """Write `pid`. Raises OSError, which is no reason not to run."""
        # A link here could point a root process at any file; a FIFO would be waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is there already and no file")
        self._descriptor, self._line = descriptor, b"%d\n" % pid
        os.write(descriptor, self._line)

    def remove(self) -> None:
        """Remove the file, or at least empty it; but not if it is another daemon's by now.

        While we finish messages in flight, our successor may have been started already.
        """
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if os.pread(self._descriptor, len(self._line) + 1, 0) == self._line:
                ours = os.path.samestat(os.fstat(self._descriptor), os.lstat(self.path))
                try:
                    if ours:
                        os.unlink(self.path)
                except OSError:
                    os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1
