"""Files and sockets that stay open: a log, the pid file, the socket of a filter, the folder that its user is given."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

from dkconf.files.folders import Way
from dkconf.files.making import NOBODYS, OPEN
from dkconf.files.problems import FileProblem, kind
from dkconf.files.writing import look_in, opened_place, write_all


def change_socket(path: str, inode: tuple[int, int], *, uid: int = -1, gid: int = -1, mode: int = -1) -> None:
    """Give the Unix socket that we have bound to somebody, or another mode.

    Its folder may be that of the filter's user, who can put anything in its place at any moment: so what is changed
    is what is held open, and that only if it is the socket.

    Args:
        inode: Device and inode number of the socket.
        mode: -1 leaves it as it is.

    Raises:
        OSError: Something else is there, or the system says no.
    """
    held = getattr(os, "O_PATH", 0)
    # A socket cannot be opened but for its name. Where the system has no such handle (FreeBSD before 13.1), what is
    # changed is at least no link.
    handle = os.open(path, held | os.O_NOFOLLOW | os.O_CLOEXEC) if held else -1
    try:
        found = os.fstat(handle) if held else os.lstat(path)
        if (found.st_dev, found.st_ino) != inode or not stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.EEXIST, "somebody else put something in its place", path)
        name, follow = f"/proc/self/fd/{handle}", True
        if not (held and os.path.exists(name)):
            name, follow = path, False
        if (uid, gid) != NOBODYS:
            os.chown(name, uid, gid, follow_symlinks=follow)
        if mode >= 0 and stat.S_IMODE(found.st_mode) != mode:
            os.chmod(name, mode, follow_symlinks=follow)
    except NotImplementedError:
        raise OSError(errno.ENOTSUP, "the mode of a socket cannot be changed safely without /proc", path) from None
    finally:
        if held:
            os.close(handle)


def give_folder(path: str, uid: int) -> None:
    """Give a folder, which has to be one and no link, to a user.

    Raises:
        FileProblem: It is none, or the system says no.
    """
    with opened_place(path, follow=False) as (folder, name):
        handle = os.open(name, OPEN, dir_fd=folder)
        try:
            os.fchown(handle, uid, -1)
        finally:
            os.close(handle)


def write_kept(path: str, content: bytes, *, mode: int) -> int:
    """Write a file as `write_file` does; return a descriptor of it, the caller's to close.

    Where we may write the file that is there, but not its folder, its content alone is exchanged: not as root, who
    may write every file that somebody gave a second name there.

    Raises:
        OSError: Something else than a regular file is there, or the system says no.
    """
    with Way(path) as way:
        name = way.to_last(follow=False)
        if (old := look_in(way.folder, name)) and not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "it is there already and no file")
        draft = f".{name[:200]}.{secrets.token_hex(6)}"
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(draft, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=way.folder)
        except PermissionError:
            if os.geteuid() == 0:
                raise
            handle, draft = os.open(name, flags, dir_fd=way.folder), ""
        try:
            if draft:
                os.fchmod(handle, mode)
            os.ftruncate(handle, 0)
            write_all(handle, content)
            if draft:
                os.rename(draft, name, src_dir_fd=way.folder, dst_dir_fd=way.folder)
        except BaseException:
            os.close(handle)
            if draft:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=way.folder)
            raise
    return handle


def remove_kept(path: str, handle: int) -> None:
    """Remove a file that was written by `write_kept`, if it is still that one.

    Raises:
        OSError: The system says no.
    """
    with Way(path) as way:
        name = way.to_last(follow=False)
        found = look_in(way.folder, name)
        if found and os.path.samestat(os.fstat(handle), found):
            os.unlink(name, dir_fd=way.folder)


def open_to_append(path: str, *, mode: int) -> int:
    """Return a descriptor that writes to the end of a file, which is made if it is not there; the caller closes it.

    Raises:
        FileProblem: Something else than a regular file is there, or the system says no.
    """
    return _opened_for_writing(path, os.O_APPEND | os.O_CREAT, mode)


def open_new(path: str, *, mode: int) -> int:
    """Return a descriptor that reads and writes a file which is not there yet; the caller closes it.

    Raises:
        FileProblem: Something is there, or the system says no.
    """
    return _opened_for_writing(path, os.O_CREAT | os.O_EXCL, mode)


def _opened_for_writing(path: str, flags: int, mode: int) -> int:
    try:
        with opened_place(path, follow=False) as (folder, name):
            common = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(name, common | flags, 0o600, dir_fd=folder)
            try:
                found = os.fstat(handle)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                    raise FileProblem(f"{path}: is {kind(found.st_mode)}, or has a second name; remove it")
                os.fchmod(handle, mode)
            except BaseException:
                os.close(handle)
                raise
            return handle
    except FileExistsError:
        raise FileProblem(f"{path}: is there already; remove it") from None
