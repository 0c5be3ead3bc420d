"""What is said about a file that is not read or written: the path, what was found, and what would be right."""

from __future__ import annotations

import errno
import stat

from dkconf.errors import DkconfError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileProblem(DkconfError):
    """A file cannot be read or written, or is not what may be read or written; the message begins with its path."""

    def __init__(self, text: str) -> None:
        super().__init__("\n".join(shown(line) for line in text.split("\n")))


def kind(mode: int) -> str:
    """Return the words for what a path is, e.g. "a named pipe"."""
    return next((words for test, words in _KINDS if test(mode)), "a regular file")


def shown(text: str) -> str:
    """Return a text as a terminal may show it: somebody else may have chosen the names in it."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def said(error: OSError) -> str:
    """Return the system's reason, in lower case."""
    return (error.strerror or str(error)).lower()


def as_os_error(problem: FileProblem, path: str) -> OSError:
    """Return a problem as the error of the system that it stands for: its words, without the path before them."""
    if isinstance(problem.__cause__, OSError):
        return problem.__cause__
    return OSError(errno.EINVAL, str(problem).removeprefix(f"{path}: "))
