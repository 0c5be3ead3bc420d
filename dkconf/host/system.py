"""All contact with a host's files: reading, and the only code that writes.

`RealSystem` (in `disk.py`) works below a root directory, `MemorySystem` (in `memory.py`) in a dict,
`ReadOnlySystem` reads through and refuses every change: planning gets that one. Paths are absolute and as
the host sees them.

Directories such as /etc/mail belong to the mail user, who could put a symbolic link where we are about
to read or write as root. So the last component is never followed, temporary files are created
exclusively, and owner and mode are set before the content: the old content may have been private, and
the new may be.
"""

from __future__ import annotations

import json
import time
from contextlib import AbstractContextManager
from typing import Any, Protocol

from dkconf.errors import DkconfError
from dkconf.plan.actual import FileState

TEMPORARY = ".dkconf-tmp"
"""Ends the name of a temporary file; recovery removes what a killed run has left."""


class SystemProblem(DkconfError):
    """The machine said no; the text names the path and what it said."""


class System(Protocol):
    """What `apply` may do with files. Every method that changes something is one named step."""

    root: str
    """ "/" for the running machine."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Run the body as a named step; for changes that are not files (services, HUP, users)."""

    def read(self, path: str) -> FileState | None:
        """Return the regular file, None if there is none."""

    def attributes(self, path: str) -> FileState | None:
        """Return the file with no content read: for private keys."""

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; () if there is none."""

    def is_directory(self, path: str) -> bool: ...

    def link(self, path: str) -> str:
        """Return what the symbolic link points at, "" if there is none."""

    def unsafe(self, path: str) -> str:
        """Return who else could change what is kept in a directory, and what helps; "" if it is root's alone."""

    def known_user(self, name: str) -> bool: ...

    def known_group(self, name: str) -> bool: ...

    def real_path(self, path: str) -> str:
        """Return where the path lies on this machine; "" if it lies nowhere (tests)."""

    def write(self, path: str, state: FileState) -> None:
        """Put the file in place by rename; `state.mtime_ns` 0 = now."""

    def set_attributes(self, path: str, mode: int, owner: str, group: str) -> None:
        """Change mode and owner, content untouched."""

    def remove(self, path: str) -> None:
        """Remove the file; nothing happens if there is none."""

    def rename(self, path: str, to: str) -> None:
        """Give a file or directory another name in the same directory."""

    def mkdir(self, path: str, mode: int, owner: str, group: str) -> None:
        """Make one directory; nothing happens if it is there."""

    def rmdir(self, path: str) -> None:
        """Remove one directory if it is there and empty."""

    def make_private(self, path: str) -> None:
        """Make a directory for root alone, and what is missing above it: for dkconf's own state."""

    def remove_tree(self, path: str) -> None:
        """Remove a directory of dkconf's own state with all that is in it; nothing happens if there is
        none."""

    def symlink(self, path: str, target: str) -> None:
        """Point `path` at `target`, atomically."""

    def clean(self, path: str) -> None:
        """Remove the temporary file that a killed `write` or `symlink` of `path` may have left."""

    def lock(self, path: str, holder: dict[str, Any]) -> AbstractContextManager[None]:
        """Hold the lock while the body runs.

        Raises:
            Locked: Another run holds it; the text names the holder.
        """


class ReadOnlySystem:
    """Reads through and refuses every change: a plan that wrote would be a fault of ours, and is stopped
    here."""

    _READS = frozenset(
        {
            "root",
            "read",
            "attributes",
            "listdir",
            "is_directory",
            "link",
            "known_user",
            "known_group",
            "real_path",
            "unsafe",
        }
    )

    def __init__(self, inner: System) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        if name in self._READS:
            return getattr(self._inner, name)
        raise AssertionError(f"planning must not change anything, and called {name}")


def holder_words(path: str, octets: bytes) -> str:
    """Return the sentence that names the holder of a lock."""
    try:
        data = json.loads(octets)
        who = f"{data['command']} of {data['user']}, process {data['pid']}, since {data['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another run"
    return f"{path}: held by {who}; wait for it to end"


def said(exc: OSError) -> str:
    """Return the system's words for an error, lower case."""
    return (exc.strerror or str(exc)).lower()


def now_ns() -> int:
    """Return the time for a file that is to look just written."""
    return time.time_ns()
