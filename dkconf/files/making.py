"""Folders, made so that nobody sees them half made, or gets another one in their place an owner and a mode."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

from dkconf.files.folders import LINK_ERRORS, TO_PASS, Misled, Way, holds
from dkconf.files.problems import FileProblem, said

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TRIES = 10
Owner = tuple[int, int]
"""The numbers of user and group; -1 leaves one as it is."""
NOBODYS = (-1, -1)


def make_folders(path: str, *, mode: int | None = None, owner: Owner = NOBODYS, within: str = "") -> tuple[str, ...]:
    """Make a folder and those above it that are missing; return those made, the highest first.

    Another run that makes one of them at the same time is no harm: the next try finds it.

    Args:
        mode: Of each that is made, exactly this, None = as the umask has it; one that is there stays as it is.
        owner: Whom each that is made is given to.

    Raises:
        FileProblem: Something else is there, a link is not followed, or the system says no.
    """
    mode = 0o777 & ~_umask() if mode is None else mode
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another run put its own in the place of an empty one that we had open
            return _make_missing(os.path.abspath(path), mode, owner, within)
    raise FileProblem(f"{path}: cannot be made; it goes again and again")


def _make_missing(path: str, mode: int, owner: Owner, within: str) -> tuple[str, ...]:
    missing: list[str] = []
    at = path
    while True:
        try:
            handle = opened_folder(at, within)
            break
        except FileNotFoundError:
            missing.append(at)
            at = os.path.dirname(at)
    made = []
    try:
        for each in reversed(missing):
            below, new = _made(handle, each, mode, owner)
            os.close(handle)
            handle = below
            made += [each] if new else []
    finally:
        os.close(handle)
    return tuple(made)


def opened_folder(path: str, within: str) -> int:
    try:
        with Way(path, within) as way:
            return way.open(TO_PASS)
    except Misled as error:
        raise FileProblem(f"{path}: nothing is made there: {error}; remove the link") from None
    except FileNotFoundError:
        raise
    except NotADirectoryError:
        raise FileProblem(f"{path}: is no folder, or lies below a file; a folder belongs there") from None
    except OSError as error:
        raise FileProblem(f"{path}: cannot be opened ({said(error)})") from error


def _made(parent: int, path: str, mode: int, owner: Owner) -> tuple[int, bool]:
    """Return a handle of the folder at `path`, and whether it was made now; `parent` is that of the folder above."""
    name = os.path.basename(path)
    try:
        if not holds(parent, name):
            handle = new_folder(parent, name, mode, owner)
            if handle is not None:
                return handle, True
        return os.open(name, TO_PASS, dir_fd=parent), False
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in LINK_ERRORS:
            raise FileProblem(f"{path}: is no folder, or a link; a folder belongs there") from None
        raise FileProblem(f"{path}: cannot be made ({said(error)})") from error


def new_folder(parent: int, name: str, mode: int, owner: Owner) -> int | None:
    """Return a handle of a new folder, None if another run was first.

    It gets owner and mode under a name that no other run knows, and then its own: nobody sees it half made.
    """
    draft = f".{name[:200]}.{secrets.token_hex(6)}"
    os.mkdir(draft, 0o700, dir_fd=parent)
    handle = -1
    try:
        handle = os.open(draft, OPEN, dir_fd=parent)
        _refuse_exchanged(handle)
        if owner != NOBODYS:
            os.fchown(handle, *owner)
        os.fchmod(handle, mode)
        if _renamed(parent, draft, name):
            return handle
    except BaseException:
        _close_and_remove(handle, parent, draft)
        raise
    _close_and_remove(handle, parent, draft)
    return None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _renamed(parent: int, draft: str, name: str) -> bool:
    try:
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _close_and_remove(handle: int, parent: int, draft: str) -> None:
    if handle >= 0:
        os.close(handle)
    with suppress(OSError):
        os.rmdir(draft, dir_fd=parent)


def _refuse_exchanged(handle: int) -> None:
    """Refuse a folder that somebody put in the place of the one that was just made: it is not given away."""
    info = os.fstat(handle)
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o777 != 0o700 or os.listdir(handle):
        raise OSError(errno.EBUSY, "somebody exchanged it while it was made")
