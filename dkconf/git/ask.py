"""How git is called about a repository: so that it runs no code of the repository as root, and nothing is written.

A repository's own configuration can name programs: fsmonitor, hooks, filters, text conversions, transports for
objects that a partial clone lacks. So git runs as whoever may write to the repository (as root only where nobody else
can reach it), in the very folder that was looked at, with those switched off, without anybody's own configuration,
without our terminal, and with bounds on time and on what it may say.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import time
import weakref
from contextlib import suppress
from pathlib import Path

from dkconf.git.trust import NOBODY, Identity, Look, identity

MAX_OCTETS = 64 * 1024 * 1024
"""Of one answer; the names of a million files."""
MAX_MEMORY_OCTETS = 1024 * 1024 * 1024
"""Of git itself: it reads each file whole, and one of 3 GB of nothing costs its owner nothing."""

_OFF = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "log.showSignature=false",
    "protocol.allow=never",
)
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    # The folder that git runs in is the top: it looks for no other one, and not above.
    "GIT_DIR": ".git",
    "GIT_WORK_TREE": ".",
    "GIT_ALLOW_PROTOCOL": "none",  # a repository's own protocol.NAME.allow would win over protocol.allow
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}


class Asked:
    """Git, asked about the repository whose work tree is `top`.

    Who it runs as is decided once, with the handle of the folder that it then runs in.
    """

    def __init__(self, top: Path, timeout_seconds: float) -> None:
        self.top = top
        self.timeout_seconds = timeout_seconds
        self.problem = ""
        """Why git told nothing, where that is about who may write to the repository; "" = it did not happen."""
        self._gone = False
        self._place: tuple[int, Identity | None] | None = None

    def run(self, *arguments: str, empty: int = 0) -> bytes | None:
        """Return what git says; None if it fails, cannot be run, says too much or takes too long.

        Args:
            empty: A further status that is no failure, e.g. 1 = nothing found.

        One that took too long is not asked again: the next answer would take as long.
        """
        if self._gone:
            return None
        try:
            folder, who = self._place or self._decide()
        except OSError as error:
            self._gone, self.problem = True, f"{self.top}: {error.strerror or error}"
            return None
        answer = self._ask(folder, who, arguments, empty)
        if answer is None and who is not None and who.uid == NOBODY:
            self.problem = (
                f"{self.top}: several users may write to it or to a folder above it, and as nobody git cannot read it"
            )
        return answer

    def _decide(self) -> tuple[int, Identity | None]:
        look = Look()
        if os.geteuid() == 0:
            folder = look.repository(str(self.top))
        else:
            folder = os.open(self.top, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, folder)
        self._place = folder, identity(look.writers)
        return self._place

    def _ask(self, folder: int, who: Identity | None, arguments: tuple[str, ...], empty: int) -> bytes | None:
        settings = [part for setting in _OFF for part in ("-c", setting)]
        environment = dict(_ENVIRONMENT)
        if os.geteuid() != 0:
            environment["PATH"] = os.environ.get("PATH", os.defpath)
        try:
            process = subprocess.Popen(
                ["git", "--no-pager", *settings, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                # Its own session: whoever has our terminal can type into it.
                start_new_session=True,
                preexec_fn=lambda: _enter(folder),
                user=who.uid if who else None,
                group=who.gid if who else None,
                extra_groups=[] if who else None,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        with process:
            try:
                octets = self._answer(process)
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
        return octets if process.returncode in (0, empty) else None

    def _answer(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """Return what the process writes until it ends; None if that takes too long or is too much."""
        assert process.stdout is not None
        end = time.monotonic() + self.timeout_seconds
        found = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (left := end - time.monotonic()) > 0 and len(found) <= MAX_OCTETS:
                if not selector.select(left):
                    continue
                piece = os.read(process.stdout.fileno(), 65536)
                if piece:
                    found += piece
                    continue
                with suppress(subprocess.TimeoutExpired):
                    process.wait(left)
                    return bytes(found)
        self._gone = True
        return None


def _enter(folder: int) -> None:
    """Begin in an open folder, within bounds; runs in the child."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_OCTETS, MAX_MEMORY_OCTETS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.fchdir(folder)


def find_top(folder: Path) -> Path | None:
    """Return the top of the repository that a folder lies in."""
    return next((each for each in (folder, *folder.parents) if (each / ".git").exists()), None)
