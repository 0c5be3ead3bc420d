"""Going into the background, and the pid file.

The first process stays until the daemon says that it is ready, and exits with what the daemon says: an init
script learns of a failure from the exit status, and of success only when the MTA can connect.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys

from dkconf.files.standing import remove_kept, write_kept
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


def keep_only(*descriptors: int) -> None:
    """Close every descriptor but these and 0 to 2, of which input and output become /dev/null.

    In a worker, which talks to the network: what the parent has open (the pid file, the ends of other workers'
    channels, whatever whoever started us left open) is nothing that it should be able to write to. No object must go
    on that believes in a descriptor closed here: its number may be a connection's next.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    os.close(null)
    low = 3
    for descriptor in sorted(descriptors):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(low, resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


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
        # Its folder is often that of the filter's user, who could put a link, a pipe or root's file there for us.
        line = b"%d\n" % pid
        self._descriptor, self._line = write_kept(self.path, line, mode=0o644), line

    def let_go(self) -> None:
        """Close the file and leave it as it is: in a worker, whom nobody is to believe about the pid."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """Remove the file, or at least empty it; but not if it is another daemon's by now.

        While we finish messages in flight, our successor may have been started already.
        """
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            if os.pread(self._descriptor, len(self._line) + 1, 0) == self._line:
                try:
                    remove_kept(self.path, self._descriptor)
                except OSError:
                    os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = -1
