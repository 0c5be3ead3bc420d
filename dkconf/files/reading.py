"""Reading: a regular file of bounded size, without ever waiting, and without being led elsewhere.

What a path names is somebody's claim: it may be a link to /etc/shadow, a second name (hard link) of root's file, a
named pipe that nobody writes to, or 3 GB of nothing. Each reader hands in the limit that its kind of file has.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from dkconf.files.folders import Misled, Way, others_write
from dkconf.files.problems import FileProblem, kind, said

__all__ = ["FileProblem", "TooLarge", "given_descriptor", "open_file", "read_file", "read_given", "read_handle"]

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
_AT_ONCE = 1 << 20
_GIVEN = re.compile(r"-|/dev/std(?P<name>in|out|err)|/dev/fd/(?P<number>\d{1,4})|/proc/self/fd/(?P<again>\d{1,4})")
_NAMED = {"in": 0, "out": 1, "err": 2}


class TooLarge(FileProblem):
    """A file has more octets than such a file may have."""

    def __init__(self, path: str, octets: int, limit: int) -> None:
        super().__init__(f"{path}: has {octets:,} octets; such a file has at most {limit:,}")
        self.octets = octets


def read_file(path: str, *, limit: int, within: str = "", closed: bool = False) -> bytes:
    """Return the content of a regular file.

    Args:
        path: Absolute, or from the working directory.
        limit: The most octets that such a file may have.
        within: The tree (a checkout) that links set by others must stay in, or `CHECKOUT` or `ANYWHERE`; "" = only
            those that root or we set are followed. See `dkconf.files.folders`.
        closed: As root, read also what the owner of the folder could not read himself, as long as it has one name: for
            private keys, which an administrator may have laid into the folder of the filter's user.

    Raises:
        FileProblem: It is something else, too large, closed to us, or reached by a link that is not followed.
        FileNotFoundError: Nothing is there.
    """
    handle = open_file(path, within=within, closed=closed)
    try:
        return read_handle(handle, path, limit)
    finally:
        os.close(handle)


def open_file(path: str, *, within: str = "", closed: bool = False) -> int:
    """Return a descriptor of a regular file, for reading; the caller closes it.

    Raises:
        As `read_file`, the limit apart.
    """
    with told(path), Way(path, within) as way:
        handle = regular(path, way.open(FLAGS), way.folder, closed)
        if way.left and os.geteuid() == 0 and not os.fstat(handle).st_mode & stat.S_IROTH:
            os.close(handle)
            raise FileProblem(
                f"{path}: is reached by a link that leads out of its checkout, to a file that is closed to others; "
                "name that file by its own path"
            )
        return handle


@contextmanager
def told(path: str) -> Iterator[None]:
    """Say what is wrong with a path in words; that nothing is there stays FileNotFoundError."""
    try:
        yield
    except Misled as error:
        raise FileProblem(f"{path}: is not read: {error}; put the file itself there") from None
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except OSError as error:
        raise FileProblem(f"{path}: cannot be read ({said(error)})") from error
    except ValueError:  # a NUL in it, or what no file system can encode
        raise FileProblem(f"{path!a}: is not a path; it holds a character that no path can have") from None


def regular(path: str, handle: int, folder: int, closed: bool = False) -> int:
    """Return the handle of a regular file; close that of anything else."""
    try:
        refuse_others(path, handle, folder, closed)
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_handle(handle: int, path: str, limit: int) -> bytes:
    """Return all that an open file holds, from where its descriptor stands; `path` is its name in messages.

    Raises:
        FileProblem: It holds more than `limit` octets, or the system cannot read it.
    """
    try:
        size = os.fstat(handle).st_size
        content = b"" if size > limit else _up_to(handle, limit + 1, size + 1)
    except OSError as error:
        raise FileProblem(f"{path}: cannot be read ({said(error)})") from error
    if size > limit or len(content) > limit:
        raise TooLarge(path, max(size, len(content)), limit)
    return content


def read_given(path: str, *, limit: int) -> bytes:
    """Return the content of a file that the user names on the command line, or of the pipe that he gives.

    A pipe is waited for where it is open already: `-`, /dev/stdin, /dev/fd/N (`<(command)` in bash). A named pipe is
    refused, since nobody may ever write to it. /dev/null is empty.

    Raises:
        As `read_file`.
    """
    if path == os.devnull:
        return b""
    handle = given_descriptor(path)
    if handle is None:
        return read_file(path, limit=limit)
    try:
        return read_handle(handle, path, limit)
    finally:
        os.close(handle)


def given_descriptor(path: str, *, standard: int = 0) -> int | None:
    """Return a copy of the open descriptor that a path like /dev/stdin means; None for the path of a file.

    Args:
        standard: What "-" means: 0 to read, 1 to write.

    Raises:
        FileProblem: No such descriptor is open.
    """
    found = _GIVEN.fullmatch(path)
    if not found:
        return None
    number = found["number"] or found["again"]
    wanted = int(number) if number else _NAMED.get(found["name"], standard)
    try:
        return os.dup(wanted)
    except OSError as error:
        raise FileProblem(f"{path}: is not open ({said(error)})") from error


def _up_to(handle: int, octets: int, expected: int) -> bytes:
    """Return at most so many octets; files of /proc say that they have none."""
    pieces, left = [], octets
    while left:
        piece = os.read(handle, min(left, max(expected, 4096), _AT_ONCE))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def refuse_others(path: str, handle: int, folder: int, closed: bool = False) -> None:
    """Refuse what is no regular file, and as root a file that the folder's owner may have no right to read himself.

    Raises:
        FileProblem: It is such a thing; `path` is its name in the message.
    """
    info = os.fstat(handle)
    if not stat.S_ISREG(info.st_mode):
        raise FileProblem(f"{path}: is {kind(info.st_mode)}; a regular file belongs there")
    if os.geteuid() != 0 or info.st_mode & stat.S_IROTH or (closed and info.st_nlink == 1):
        return
    if _borrowed(os.fstat(folder), info):
        raise FileProblem(
            f"{path}: is closed to others and belongs to user {info.st_uid}, but others may have put it there: the "
            f"folder belongs to user {os.fstat(folder).st_uid}; let that user read it (chown, chgrp or chmod), or lay "
            "it elsewhere"
        )


def _borrowed(folder: os.stat_result, file: os.stat_result) -> bool:
    """Return whether somebody may have given a file that he cannot read a second name, in a folder that he can write.

    When its first name goes the file has one name again, as each /etc/shadow has that a newer one has replaced: so
    the number of names alone tells nothing.
    """
    if not others_write(folder) and (file.st_nlink == 1 or not folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return False
    if file.st_gid == folder.st_gid and file.st_mode & stat.S_IRGRP and not folder.st_mode & stat.S_IWOTH:
        return False
    if folder.st_uid in (0, os.geteuid()):
        return file.st_nlink > 1
    return file.st_uid != folder.st_uid
